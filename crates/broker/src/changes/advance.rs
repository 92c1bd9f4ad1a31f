//! A change goes on: units stopped, plans opened, and at the first failure everything turned back.
//!
//! Must never open a plan for a GPU that is not as that plan expects it.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use model::{
    ChangeId, GpuShape, GpuSnapshot, GpuUuid, Health, LeaseId, Plan, PlanId, Purpose, Step,
};

use crate::changes::begin::{at_work, rules};
use crate::changes::event::{ChangeEvent, Turn};
use crate::changes::meant;
use crate::changes::planned::{Planned, planned, possible_now};
use crate::changes::refusal::ChangeRefusal;
use crate::changes::spec::{Change, GpuChange, Progress, UnitsState};
use crate::changes::words::difference;
use crate::changes::{settle, undo};
use crate::command::{Effect, Peer, Refusal, Reply};
use crate::decide::Draft;
use crate::event::Event;
use crate::grant::open_plan;
use crate::state::SliceKey;
use crate::{cordon, reconcile};

/// Brings every open change as far as it goes now.
pub(crate) fn advance(draft: &mut Draft<'_>) {
    let open = draft.state.changes.values().filter(|change| change.is_open());
    let open: Vec<ChangeId> = open.map(|change| change.id).collect();
    if open.is_empty() {
        return;
    }
    // What comes next is planned on the newest snapshot; no lease may be on what is not there.
    reconcile::lose_missing(draft);
    for id in open {
        forward(draft, id);
        undo::backward(draft, id);
        settle::settle(draft, id);
    }
}

/// The change, as long as it is open.
pub(crate) fn live<'d>(draft: &'d Draft<'_>, id: ChangeId) -> Option<&'d Change> {
    draft.state.changes.get(&id).filter(|change| change.is_open())
}

/// From here on everything that a change did is taken back.
pub(crate) fn turn(draft: &mut Draft<'_>, change: ChangeId, why: Turn) {
    if live(draft, change).is_some_and(|change| change.turned.is_none()) {
        draft.emit(Event::Change(ChangeEvent::Turned { change, why }));
    }
}

/// What to do next on a GPU that waits.
enum Next {
    /// Carry this out; the rest of it waits for these leases, or for somebody else, if it is a part.
    Open { steps: Vec<Step>, part: bool, leases: Vec<LeaseId> },
    /// It is as wanted.
    Nothing,
    /// Wait; these leases are in the way.
    Wait(Vec<LeaseId>),
    /// It cannot be done.
    Fail(String),
}

fn forward(draft: &mut Draft<'_>, id: ChangeId) {
    let Some(change) = live(draft, id).filter(|change| change.turned.is_none()) else { return };
    let broken = change.gpus.values().find_map(|part| match &part.progress {
        Progress::Broken { error, .. } => Some(error.clone()),
        Progress::Waiting
        | Progress::Running { .. }
        | Progress::Done
        | Progress::Undoing { .. }
        | Progress::Undone
        | Progress::Stands { .. } => None,
    });
    if let Some(error) = broken {
        return turn(draft, id, Turn::Failed(error));
    }
    let waiting = change.gpus.iter().filter(|(_, part)| part.progress == Progress::Waiting);
    let waiting: Vec<GpuUuid> = waiting.map(|(gpu, _)| gpu.clone()).collect();
    let mut unfinished = change.gpus.values().any(GpuChange::is_at_a_part);
    let mut ready = Vec::new();
    for gpu in waiting {
        match next(draft, id, &gpu) {
            Next::Open { steps, part, leases } => {
                ask_to_leave(draft, leases, &gpu);
                unfinished |= part;
                ready.push((gpu, steps, part));
            }
            Next::Nothing => {
                draft.emit(Event::Change(ChangeEvent::AsWanted { change: id, gpu }));
            }
            Next::Wait(leases) => {
                unfinished = true;
                ask_to_leave(draft, leases, &gpu);
            }
            Next::Fail(why) => return turn(draft, id, Turn::Failed(why)),
        }
    }
    // Services are not stopped for as long as somebody may keep the change waiting: until all the
    // rest can be done at once, only parts are done that they are not in the way of.
    if unfinished && live(draft, id).is_some_and(Change::needs_units_stopped) {
        ready.retain(|(_, _, part)| *part);
    } else if ready.is_empty() || !units_are_stopped(draft, id) {
        return;
    }
    for (gpu, steps, part) in ready {
        open(draft, id, &gpu, steps, part);
    }
}

fn ask_to_leave(draft: &mut Draft<'_>, leases: Vec<LeaseId>, gpu: &GpuUuid) {
    for lease in leases {
        cordon::ask_to_leave(draft, lease, gpu);
    }
}

fn next(draft: &Draft<'_>, id: ChangeId, gpu: &GpuUuid) -> Next {
    let Some((change, part)) = live(draft, id).and_then(|c| Some((c, c.gpus.get(gpu)?))) else {
        return Next::Wait(Vec::new());
    };
    let Some(seen) = draft.world.observed.gpu(gpu) else {
        return Next::Fail(alloc::format!("{gpu} is no longer there"));
    };
    if at_work(draft, seen).is_some() {
        return Next::Wait(Vec::new());
    }
    if !change.wait_idle {
        return decided(part, seen);
    }
    if seen.health != Health::Ok {
        return Next::Wait(Vec::new());
    }
    let rules = rules(&change.leaving, change.reset);
    let purpose = Purpose::Apply(change.words.clone());
    let desired = match meant::still(&part.spec.desired, &part.spec.before, seen) {
        Ok(desired) => desired,
        Err(words) => return Next::Fail(words),
    };
    match planned(draft.state, draft.world, seen, &desired, &rules, purpose) {
        Planned::Steps(plan, _) if plan.steps.is_empty() => Next::Nothing,
        Planned::Steps(plan, _) => Next::open(plan.steps),
        Planned::Blocked { by, passes: true, .. } => {
            let leases = by.into_iter().filter_map(|obstacle| obstacle.lease).collect();
            let staying =
                if change.needs_units_stopped() { self::rules(&[], change.reset) } else { rules };
            let now = possible_now(draft.state, draft.world, seen, &desired, &staying);
            match now {
                Some(steps) => Next::Open { steps, part: true, leases },
                None => Next::Wait(leases),
            }
        }
        Planned::Blocked { sentence, .. } => Next::Fail(sentence),
    }
}

/// Exactly the steps that were planned, on exactly the GPU that they were planned for.
fn decided(part: &GpuChange, seen: &GpuSnapshot) -> Next {
    if seen.health != Health::Ok {
        return Next::Fail(alloc::format!("GPU {} is not well any more", seen.index));
    }
    let now = GpuShape::of(seen);
    if now != part.spec.before {
        let how = difference(seen, &part.spec.before, &now);
        return Next::Fail(alloc::format!(
            "GPU {} is no longer as this was planned for: {how}",
            seen.index
        ));
    }
    if part.spec.steps.is_empty() { Next::Nothing } else { Next::open(part.spec.steps.clone()) }
}

/// Whether the units of a change are out of the way; has them stopped if they are not.
fn units_are_stopped(draft: &mut Draft<'_>, id: ChangeId) -> bool {
    let Some(change) = live(draft, id) else { return false };
    match change.units.state {
        UnitsState::Untouched if change.units.names.is_empty() => true,
        UnitsState::Untouched => {
            let units = change.units.names.clone();
            draft.emit(Event::Change(ChangeEvent::StoppingUnits { change: id }));
            draft.effect(Effect::StopUnits { change: id, units });
            false
        }
        UnitsState::Stopped => true,
        UnitsState::Stopping | UnitsState::Starting | UnitsState::Started => false,
    }
}

impl Next {
    const fn open(steps: Vec<Step>) -> Self {
        Self::Open { steps, part: false, leases: Vec::new() }
    }
}

fn open(draft: &mut Draft<'_>, change: ChangeId, gpu: &GpuUuid, steps: Vec<Step>, part: bool) {
    let Some(words) = live(draft, change).map(|change| change.words.clone()) else { return };
    let Some(seen) = draft.world.observed.gpu(gpu) else { return };
    let before = GpuShape::of(seen);
    let gpu = gpu.clone();
    let plan = PlanId::new(draft.state.next_plan.max(1));
    let steps = Plan { purpose: Purpose::Apply(words), steps };
    maintain(draft, &gpu, &steps);
    let evicted = evicted(draft, &gpu, &steps.steps);
    draft.emit(Event::Change(ChangeEvent::Opened { change, gpu, plan, before, part }));
    open_plan(draft, steps, Vec::new(), evicted, Vec::new());
}

/// Whether a plan changes the mode of a GPU, or resets it.
pub(crate) fn turns(plan: &Plan) -> bool {
    let turns = |step: &Step| matches!(step, Step::SetMigMode { .. } | Step::ResetGpu { .. });
    plan.steps.iter().any(turns)
}

/// Takes a GPU whose mode changes out of use.
pub(crate) fn maintain(draft: &mut Draft<'_>, gpu: &GpuUuid, plan: &Plan) {
    if turns(plan) && !draft.state.maintenance.contains(gpu) {
        draft.emit(Event::MaintenanceBegan { gpu: gpu.clone() });
    }
}

/// Our slices that steps take away.
pub(crate) fn evicted(draft: &Draft<'_>, gpu: &GpuUuid, steps: &[Step]) -> Vec<SliceKey> {
    let goes = |key: &&SliceKey| {
        key.gpu == *gpu
            && steps.iter().any(|step| step.is_destructive() && step.names(gpu, key.placement))
    };
    draft.state.slices.keys().filter(goes).cloned().collect()
}

/// The units of a change that waits were started again, so that other processes are theirs now.
pub(crate) fn units_run_as(draft: &mut Draft<'_>, change: ChangeId, leaving: Vec<u32>) {
    let waits = |c: &Change| c.turned.is_none() && c.needs_units_stopped() && c.leaving != leaving;
    if live(draft, change).is_some_and(waits) {
        draft.emit(Event::Change(ChangeEvent::UnitsRunAs { change, leaving }));
        advance(draft);
    }
}

/// The units of a change are stopped.
pub(crate) fn units_stopped(draft: &mut Draft<'_>, change: ChangeId, trouble: Vec<String>) {
    let stopping = live(draft, change).is_some_and(|c| c.units.state == UnitsState::Stopping);
    if !stopping {
        return;
    }
    let failed = trouble.first().cloned();
    draft.emit(Event::Change(ChangeEvent::UnitsStopped { change, trouble }));
    if let Some(words) = failed {
        turn(draft, change, Turn::Failed(words));
    }
    advance(draft);
}

/// The units of a change run again.
pub(crate) fn units_started(draft: &mut Draft<'_>, change: ChangeId, trouble: Vec<String>) {
    if live(draft, change).is_some_and(|c| c.units.state == UnitsState::Starting) {
        draft.emit(Event::Change(ChangeEvent::UnitsStarted { change, trouble }));
        advance(draft);
    }
}

/// A step of a plan does not come back from the driver. The change is given up: its other GPUs are taken
/// back at once, this one when the step has come back or a new daemon has taken over.
pub(crate) fn late(draft: &mut Draft<'_>, plan: PlanId, words: String) {
    let Some((change, _)) = settle::of_plan(draft, plan) else { return };
    turn(draft, change, Turn::Failed(words));
    advance(draft);
}

/// An administrator cancels a change.
pub(crate) fn cancel(draft: &mut Draft<'_>, id: ChangeId, by: Peer) -> Result<Reply, Refusal> {
    if !by.admin {
        return Err(Refusal::AdminsOnly("cancel a change"));
    }
    let change = draft.state.changes.get(&id).ok_or(ChangeRefusal::Unknown(id))?;
    if !change.is_open() {
        let how = if change.turned.is_some() { "has ended already" } else { "is done already" };
        return Err(ChangeRefusal::Over { id, how }.into());
    }
    if change.turned.is_none() && change.units.state == UnitsState::Starting {
        let how = "is done, and its units are being started again";
        return Err(ChangeRefusal::Over { id, how }.into());
    }
    turn(draft, id, Turn::Cancelled { by: by.uid });
    advance(draft);
    Ok(Reply::Change(id))
}

/// A daemon took over. What a dead one was doing is taken back; what only waited goes on.
pub(crate) fn started(draft: &mut Draft<'_>, rebooted: bool) {
    let open = draft.state.changes.values().filter(|change| change.is_open());
    let open: Vec<ChangeId> = open.map(|change| change.id).collect();
    for id in open {
        let Some(change) = live(draft, id) else { continue };
        let broken = |part: &GpuChange| matches!(part.progress, Progress::Broken { .. });
        if rebooted {
            let stopping = change.units.state == UnitsState::Stopping;
            let gpus: Vec<GpuUuid> = change.gpus.keys().cloned().collect();
            if stopping {
                let trouble = Vec::new();
                draft.emit(Event::Change(ChangeEvent::UnitsStopped { change: id, trouble }));
            }
            turn(draft, id, Turn::Rebooted);
            for gpu in gpus {
                let found = "no instance outlives a restart of the machine".to_string();
                draft.emit(Event::Change(ChangeEvent::Stands { change: id, gpu, found }));
            }
        } else if change.gpus.values().any(broken) {
            turn(draft, id, Turn::Interrupted);
        }
    }
}
