//! Bookings accepted, kept and ended.
//!
//! Must never accept a booking that the leases that are there may still break.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use model::{BookingId, GpuUuid, LeaseId, Millis, Timestamp};

use crate::booking::{Booking, BookingEnd, BookingSpec};
use crate::command::{Peer, Refusal, Reply, World};
use crate::decide::Draft;
use crate::endings::begin_end;
use crate::event::{EndReason, Event, GrantedSlice, SliceTarget};
use crate::grant::schedule;
use crate::lifecycle::{Notice, NoticeReason};
use crate::policy::Policy;
use crate::request::RequestSpec;
use crate::rooms::{occupants, rooms};
use crate::state::{Lease, Phase, State};
use crate::{ends, moves};

mod place;

use place::{find, gone_by};

/// How long before a booking its places are cleared: notices run out and processes end meanwhile,
/// and MIG mode may have to change.
pub(crate) fn clearing_time(policy: &Policy) -> Millis {
    let grace = policy.grace.get().saturating_mul(2);
    Millis::new(policy.notice.get().saturating_add(grace).saturating_add(30_000))
}

/// Books room.
pub(crate) fn book(draft: &mut Draft<'_>, spec: BookingSpec, by: Peer) -> Result<Reply, Refusal> {
    let (state, world) = (&*draft.state, draft.world);
    let own = by.admin && spec.window.is_some();
    if !own && !world.policy.tenant(&spec.tenant).may_book {
        return Err(Refusal::NotAllowed { tenant: spec.tenant.to_string(), what: "book".into() });
    }
    if spec.count == 0 || spec.count > world.policy.max_count {
        return Err(Refusal::BadCount(world.policy.max_count));
    }
    if spec.window.is_some()
        && let Some(same) = state.bookings.values().find(|b| b.spec.window == spec.window)
    {
        return Ok(Reply::Booking(same.id));
    }
    let refuse = |why: &str| Err(Refusal::CannotBook(why.into()));
    if spec.until <= world.now || spec.until <= spec.from {
        return refuse("its time is over before it begins");
    }
    if !own && spec.from > world.now.plus(world.policy.book_ahead) {
        let ahead = world.policy.book_ahead;
        return refuse(&alloc::format!("it begins more than {ahead} from now"));
    }
    let mine = state.bookings.values().filter(|booking| booking.spec.uid == spec.uid).count();
    if !own && mine as u32 >= world.policy.max_bookings_per_user {
        return refuse(&alloc::format!("you have {mine} bookings, the most one user may have"));
    }
    if let Some(name) = &spec.name
        && let Some(twin) = state
            .bookings
            .values()
            .find(|b| b.spec.tenant == spec.tenant && b.spec.name.as_ref() == Some(name))
    {
        return refuse(&alloc::format!("`{name}` is already the name of {}", twin.id));
    }
    let (places, whole) = match find(state, world, &spec, None) {
        Ok(found) => found,
        Err(why) => return Err(Refusal::CannotBook(with_earliest(state, world, &spec, why))),
    };
    let booking = BookingId::new(draft.state.next_booking.max(1));
    draft.emit(Event::Booked { booking, spec, places, whole });
    Ok(Reply::Booking(booking))
}

/// Why a booking fails, with the earliest time at which it would not.
fn with_earliest(state: &State, world: &World<'_>, spec: &BookingSpec, why: String) -> String {
    let length = spec.until.since(spec.from);
    let ends = state.leases.values().filter_map(|lease| ends::latest(state, world, lease));
    let bookings = state.bookings.values().map(|booking| booking.spec.until);
    let mut times: Vec<Timestamp> = ends.chain(bookings).filter(|at| *at > spec.from).collect();
    times.push(world.now.plus(clearing_time(world.policy)).max(spec.from));
    times.sort_unstable();
    times.dedup();
    let fits = |from: &Timestamp| {
        let later = BookingSpec { from: *from, until: from.plus(length), ..spec.clone() };
        find(state, world, &later, None).is_ok()
    };
    match times.into_iter().find(fits) {
        Some(at) => {
            // Rounded up, so that a booking made after reading this still fits.
            let minutes = at.since(world.now).get().div_ceil(60_000) + 1;
            let span = Millis::from_secs(minutes * 60);
            alloc::format!("{why}; it could begin {span} from now at the earliest")
        }
        None => alloc::format!("{why}; no time is known at which it could begin"),
    }
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
    end(draft, id, BookingEnd::Cancelled);
    Ok(Reply::Booking(id))
}

/// A booking is over, and with it the lease that used it.
fn end(draft: &mut Draft<'_>, id: BookingId, why: BookingEnd) {
    withdraw(draft, id);
    let user = user_of(draft.state, id).map(|lease| (lease.id, lease.phase == Phase::Queued));
    draft.emit(Event::BookingEnded { booking: id, why });
    if let Some((lease, _)) = user {
        begin_end(draft, lease, EndReason::BookingOver);
    }
    schedule(draft);
}

/// Notices for a booking that is not there any more are void.
fn withdraw(draft: &mut Draft<'_>, id: BookingId) {
    let told = |lease: &&Lease| {
        let notice = lease.notice.as_ref().map(|notice| &notice.reason);
        matches!(notice, Some(NoticeReason::Booked { booking }) if *booking == id)
    };
    let told: Vec<LeaseId> = draft.state.leases.values().filter(told).map(|l| l.id).collect();
    for lease in told {
        draft.emit(Event::NoticeWithdrawn { lease });
    }
}

/// The request or lease that uses a booking.
pub(crate) fn user_of(state: &State, id: BookingId) -> Option<&Lease> {
    state.leases.values().find(|lease| lease.spec.terms.booking == Some(id))
}

/// Makes a request that uses a booking ask for what was booked.
///
/// # Errors
/// When there is no such booking, it is another's, or it is in use.
pub(crate) fn claim(state: &State, now: Timestamp, spec: &mut RequestSpec) -> Result<(), Refusal> {
    let Some(id) = spec.terms.booking else { return Ok(()) };
    let booking = state.bookings.get(&id).ok_or(Refusal::NoSuchBooking(id))?;
    if booking.spec.uid != spec.uid && booking.spec.tenant != spec.tenant {
        let (tenant, what) = (spec.tenant.to_string(), "use another tenant's booking".into());
        return Err(Refusal::NotAllowed { tenant, what });
    }
    if let Some(lease) = user_of(state, id) {
        return Err(Refusal::BookingInUse { booking: id, lease: lease.id });
    }
    spec.wanted = booking.spec.wanted;
    spec.count = booking.spec.count;
    spec.gpu = booking.spec.gpu.clone();
    let left = booking.spec.until.since(booking.spec.from.max(now));
    spec.time = Some(spec.time.map_or(left, |time| time.min(left)));
    Ok(())
}

/// What a request that uses a booking waits for.
pub(crate) fn explain(state: &State, world: &World<'_>, spec: &RequestSpec) -> Option<String> {
    let booking = state.bookings.get(&spec.terms.booking?)?;
    if booking.spec.from > world.now {
        let span = booking.spec.from.since(world.now);
        return Some(alloc::format!("{} to begin, {span} from now", booking.id));
    }
    let there = rooms(state, world.observed);
    let mut who = Vec::new();
    for place in &booking.places {
        let Some(room) = there.iter().find(|room| room.gpu == place.key.gpu) else { continue };
        for held in room.parts(planner::Hold::Held) {
            if place.excludes(world, held) {
                who.push((room, held));
            }
        }
    }
    let who = occupants(state, world, who);
    if who.is_empty() {
        return Some(alloc::format!("its place of {} to be made ready", booking.id));
    }
    Some(alloc::format!("{} to leave its place of {}", crate::rooms::join(&who), booking.id))
}

/// Ends bookings whose time is over or that nobody came for, and clears the places of those that
/// begin soon.
pub(crate) fn tick(draft: &mut Draft<'_>) {
    if draft.state.bookings.is_empty() {
        return;
    }
    rearrange(draft);
    let now = draft.world.now;
    let ids: Vec<BookingId> = draft.state.bookings.keys().copied().collect();
    let mut begun = false;
    for id in ids {
        let Some(booking) = draft.state.bookings.get(&id) else { continue };
        let (from, until) = (booking.spec.from, booking.spec.until);
        let waits = user_of(draft.state, id);
        // While no daemon ran nobody could come.
        let open = draft.state.started_at.map_or(from, |started| from.max(started));
        let missed = open.plus(draft.world.policy.no_show) <= now;
        if until <= now {
            end(draft, id, BookingEnd::Over);
        } else if missed && !booking.used && waits.is_none() {
            end(draft, id, BookingEnd::NotUsed);
        } else if from <= now.plus(clearing_time(draft.world.policy)) {
            begun |= from <= now && waits.is_some_and(|lease| lease.phase == Phase::Queued);
            clear(draft, id);
        }
    }
    if begun {
        schedule(draft);
    }
}

/// Gives notice to preemptible leases on the places of a booking that begins soon, and ends those
/// whose notice is due.
fn clear(draft: &mut Draft<'_>, id: BookingId) {
    let Some(booking) = draft.state.bookings.get(&id) else { return };
    let (places, whole) = (booking.places.clone(), booking.whole.clone());
    let from = booking.spec.from;
    let in_the_way = |lease: &&Lease| {
        lease.spec.terms.booking != Some(id)
            && lease.spec.terms.preemptible
            && matches!(lease.phase, Phase::Active { .. })
            && lease.deadline().is_none_or(|end| end > from)
            && stands_on(draft.world, lease, &places, &whole)
    };
    let leases: Vec<LeaseId> =
        draft.state.leases.values().filter(in_the_way).map(|lease| lease.id).collect();
    for lease in leases {
        ask_to_leave(draft, lease, id, from);
    }
}

/// The booking of somebody else that a request would be in the way of if it got this now. It was
/// decided that it would be gone in time; the driver took longer for it than a grant is reckoned
/// with.
pub(crate) fn late_for(
    state: &State,
    world: &World<'_>,
    lease: &Lease,
    slices: &[GrantedSlice],
    gpus: &[GpuUuid],
) -> Option<BookingId> {
    // Whoever may be told to leave is, unless there is no time left for it.
    let asked = lease.spec.terms.preemptible.then(|| world.now.plus(clearing_time(world.policy)));
    let there = Lease { slices: slices.to_vec(), whole: gpus.to_vec(), ..lease.clone() };
    let own = lease.spec.terms.booking;
    let over = own.and_then(|id| state.bookings.get(&id)).map(|booking| booking.spec.until);
    let limit = lease.spec.time.map(|time| world.now.plus(time));
    let end = limit.into_iter().chain(over).min().map(|end| end.plus(ends::out(world)));
    let in_the_way = |booking: &&Booking| {
        Some(booking.id) != own
            && booking.spec.until > world.now
            && end.is_none_or(|end| end > booking.spec.from)
            && asked.is_none_or(|asked| asked > booking.spec.from)
            && stands_on(world, &there, &booking.places, &booking.whole)
    };
    state.bookings.values().find(in_the_way).map(|booking| booking.id)
}

fn stands_on(world: &World<'_>, lease: &Lease, places: &[SliceTarget], whole: &[GpuUuid]) -> bool {
    places.iter().any(|place| place.is_kept_from(world, lease))
        || whole.iter().any(|gpu| lease.is_on(gpu))
}

fn ask_to_leave(draft: &mut Draft<'_>, id: LeaseId, booking: BookingId, from: Timestamp) {
    let (now, policy) = (draft.world.now, draft.world.policy);
    let Some(lease) = draft.state.lease(id) else { return };
    // So that its processes have the grace they are due and are gone in time.
    let last = Timestamp::from_millis(
        from.as_millis().saturating_sub(policy.grace.get().saturating_mul(2)),
    );
    let until = now.plus(policy.notice).min(last).max(now);
    match &lease.notice {
        // Perhaps for another booking of the same place.
        Some(Notice { reason: NoticeReason::Booked { booking }, until }) if *until <= now => {
            let booking = *booking;
            begin_end(draft, id, EndReason::BookingBegins { booking });
        }
        Some(Notice { reason: NoticeReason::Booked { .. }, until: told }) if *told <= until => {}
        // Another notice may still be withdrawn, and another booking may begin later; this one is not
        // and does not.
        Some(_) | None => {
            let reason = NoticeReason::Booked { booking };
            moves::notice(draft, id, Notice { reason, until });
        }
    }
}

/// Gives bookings other places where theirs can not be kept, and gives those up that have lost
/// theirs when their time comes.
pub(crate) fn rearrange(draft: &mut Draft<'_>) {
    let ids: Vec<BookingId> = draft.state.bookings.keys().copied().collect();
    for id in ids {
        let (state, world) = (&*draft.state, draft.world);
        let Some(booking) = state.bookings.get(&id) else { continue };
        let held = user_of(state, id).is_some_and(|lease| lease.phase != Phase::Queued);
        let lost = lost_gpu(state, world, booking);
        let occupied = || is_occupied(state, world, booking);
        if held || lost.is_none() && !occupied() {
            continue;
        }
        match find(state, world, &booking.spec, Some(id)) {
            Ok((places, whole)) if places != booking.places || whole != booking.whole => {
                withdraw(draft, id);
                draft.emit(Event::BookingMoved { booking: id, places, whole });
            }
            // Who is only late to leave, since the daemon was not there to tell it, leaves still.
            Err(_) if booking.spec.from <= world.now && !booking.used => {
                if let Some(why) = lost {
                    end(draft, id, BookingEnd::Lost(why));
                }
            }
            Ok(_) | Err(_) => {}
        }
    }
}

/// Why the places of a booking can not be had, if they can not.
fn lost_gpu(state: &State, world: &World<'_>, booking: &Booking) -> Option<String> {
    let gpus = booking.places.iter().map(|place| &place.key.gpu).chain(&booking.whole);
    for uuid in gpus {
        let gpu = world.observed.gpu(uuid);
        let index = gpu.map(|gpu| gpu.index.get()).unwrap_or_default();
        if state.cordons.contains_key(uuid) {
            return Some(alloc::format!("GPU {index} was taken out of use"));
        }
        if state.quarantine.contains_key(uuid) || gpu.is_none() {
            return Some(alloc::format!("GPU {index} is out of order"));
        }
    }
    None
}

/// Whether somebody has to be asked to leave the places of a booking that begins soon: others are
/// better.
fn is_occupied(state: &State, world: &World<'_>, booking: &Booking) -> bool {
    let soon = booking.spec.from <= world.now.plus(clearing_time(world.policy));
    let unasked = |lease: &&Lease| {
        lease.notice.is_none() && stands_on(world, lease, &booking.places, &booking.whole)
    };
    let occupied =
        state.leases.values().filter(|lease| lease.spec.terms.booking != Some(booking.id));
    let occupied = occupied.filter(unasked).any(|lease| {
        lease.spec.terms.preemptible && !gone_by(state, world, lease, booking.spec.from, false)
    });
    soon && occupied
}
