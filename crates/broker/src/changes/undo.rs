//! What a change did is taken back, GPU by GPU, to what was there before.
//!
//! Must never give a GPU up before it was tried, nor say that it is as before unless it was read.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use model::{
    ChangeId, DesiredGpu, GpuShape, GpuSnapshot, GpuUuid, Health, InstanceShape, PlacedProfile,
    Plan, PlanId, Purpose,
};

use crate::changes::advance::{evicted, live, maintain};
use crate::changes::begin::{at_work, rules};
use crate::changes::event::ChangeEvent;
use crate::changes::planned::{Planned, planned};
use crate::changes::spec::{GpuChange, Progress};
use crate::changes::words::{difference, shape_words};
use crate::decide::Draft;
use crate::event::Event;
use crate::grant::open_plan;
use crate::reconcile::whole_slices;
use crate::state::Attempts;

/// Attempts to take a GPU back before it is given up: the last one comes some fourteen seconds
/// after the first, longer than a monitor looks at a GPU, shorter than people wait for an answer.
const TRIES: u32 = 4;

/// What to do next on a GPU that is to be as before.
enum Back {
    /// Nothing now.
    Wait,
    /// It is as before.
    Is,
    /// Carry this out.
    Open(Plan),
    /// It cannot be done now.
    Fails(String),
    /// It is given up.
    Stands(String),
}

/// Takes back what a change did, if it is to.
pub(crate) fn backward(draft: &mut Draft<'_>, id: ChangeId) {
    let Some(change) = live(draft, id).filter(|change| change.turned.is_some()) else { return };
    let gpus: Vec<GpuUuid> = change.gpus.keys().cloned().collect();
    for gpu in gpus {
        match back(draft, id, &gpu) {
            Back::Wait => {}
            Back::Is => is_as_before(draft, id, gpu),
            Back::Open(plan) => open(draft, id, gpu, plan),
            Back::Fails(error) => {
                draft.emit(Event::Change(ChangeEvent::NotUndone { change: id, gpu, error }));
            }
            Back::Stands(found) => {
                draft.emit(Event::Change(ChangeEvent::Stands { change: id, gpu, found }));
            }
        }
    }
}

fn back(draft: &Draft<'_>, id: ChangeId, gpu: &GpuUuid) -> Back {
    let Some(part) = live(draft, id).and_then(|change| change.gpus.get(gpu)) else {
        return Back::Wait;
    };
    let (error, tries) = match &part.progress {
        Progress::Waiting if part.plan.is_none() => return Back::Is,
        // Of one that waits, a part may be done.
        Progress::Waiting | Progress::Done => (None, None),
        Progress::Broken { error, tries } => (Some(error), *tries),
        Progress::Running { .. }
        | Progress::Undoing { .. }
        | Progress::Undone
        | Progress::Stands { .. } => return Back::Wait,
    };
    let Some(seen) = draft.world.observed.gpu(gpu) else {
        return Back::Stands("the GPU is no longer there".to_string());
    };
    if at_work(draft, seen).is_some() {
        return Back::Wait;
    }
    let readable = seen.health == Health::Ok;
    if readable && ours_of(seen, part).is_like(&part.before) {
        return Back::Is;
    }
    if tries.is_some_and(|tries| tries.due() > draft.world.now) {
        return Back::Wait;
    }
    if tries.is_some_and(|tries| tries.tries >= TRIES) {
        return Back::Stands(stands(seen, part, error.map_or("", String::as_str)));
    }
    if !readable {
        return Back::Fails("the driver does not answer for it".to_string());
    }
    way_back(draft, part, seen, tries)
}

fn way_back(
    draft: &Draft<'_>,
    part: &GpuChange,
    seen: &GpuSnapshot,
    tries: Option<Attempts>,
) -> Back {
    let purpose = Purpose::Rollback(part.plan.unwrap_or(PlanId::new(0)));
    let desired = with_strangers(seen, part);
    // MIG mode cannot go off while what somebody else made is there.
    let strange = GpuShape::of(seen).instances;
    if desired == DesiredGpu::Whole && strange.iter().any(|instance| is_strange(part, instance)) {
        let words =
            "somebody else made an instance there, and MIG stays on for as long as it is there";
        return Back::Fails(words.to_string());
    }
    match planned(draft.state, draft.world, seen, &desired, &rules(&[], true), purpose) {
        // What is left of a difference is a pending mode, which nothing rests on.
        Planned::Steps(plan, _) if plan.steps.is_empty() => Back::Is,
        Planned::Steps(plan, _) => Back::Open(plan),
        Planned::Blocked { sentence, passes: false, .. } if tries.is_some() => {
            Back::Stands(stands(seen, part, &sentence))
        }
        Planned::Blocked { sentence, .. } => Back::Fails(sentence),
    }
}

/// Whether somebody else made an instance while the change was at work.
fn is_strange(part: &GpuChange, instance: &InstanceShape) -> bool {
    let place = PlacedProfile { placement: instance.placement, profile: instance.profile };
    let before = part.before.instances.iter();
    !part.made.contains(&place)
        && before.clone().all(|of| (of.placement, of.profile) != (place.placement, place.profile))
}

/// The shape of a GPU without what others made meanwhile.
fn ours_of(seen: &GpuSnapshot, part: &GpuChange) -> GpuShape {
    let mut shape = GpuShape::of(seen);
    shape.instances.retain(|instance| !is_strange(part, instance));
    shape
}

/// What was there before, beside what others made meanwhile.
fn with_strangers(seen: &GpuSnapshot, part: &GpuChange) -> DesiredGpu {
    let mut desired = part.before.desired();
    if let DesiredGpu::Exactly(instances) = &mut desired {
        let shape = GpuShape::of(seen);
        let strange = shape.instances.iter().filter(|instance| is_strange(part, instance));
        instances.extend(strange.map(InstanceShape::desired));
    }
    desired
}

/// What stands, against what was before, and why.
fn stands(seen: &GpuSnapshot, part: &GpuChange, error: &str) -> String {
    let why = if error.is_empty() { String::new() } else { alloc::format!(" ({error})") };
    if seen.health != Health::Ok {
        return alloc::format!(
            "GPU {} does not answer, so what stands there is not known{why}; before it was: {}",
            seen.index,
            shape_words(seen, &part.before)
        );
    }
    let now = GpuShape::of(seen);
    alloc::format!(
        "GPU {} is not as before{why}: it has {}; that differs in: {}",
        seen.index,
        shape_words(seen, &now),
        difference(seen, &part.before, &now)
    )
}

fn open(draft: &mut Draft<'_>, change: ChangeId, gpu: GpuUuid, plan: Plan) {
    let id = PlanId::new(draft.state.next_plan.max(1));
    maintain(draft, &gpu, &plan);
    let evicted = evicted(draft, &gpu, &plan.steps);
    draft.emit(Event::Change(ChangeEvent::Undoing { change, gpu, plan: id }));
    open_plan(draft, plan, Vec::new(), evicted, Vec::new());
}

fn is_as_before(draft: &mut Draft<'_>, change: ChangeId, gpu: GpuUuid) {
    draft.emit(Event::Change(ChangeEvent::AsBefore { change, gpu: gpu.clone() }));
    own_again(draft, change, &gpu);
}

/// Idle slices that were ours before are ours again.
pub(crate) fn own_again(draft: &mut Draft<'_>, change: ChangeId, gpu: &GpuUuid) {
    let Some(seen) = draft.world.observed.gpu(gpu) else { return };
    let part = live(draft, change).and_then(|change| change.gpus.get(gpu));
    let Some(ours) = part.map(|part| part.ours.clone()) else { return };
    if seen.health != Health::Ok {
        // What cannot be looked at now is looked after once it can.
        if !ours.is_empty() {
            let (index, gpu) = (seen.index, gpu.clone());
            let found = alloc::format!("GPU {index} was taken back, and does not answer since");
            draft.emit(Event::Change(ChangeEvent::Stands { change, gpu, found }));
        }
        return;
    }
    for slice in whole_slices(seen) {
        let was = ours.iter().any(|known| known.key == slice.key);
        if was && !draft.state.slices.contains_key(&slice.key) {
            draft.emit(Event::SliceAdopted { slice });
        }
    }
}
