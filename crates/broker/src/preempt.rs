//! Leases that agreed to be ended for a better right, told to leave.
//!
//! Must never touch a lease that is not preemptible, nor tell more of them to leave than needed.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::cmp::Reverse;

use model::{LeaseId, Millis, PlacedProfile, Tenant};
use planner::{Choice, Hold, Room, Want};

use crate::claim::Claim;
use crate::decide::Draft;
use crate::ends::{self, Owner};
use crate::event::{Event, SliceTarget};
use crate::lifecycle::{Notice, NoticeReason};
use crate::moves;
use crate::quota::{self, Stake};
use crate::reserve::is_in_the_way;
use crate::serve::{Block, Blocked, Pass};
use crate::state::{Lease, Phase, SliceKey};
use crate::terms::Priority;

/// Requests for which others are told to leave in one decision at most; the next one sees to more.
const AT_ONCE: usize = 8;

/// Withdraws notices nobody needs any more, and gives those that are needed now.
pub(crate) fn update(draft: &mut Draft<'_>, blocked: &[Blocked]) {
    let waits = |id: LeaseId| blocked.iter().any(|b| b.id == id && b.why == Block::Room);
    let promised: Vec<LeaseId> = draft
        .state
        .queue()
        .filter(|lease| !lease.promised.is_empty() || !lease.promised_whole.is_empty())
        .map(|lease| lease.id)
        .collect();
    for id in promised {
        if !waits(id) || !still_due(draft, id) {
            drop_promise(draft, id);
        }
    }
    withdraw(draft);
    for_reservation(draft);
    for_rights(draft, blocked);
}

/// Nothing is kept for a request any more by way of preemption.
pub(crate) fn drop_promise(draft: &mut Draft<'_>, id: LeaseId) {
    let kept = |lease: &Lease| !lease.promised.is_empty() || !lease.promised_whole.is_empty();
    if draft.state.lease(id).is_some_and(kept) {
        let (places, whole) = (Vec::new(), Vec::new());
        draft.emit(Event::RoomPromised { lease: id, places, whole });
    }
}

/// Whether a promise still leads somewhere: its request has the right, its places can be had, and
/// somebody is still to leave them.
fn still_due(draft: &Draft<'_>, id: LeaseId) -> bool {
    let (state, world) = (&*draft.state, draft.world);
    let Some(lease) = state.lease(id) else { return false };
    let usable = lease.promised.iter().all(|place| {
        world.observed.gpu(&place.key.gpu).is_some_and(|gpu| crate::rooms::usable(state, gpu))
    });
    let owners = ends::in_the_way(state, world, &lease.promised, &lease.promised_whole);
    let leaving = |owner: &Owner| match owner {
        Owner::Lease(id) => state
            .lease(*id)
            .is_some_and(|lease| matches!(lease.phase, Phase::Ending { .. }) || is_told(lease)),
        Owner::Change | Owner::Visitor { .. } => true,
        Owner::Stranger => false,
    };
    let stakes = quota::stakes(state, world.observed);
    usable
        && !owners.is_empty()
        && owners.iter().all(leaving)
        && right(draft, lease, &stakes).is_some()
}

/// Whether a lease was told that it ends; for a booking it does so for sure, and being told of
/// another reason in turns it would never end.
fn is_told(lease: &Lease) -> bool {
    lease.notice.as_ref().is_some_and(|notice| {
        matches!(notice.reason, NoticeReason::Preempted { .. } | NoticeReason::Booked { .. })
    })
}

fn withdraw(draft: &mut Draft<'_>) {
    let (state, world) = (&*draft.state, draft.world);
    let void = state.leases.values().filter(|lease| {
        let Some(Notice { reason: NoticeReason::Preempted { for_lease }, .. }) = &lease.notice
        else {
            return false;
        };
        let waits = state.lease(*for_lease).is_some_and(|l| l.phase == Phase::Queued);
        matches!(lease.phase, Phase::Active { .. })
            && !(waits && is_in_the_way(state, world, lease, *for_lease))
    });
    let void: Vec<LeaseId> = void.map(|lease| lease.id).collect();
    for lease in void {
        draft.emit(Event::NoticeWithdrawn { lease });
    }
}

/// A better right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Right {
    /// The request stays within what its tenant is guaranteed.
    guaranteed: bool,
    /// It is of high rank.
    high: bool,
}

fn right(draft: &Draft<'_>, lease: &Lease, stakes: &BTreeMap<Tenant, Stake>) -> Option<Right> {
    let world = draft.world;
    let rules = world.policy.tenant(&lease.spec.tenant);
    let held = stakes.get(&lease.spec.tenant).copied().unwrap_or_default();
    let high = lease.spec.terms.priority == Priority::High;
    let guaranteed = quota::has_guarantee(rules) && {
        let rooms: Vec<Room> = crate::rooms::rooms(draft.state, world.observed);
        let want = crate::rooms::want(&lease.spec, world, &rooms);
        let asked = quota::asked(world, &lease.spec, &want, &rooms).most;
        quota::is_guaranteed(rules, held, asked)
    };
    (guaranteed || high).then_some(Right { guaranteed, high })
}

/// Whether a lease may be told to leave for a request with this right.
fn may_go(lease: &Lease, asker: &Lease, right: Right, covered: &BTreeSet<LeaseId>) -> bool {
    if !lease.spec.terms.preemptible
        || !matches!(lease.phase, Phase::Active { .. })
        || is_told(lease)
    {
        return false;
    }
    let by_rank = right.high && lease.spec.terms.priority == Priority::Low;
    if lease.spec.tenant == asker.spec.tenant {
        return by_rank;
    }
    (right.guaranteed || by_rank) && !covered.contains(&lease.id)
}

/// Tells those to leave that stand in the way of requests with a better right.
fn for_rights(draft: &mut Draft<'_>, blocked: &[Blocked]) {
    let world = draft.world;
    if !draft.state.leases.values().any(|lease| lease.spec.terms.preemptible) {
        return;
    }
    let mut hopeless: Vec<(Tenant, Want, u32)> = Vec::new();
    let mut done = 0;
    let mut pass: Option<Pass> = None;
    for blocked in blocked.iter().filter(|blocked| blocked.why == Block::Room) {
        let Some(lease) = draft.state.lease(blocked.id) else { continue };
        if !lease.promised.is_empty() || !lease.promised_whole.is_empty() || done >= AT_ONCE {
            continue;
        }
        let has_guarantee = quota::has_guarantee(world.policy.tenant(&lease.spec.tenant));
        if !has_guarantee && lease.spec.terms.priority != Priority::High {
            continue;
        }
        let mut look = pass.take().unwrap_or_else(|| Pass::new(draft.state, world));
        let want = look.want_within_cap(world, &lease.spec);
        let key = (lease.spec.tenant.clone(), want.clone(), lease.spec.count);
        if hopeless.contains(&key) {
            pass = Some(look);
            continue;
        }
        if let Some((leaving, places)) = victims(draft, lease, &mut look, &want) {
            promise(draft, blocked.id, places);
            tell(draft, &leaving, blocked.id);
            done += 1;
        } else {
            hopeless.push(key);
            pass = Some(look);
        }
    }
}

fn promise(draft: &mut Draft<'_>, lease: LeaseId, places: Vec<SliceTarget>) {
    draft.emit(Event::RoomPromised { lease, places, whole: Vec::new() });
}

fn tell(draft: &mut Draft<'_>, leases: &[LeaseId], for_lease: LeaseId) {
    let until = draft.world.now.plus(draft.world.policy.notice);
    for lease in leases {
        let reason = NoticeReason::Preempted { for_lease };
        moves::notice(draft, *lease, Notice { reason, until });
    }
}

/// The fewest leases whose end makes room for a request with a better right, of those the ones that hold
/// least, then the youngest; and the places it will have then.
fn victims(
    draft: &Draft<'_>,
    asker: &Lease,
    pass: &mut Pass,
    want: &Want,
) -> Option<(Vec<LeaseId>, Vec<SliceTarget>)> {
    let (state, world) = (&*draft.state, draft.world);
    let stakes = quota::stakes(state, world.observed);
    let right = right(draft, asker, &stakes)?;
    let view = pass.views.of(state, world, Some(asker.id), &asker.spec);
    let rooms = pass.views.rooms(view);
    let covered = quota::covered(state, world);
    let price = |room: usize, part: PlacedProfile| {
        let Owner::Lease(id) = ends::owner(state, &rooms[room].gpu, part) else { return None };
        let lease = state.lease(id)?;
        may_go(lease, asker, right, &covered).then(|| age(draft, lease))
    };
    let found = world.planner.blockers_among(rooms, want, asker.spec.count, &price)?;
    let mut leaving: Vec<LeaseId> = found
        .iter()
        .filter_map(|b| match ends::owner(state, &rooms[b.room].gpu, b.part) {
            Owner::Lease(id) => Some(id),
            Owner::Change | Owner::Visitor { .. } | Owner::Stranger => None,
        })
        .collect();
    leaving.sort_unstable();
    leaving.dedup();
    // A lease leaves all its slices, which may make another's leaving needless; the oldest are
    // spared first.
    leaving.sort_by_key(|id| Reverse(state.lease(*id).map_or(0, |l| age(draft, l))));
    for id in leaving.clone() {
        let without: Vec<LeaseId> = leaving.iter().copied().filter(|l| *l != id).collect();
        if places_without(draft, rooms, want, asker, &without).is_some() {
            leaving = without;
        }
    }
    if leaving.is_empty() {
        return None;
    }
    let choices = places_without(draft, rooms, want, asker, &leaving)?;
    let target = |choice: &Choice| SliceTarget {
        key: SliceKey { gpu: rooms[choice.room].gpu.clone(), placement: choice.part.placement },
        profile: choice.part.profile,
        reuse: false,
    };
    Some((leaving, choices.iter().map(target).collect()))
}

/// How long somebody has had a lease.
fn age(draft: &Draft<'_>, lease: &Lease) -> u64 {
    let since = lease.granted_at.unwrap_or(draft.world.now);
    draft.world.now.since(since).get()
}

/// Where a request goes once some leases have left.
fn places_without(
    draft: &Draft<'_>,
    rooms: &[Room],
    want: &Want,
    asker: &Lease,
    leaving: &[LeaseId],
) -> Option<Vec<Choice>> {
    let mut rooms = rooms.to_vec();
    for room in &mut rooms {
        let gpu = room.gpu.clone();
        room.occupants.retain(|occupant| {
            let owner = ends::owner(draft.state, &gpu, occupant.part);
            occupant.hold == Hold::Warm
                || !matches!(owner, Owner::Lease(id) if leaving.contains(&id))
        });
    }
    draft.world.planner.choose_many_by(
        draft.world.policy.placement,
        &rooms,
        want,
        asker.spec.count,
        draft.world.forecast,
    )
}

/// Tells those on reserved places that must leave for them to do so, when everybody else is about
/// to have left.
fn for_reservation(draft: &mut Draft<'_>) {
    let (state, world) = (&*draft.state, draft.world);
    let Some(kept) = &state.reservation else { return };
    let Some(asker) = state.lease(kept.lease) else { return };
    let out = world.policy.notice.get() + world.policy.grace.get();
    let due = world.now.plus(Millis::new(out));
    let claim = Claim::new(state, world, asker);
    let mut leaving = Vec::new();
    for owner in ends::in_the_way(state, world, &kept.places, &kept.whole) {
        let lease = match owner {
            Owner::Lease(id) => state.lease(id),
            Owner::Change => continue,
            Owner::Visitor { .. } | Owner::Stranger => return,
        };
        let Some(lease) = lease else { continue };
        if claim.drives_out(lease) {
            if matches!(lease.phase, Phase::Active { .. }) && !is_told(lease) {
                leaving.push(lease.id);
            }
        } else if ends::latest(state, world, lease).is_none_or(|at| at > due) {
            return;
        }
    }
    let for_lease = kept.lease;
    tell(draft, &leaving, for_lease);
}
