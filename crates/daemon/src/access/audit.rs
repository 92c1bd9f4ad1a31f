//! Who is on a slice that is not theirs.
//!
//! Must never call root an intruder: nobody keeps root out.

use std::collections::BTreeMap;

use broker::State;
use host::Users;
use host::access::Wanted;
use host::processes::{Arguments, describe};
use model::{ComputeInstanceId, GpuInstanceId, GpuUuid, LeaseId, NodeSnapshot, ProcessId, Uid};

use super::{BrokenGlass, wanted_on};

/// A process on a slice.
pub(super) type Sighting = (GpuUuid, GpuInstanceId, ComputeInstanceId, ProcessId);

/// Processes that the driver shows on slices which enforcing would have kept from them, each with a
/// sentence.
pub(super) fn findings(
    state: &State,
    observed: &NodeSnapshot,
    enforced: impl Fn(&GpuUuid) -> bool,
) -> BTreeMap<Sighting, String> {
    let mut found = BTreeMap::new();
    let mut users = None;
    let whole = BrokenGlass::default();
    for gpu in observed.gpus.iter().filter(|gpu| enforced(&gpu.uuid)) {
        if gpu.instances.iter().all(|instance| !instance.is_busy()) {
            continue;
        }
        for (path, wanted) in wanted_on(state, gpu, &whole) {
            let instance = gpu.instance(path.gpu_instance);
            let compute = instance.and_then(|instance| {
                let mut all = instance.compute_instances.iter();
                all.find(|compute| Some(compute.id) == path.compute_instance)
            });
            let (Some(instance), Some(compute)) = (instance, compute) else { continue };
            for process in &compute.processes {
                let users = users.get_or_insert_with(Users::load);
                let Some(seen) = describe(process.pid, users, Arguments::Hidden) else { continue };
                if may(wanted, seen.uid) {
                    continue;
                }
                let words = format!(
                    "pid {} ({}, user {}) is on the slice at {} of GPU {}, which is {}",
                    process.pid,
                    seen.command,
                    seen.user,
                    instance.placement,
                    gpu.index,
                    whose(state, gpu, instance.id, users)
                );
                let key = (gpu.uuid.clone(), instance.id, compute.id, seen.process);
                found.insert(key, words);
            }
        }
    }
    found
}

fn may(wanted: Wanted, uid: Uid) -> bool {
    match wanted {
        _ if uid.get() == 0 => true,
        Wanted::Stock => true,
        Wanted::OpenFor(owner) => owner == uid,
        Wanted::Closed => false,
    }
}

fn whose(
    state: &State,
    gpu: &model::GpuSnapshot,
    instance: GpuInstanceId,
    users: &Users,
) -> String {
    let mut uses = gpu.instances.iter().zip(broker::uses(state, gpu));
    let used = uses.find(|(found, _)| found.id == instance).map(|(_, used)| used);
    let of = |lease: LeaseId| {
        let owner = state.lease(lease).map(|lease| users.label(lease.spec.uid));
        owner.map_or_else(String::new, |owner| format!(" of user {owner}"))
    };
    match used {
        Some(broker::Use::Leased(lease)) => format!("that of {lease}{}", of(lease)),
        Some(broker::Use::Ending(lease)) => format!("that of {lease}{}, which ends", of(lease)),
        Some(broker::Use::Warm) => "nobody's at present".to_owned(),
        Some(broker::Use::Changing | broker::Use::Foreign) | None => "being changed".to_owned(),
    }
}
