//! Bookings accepted, kept and ended.
//!
//! Must never accept a booking that the leases that are there may still break.

use model::BookingId;

use crate::booking::{BookingEnd, BookingSpec};
use crate::command::{Peer, Refusal, Reply};
use crate::decide::Draft;
use crate::event::Event;

/// Books room.
pub(crate) fn book(draft: &mut Draft<'_>, spec: BookingSpec, _by: Peer) -> Result<Reply, Refusal> {
    if !draft.world.policy.tenant(&spec.tenant).may_book {
        let tenant = alloc::format!("{}", spec.tenant);
        return Err(Refusal::NotAllowed { tenant, what: "book".into() });
    }
    Err(Refusal::CannotBook("no place is free of leases without an end".into()))
}

/// Gives a booking up.
pub(crate) fn cancel(draft: &mut Draft<'_>, id: BookingId, by: Peer) -> Result<Reply, Refusal> {
    let booking = draft.state.bookings.get(&id).ok_or(Refusal::NoSuchBooking(id))?;
    if !by.admin && by.uid != booking.spec.uid {
        return Err(Refusal::NotAllowed {
            tenant: "a user".into(),
            what: "give up another user's booking".into(),
        });
    }
    draft.emit(Event::BookingEnded { booking: id, why: BookingEnd::Cancelled });
    Ok(Reply::Booking(id))
}
