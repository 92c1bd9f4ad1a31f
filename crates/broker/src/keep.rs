//! Places kept for somebody: by the reservation, by a promise, by a booking.
//!
//! Must never close a place to whom it is kept for, nor open it to a lease that might still be
//! there when it is due.

use alloc::vec::Vec;

use model::{BookingId, GpuUuid, LeaseId, Millis, PlacedProfile, Timestamp};
use planner::{Choice, Hold, Room};

use crate::claim::{self, Claim};
use crate::command::World;
use crate::ends;
use crate::event::SliceTarget;
use crate::request::RequestSpec;
use crate::rooms::rooms;
use crate::state::State;

/// For whom places are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// For the request that waits longest; whoever ends in time or may be preempted can use them.
    Reserved(LeaseId),
    /// For the request for which others were told to leave.
    Promised(LeaseId),
    /// For whoever uses the booking.
    Booked(BookingId),
}

/// What a preemptible lease should have at least of a place that is kept for somebody else.
const WORTH_ENTERING: Millis = Millis::from_secs(300);

/// Places kept for somebody.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) whose: Whose,
    pub(crate) places: Vec<(GpuUuid, PlacedProfile)>,
    pub(crate) whole: Vec<GpuUuid>,
    /// From when on they are needed; `None` if that is not known, which means at any moment.
    pub(crate) from: Option<Timestamp>,
}

/// Everything that is kept at this moment.
pub(crate) fn kept(state: &State, world: &World<'_>) -> Vec<Kept> {
    let places = |targets: &[SliceTarget]| {
        let place = |target: &SliceTarget| {
            let part = PlacedProfile { placement: target.key.placement, profile: target.profile };
            (target.key.gpu.clone(), part)
        };
        targets.iter().map(place).collect::<Vec<_>>()
    };
    let mut all = Vec::new();
    if let Some(reservation) = &state.reservation {
        let asker = state.lease(reservation.lease);
        let free = asker.and_then(|asker| {
            let claim = Claim::new(state, world, asker);
            ends::free_at(state, world, &reservation.places, &reservation.whole, Some(&claim))
        });
        // What was said holds: a place that is free sooner than said is not filled until then.
        let from = match (reservation.free_at, free) {
            (Some(said), Some(free)) => Some(said.min(free)),
            (said, free) => said.or(free),
        };
        let whose = Whose::Reserved(reservation.lease);
        let whole = reservation.whole.clone();
        all.push(Kept { whose, places: places(&reservation.places), whole, from });
    }
    for lease in state.leases.values() {
        if !lease.promised.is_empty() || !lease.promised_whole.is_empty() {
            let whole = lease.promised_whole.clone();
            let (whose, from) = (Whose::Promised(lease.id), None);
            all.push(Kept { whose, places: places(&lease.promised), whole, from });
        }
    }
    for booking in state.bookings.values().filter(|booking| booking.spec.until > world.now) {
        let (whose, from) = (Whose::Booked(booking.id), Some(booking.spec.from));
        let whole = booking.whole.clone();
        all.push(Kept { whose, places: places(&booking.places), whole, from });
    }
    all
}

impl Kept {
    /// Whether they are needed so late that a preemptible lease may have them until then. One that
    /// was let in and told to leave at once would come back, and go, for ever.
    fn is_far_off(&self, world: &World<'_>) -> bool {
        let told = world.policy.notice.get().saturating_add(world.policy.grace.get());
        let worth = world.now.plus(Millis::new(told)).plus(WORTH_ENTERING);
        self.from.is_none_or(|from| from > worth)
    }

    /// Whether these places are closed to a request; `id` is its number, where it has one.
    pub(crate) fn closed_to(
        &self,
        state: &State,
        world: &World<'_>,
        id: Option<LeaseId>,
        spec: &RequestSpec,
    ) -> bool {
        let in_time = || {
            let end = ends::of_request(state, world, spec);
            end.zip(self.from).is_some_and(|(end, from)| end <= from)
        };
        match self.whose {
            Whose::Reserved(lease) => {
                let yields =
                    state.lease(lease).is_some_and(|asker| claim::yields(world, spec, asker));
                let passes = yields && self.is_far_off(world);
                Some(lease) != id && !passes && !in_time()
            }
            Whose::Promised(lease) => Some(lease) != id,
            Whose::Booked(booking) => !may_use(state, spec, booking) && !in_time(),
        }
    }
}

/// Whether a request makes use of a booking of its user or tenant.
pub(crate) fn may_use(state: &State, spec: &RequestSpec, booking: BookingId) -> bool {
    spec.terms.booking == Some(booking)
        && state.bookings.get(&booking).is_some_and(|booking| {
            booking.spec.uid == spec.uid || booking.spec.tenant == spec.tenant
        })
}

/// The rooms of the machine as requests see them: not every request may go everywhere.
#[derive(Debug)]
pub(crate) struct Views {
    base: Vec<Room>,
    kept: Vec<Kept>,
    /// By what is closed: indices into `kept`.
    views: Vec<(Vec<usize>, Vec<Room>)>,
}

impl Views {
    pub(crate) fn new(state: &State, world: &World<'_>) -> Self {
        let base = rooms(state, world.observed);
        Self { base, kept: kept(state, world), views: Vec::new() }
    }

    /// The rooms without regard to what is kept.
    pub(crate) fn base(&self) -> &[Room] {
        &self.base
    }

    pub(crate) fn kept(&self) -> &[Kept] {
        &self.kept
    }

    /// The number of the view that a request has; requests with the same one see the same rooms.
    pub(crate) fn of(
        &mut self,
        state: &State,
        world: &World<'_>,
        id: Option<LeaseId>,
        spec: &RequestSpec,
    ) -> usize {
        let closed: Vec<usize> = (0..self.kept.len())
            .filter(|index| self.kept[*index].closed_to(state, world, id, spec))
            .collect();
        if let Some(known) = self.views.iter().position(|(of, _)| *of == closed) {
            return known;
        }
        let mut rooms = self.base.clone();
        for kept in closed.iter().map(|index| &self.kept[*index]) {
            close(&mut rooms, kept);
        }
        self.views.push((closed, rooms));
        self.views.len() - 1
    }

    /// The rooms of a view.
    pub(crate) fn rooms(&self, view: usize) -> &[Room] {
        self.views.get(view).map_or(&self.base, |(_, rooms)| rooms)
    }

    /// Somebody gets these places.
    pub(crate) fn take(&mut self, choices: &[Choice]) {
        let views = self.views.iter_mut().map(|(_, rooms)| rooms);
        for rooms in core::iter::once(&mut self.base).chain(views) {
            for choice in choices {
                rooms[choice.room].take(choice);
            }
        }
    }
}

/// Keeps others out of places.
pub(crate) fn close(rooms: &mut [Room], kept: &Kept) {
    for room in rooms {
        if kept.whole.contains(&room.gpu) {
            room.usable = false;
            // Nor is anything lent there as it is.
            room.occupants.retain(|occupant| occupant.hold == Hold::Held);
        }
        let here = kept.places.iter().filter(|(gpu, _)| *gpu == room.gpu);
        let parts: Vec<PlacedProfile> = here.map(|(_, part)| *part).collect();
        if !parts.is_empty() && !room.promised.contains(&parts) {
            room.promised.push(parts);
        }
    }
}
