//! Leases that change their slices: asked, agreed, stopped, placed anew.
//!
//! Must never move a lease whose holder did not agree.

use model::LeaseId;

use crate::command::{Effect, Peer, Refusal, Reply, guard};
use crate::decide::{Draft, live};
use crate::endings::begin_end;
use crate::event::{EndReason, Event};
use crate::lifecycle::{Notice, NoticeReason};
use crate::receipt::receipt;
use crate::state::Phase;

/// Tells a holder what will happen to its lease, in place of what it was told before.
pub(crate) fn notice(draft: &mut Draft<'_>, id: LeaseId, notice: Notice) {
    let Some(lease) = draft.state.lease(id) else { return };
    let signal = lease.spec.terms.notice_signal;
    draft.emit(Event::Noticed { lease: id, notice });
    if let Some(signal) = signal {
        draft.effect(Effect::Notify { lease: id, signal });
    }
}

/// Whether a lease would rather be moved than ended: its command can be stopped and started anew.
pub(crate) fn may_move(draft: &Draft<'_>, id: LeaseId) -> bool {
    draft.state.lease(id).is_some_and(|lease| {
        lease.spec.terms.restartable && matches!(lease.phase, Phase::Active { .. })
    })
}

/// Asks the holder of a restartable lease to move; false if it cannot be asked. A holder that
/// agrees is stopped at once, and its lease is a request again; see [`tick`] for one that does not.
pub(crate) fn displace(draft: &mut Draft<'_>, id: LeaseId, reason: NoticeReason) -> bool {
    let movable = may_move(draft, id) && !matches!(reason, NoticeReason::Idle { .. });
    // Nobody is there to ask while it lingers.
    let asked = draft.state.lease(id).filter(|lease| movable && lease.lingering_until.is_none());
    let Some(lease) = asked else { return false };
    if lease.notice.as_ref().is_some_and(|known| known.reason == reason) {
        return true;
    }
    let until = draft.world.now.plus(draft.world.policy.notice);
    notice(draft, id, Notice { reason, until });
    true
}

/// A holder agrees to what its notice proposes.
pub(crate) fn agree(draft: &mut Draft<'_>, id: LeaseId, by: Peer) -> Result<Reply, Refusal> {
    let lease = live(draft.state, id)?;
    guard(lease, by)?;
    if let Phase::Ending { reason: EndReason::Moving(_), .. } = &lease.phase {
        return Ok(Reply::Lease(id));
    }
    let wrong = |why| Err(Refusal::WrongPhase { lease: id, why });
    let Some(Notice { reason, .. }) = lease.notice.clone() else {
        return wrong("was given no notice to agree to");
    };
    if matches!(reason, NoticeReason::Idle { .. }) {
        return wrong("was told that it is not used; there is nothing to agree to");
    }
    if lease.lingering_until.is_some() {
        return wrong("waits for its next holder, so nobody would start its command anew");
    }
    if !may_move(draft, id) {
        return wrong("was not asked for as restartable");
    }
    draft.emit(Event::Agreed { lease: id });
    begin_end(draft, id, EndReason::Moving(reason));
    Ok(Reply::Lease(id))
}

/// The slices of a lease that moves are proven empty: it is a request again.
pub(crate) fn displaced(draft: &mut Draft<'_>, id: LeaseId, reason: NoticeReason) {
    let (observed, now) = (draft.world.observed, draft.world.now);
    let receipt = draft.state.lease(id).and_then(|lease| receipt(observed, lease, now));
    draft.emit(Event::Displaced { lease: id, reason, receipt });
}

/// Time passed for a lease that was given notice. A move that nobody agreed to is off; somebody
/// with a better right gets the room; of a GPU that is to be emptied nobody is driven away.
pub(crate) fn tick(draft: &mut Draft<'_>, id: LeaseId) {
    let Some(lease) = draft.state.lease(id) else { return };
    let Some(Notice { reason, until }) = &lease.notice else { return };
    if *until > draft.world.now || !matches!(lease.phase, Phase::Active { .. }) {
        return;
    }
    match reason {
        NoticeReason::Move { .. } => draft.emit(Event::NoticeWithdrawn { lease: id }),
        NoticeReason::Preempted { for_lease } => {
            let for_lease = *for_lease;
            begin_end(draft, id, EndReason::Preempted { for_lease });
        }
        // Acted upon where the GPU or the booking is looked after.
        NoticeReason::Drained { .. } | NoticeReason::Booked { .. } | NoticeReason::Idle { .. } => {}
    }
}
