//! Places that will be free for a booking for sure.
//!
//! Must never count on anybody's good will: only hard ends, and those who agreed to be ended.

use alloc::string::String;
use alloc::vec::Vec;

use model::{BookingId, GpuUuid, Health, Millis, PlacedProfile, Timestamp};
use planner::{Hold, Occupant, Room};

use super::clearing_time;
use crate::booking::{Booking, BookingSpec};
use crate::command::World;
use crate::ends::Owner;
use crate::event::SliceTarget;
use crate::request::{Holder, Patience, RequestSpec, Wanted};
use crate::rooms::{can_become_usable, join, occupant_sentence, rooms, want};
use crate::state::{Lease, SliceKey, State};
use crate::terms::Terms;
use crate::{ends, whole};

/// Places and whole GPUs.
type Found = (Vec<SliceTarget>, Vec<GpuUuid>);

/// Whether a lease is certainly over at a time; `asked` tells whether it may be given notice.
pub(super) fn gone_by(
    state: &State,
    world: &World<'_>,
    lease: &Lease,
    at: Timestamp,
    asked: bool,
) -> bool {
    let now = world.now;
    let booking = lease.spec.terms.booking.and_then(|id| state.bookings.get(&id));
    let of_booking = booking.is_some_and(|booking| booking.spec.until <= at);
    let limit = ends::latest(state, world, lease).is_some_and(|end| end <= at);
    let agreed =
        asked && lease.spec.terms.preemptible && now.plus(clearing_time(world.policy)) <= at;
    of_booking || limit || agreed
}

/// The request that a booking stands for.
fn as_request(spec: &BookingSpec) -> RequestSpec {
    RequestSpec {
        tenant: spec.tenant.clone(),
        uid: spec.uid,
        wanted: spec.wanted,
        count: spec.count,
        gpu: spec.gpu.clone(),
        time: None,
        expect: None,
        patience: Patience::Forever,
        name: None,
        holder: Holder::Token { life: Millis::new(1) },
        command: None,
        terms: Terms::default(),
    }
}

/// Where a booking can be kept for sure.
///
/// # Errors
/// Who is in the way, or why it can never be.
pub(super) fn find(
    state: &State,
    world: &World<'_>,
    spec: &BookingSpec,
    except: Option<BookingId>,
) -> Result<Found, String> {
    // A place that is free of everybody first; then one whose leases agreed to be ended.
    let ways = [false, true].into_iter();
    let mut why = String::new();
    for asked in ways {
        let tried = if spec.wanted == Wanted::WholeGpu {
            find_whole(state, world, spec, except, asked)
        } else {
            find_slices(state, world, spec, except, asked)
        };
        match tried {
            Ok(found) => return Ok(found),
            Err(words) => why = words,
        }
    }
    Err(why)
}

fn overlapping<'s>(
    state: &'s State,
    spec: &BookingSpec,
    except: Option<BookingId>,
) -> impl Iterator<Item = &'s Booking> {
    let (from, until) = (spec.from, spec.until);
    state.bookings.values().filter(move |booking| {
        Some(booking.id) != except && booking.spec.from < until && from < booking.spec.until
    })
}

fn is_in_use(state: &State, world: &World<'_>, gpu: &GpuUuid) -> bool {
    let seen = world.observed.gpu(gpu);
    seen.is_some_and(|gpu| gpu.health == Health::Ok)
        && !state.cordons.contains_key(gpu)
        && !state.quarantine.contains_key(gpu)
        && !state.is_left_alone(gpu)
}

/// The rooms as they will be for sure when a booking begins.
fn rooms_then(
    state: &State,
    world: &World<'_>,
    spec: &BookingSpec,
    except: Option<BookingId>,
    asked: bool,
) -> Vec<Room> {
    let mut then = rooms(state, world.observed);
    for room in &mut then {
        let gpu = room.gpu.clone();
        let stays = |part: PlacedProfile| {
            let key = SliceKey { gpu: gpu.clone(), placement: part.placement };
            match ends::owner(state, &gpu, part) {
                Owner::Lease(id) => state.lease(id).is_some_and(|lease| {
                    lease.spec.terms.booking.is_none_or(|booking| Some(booking) != except)
                        && !gone_by(state, world, lease, spec.from, asked)
                }),
                // A slice of ours is being taken away; what else changes may stay.
                Owner::Change => !state.slices.contains_key(&key),
                Owner::Stranger | Owner::Visitor { .. } => true,
            }
        };
        room.occupants.retain(|occupant| occupant.hold == Hold::Held && stays(occupant.part));
        let whole = state.whole_lease(&gpu).and_then(|lease| state.lease(lease));
        let seen = world.observed.gpu(&gpu);
        room.usable = is_in_use(state, world, &gpu)
            && whole.is_none_or(|lease| gone_by(state, world, lease, spec.from, asked))
            && seen.is_some_and(|gpu| can_become_usable(gpu, world.policy.auto_mig));
        for booking in overlapping(state, spec, except) {
            room.usable &= !booking.whole.contains(&gpu);
            for place in booking.places.iter().filter(|place| place.key.gpu == gpu) {
                let part = PlacedProfile { placement: place.key.placement, profile: place.profile };
                let apart = |o: &Occupant| !o.part.placement.overlaps(part.placement);
                if room.occupants.iter().all(apart) {
                    room.occupants.push(Occupant { part, hold: Hold::Held });
                }
            }
        }
    }
    then
}

fn find_slices(
    state: &State,
    world: &World<'_>,
    spec: &BookingSpec,
    except: Option<BookingId>,
    asked: bool,
) -> Result<Found, String> {
    let then = rooms_then(state, world, spec, except, asked);
    let wanted = want(&as_request(spec), world, &then);
    let chosen = world.planner.choose_many_by(
        world.policy.placement,
        &then,
        &wanted,
        spec.count,
        world.forecast,
    );
    if let Some(choices) = chosen {
        let target = |choice: planner::Choice| SliceTarget {
            key: SliceKey { gpu: then[choice.room].gpu.clone(), placement: choice.part.placement },
            profile: choice.part.profile,
            reuse: false,
        };
        return Ok((choices.into_iter().map(target).collect(), Vec::new()));
    }
    let Some(blockers) = world.planner.blockers(&then, &wanted, spec.count) else {
        return Err("no GPU that is in use can hold it".into());
    };
    let name = |blocker: &planner::Blocker| {
        let room = &then[blocker.room];
        let key = SliceKey { gpu: room.gpu.clone(), placement: blocker.part.placement };
        let booked = overlapping(state, spec, except)
            .find(|booking| booking.places.iter().any(|place| place.key == key));
        match booked {
            Some(booking) => alloc::format!("{} of {}", booking.id, booking.spec.tenant),
            None => occupant_sentence(state, world, room, blocker.part),
        }
    };
    let mut names: Vec<String> = Vec::new();
    for name in blockers.iter().map(name) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Err(alloc::format!("{} may still be there then", join(&names)))
}

fn find_whole(
    state: &State,
    world: &World<'_>,
    spec: &BookingSpec,
    except: Option<BookingId>,
    asked: bool,
) -> Result<Found, String> {
    let (mut found, mut names) = (Vec::new(), Vec::new());
    for gpu in whole::named(world, &as_request(spec)) {
        if !whole::can_be_whole(gpu, world.policy.auto_mig) || !is_in_use(state, world, &gpu.uuid) {
            continue;
        }
        let booked = overlapping(state, spec, except).find(|booking| {
            let mut places = booking.places.iter().map(|place| &place.key.gpu);
            places.any(|on| *on == gpu.uuid) || booking.whole.contains(&gpu.uuid)
        });
        let stays = crate::cordon::leases_on(state, &gpu.uuid)
            .into_iter()
            .filter_map(|id| state.lease(id))
            .find(|lease| !gone_by(state, world, lease, spec.from, asked));
        let foreign = crate::rooms::uses(state, gpu).contains(&crate::rooms::Use::Foreign);
        match (booked, stays) {
            (Some(booking), _) => {
                names.push(alloc::format!("{} of {}", booking.id, booking.spec.tenant));
            }
            (None, Some(lease)) => {
                names.push(alloc::format!("{} of {}", lease.id, lease.spec.tenant));
            }
            (None, None) if foreign => {
                names
                    .push(alloc::format!("an instance that migd did not make (GPU {})", gpu.index));
            }
            (None, None) => found.push(gpu.uuid.clone()),
        }
    }
    found.truncate(spec.count as usize);
    if found.len() == spec.count as usize {
        return Ok((Vec::new(), found));
    }
    if names.is_empty() {
        return Err("not so many GPUs in use can be had whole".into());
    }
    names.truncate(spec.count as usize - found.len());
    Err(alloc::format!("{} may still be there then", join(&names)))
}
