//! When a waiting request will start: at the latest, and probably.
//!
//! Must never name a latest moment that does not follow from hard limits. It holds as long as those
//! hold and nobody with a better right comes later.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use model::{GpuInstanceProfileId, GpuSnapshot, LeaseId, Millis, PlacedProfile, Timestamp};
use planner::{Arrangement, ClassId, GeometryTables, Hold, Room, Want};

use crate::claim::Claim;
use crate::command::World;
use crate::decide::Draft;
use crate::ends::{self, GRANT, Owner};
use crate::event::Event;
use crate::lifecycle::StartEstimate;
use crate::order;
use crate::policy::Amount;
use crate::quota::{self, Stake, WHOLE};
use crate::request::{RequestSpec, Wanted};
use crate::serve::Pass;
use crate::state::{Lease, Phase, State};
use crate::{reserve, whole};

/// Placements tried at most to find the likely start; with more in the way it is a matter of how
/// much there is to do and how much of it at once.
const TRIES: usize = 60;

/// Tells requests that began to wait when they will start, and those again to which that could not
/// be kept.
pub(crate) fn tell(draft: &mut Draft<'_>) {
    let now = draft.world.now;
    let unsaid = draft.state.queue().filter(|lease| match lease.predicted {
        None => true,
        Some(said) => said.not_later_than.is_some_and(|at| at < now),
    });
    let unsaid: Vec<LeaseId> = unsaid.map(|lease| lease.id).collect();
    for id in unsaid {
        let Some(lease) = draft.state.lease(id) else { continue };
        let start = start(draft.state, draft.world, lease);
        draft.emit(Event::Predicted { lease: id, start });
    }
}

/// When a waiting request will start by what is known now.
pub(crate) fn start(state: &State, world: &World<'_>, lease: &Lease) -> StartEstimate {
    let not_later_than = latest(state, world, lease);
    let likely = match lease.spec.wanted {
        Wanted::WholeGpu => likely_whole(state, world, lease),
        Wanted::Profile(_) | Wanted::Need(_) => likely(state, world, lease),
    };
    let likely = not_later_than.map_or(likely, |latest| likely.map(|at| at.min(latest)));
    StartEstimate { not_later_than, likely }
}

fn latest(state: &State, world: &World<'_>, lease: &Lease) -> Option<Timestamp> {
    // Somebody from before has what it would be given, and nobody knows for how long.
    if !lease.held_up.is_empty() {
        return None;
    }
    if !state.bookings.is_empty() || may_reach_cap(state, world, &lease.spec) {
        return None;
    }
    if lease.spec.wanted == Wanted::WholeGpu {
        return latest_whole(state, world, lease);
    }
    if let Some(kept) = state.reservation.as_ref().filter(|kept| kept.lease == lease.id) {
        return kept.free_at.map(|at| at.max(world.now).plus(GRANT));
    }
    if !lease.promised.is_empty() {
        let claim = Claim::new(state, world, lease);
        return ends::free_at(state, world, &lease.promised, &[], Some(&claim))
            .map(|at| at.plus(GRANT));
    }
    let alone = state.queue().count() == 1 && state.reservation.is_none();
    let promised = state.leases.values().any(|other| !other.promised.is_empty());
    if alone && !promised {
        let (places, _) = reserve::best_places(state, world, lease)?;
        // Nobody is asked to leave before room is kept for it, and it may never be.
        return ends::free_at(state, world, &places, &[], None).map(|at| at.plus(GRANT));
    }
    by_area(state, world, lease)
}

/// The latest start of a request for whole GPUs: of those kept for it, or of those that are free
/// soonest where nobody else waits.
fn latest_whole(state: &State, world: &World<'_>, lease: &Lease) -> Option<Timestamp> {
    let kept = state.reservation.as_ref().filter(|kept| kept.lease == lease.id);
    let alone = state.queue().count() == 1
        && state.reservation.is_none()
        && state.leases.values().all(|other| other.promised.is_empty());
    let among: Vec<&GpuSnapshot> = match kept {
        Some(kept) => kept.whole.iter().filter_map(|uuid| world.observed.gpu(uuid)).collect(),
        None if alone => open_to(state, world, lease),
        None => return None,
    };
    let claim = Claim::new(state, world, lease);
    let by = |gpu: &&GpuSnapshot| whole::had_by(state, world, gpu, &claim, kept.is_some());
    all_by(lease, among.iter().filter_map(by).collect())
}

/// GPUs that a request may have as a whole.
fn open_to<'w>(state: &State, world: &World<'w>, lease: &Lease) -> Vec<&'w GpuSnapshot> {
    let others = whole::kept_from(state, world, Some(lease.id), &lease.spec);
    let gpus = whole::affordable(world, &lease.spec).into_iter();
    gpus.filter(|gpu| !others.contains(&gpu.uuid)).collect()
}

/// When as many GPUs as a request wants are free, by when each of them is. Several are made whole
/// together once the last of them is free.
fn all_by(lease: &Lease, mut each: Vec<Timestamp>) -> Option<Timestamp> {
    each.sort_unstable();
    let last = *each.get((lease.spec.count as usize).checked_sub(1)?)?;
    let together = if lease.spec.count > 1 { GRANT } else { Millis::new(0) };
    Some(last.plus(together).plus(GRANT))
}

/// The start of a request for whole GPUs if everybody leaves when their owners think; unknown where
/// others go first.
fn likely_whole(state: &State, world: &World<'_>, lease: &Lease) -> Option<Timestamp> {
    let first = order::queue(state, world).first() == Some(&lease.id);
    let by = |gpu: &&GpuSnapshot| whole::likely_by(state, world, gpu);
    let each = open_to(state, world, lease).iter().filter_map(by).collect();
    if first { all_by(lease, each) } else { None }
}

/// Whether all that a tenant has and asks for is more than it may have, so that it may wait for
/// itself.
fn may_reach_cap(state: &State, world: &World<'_>, spec: &RequestSpec) -> bool {
    let rules = world.policy.tenant(&spec.tenant);
    if rules.cap == Amount::default() {
        return false;
    }
    let rooms = crate::rooms::rooms(state, world.observed);
    let mut sum = Stake::default();
    for lease in state.leases.values().filter(|lease| lease.spec.tenant == spec.tenant) {
        let want = crate::rooms::want(&lease.spec, world, &rooms);
        sum = sum.plus(match lease.phase {
            Phase::Queued => quota::asked(world, &lease.spec, &want, &rooms).most,
            Phase::Granting { .. } | Phase::Active { .. } | Phase::Ending { .. } => {
                quota::stake(state, world.observed, lease)
            }
        });
    }
    quota::over_cap(rules, Stake::default(), sum)
}

/// As long as a request waits, each GPU that could serve it is full enough to have no place for it.
/// What is there and what waits beside can keep that up only for so long.
fn by_area(state: &State, world: &World<'_>, lease: &Lease) -> Option<Timestamp> {
    let mut pass = Pass::new(state, world);
    let want = pass.want(world, &lease.spec);
    let rooms = pass.views.base();
    let open: Vec<usize> =
        (0..rooms.len()).filter(|i| rooms[*i].usable && want.profile(*i).is_some()).collect();
    let out = Millis::new(GRANT.get() + ends::out(world).get());
    let mut area = 0u128;
    for other in state.leases.values().filter(|other| other.id != lease.id) {
        let (share, length) = match other.phase {
            Phase::Queued => {
                let want = pass.want(world, &other.spec);
                let share = quota::asked(world, &other.spec, &want, pass.views.base()).most.share;
                (share, other.spec.time?.get().saturating_add(out.get()))
            }
            Phase::Granting { .. } | Phase::Active { .. } | Phase::Ending { .. } => {
                let until = ends::latest(state, world, other)?;
                (quota::stake(state, world.observed, other).share, until.since(world.now).get())
            }
        };
        area += u128::from(share.max(1)) * u128::from(length);
    }
    let rooms = pass.views.base();
    if strangers(state, rooms, &open) {
        return None;
    }
    let spare = lease.spec.count.saturating_sub(1) as usize;
    let full = open.len().saturating_sub(spare).max(1) as u128;
    let share = u128::from(least_in_the_way(state, world, lease, rooms, &want, &open));
    let time = area / (full * share).max(1);
    Some(world.now.plus(Millis::new(time as u64)).plus(GRANT))
}

fn strangers(state: &State, rooms: &[Room], open: &[usize]) -> bool {
    open.iter().any(|index| {
        let room = &rooms[*index];
        room.parts(Hold::Held).any(|part| {
            matches!(ends::owner(state, &room.gpu, part), Owner::Stranger | Owner::Visitor { .. })
        })
    })
}

/// The least share of a GPU that keeps a request off it. While room may be kept for another one, or
/// several must lie on one GPU, the smallest slice may.
fn least_in_the_way(
    state: &State,
    world: &World<'_>,
    lease: &Lease,
    rooms: &[Room],
    want: &Want,
    open: &[usize],
) -> u64 {
    let alike = state
        .leases
        .values()
        .all(|other| other.spec.wanted == lease.spec.wanted && other.spec.count == 1);
    let shares = open.iter().filter_map(|index| {
        let tables = world.planner.tables(&rooms[*index].geometry);
        let grid = u64::from(rooms[*index].geometry.grid.get().max(1));
        let alone = lease.spec.count == 1 && want.arrangement != Arrangement::SameGpu;
        let units = if alike && alone { fewest_units(&tables, want.profile(*index)?) } else { 1 };
        Some(WHOLE * u64::from(units) / grid)
    });
    shares.min().unwrap_or(1).max(1)
}

/// The fewest grid units with which a GPU has no place for a profile.
fn fewest_units(tables: &GeometryTables, profile: GpuInstanceProfileId) -> u32 {
    let mut known: BTreeMap<ClassId, u32> = [(tables.empty(), 0)].into();
    let mut edge: BTreeSet<(u32, ClassId)> = [(0, tables.empty())].into();
    while let Some((units, class)) = edge.pop_first() {
        if tables.capacity(class, profile) == 0 {
            return units.max(1);
        }
        for part in tables.parts() {
            let next = tables.part_id(*part).and_then(|id| tables.after(class, id));
            let Some(next) = next else { continue };
            let sum = units + u32::from(part.placement.size.get());
            if known.get(&next).is_none_or(|best| sum < *best) {
                known.insert(next, sum);
                edge.insert((sum, next));
            }
        }
    }
    1
}

/// The start if everybody leaves when their owners think, and those before it go first.
fn likely(state: &State, world: &World<'_>, lease: &Lease) -> Option<Timestamp> {
    let mut pass = Pass::new(state, world);
    let view = pass.views.of(state, world, Some(lease.id), &lease.spec);
    let order = order::queue(state, world);
    let before = order.iter().take_while(|id| **id != lease.id).filter_map(|id| state.lease(*id));
    let mut waiting: Vec<(&Lease, Want)> = Vec::new();
    for other in before.chain([lease]) {
        let want = pass.want(world, &other.spec);
        waiting.push((other, want));
    }
    let mut ends: Vec<(Timestamp, usize, PlacedProfile)> = Vec::new();
    let mut rooms = pass.views.rooms(view).to_vec();
    for (index, room) in rooms.iter().enumerate() {
        for part in room.parts(Hold::Held) {
            match ends::owner(state, &room.gpu, part) {
                Owner::Lease(id) => {
                    let at = state.lease(id).map(|l| ends::likely(state, world, l))?;
                    ends.push((at, index, part));
                }
                Owner::Change => ends.push((world.now.plus(GRANT), index, part)),
                Owner::Visitor { .. } | Owner::Stranger => {}
            }
        }
    }
    let mut now = world.now;
    let mut tries = 0;
    loop {
        let mut at = 0;
        let mut hopeless: Vec<(Want, u32)> = Vec::new();
        while let Some((other, want)) = waiting.get(at) {
            let key = (want.clone(), other.spec.count);
            if hopeless.contains(&key) {
                at += 1;
                continue;
            }
            tries += 1;
            if tries > TRIES {
                return by_work(state, world, lease, &waiting);
            }
            let (want, count) = (&key.0, key.1);
            let Some(choices) = world.planner.choose_many_by(
                world.policy.placement,
                &rooms,
                want,
                count,
                world.forecast,
            ) else {
                hopeless.push(key);
                at += 1;
                continue;
            };
            if other.id == lease.id {
                return Some(now);
            }
            let until = now.plus(ends::length(world, &other.spec));
            for choice in &choices {
                rooms[choice.room].take(choice);
                ends.push((until, choice.room, choice.part));
            }
            waiting.remove(at);
        }
        let (next, room, part) = ends.iter().min().copied()?;
        now = now.max(next);
        ends.retain(|end| *end != (next, room, part));
        rooms[room].occupants.retain(|occupant| occupant.part != part);
    }
}

/// The likely start where many are before it: all the work there is, spread over the machine.
fn by_work(
    state: &State,
    world: &World<'_>,
    lease: &Lease,
    waiting: &[(&Lease, Want)],
) -> Option<Timestamp> {
    let rooms = crate::rooms::rooms(state, world.observed);
    let usable = rooms.iter().filter(|room| room.usable).count() as u128;
    let held = state.leases.values().filter(|other| other.phase != Phase::Queued).map(|other| {
        let rest = ends::likely(state, world, other).since(world.now);
        u128::from(quota::stake(state, world.observed, other).share) * u128::from(rest.get())
    });
    let before = waiting.iter().filter(|(other, _)| other.id != lease.id).map(|(other, want)| {
        let share = quota::asked(world, &other.spec, want, &rooms).least.share;
        u128::from(share) * u128::from(ends::length(world, &other.spec).get())
    });
    let work: u128 = held.chain(before).sum();
    let time = work / u128::from(WHOLE) / usable.max(1);
    (usable > 0).then(|| world.now.plus(Millis::new(time as u64)))
}
