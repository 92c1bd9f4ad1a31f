//! Room kept free for one large request that has waited long.
//!
//! The small ones that would pass it by may still use the places, if they are gone in time. Whose
//! tenant had more than others waits until they had as much: the shares of a tenant of large
//! requests are no larger for it. Must never
//! keep more than one request's room, nor move to places that take longer to be free.

mod turn;

pub use self::turn::room_is_due_at;

use alloc::vec::Vec;
use core::cmp::Ordering;

use model::{GpuUuid, LeaseId, Millis, PlacedProfile, Timestamp};
use planner::{Arrangement, GeometryTables, Hold, Room, Want};

use crate::claim::Claim;
use crate::command::World;
use crate::decide::Draft;
use crate::ends::{self, Owner};
use crate::event::{Event, SliceTarget};
use crate::request::Wanted;
use crate::serve::{Block, Blocked, Pass};
use crate::state::{Lease, Reservation, SliceKey, State};
use crate::whole;

/// The reservation moves only for places that are free so much sooner.
const WORTH_MOVING: Millis = Millis::from_secs(60);

/// How soon places are free; less is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wait {
    /// Owners without a limit.
    unlimited: usize,
    /// When the others are gone at the latest; when all are gone probably, if some have no limit.
    until: Timestamp,
    /// How many there are.
    owners: usize,
}

impl Wait {
    fn of(state: &State, world: &World<'_>, owners: &[Owner], claim: &Claim<'_>) -> Self {
        let latest: Vec<Option<Timestamp>> = owners
            .iter()
            .map(|owner| ends::owner_latest(state, world, *owner, Some(claim)))
            .collect();
        let unlimited = latest.iter().filter(|at| at.is_none()).count();
        let likely = |owner: &Owner| match owner {
            Owner::Lease(id) => state.lease(*id).map(|l| ends::likely(state, world, l)),
            Owner::Change | Owner::Visitor { .. } | Owner::Stranger => None,
        };
        let until = if unlimited == 0 {
            latest.into_iter().flatten().max()
        } else {
            owners.iter().filter_map(likely).max()
        };
        Self { unlimited, until: until.unwrap_or(world.now), owners: owners.len() }
    }

    fn is_worth_moving_from(self, other: Self) -> bool {
        self.unlimited < other.unlimited
            || (self.unlimited == 0
                && other.unlimited == 0
                && self.until.plus(WORTH_MOVING) < other.until)
    }
}

/// Sees to it that room is kept for whom it should be, and where.
pub(crate) fn update(draft: &mut Draft<'_>, blocked: &[Blocked]) {
    let for_room = |id: LeaseId| blocked.iter().any(|b| b.id == id && b.why == Block::Room);
    if let Some(kept) = draft.state.reservation.clone() {
        let Some(lease) = draft.state.lease(kept.lease).filter(|_| for_room(kept.lease)) else {
            draft.emit(Event::ReservationDropped);
            return update(draft, blocked);
        };
        let best = best(draft.state, draft.world, lease);
        let now = current(draft.state, draft.world, lease, &kept);
        match (best, now) {
            (Some((spot, wait)), now) => {
                if now.is_none_or(|now| wait.is_worth_moving_from(now)) {
                    reserve(draft, kept.lease, spot, kept.since);
                }
            }
            (None, None) => draft.emit(Event::ReservationDropped),
            (None, Some(_)) => {}
        }
        return;
    }
    if let Some((lease, spot)) = turn::next(draft.state, draft.world, blocked) {
        reserve(draft, lease, spot, draft.world.now);
    }
}

/// Where room is kept: places, or whole GPUs.
type Spot = (Vec<SliceTarget>, Vec<GpuUuid>);

/// What will be free soonest for a request, be it for slices or for whole GPUs.
fn best(state: &State, world: &World<'_>, lease: &Lease) -> Option<(Spot, Wait)> {
    if lease.spec.wanted == Wanted::WholeGpu {
        let (whole, wait) = best_gpus(state, world, lease)?;
        return Some(((Vec::new(), whole), wait));
    }
    let (places, wait) = best_places(state, world, lease)?;
    Some(((places, Vec::new()), wait))
}

/// The GPUs that will be free soonest as a whole.
fn best_gpus(state: &State, world: &World<'_>, lease: &Lease) -> Option<(Vec<GpuUuid>, Wait)> {
    let others = whole::kept_from(state, world, Some(lease.id), &lease.spec);
    let gpus = whole::affordable(world, &lease.spec).into_iter();
    let claim = Claim::new(state, world, lease);
    let ways = gpus.filter(|gpu| !others.contains(&gpu.uuid)).filter_map(|gpu| {
        let wait = wait_for_gpus(state, world, core::slice::from_ref(&gpu.uuid), &claim)?;
        Some((wait, gpu.uuid.clone()))
    });
    let mut ways: Vec<(Wait, GpuUuid)> = ways.collect();
    ways.sort_by_key(|(wait, _)| *wait);
    let count = lease.spec.count as usize;
    if ways.len() < count {
        return None;
    }
    let gpus: Vec<GpuUuid> = ways.into_iter().take(count).map(|(_, gpu)| gpu).collect();
    let wait = wait_for_gpus(state, world, &gpus, &claim)?;
    Some((gpus, wait))
}

/// How soon GPUs are free as a whole; `None` if that is not in the hands of those who have leases.
fn wait_for_gpus(
    state: &State,
    world: &World<'_>,
    gpus: &[GpuUuid],
    claim: &Claim<'_>,
) -> Option<Wait> {
    let had = |uuid: &GpuUuid| {
        world.observed.gpu(uuid).is_some_and(|gpu| whole::can_be_had(state, world, gpu))
    };
    let owners = ends::in_the_way(state, world, &[], gpus);
    let free = gpus.iter().all(had) && !owners.contains(&Owner::Stranger);
    free.then(|| Wait::of(state, world, &owners, claim))
}

fn reserve(draft: &mut Draft<'_>, lease: LeaseId, (places, whole): Spot, since: Timestamp) {
    let Some(asker) = draft.state.lease(lease) else { return };
    let claim = Claim::new(draft.state, draft.world, asker);
    let free_at = ends::free_at(draft.state, draft.world, &places, &whole, Some(&claim));
    let reservation = Reservation { lease, places, whole, free_at, since };
    draft.emit(Event::Reserved { lease, reservation });
}

/// How soon the reserved places are free; `None` if they no longer serve.
fn current(state: &State, world: &World<'_>, lease: &Lease, kept: &Reservation) -> Option<Wait> {
    let mut pass = Pass::new(state, world);
    let want = pass.want_within_cap(world, &lease.spec);
    // A booking or a promise that came later goes first.
    let lost = pass.views.kept().iter().any(|other| {
        let all = |gpu: &GpuUuid| {
            kept.whole.contains(gpu) || kept.places.iter().any(|place| place.key.gpu == *gpu)
        };
        let over = |(gpu, part): &(GpuUuid, PlacedProfile)| {
            let across = |place: &SliceTarget| {
                place.key.gpu == *gpu && place.key.placement.overlaps(part.placement)
            };
            kept.whole.contains(gpu) || kept.places.iter().any(across)
        };
        (other.places.iter().any(over) || other.whole.iter().any(all))
            && other.closed_to(state, world, Some(lease.id), &lease.spec)
    });
    if lost {
        return None;
    }
    let rooms = pass.views.base();
    for place in &kept.places {
        let room = rooms.iter().position(|room| room.gpu == place.key.gpu)?;
        if !rooms[room].usable || want.profile(room) != Some(place.profile) {
            return None;
        }
    }
    let claim = Claim::new(state, world, lease);
    wait_for_gpus(state, world, &kept.whole, &claim)?;
    let owners = ends::in_the_way(state, world, &kept.places, &kept.whole);
    if owners.contains(&Owner::Stranger) {
        return None;
    }
    let wait = Wait::of(state, world, &owners, &claim);
    Some(Wait { until: kept.free_at.map_or(wait.until, |said| said.min(wait.until)), ..wait })
}

/// The places for a request that will be free soonest.
pub(crate) fn best_places(
    state: &State,
    world: &World<'_>,
    lease: &Lease,
) -> Option<(Vec<SliceTarget>, Wait)> {
    let mut pass = Pass::new(state, world);
    let want = pass.want_within_cap(world, &lease.spec);
    let view = pass.views.of(state, world, Some(lease.id), &lease.spec);
    let rooms = pass.views.rooms(view);
    let search = Search::new(state, world, rooms, &want, Claim::new(state, world, lease));
    let all: Vec<usize> = (0..rooms.len()).collect();
    let count = lease.spec.count;
    match want.arrangement {
        Arrangement::SameGpu => {
            let ways = all.iter().filter_map(|room| search.places(&[*room], count, false));
            ways.min_by_key(|(_, wait)| *wait)
        }
        Arrangement::OtherGpu => search.places(&all, count, true),
        Arrangement::Any | Arrangement::Pack | Arrangement::Spread => {
            search.places(&all, count, false)
        }
    }
}

/// A place in a room, and who must leave before it can be had.
type Found = (usize, PlacedProfile, Vec<Owner>);

/// The rooms with their owners.
struct Search<'a> {
    state: &'a State,
    world: &'a World<'a>,
    rooms: &'a [Room],
    want: &'a Want,
    claim: Claim<'a>,
    /// Aligned with the rooms; those that leave last come first.
    held: Vec<Vec<(PlacedProfile, Owner)>>,
}

impl<'a> Search<'a> {
    fn new(
        state: &'a State,
        world: &'a World<'a>,
        rooms: &'a [Room],
        want: &'a Want,
        claim: Claim<'a>,
    ) -> Self {
        let latest = |owner: &Owner| {
            ends::owner_latest(state, world, *owner, Some(&claim))
                .map_or(u64::MAX, Timestamp::as_millis)
        };
        let held = rooms.iter().map(|room| {
            let owned = |part| (part, ends::owner(state, &room.gpu, part));
            let mut held: Vec<(PlacedProfile, Owner)> = room.parts(Hold::Held).map(owned).collect();
            held.sort_by_key(|(part, owner)| (core::cmp::Reverse(latest(owner)), *part));
            held
        });
        let held = held.collect();
        Self { state, world, rooms, want, claim, held }
    }

    /// Places for `count` slices in some of the rooms, chosen one by one such that the rest stays
    /// possible once everybody who can leave has left.
    fn places(&self, among: &[usize], count: u32, apart: bool) -> Option<(Vec<SliceTarget>, Wait)> {
        let mut chosen: Vec<(usize, PlacedProfile)> = Vec::new();
        let mut owners: Vec<Owner> = Vec::new();
        for left in (0..count).rev() {
            let (room, part, in_the_way) = self.next(among, &chosen, left, apart)?;
            chosen.push((room, part));
            owners.extend(in_the_way);
        }
        owners.sort_unstable();
        owners.dedup();
        let target = |(room, part): &(usize, PlacedProfile)| SliceTarget {
            key: SliceKey { gpu: self.rooms[*room].gpu.clone(), placement: part.placement },
            profile: part.profile,
            reuse: false,
        };
        let wait = Wait::of(self.state, self.world, &owners, &self.claim);
        Some((chosen.iter().map(target).collect(), wait))
    }

    fn next(
        &self,
        among: &[usize],
        chosen: &[(usize, PlacedProfile)],
        left: u32,
        apart: bool,
    ) -> Option<Found> {
        let there = |room: usize| -> Vec<PlacedProfile> {
            chosen.iter().filter(|(at, _)| *at == room).map(|(_, part)| *part).collect()
        };
        let remaining = |room: usize, with: &[PlacedProfile]| {
            let tables = self.world.planner.tables(&self.rooms[room].geometry);
            let class = self.emptied(&tables, room, with)?;
            Some(tables.capacity(class, self.want.profile(room)?))
        };
        let elsewhere = |room: usize| -> u32 {
            let others = among.iter().filter(|other| **other != room);
            others.filter_map(|other| remaining(*other, &there(*other))).sum()
        };
        let mut best: Option<((Wait, usize), Found)> = None;
        for room in among.iter().copied() {
            let mine = there(room);
            let Some(profile) = self.want.profile(room).filter(|_| self.rooms[room].usable) else {
                continue;
            };
            if apart && !mine.is_empty() {
                continue;
            }
            let tables = self.world.planner.tables(&self.rooms[room].geometry);
            for part in tables.parts_of(profile).map(|id| tables.part(id)) {
                let with: Vec<PlacedProfile> = mine.iter().copied().chain([part]).collect();
                let Some(more) = remaining(room, &with) else { continue };
                if !apart && more + elsewhere(room) < left {
                    continue;
                }
                let owners = self.in_the_way(&tables, room, &with);
                let rank = (Wait::of(self.state, self.world, &owners, &self.claim), room);
                let better = |(known, _): &((Wait, usize), _)| rank.cmp(known) == Ordering::Less;
                if best.as_ref().is_none_or(better) {
                    best = Some((rank, (room, part, owners)));
                }
            }
        }
        best.map(|(_, found)| found)
    }

    /// The class of a room with these parts, once everybody who can leave has left; `None` if they
    /// do not go with strangers, or with what is promised to others.
    fn emptied(
        &self,
        tables: &GeometryTables,
        room: usize,
        with: &[PlacedProfile],
    ) -> Option<planner::ClassId> {
        if !self.rooms[room].usable {
            return None;
        }
        let strangers = || {
            let held = self.held[room].iter().filter(|(_, owner)| *owner == Owner::Stranger);
            held.map(|(part, _)| *part)
        };
        for promised in &self.rooms[room].promised {
            tables.class_of(
                strangers().chain(promised.iter().copied()).chain(with.iter().copied()),
            )?;
        }
        tables.class_of(strangers().chain(with.iter().copied()))
    }

    /// Who must leave a room before these parts can be placed: whoever overlaps, and of the others
    /// those that do not go with them, the ones that leave soonest.
    fn in_the_way(
        &self,
        tables: &GeometryTables,
        room: usize,
        with: &[PlacedProfile],
    ) -> Vec<Owner> {
        let mut class = tables.class_of(with.iter().copied());
        let mut owners = Vec::new();
        for (part, owner) in &self.held[room] {
            let overlaps = with.iter().any(|other| other.placement.overlaps(part.placement));
            let next = class.filter(|_| !overlaps).and_then(|class| tables.extend(class, [*part]));
            match next {
                Some(next) => class = Some(next),
                None => owners.push(*owner),
            }
        }
        owners
    }
}

/// Whether a lease is in the way of places that are promised to a request, or of those that are kept
/// for it and that it has to leave.
pub(crate) fn is_in_the_way(
    state: &State,
    world: &World<'_>,
    lease: &Lease,
    for_lease: LeaseId,
) -> bool {
    let Some(waiting) = state.lease(for_lease) else { return false };
    let stands_on = |places: &[SliceTarget], whole: &[GpuUuid]| {
        places.iter().any(|place| place.is_kept_from(world, lease))
            || whole.iter().any(|gpu| lease.is_on(gpu))
    };
    let reserved = state.reservation.as_ref().filter(|kept| kept.lease == for_lease);
    stands_on(&waiting.promised, &waiting.promised_whole)
        || reserved.is_some_and(|kept| {
            stands_on(&kept.places, &kept.whole)
                && Claim::new(state, world, waiting).drives_out(lease)
        })
}
