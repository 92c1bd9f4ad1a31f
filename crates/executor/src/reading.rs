//! Looks at the machine: before a plan to prove it, after it to read back what came of it.
//!
//! Must never take an old picture for a new one.

use broker::{GrantedSlice, SliceTarget, State, Use};
use checker::{GpuProtection, InstanceProtection, Proof, Protected};
use model::{GpuSnapshot, GpuUuid, Health, NodeSnapshot, Plan, Timestamp};

use crate::perform::chain;
use crate::{GivenUp, Machine};

/// How often a GPU is looked at before it is distrusted.
const LOOKS: u32 = 5;

/// The GPU as it is; where the driver does not tell even after some tries, as it was but not to be
/// trusted, so that nobody takes the old picture for the new truth.
pub fn look_or_distrust(
    machine: &dyn Machine,
    observed: &NodeSnapshot,
    gpu: &GpuUuid,
) -> Option<GpuSnapshot> {
    for _ in 0..LOOKS {
        match machine.driver().gpu_snapshot(gpu) {
            Ok(seen) => return Some(seen),
            Err(error) => tracing::warn!(%gpu, error = chain(&error), "cannot be read back"),
        }
        machine.pause();
    }
    let known = observed.gpu(gpu)?.clone();
    Some(GpuSnapshot { health: Health::Failing("it cannot be read".to_owned()), ..known })
}

pub(crate) fn look(machine: &dyn Machine, gpus: &[GpuUuid]) -> Result<NodeSnapshot, GivenUp> {
    let read = |gpu| machine.driver().gpu_snapshot(gpu);
    let gpus = gpus.iter().map(read).collect::<Result<Vec<GpuSnapshot>, _>>();
    Ok(node_of(gpus.map_err(|error| GivenUp::before(chain(&error)))?))
}

/// Some GPUs as a machine of their own.
pub(crate) fn node_of(gpus: Vec<GpuSnapshot>) -> NodeSnapshot {
    let (driver_version, cuda_version) = (String::new(), None);
    NodeSnapshot { taken_at: Timestamp::from_millis(0), driver_version, cuda_version, gpus }
}

/// Has the checker prove the plan against the machine as it is now.
pub(crate) fn prove(state: &State, plan: &Plan, before: &NodeSnapshot) -> Result<Proof, GivenUp> {
    checker::check(plan, before, &protected(state, before)).map_err(|violations| {
        let words: Vec<String> = violations.iter().map(ToString::to_string).collect();
        GivenUp::before(format!("the plan does not hold any more: {}", words.join("; ")))
    })
}

/// Has the checker prove that GPUs can be handed over as a whole.
pub(crate) fn prove_whole(
    state: &State,
    gpus: &[GpuUuid],
    seen: &NodeSnapshot,
) -> Result<(), GivenUp> {
    let protected = protected(state, seen);
    for gpu in gpus {
        checker::check_whole(gpu, seen, &protected)
            .map_err(|breach| GivenUp::before(format!("{gpu} is not free as a whole: {breach}")))?;
    }
    Ok(())
}

/// What records say must stay.
fn protected(state: &State, before: &NodeSnapshot) -> Protected {
    let mut protected = Protected::nothing();
    for lease in state.leases.values() {
        for gpu in &lease.whole {
            protected = protected.with_gpu(gpu.clone(), GpuProtection::Leased(lease.id));
        }
    }
    for gpu in &before.gpus {
        for (instance, used) in gpu.instances.iter().zip(broker::uses(state, gpu)) {
            let why = match used {
                Use::Leased(lease) | Use::Ending(lease) => InstanceProtection::Leased(lease),
                Use::Foreign => InstanceProtection::Foreign,
                Use::Warm | Use::Changing => continue,
            };
            protected = protected.with_instance(gpu.uuid.clone(), instance.id, why);
        }
    }
    protected
}

/// The slice at a target as the driver shows it: one compute instance over the whole GPU instance,
/// with a UUID, and nobody on it.
pub(crate) fn read_back(
    after: &NodeSnapshot,
    target: &SliceTarget,
) -> Result<GrantedSlice, GivenUp> {
    let place = target.key.placement;
    let gpu = after.gpu(&target.key.gpu).ok_or_else(|| GivenUp::before("the GPU is gone"))?;
    let wrong = |found: &str| {
        GivenUp::before(format!("reading back GPU {} at {place}: {found}", gpu.index))
    };
    let instance = gpu
        .instance_at(place)
        .filter(|instance| instance.profile == target.profile)
        .ok_or_else(|| wrong("the instance is not there"))?;
    let [compute] = instance.compute_instances.as_slice() else {
        return Err(wrong("it does not have exactly one compute instance"));
    };
    if let Some(process) = compute.processes.first() {
        return Err(wrong(&format!("pid {} is on it", process.pid)));
    }
    Ok(GrantedSlice {
        key: target.key.clone(),
        profile: instance.profile,
        gpu_instance: instance.id,
        compute_instance: compute.id,
        uuid: compute.uuid.clone().ok_or_else(|| wrong("its MIG device has no UUID"))?,
    })
}
