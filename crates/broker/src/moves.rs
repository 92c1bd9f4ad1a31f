//! Leases that change their slices: asked, agreed, stopped, placed anew.
//!
//! Must never move a lease whose holder did not agree.

use model::LeaseId;

use crate::command::{Peer, Refusal, Reply, guard};
use crate::decide::{Draft, live};
use crate::event::Event;

/// A holder agrees to what its notice proposes.
pub(crate) fn agree(draft: &mut Draft<'_>, id: LeaseId, by: Peer) -> Result<Reply, Refusal> {
    let lease = live(draft.state, id)?;
    guard(lease, by)?;
    if lease.notice.is_none() {
        return Err(Refusal::WrongPhase { lease: id, why: "was given no notice to agree to" });
    }
    if !lease.agreed {
        draft.emit(Event::Agreed { lease: id });
    }
    Ok(Reply::Lease(id))
}
