//! Processes of one user kept apart: the command of a lease can open no slice but its own.
//!
//! Must never hold up a lease: where the machine has no such filter, that is said and users are kept
//! apart by the owner of each node alone.

use std::collections::BTreeMap;
use std::path::PathBuf;

use broker::State;
use host::HostRoot;
use host::cgroup::Controller;
use host::nodes::{COMPUTE_INSTANCE_SLOTS, GPU_INSTANCE_SLOTS, capability_major};
use model::{LeaseId, NodeSnapshot};

use super::instances_of;
use crate::executor::chain;

const BY_OWNER: &str = "users are kept apart by the owner of each node; processes of one user are \
                        not (that takes the devices controller of cgroup v1)";
const BY_GROUP: &str = "users are kept apart by the owner of each node, commands of `migctl run` by \
                        a device filter, too (devices controller of cgroup v1)";

/// The filter of a machine.
#[derive(Debug)]
pub(super) struct Filter {
    controller: Option<Controller>,
    /// What the names of our groups begin with; another daemon's begin otherwise.
    prefix: String,
    /// Groups that are there.
    groups: BTreeMap<LeaseId, PathBuf>,
}

impl Filter {
    /// Finds the controller, and the groups that an earlier daemon with the same `key` left.
    pub(super) fn find(root: &HostRoot, key: &str) -> Self {
        let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let prefix = format!("migd-{:08x}-", hash as u32);
        let root_may = rustix::process::geteuid().is_root();
        let controller = Controller::find().filter(|_| root_may && may_filter(root));
        let mut groups = BTreeMap::new();
        for group in controller.iter().flat_map(|found| found.groups(&prefix)) {
            let name = group.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if let Ok(lease) = name[prefix.len()..].parse() {
                groups.insert(lease, group);
            }
        }
        Self { controller, prefix, groups }
    }

    pub(super) const fn words(&self) -> &'static str {
        if self.controller.is_some() { BY_GROUP } else { BY_OWNER }
    }

    /// Confines the command of a lease to the lease's slices.
    pub(super) fn confine(
        &mut self,
        root: &HostRoot,
        state: &State,
        observed: &NodeSnapshot,
        id: LeaseId,
        pid: u32,
    ) {
        let (Some(controller), Some(lease)) = (&self.controller, state.lease(id)) else { return };
        let Ok(Some(major)) = capability_major(root) else { return };
        let own: Vec<u32> = lease
            .slices
            .iter()
            .flat_map(|slice| instances_of(observed, slice))
            .map(|instance| instance.minor().get())
            .collect();
        let per_gpu = GPU_INSTANCE_SLOTS * (1 + COMPUTE_INSTANCE_SLOTS);
        // Every minor the GPUs here can ever have: slices come and go while the command runs.
        let every: Vec<u32> = observed
            .gpus
            .iter()
            .flat_map(|gpu| (0..per_gpu).map(|slot| 3 + per_gpu * gpu.minor.get() + slot))
            .collect();
        let name = format!("{}{id}", self.prefix);
        match controller.confine(pid, &name, major, &own, &every) {
            Ok(group) => {
                self.groups.insert(id, group);
            }
            Err(error) => {
                tracing::warn!(%id, pid, error = chain(&error), "not kept apart from its user's other processes");
            }
        }
    }

    /// Removes the groups of leases that are over, once their last process is gone.
    pub(super) fn clear(&mut self, state: &State) {
        self.groups.retain(|lease, group| {
            state.lease(*lease).is_some() || (!Controller::remove(group) && group.exists())
        });
    }
}

/// On a simulated machine the number of the capabilities may be that of another device here.
fn may_filter(root: &HostRoot) -> bool {
    let Ok(Some(major)) = capability_major(root) else { return false };
    root.is_real() || {
        let text = std::fs::read_to_string("/proc/devices").unwrap_or_default();
        let listed = |line: &str| line.trim().split(' ').next() == Some(&major.to_string());
        let characters = text.split("Block devices").next().unwrap_or_default();
        !characters.lines().any(listed)
    }
}
