//! The files by which container engines know slices, kept in step with them: those of active leases,
//! and those made by hand or by file.
//!
//! Must never name a slice of ours that nobody leases: whoever may start containers would have it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use broker::{Lease, Phase, State, Use};
use host::HostRoot;
use host::cdi::{Device, KIND_GPU, KIND_LEASE, write};
use host::nodes::InstancePath;
use model::NodeSnapshot;

use super::instances_of;
use crate::executor::chain;

/// The writer of the files.
#[derive(Debug)]
pub(super) struct Cdi {
    root: HostRoot,
    /// The file of leases; the one of places lies beside it.
    path: PathBuf,
    /// What was written last, so that what did not change is not written again.
    last: Option<(Vec<Device>, Vec<Device>)>,
}

impl Cdi {
    pub(super) const fn new(root: HostRoot, path: PathBuf) -> Self {
        Self { root, path, last: None }
    }

    /// Writes what changed; what is wrong is logged and tried again with the next change.
    pub(super) fn follow(&mut self, state: &State, observed: &NodeSnapshot) {
        let now = (leases(state, observed), places(state, observed));
        if self.last.as_ref() == Some(&now) {
            return;
        }
        let done = write(&self.root, &self.path, KIND_LEASE, &now.0)
            .and_then(|()| write(&self.root, &beside(&self.path), KIND_GPU, &now.1));
        match done {
            Ok(()) => self.last = Some(now),
            Err(error) => {
                tracing::error!(error = chain(&error), "containers do not learn of this change");
                self.last = None;
            }
        }
    }
}

/// `migd-gpu.json` for `migd.json`.
fn beside(path: &Path) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{stem}-gpu.json"))
}

fn active(state: &State) -> impl Iterator<Item = &Lease> {
    let leases = state.leases.values();
    leases.filter(|lease| matches!(lease.phase, Phase::Active { .. }) && !lease.slices.is_empty())
}

/// Every active lease by its number, and by its name where it is the only one of that name.
fn leases(state: &State, observed: &NodeSnapshot) -> Vec<Device> {
    let mut devices = Vec::new();
    for lease in active(state) {
        let device = device(observed, lease, lease.id.to_string());
        if let Some(name) = &lease.spec.name {
            let same = active(state).filter(|other| other.spec.name.as_ref() == Some(name));
            if same.count() == 1 {
                devices.push(Device { name: name.clone(), ..device.clone() });
            }
        }
        devices.push(device);
    }
    devices.sort_by(|a, b| a.name.cmp(&b.name));
    devices
}

/// Slices by `GPU:N`, N counting the GPU's MIG devices in the order of their instance ids as NVIDIA's
/// tools do, and by their UUIDs: those of active leases, and those that are not ours to lend because
/// somebody made them by hand or by file.
fn places(state: &State, observed: &NodeSnapshot) -> Vec<Device> {
    let mut devices = Vec::new();
    for gpu in &observed.gpus {
        let uses = broker::uses(state, gpu);
        let mut index = 0;
        for (instance, used) in gpu.instances.iter().zip(uses) {
            for compute in &instance.compute_instances {
                let Some(uuid) = &compute.uuid else { continue };
                let name = format!("{}:{index}", gpu.index);
                index += 1;
                let is_shown = match used {
                    Use::Leased(lease) => active(state).any(|active| active.id == lease),
                    Use::Foreign => true,
                    Use::Ending(_) | Use::Warm | Use::Changing => false,
                };
                if !is_shown {
                    continue;
                }
                let whole = InstancePath {
                    gpu: gpu.minor,
                    gpu_instance: instance.id,
                    compute_instance: None,
                };
                let parts = [whole, InstancePath { compute_instance: Some(compute.id), ..whole }];
                let uuid = uuid.to_string();
                let device = named(name, &parts, vec![uuid.clone()]);
                devices.push(Device { name: uuid, ..device.clone() });
                devices.push(device);
            }
        }
    }
    devices.sort_by(|a, b| a.name.cmp(&b.name));
    devices
}

fn device(observed: &NodeSnapshot, lease: &Lease, name: String) -> Device {
    let parts: Vec<InstancePath> =
        lease.slices.iter().flat_map(|slice| instances_of(observed, slice)).collect();
    let uuids = lease.slices.iter().map(|slice| slice.uuid.to_string()).collect();
    named(name, &parts, uuids)
}

/// A device with the nodes of these instances, their GPUs' and those that every program opens.
fn named(name: String, parts: &[InstancePath], uuids: Vec<String>) -> Device {
    let shared = ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"];
    let mut nodes: Vec<PathBuf> = shared.map(PathBuf::from).to_vec();
    let real = HostRoot::real();
    for part in parts {
        nodes.push(host::nodes::gpu_node(&real, part.gpu));
        nodes.push(part.minor().node(&real));
    }
    let mut seen = BTreeSet::new();
    nodes.retain(|node| seen.insert(node.clone()));
    Device { name, nodes, uuids }
}
