//! When leases leave their places: at the latest, and probably.
//!
//! Must never name a latest moment that rests on anything but hard limits and notices.

use alloc::vec::Vec;

use model::{GpuUuid, LeaseId, Millis, PlacedProfile, Timestamp};

use crate::claim::Claim;
use crate::command::World;
use crate::event::{EndReason, SliceTarget};
use crate::lifecycle::NoticeReason;
use crate::policy::Policy;
use crate::reclaim;
use crate::request::RequestSpec;
use crate::state::{Lease, Phase, SliceKey, SliceUse, Stage, State};

/// The most time a grant takes: a GPU full of idle slices destroyed one by one at a second each,
/// new ones made at a quarter of a second each, and the looks before and after.
pub(crate) const GRANT: Millis = Millis::from_secs(30);

/// The time from the end of a lease's processes to the proof that its slice is empty.
const PROOF: Millis = Millis::from_secs(5);

/// Who has a part of a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    /// A lease, or a request that is about to get it.
    Lease(LeaseId),
    /// A change of ours that is under way.
    Change,
    /// Somebody who has no lease, on a slice of ours that is idle by our records.
    Visitor {
        /// Since when it is idle by our records.
        since: Timestamp,
    },
    /// Somebody else: nobody knows for how long.
    Stranger,
}

/// Who has `part` of a GPU.
pub(crate) fn owner(state: &State, gpu: &GpuUuid, part: PlacedProfile) -> Owner {
    let key = SliceKey { gpu: gpu.clone(), placement: part.placement };
    let promised = || state.promised_to(&key);
    match state.slices.get(&key).map(|record| record.used) {
        Some(SliceUse::Leased(lease)) => Owner::Lease(lease),
        Some(SliceUse::InPlan(_)) => promised().map_or(Owner::Change, Owner::Lease),
        Some(SliceUse::Warm { since }) => Owner::Visitor { since },
        None => {
            let steps = state.plans.values().flat_map(|open| &open.plan.steps);
            let changing = || {
                steps.clone().any(|step| step.names(gpu, part.placement))
                    || state.orphans.iter().any(|orphan| orphan.key == key)
            };
            match promised() {
                Some(lease) => Owner::Lease(lease),
                None if changing() => Owner::Change,
                None => Owner::Stranger,
            }
        }
    }
}

/// From the end of a lease to the proof that its places are empty, at the most.
pub(crate) const fn out(world: &World<'_>) -> Millis {
    Millis::new(world.policy.grace.get() + PROOF.get())
}

/// When a lease has left its places at the latest; `None` if nothing says so.
pub(crate) fn latest(state: &State, world: &World<'_>, lease: &Lease) -> Option<Timestamp> {
    let after = |at: Timestamp| at.plus(out(world));
    let end = match &lease.phase {
        Phase::Queued => return None,
        Phase::Granting { .. } => return of_request(state, world, &lease.spec),
        Phase::Active { .. } | Phase::Ending { stage: Stage::Waiting, .. } => {
            hard_end(state, lease).map(after)?
        }
        Phase::Ending { stage: Stage::Term, since, .. } => after(*since),
        Phase::Ending { stage: Stage::Kill, since, .. } => since.plus(PROOF),
    };
    // Whoever is late is about to leave, as far as anybody can say.
    Some(end.max(world.now))
}

/// When a lease is told to end at the latest.
fn hard_end(state: &State, lease: &Lease) -> Option<Timestamp> {
    let booked = lease.spec.terms.booking.and_then(|id| state.bookings.get(&id));
    let notice = lease.notice.as_ref().and_then(|notice| match notice.reason {
        NoticeReason::Preempted { .. } | NoticeReason::Booked { .. } => Some(notice.until),
        // An idle lease may be used again, and a move needs its holder's consent.
        NoticeReason::Idle { .. } | NoticeReason::Drained { .. } | NoticeReason::Move { .. } => {
            None
        }
    });
    let ends = [lease.deadline(), notice, booked.map(|booking| booking.spec.until)];
    ends.into_iter().flatten().min()
}

/// When a request that is granted now has left again at the latest.
pub(crate) fn of_request(
    state: &State,
    world: &World<'_>,
    spec: &RequestSpec,
) -> Option<Timestamp> {
    let booked = spec.terms.booking.and_then(|id| state.bookings.get(&id));
    let limit = spec.time.map(|time| world.now.plus(GRANT).plus(time));
    let end = limit.into_iter().chain(booked.map(|booking| booking.spec.until)).min()?;
    Some(end.plus(world.policy.grace).plus(PROOF))
}

/// The length of a lease that nobody said anything about.
const UNKNOWN_LENGTH: Millis = Millis::from_secs(3600);

/// How long a lease lasts, by what its owner said: as long as he thinks; else half of the limit he
/// named, because people name limits with as much again to spare (so every study of batch systems
/// since Mu'alem and Feitelson, 2001). A limit that is the tenant's default or the
/// longest there is says nothing.
pub(crate) fn told_length(policy: &Policy, spec: &RequestSpec) -> Option<Millis> {
    let rules = policy.tenant(&spec.tenant);
    let named =
        spec.time.filter(|_| spec.time != rules.default_time && spec.time != rules.max_time);
    spec.expect.or_else(|| named.map(|limit| Millis::new(limit.get() / 2)))
}

/// How long a lease lasts, by what its owner said; an hour if he said nothing, and no longer than
/// its limit.
pub(crate) fn length(world: &World<'_>, spec: &RequestSpec) -> Millis {
    let length = told_length(world.policy, spec).unwrap_or(UNKNOWN_LENGTH);
    spec.time.map_or(length, |limit| length.min(limit))
}

/// When a lease leaves its places probably: when it has lasted as long as such leases do; if it has
/// already, after as long again as it has been there; when it is taken, if it will probably not be
/// used before.
pub(crate) fn likely(state: &State, world: &World<'_>, lease: &Lease) -> Timestamp {
    let now = world.now;
    let latest = latest(state, world, lease);
    let guess = match &lease.phase {
        Phase::Ending { reason, .. } => {
            let soon = matches!(reason, EndReason::Released | EndReason::HolderDied);
            if soon { now.plus(PROOF) } else { latest.unwrap_or(now.plus(PROOF)) }
        }
        Phase::Queued | Phase::Granting { .. } => now.plus(length(world, &lease.spec)),
        Phase::Active { since } => {
            let held = now.since(*since);
            let expected = since.plus(length(world, &lease.spec));
            let end = if expected > now { expected } else { now.plus(held.max(GRANT)) };
            let over = reclaim::is_probably_over(world, lease);
            let taken = reclaim::taken_at(world, lease).filter(|_| over);
            let told = told_length(world.policy, &lease.spec).is_some();
            taken.map_or(end, |taken| if told { end.min(taken) } else { taken })
        }
    };
    latest.map_or(guess, |latest| guess.min(latest)).max(now)
}

/// When the last lease in a room has probably left; `None` where nobody is, or somebody else.
pub(crate) fn of_room(state: &State, world: &World<'_>, room: &planner::Room) -> Option<Timestamp> {
    let leaves = |part| match owner(state, &room.gpu, part) {
        Owner::Lease(id) => Some(likely(state, world, state.lease(id)?)),
        Owner::Change | Owner::Visitor { .. } | Owner::Stranger => None,
    };
    let ends: Option<Vec<Timestamp>> = room.parts(planner::Hold::Held).map(leaves).collect();
    ends?.into_iter().max()
}

/// Who is in the way of these places.
pub(crate) fn in_the_way(
    state: &State,
    world: &World<'_>,
    places: &[SliceTarget],
    whole: &[GpuUuid],
) -> Vec<Owner> {
    let mut owners = Vec::new();
    for gpu in &world.observed.gpus {
        let here: Vec<_> = places.iter().filter(|place| place.key.gpu == gpu.uuid).collect();
        let all = whole.contains(&gpu.uuid);
        if here.is_empty() && !all {
            continue;
        }
        let whole = state.leases.values().filter(|lease| lease.whole.contains(&gpu.uuid));
        owners.extend(whole.map(|lease| Owner::Lease(lease.id)));
        let Some(room) = crate::rooms::room(state, gpu) else { continue };
        for part in room.parts(planner::Hold::Held) {
            if all || here.iter().any(|place| place.excludes(world, part)) {
                owners.push(owner(state, &gpu.uuid, part));
            }
        }
    }
    owners.sort_unstable();
    owners.dedup();
    owners
}

/// When the places are free of everybody who is in the way; `None` if somebody has no limit. Whom a
/// claim drives out is asked to leave in time and counts as out of the way; without a claim nobody
/// is asked, and hard limits alone count.
pub(crate) fn free_at(
    state: &State,
    world: &World<'_>,
    places: &[SliceTarget],
    whole: &[GpuUuid],
    claim: Option<&Claim<'_>>,
) -> Option<Timestamp> {
    let mut free = world.now;
    for owner in in_the_way(state, world, places, whole) {
        free = free.max(owner_latest(state, world, owner, claim)?);
    }
    Some(free)
}

/// When an owner is out of the way of a claim at the latest.
pub(crate) fn owner_latest(
    state: &State,
    world: &World<'_>,
    owner: Owner,
    claim: Option<&Claim<'_>>,
) -> Option<Timestamp> {
    let leaves = |lease: &Lease| claim.is_some_and(|claim| claim.drives_out(lease));
    match owner {
        Owner::Stranger => None,
        Owner::Change => Some(world.now.plus(GRANT)),
        // The snapshot may be older than the proof that the slice is empty.
        Owner::Visitor { since } => {
            let news = since.plus(GRANT);
            (world.now < news).then_some(news)
        }
        Owner::Lease(id) => {
            let lease = state.lease(id)?;
            let notice = world.policy.notice.get() + world.policy.grace.get() + PROOF.get();
            let asked = world.now.plus(Millis::new(notice));
            match latest(state, world, lease) {
                Some(at) if leaves(lease) => Some(at.min(asked)),
                None if leaves(lease) => Some(asked),
                latest => latest,
            }
        }
    }
}
