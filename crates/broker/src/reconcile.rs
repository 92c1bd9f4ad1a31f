//! Records and driver brought into agreement: what is gone, what was left behind, what is idle too
//! long, what could be made ready.
//!
//! Must never destroy an instance that no record and no open intent of ours explains.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use model::{
    GpuInstance, GpuInstanceId, GpuSnapshot, GpuUuid, Health, LeaseId, MigMode, MigState, PlanId,
    Purpose,
};

use crate::decide::{Draft, begin_end};
use crate::event::{EndReason, Event, GrantedSlice};
use crate::grant::{end_maintenance, open_plan, schedule};
use crate::rooms::{Use, uses};
use crate::state::{Orphan, SliceKey, SliceUse};
use crate::{ahead, changes, cordon, grant, quarantine, whole};

/// Declares a plan of a dead daemon interrupted.
pub(crate) fn abandon(draft: &mut Draft<'_>, plan: PlanId) {
    let purpose = draft.state.plans.get(&plan).map(|open| open.plan.purpose.clone());
    draft.emit(Event::PlanAbandoned { plan });
    match purpose {
        Some(Purpose::Grant(lease)) if grant::awaits(draft.state, lease, plan) => {
            draft.emit(Event::Requeued { lease });
        }
        _ => end_maintenance(draft),
    }
}

/// The machine was restarted. No instance outlives that, so none of what is there now is ours, even
/// where it looks the same: a script that runs at boot gets the same ids and UUIDs again.
pub(crate) fn forget_instances(draft: &mut Draft<'_>) {
    let slices: Vec<SliceKey> = draft.state.slices.keys().cloned().collect();
    for key in slices {
        draft.emit(Event::SliceGone { key, found: "the machine was restarted".into() });
    }
    while let Some(orphan) = draft.state.orphans.first() {
        let key = orphan.key.clone();
        draft.emit(Event::OrphanCleared { key });
    }
    changes::forget_instances(draft);
}

/// A new snapshot is there.
pub(crate) fn observed(draft: &mut Draft<'_>) {
    quarantine::advance(draft);
    lose_missing(draft);
    sweep(draft);
    if !draft.world.policy.passive {
        cordon::advance(draft);
    }
    changes::advance(draft);
    if draft.world.policy.passive {
        return;
    }
    prepare(draft);
    schedule(draft);
}

/// Time passed. What a new snapshot showed is looked at again: the decision about it may not have
/// been committed (a full disk), and no other snapshot may come.
pub(crate) fn tick(draft: &mut Draft<'_>) {
    quarantine::advance(draft);
    lose_missing(draft);
    try_again(draft);
    sweep(draft);
    if !draft.world.policy.passive {
        cordon::advance(draft);
    }
    changes::advance(draft);
    if draft.world.policy.passive {
        return;
    }
    retire(draft);
    prepare(draft);
    ahead::tick(draft);
}

/// Ends the avoidance of GPUs that had their rest, and looks whether somebody waited for them.
fn try_again(draft: &mut Draft<'_>) {
    let now = draft.world.now;
    let rested: Vec<GpuUuid> = draft
        .state
        .avoided
        .iter()
        .filter(|gpu| draft.state.refusals.get(*gpu).is_none_or(|tries| tries.due() <= now))
        .cloned()
        .collect();
    if rested.is_empty() {
        return;
    }
    for gpu in rested {
        draft.emit(Event::GpuTriedAgain { gpu });
    }
    schedule(draft);
}

/// GPUs whose snapshot can be believed: answered in full, and no plan of ours is at work there.
fn believable<'a>(draft: &Draft<'a>) -> Vec<&'a GpuSnapshot> {
    let at_work: Vec<&GpuUuid> =
        draft.state.plans.values().flat_map(crate::state::OpenPlan::gpus).collect();
    let world = draft.world;
    let gpus = world.observed.gpus.iter();
    gpus.filter(|gpu| gpu.health == Health::Ok && !at_work.contains(&&gpu.uuid)).collect()
}

/// Ends what rests on slices that the driver no longer has.
pub(crate) fn lose_missing(draft: &mut Draft<'_>) {
    for gpu in believable(draft) {
        whole::lose_cut(draft, gpu);
        let here = draft.state.slices.iter().filter(|(key, _)| key.gpu == gpu.uuid);
        let changed: Vec<(SliceKey, String, SliceUse)> = here
            .filter_map(|(key, record)| {
                Some((key.clone(), difference(gpu, &record.slice)?, record.used))
            })
            .collect();
        for (key, found, used) in changed {
            draft.emit(Event::SliceGone { key, found: found.clone() });
            if let SliceUse::Leased(lease) = used {
                lose_slice(draft, lease, EndReason::SliceLost(found));
            }
        }
    }
}

/// A lease lost a slice: it is over, once the slices it still has are proven empty.
fn lose_slice(draft: &mut Draft<'_>, id: LeaseId, reason: EndReason) {
    match draft.state.lease(id).map(|lease| lease.slices.is_empty()) {
        Some(true) => draft.end(id, reason),
        Some(false) => begin_end(draft, id, reason),
        None => {}
    }
}

/// How the driver's view of a slice differs from its record, in words.
pub(crate) fn difference(gpu: &GpuSnapshot, slice: &GrantedSlice) -> Option<String> {
    let place = slice.key.placement;
    let Some(instance) = gpu.instance_at(place) else {
        return Some(alloc::format!("GPU {} has no instance at {place}", gpu.index));
    };
    if instance.id != slice.gpu_instance || instance.profile != slice.profile {
        return Some(alloc::format!("GPU {} has another instance at {place}", gpu.index));
    }
    let whole = instance.compute_instances.iter().any(|compute| {
        // A UUID that was not told is no sign of a change.
        compute.id == slice.compute_instance
            && compute.uuid.as_ref().is_none_or(|uuid| *uuid == slice.uuid)
    });
    if whole {
        None
    } else {
        let gi = instance.id;
        Some(alloc::format!(
            "the compute instance of GPU instance {gi} on GPU {} is gone",
            gpu.index
        ))
    }
}

/// Completes or takes away what ended plans may have left behind.
pub(crate) fn sweep(draft: &mut Draft<'_>) {
    if draft.state.orphans.is_empty() {
        return;
    }
    let now = draft.world.now;
    for gpu in believable(draft) {
        let here: Vec<Orphan> =
            draft.state.orphans.iter().filter(|o| o.key.gpu == gpu.uuid).cloned().collect();
        let mut doomed: BTreeMap<PlanId, Vec<GpuInstanceId>> = BTreeMap::new();
        for orphan in here {
            let due = orphan.attempts.is_none_or(|attempts| attempts.due() <= now);
            match judge(draft, gpu, &orphan) {
                Fate::NotThere => draft.emit(Event::OrphanCleared { key: orphan.key }),
                Fate::Keep(slice) => draft.emit(Event::SliceAdopted { slice }),
                Fate::TakeAway(id) if due => doomed.entry(orphan.plan).or_default().push(id),
                Fate::TakeAway(_) | Fate::InUse => {}
            }
        }
        for (plan, ids) in doomed {
            if let Ok(plan) = planner::plan_retire(gpu, &ids, Purpose::Rollback(plan)) {
                open_plan(draft, plan, Vec::new(), Vec::new(), Vec::new());
            }
        }
    }
}

enum Fate {
    NotThere,
    Keep(GrantedSlice),
    TakeAway(GpuInstanceId),
    InUse,
}

fn judge(draft: &Draft<'_>, gpu: &GpuSnapshot, orphan: &Orphan) -> Fate {
    let instance = gpu
        .instance_at(orphan.key.placement)
        .filter(|instance| instance.profile == orphan.profile)
        .filter(|instance| orphan.instance.is_none_or(|id| id == instance.id));
    match instance {
        None => Fate::NotThere,
        Some(_) if draft.state.slices.contains_key(&orphan.key) => Fate::NotThere,
        Some(instance) if instance.is_busy() => Fate::InUse,
        Some(instance) => match whole_slice(gpu, &orphan.key, instance) {
            Some(slice) if !orphan.undo => Fate::Keep(slice),
            _ => Fate::TakeAway(instance.id),
        },
    }
}

/// The instance as a slice, if one compute instance spans it.
fn whole_slice(gpu: &GpuSnapshot, key: &SliceKey, instance: &GpuInstance) -> Option<GrantedSlice> {
    let geometry = gpu.geometry.as_ref()?;
    let whole = geometry.profile(instance.profile)?.whole_compute_profile()?.id;
    match instance.compute_instances.as_slice() {
        [compute] if compute.profile == whole => Some(GrantedSlice {
            key: key.clone(),
            profile: instance.profile,
            gpu_instance: instance.id,
            compute_instance: compute.id,
            uuid: compute.uuid.clone()?,
        }),
        _ => None,
    }
}

/// The whole slices of a GPU, whoever made them.
pub(crate) fn whole_slices(gpu: &GpuSnapshot) -> Vec<GrantedSlice> {
    let slice = |instance: &GpuInstance| {
        let key = SliceKey { gpu: gpu.uuid.clone(), placement: instance.placement };
        whole_slice(gpu, &key, instance)
    };
    gpu.instances.iter().filter_map(slice).collect()
}

/// Gives back the room of slices that were idle too long.
pub(crate) fn retire(draft: &mut Draft<'_>) {
    let (now, warm_for) = (draft.world.now, draft.world.policy.warm_for);
    for gpu in believable(draft) {
        if draft.state.avoided.contains(&gpu.uuid) || draft.state.is_left_alone(&gpu.uuid) {
            continue;
        }
        let drained = cordon::is_draining(draft.state, &gpu.uuid);
        let mut stays = if drained { 0 } else { draft.world.policy.warm_ahead };
        let mut ids = Vec::new();
        let mut keys = Vec::new();
        for (instance, used) in gpu.instances.iter().zip(uses(draft.state, gpu)) {
            let key = SliceKey { gpu: gpu.uuid.clone(), placement: instance.placement };
            let idle = match draft.state.slices.get(&key).map(|record| record.used) {
                Some(SliceUse::Warm { since }) => drained || since.plus(warm_for) <= now,
                Some(SliceUse::Leased(_) | SliceUse::InPlan(_)) | None => false,
            };
            if used == Use::Warm && !instance.is_busy() && stays > 0 {
                stays -= 1;
                continue;
            }
            if idle && used == Use::Warm && !instance.is_busy() {
                ids.push(instance.id);
                keys.push(key);
            }
        }
        if ids.is_empty() {
            continue;
        }
        if let Ok(plan) = planner::plan_retire(gpu, &ids, Purpose::Retire) {
            open_plan(draft, plan, Vec::new(), keys, Vec::new());
        }
    }
}

/// Enables MIG on GPUs where nothing is, if the owner allows it.
fn prepare(draft: &mut Draft<'_>) {
    if !draft.world.policy.auto_mig {
        return;
    }
    let claims = whole::claims(draft);
    whole::turn(draft, &claims);
    for gpu in believable(draft) {
        // Off, or enabled and waiting for the reset that puts it in force, or turned off for
        // somebody who did not wait for it.
        let off = matches!(gpu.mig, MigState::Supported { .. }) && !gpu.mig.is_enabled();
        let out = draft.state.cordons.contains_key(&gpu.uuid)
            || draft.state.is_left_alone(&gpu.uuid)
            || draft.state.quarantine.contains_key(&gpu.uuid)
            || claims.gpus.contains(&gpu.uuid);
        if !off || out || !whole::may_be_cut(draft, gpu) {
            continue;
        }
        let Ok(plan) = planner::plan_mode(gpu, MigMode::Enabled, Purpose::Prepare) else {
            continue;
        };
        draft.emit(Event::MaintenanceBegan { gpu: gpu.uuid.clone() });
        open_plan(draft, plan, Vec::new(), Vec::new(), Vec::new());
    }
}
