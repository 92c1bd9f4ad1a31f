//! Each node as it is, as it should be, and who has it open.
//!
//! Must never change anything.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use api::{AccessView, NodeAccessView};
use broker::{State, Use};
use host::access::{Surveyed, Wanted, survey};
use host::nodes::{InstancePath, NodeError};
use host::{HostRoot, Users};
use model::{LeaseId, NodeSnapshot};

use super::{Access, mode_name, named, wanted_on};
use crate::executor::chain;

impl Access {
    /// The whole picture. Goes through every process of the machine.
    ///
    /// # Errors
    /// [`NodeError`] when the nodes cannot be looked at.
    pub(crate) fn view(
        &self,
        state: &State,
        observed: &NodeSnapshot,
    ) -> Result<AccessView, NodeError> {
        let glass = self.glass();
        let wanted: BTreeMap<InstancePath, Wanted> =
            observed.gpus.iter().flat_map(|gpu| wanted_on(state, gpu, &glass)).collect();
        let leases = leases(state, observed);
        let mut view = look(&self.root)?;
        for (node, seen) in view.nodes.iter_mut().zip(survey(&self.root)?) {
            let users = Users::load();
            node.lease = leases.get(&seen.instance).copied();
            let wanted = wanted.get(&seen.instance).copied();
            node.wanted = wanted.map(|wanted| words(&users, wanted));
            node.as_wanted = wanted.is_none_or(|wanted| is_so(&seen, wanted));
        }
        mode_name(self.mode()).clone_into(&mut view.enforce);
        let stock = observed.gpus.iter().filter(|gpu| glass.covers(&gpu.uuid));
        view.stock_gpus = stock.map(|gpu| gpu.index.get()).collect();
        view.filter = self.filter_words();
        view.warnings.extend(self.warnings(observed));
        Ok(view)
    }
}

/// The nodes as they are, without records.
///
/// # Errors
/// [`NodeError`] when they cannot be looked at.
pub fn look(root: &HostRoot) -> Result<AccessView, NodeError> {
    let all = survey(root)?;
    let paths: Vec<PathBuf> = all.iter().map(|seen| seen.path.clone()).collect();
    let (open, warnings) = match host::holders_of(&paths) {
        Ok(found) => {
            let hidden = found.incomplete.unreadable.len();
            let unseen = (hidden > 0).then(|| {
                format!("{hidden} processes may not be looked into; who has a node open is a part")
            });
            (found.holders, unseen.into_iter().collect())
        }
        Err(error) => (Vec::new(), vec![chain(&error)]),
    };
    let users = Users::load();
    let holders = |path: &Path| {
        let mut pids: Vec<_> =
            open.iter().filter(|holder| holder.path == path).map(|holder| holder.process).collect();
        pids.dedup();
        pids.into_iter().map(|process| named(&users, process)).collect()
    };
    let nodes = all.iter().map(|seen| NodeAccessView {
        gpu_minor: seen.instance.gpu.get(),
        gpu_instance: seen.instance.gpu_instance.get(),
        compute_instance: seen.instance.compute_instance.map(model::ComputeInstanceId::get),
        path: seen.path.display().to_string(),
        owner: seen.node.map(|node| users.label(node.owner)),
        mode: seen.node.map(|node| format!("{:04o}", node.mode)),
        modify: seen.access.is_none_or(|access| access.modify),
        wanted: None,
        as_wanted: true,
        lease: None,
        open_by: holders(&seen.path),
    });
    Ok(AccessView {
        enforce: "none".to_owned(),
        stock_gpus: Vec::new(),
        filter: String::new(),
        nodes: nodes.collect(),
        warnings,
    })
}

fn words(users: &Users, wanted: Wanted) -> String {
    match wanted {
        Wanted::Closed => "closed".to_owned(),
        Wanted::OpenFor(uid) => format!("open for {}", users.label(uid)),
        Wanted::Stock => "open for everybody".to_owned(),
    }
}

fn is_so(seen: &Surveyed, wanted: Wanted) -> bool {
    let owner = match wanted {
        Wanted::OpenFor(uid) => Some(uid),
        Wanted::Closed | Wanted::Stock => None,
    };
    let right_node = seen.node.is_some_and(|node| {
        node.mode == wanted.mode() && owner.is_none_or(|owner| node.owner == owner)
    });
    right_node && seen.access.is_none_or(|access| access.modify == wanted.modify())
}

fn leases(state: &State, observed: &NodeSnapshot) -> BTreeMap<InstancePath, LeaseId> {
    let mut leases = BTreeMap::new();
    for gpu in &observed.gpus {
        for (instance, used) in gpu.instances.iter().zip(broker::uses(state, gpu)) {
            let (Use::Leased(lease) | Use::Ending(lease)) = used else { continue };
            let whole =
                InstancePath { gpu: gpu.minor, gpu_instance: instance.id, compute_instance: None };
            leases.insert(whole, lease);
            for compute in &instance.compute_instances {
                leases.insert(InstancePath { compute_instance: Some(compute.id), ..whole }, lease);
            }
        }
    }
    leases
}
