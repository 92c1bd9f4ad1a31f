//! Leases on their way to the end: processes told to go, slices proven empty.
//!
//! Must never call a slice free that was not proven empty.

use model::{LeaseId, Millis};

use crate::command::{Effect, Emptiness};
use crate::decide::Draft;
use crate::event::{EndReason, Event};
use crate::state::{Phase, Stage};
use crate::{changes, grant, moves};

/// How often it is noted at most who still holds the slice of a lease that must end. Who it is may
/// change many times a second (a program that keeps forking), and every note stays in the journal.
const BETWEEN_NOTES: Millis = Millis::from_secs(10);

/// Brings a request or lease towards its end: at once if it has no slices, else by way of
/// [`Phase::Ending`] until its slices are proven empty.
pub(crate) fn begin_end(draft: &mut Draft<'_>, id: LeaseId, reason: EndReason) {
    let Some(lease) = draft.state.lease(id) else { return };
    match &lease.phase {
        Phase::Queued | Phase::Granting { .. } => {
            draft.end(id, reason);
            grant::schedule(draft);
        }
        Phase::Active { .. } => enter(draft, id, reason),
        Phase::Ending { reason: present, .. } => {
            // A lease that was only to move ends for any other reason.
            let moves = matches!(present, EndReason::Moving(_));
            if moves || reason.ends_processes() && !present.ends_processes() {
                enter(draft, id, reason);
            }
        }
    }
}

fn enter(draft: &mut Draft<'_>, id: LeaseId, reason: EndReason) {
    let signal = reason.ends_processes();
    draft.emit(Event::Ending { lease: id, reason });
    if signal {
        escalate(draft, id, Stage::Term);
    }
    draft.effect(Effect::Look { lease: id });
}

fn escalate(draft: &mut Draft<'_>, id: LeaseId, stage: Stage) {
    draft.emit(Event::Escalated { lease: id, stage });
    draft.effect(Effect::Signal { lease: id, stage });
}

/// The slices of an ending lease were looked at.
pub(crate) fn looked(draft: &mut Draft<'_>, id: LeaseId, found: Emptiness) {
    let Some(Phase::Ending { reason, held_by, told_at, .. }) =
        draft.state.lease(id).map(|l| &l.phase)
    else {
        return;
    };
    if found.held_by.is_empty() {
        let reason = reason.clone();
        if let EndReason::Moving(reason) = reason {
            moves::displaced(draft, id, reason);
        } else {
            draft.end(id, reason);
        }
        grant::schedule(draft);
        changes::advance(draft);
    } else if *held_by != found.held_by
        && told_at.is_none_or(|told| told.plus(BETWEEN_NOTES) <= draft.world.now)
    {
        draft.emit(Event::StillHeld { lease: id, by: found.held_by });
    }
}

/// Time passed for a lease that ends.
pub(crate) fn tick(draft: &mut Draft<'_>, id: LeaseId) {
    let now = draft.world.now;
    let Some(lease) = draft.state.lease(id) else { return };
    let Phase::Ending { stage, since, .. } = &lease.phase else { return };
    let patience_over = since.plus(draft.world.policy.grace) <= now;
    match stage {
        Stage::Waiting if lease.deadline().is_some_and(|at| at <= now) => {
            begin_end(draft, id, EndReason::TimeLimit);
        }
        Stage::Term if patience_over => escalate(draft, id, Stage::Kill),
        // Whatever was forked meanwhile is told too; once noted is enough.
        Stage::Kill if patience_over => {
            draft.effect(Effect::Signal { lease: id, stage: Stage::Kill });
        }
        Stage::Waiting | Stage::Term | Stage::Kill => {}
    }
    draft.effect(Effect::Look { lease: id });
}
