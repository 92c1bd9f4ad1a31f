//! The files by which container engines know the slices of active leases, kept in step with them.
//!
//! Must never name a slice that nobody leases: whoever may start containers would have it.

use std::path::{Path, PathBuf};

use broker::{Lease, Phase, State};
use host::HostRoot;
use host::cdi::{Device, KIND_GPU, KIND_LEASE, write};
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
        let device = device(observed, lease, lease.id.to_string(), 0..lease.slices.len());
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

/// Every slice of an active lease by `GPU:N`, N counting the GPU's MIG devices in the order of their
/// instance ids as NVIDIA's tools do, and by its UUID.
fn places(state: &State, observed: &NodeSnapshot) -> Vec<Device> {
    let mut devices = Vec::new();
    for lease in active(state) {
        for (at, slice) in lease.slices.iter().enumerate() {
            let Some(gpu) = observed.gpu(&slice.key.gpu) else { continue };
            let computes = gpu.instances.iter().flat_map(|instance| {
                instance.compute_instances.iter().map(move |compute| (instance.id, compute.id))
            });
            let mut numbered = computes.enumerate();
            let own = (slice.gpu_instance, slice.compute_instance);
            let Some((index, _)) = numbered.find(|(_, ids)| *ids == own) else { continue };
            for name in [format!("{}:{index}", gpu.index), slice.uuid.to_string()] {
                devices.push(device(observed, lease, name, at..at + 1));
            }
        }
    }
    devices.sort_by(|a, b| a.name.cmp(&b.name));
    devices
}

fn device(
    observed: &NodeSnapshot,
    lease: &Lease,
    name: String,
    which: std::ops::Range<usize>,
) -> Device {
    let slices = lease.slices.get(which).unwrap_or_default();
    let shared = ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"];
    let mut nodes: Vec<PathBuf> = shared.map(PathBuf::from).to_vec();
    let real = HostRoot::real();
    for slice in slices {
        if let Some(gpu) = observed.gpu(&slice.key.gpu) {
            nodes.push(host::nodes::gpu_node(&real, gpu.minor));
        }
        let own = instances_of(observed, slice);
        nodes.extend(own.into_iter().map(|instance| instance.minor().node(&real)));
    }
    let mut seen = std::collections::BTreeSet::new();
    nodes.retain(|node| seen.insert(node.clone()));
    let uuids = slices.iter().map(|slice| slice.uuid.to_string()).collect();
    Device { name, nodes, uuids }
}
