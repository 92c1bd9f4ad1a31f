//! A change comes to its end: units started again, GPUs fixed, back in use.
//!
//! Must never end a change while its units are stopped or a plan of it is at work.

use alloc::vec::Vec;

use model::{ChangeId, GpuUuid, PlanId};

use crate::changes::advance::{advance, live};
use crate::changes::event::ChangeEvent;
use crate::changes::fixed::fix;
use crate::changes::spec::{Change, GpuChange, Progress, UnitsState};
use crate::changes::undo::own_again;
use crate::command::Effect;
use crate::decide::Draft;
use crate::event::Event;
use crate::state::State;
use crate::{cordon, grant};

/// Ends a change that has nothing left to do.
pub(crate) fn settle(draft: &mut Draft<'_>, id: ChangeId) {
    let Some(change) = live(draft, id).filter(|change| is_at_rest(change)) else { return };
    let gpus: Vec<GpuUuid> = change.gpus.keys().cloned().collect();
    if !units_run(draft, id) {
        return;
    }
    let fixes = live(draft, id).map(fixes).unwrap_or_default();
    draft.emit(Event::Change(ChangeEvent::Ended { change: id }));
    for (gpu, lend) in fixes {
        fix(draft, &gpu, id, lend);
    }
    for gpu in gpus {
        if !cordon::is_draining(draft.state, &gpu) {
            cordon::withdraw(draft, &gpu);
        }
    }
    grant::schedule(draft);
}

/// Whether no GPU of a change has anything left to be done.
fn is_at_rest(change: &Change) -> bool {
    let rests = |part: &GpuChange| match part.progress {
        Progress::Done => change.turned.is_none(),
        Progress::Undone | Progress::Stands { .. } => true,
        Progress::Waiting
        | Progress::Running { .. }
        | Progress::Broken { .. }
        | Progress::Undoing { .. } => false,
    };
    change.gpus.values().all(rests)
}

fn fixes(change: &Change) -> Vec<(GpuUuid, bool)> {
    if change.turned.is_some() {
        return Vec::new();
    }
    let fixes = change.gpus.iter().filter_map(|(gpu, part)| Some((gpu.clone(), part.spec.fix?)));
    fixes.collect()
}

/// Whether the units of a change run as before; has them started if they do not.
fn units_run(draft: &mut Draft<'_>, id: ChangeId) -> bool {
    let Some(change) = live(draft, id) else { return false };
    match change.units.state {
        UnitsState::Untouched | UnitsState::Started => true,
        // The answer comes; it is known then what must be started.
        UnitsState::Stopping | UnitsState::Starting => false,
        UnitsState::Stopped => {
            let units = change.units.names.clone();
            draft.emit(Event::Change(ChangeEvent::StartingUnits { change: id }));
            draft.effect(Effect::StartUnits { change: id, units });
            false
        }
    }
}

/// The change and the GPU that a plan at work belongs to.
pub(crate) fn of_plan(draft: &Draft<'_>, plan: PlanId) -> Option<(ChangeId, GpuUuid)> {
    draft.state.change_of(plan).map(|(change, gpu)| (change, gpu.clone()))
}

/// A plan ended; if it was a change's, the change goes on.
pub(crate) fn plan_ended(draft: &mut Draft<'_>, of_change: Option<(ChangeId, GpuUuid)>) {
    let Some((change, gpu)) = of_change else { return };
    grant::end_maintenance(draft);
    let part = live(draft, change).and_then(|change| change.gpus.get(&gpu));
    if part.is_some_and(|part| part.progress == Progress::Undone) {
        own_again(draft, change, &gpu);
    }
    advance(draft);
}

/// What a daemon that takes over must see to: stopping and starting units may have been cut short.
pub(crate) fn resume(state: &State) -> Vec<Effect> {
    let effect = |change: &Change| {
        let (id, units) = (change.id, change.units.names.clone());
        match change.units.state {
            UnitsState::Stopping => Some(Effect::StopUnits { change: id, units }),
            UnitsState::Starting => Some(Effect::StartUnits { change: id, units }),
            UnitsState::Untouched | UnitsState::Stopped | UnitsState::Started => None,
        }
    };
    state.changes.values().filter(|change| change.is_open()).filter_map(effect).collect()
}
