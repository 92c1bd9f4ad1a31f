//! What is likely to be asked for, and idle room that suits it: slices made ahead, slices that lie
//! in the way of larger ones laid elsewhere, and restartable leases asked to move.
//!
//! Must never stand in the way of a waiting request, nor touch anything that is in use.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use model::{
    DesiredCompute, DesiredGpu, DesiredInstance, GpuInstanceId, GpuInstanceProfileId, GpuSnapshot,
    InstanceShape, LeaseId, Millis, PlacedProfile, Plan, ProfileName, Purpose, Step, Timestamp,
};
use planner::{Forecast, Hold, Room, Rules, Want, Why};

use crate::decide::Draft;
use crate::event::SliceTarget;
use crate::grant::open_plan;
use crate::lifecycle::NoticeReason;
use crate::rooms::{Use, rooms, uses, want};
use crate::state::{Lease, Phase, SliceKey, SliceUse};
use crate::usage::Usage;
use crate::{ends, keep, moves};

/// A day counts three quarters of the day after it, so that a week ago counts an eighth of today.
const DECAY: (u64, u64) = (3, 4);
/// The unit in which requests are weighed before they are added up.
const UNIT: u64 = 1 << 20;
/// A profile is likely if it is at least this part of what was asked for.
const LIKELY_PART: u64 = 10;
const HOUR: Millis = Millis::from_secs(3600);

/// What is likely to be asked for, by what was asked for in the last two weeks.
pub fn forecast(usage: &Usage, now: Timestamp) -> Forecast {
    let mut sums: BTreeMap<ProfileName, u64> = BTreeMap::new();
    for (age, profile, count) in usage.demand(now) {
        let weight = (0..age).fold(UNIT, |weight, _| weight * DECAY.0 / DECAY.1);
        *sums.entry(profile).or_insert(0) += weight * u64::from(count);
    }
    let round = |sum: u64| u32::try_from(sum.div_ceil(UNIT)).unwrap_or(u32::MAX);
    Forecast { demand: sums.into_iter().map(|(profile, sum)| (profile, round(sum))).collect() }
}

/// Time passed: idle room is looked after where nobody waits, and somebody is asked to move where
/// one does.
pub(crate) fn tick(draft: &mut Draft<'_>) {
    let waits = draft.state.queue().any(|lease| lease.spec.terms.booking.is_none());
    if waits {
        ask_to_move(draft);
        return;
    }
    let warm_ahead = draft.world.policy.warm_ahead > 0;
    if !warm_ahead && draft.state.slices.is_empty() {
        return;
    }
    let mut there = rooms(draft.state, draft.world.observed);
    for kept in keep::kept(draft.state, draft.world) {
        keep::close(&mut there, &kept);
    }
    for (index, room) in there.iter().enumerate() {
        let at_work =
            draft.state.plans.values().any(|open| open.gpus().any(|gpu| *gpu == room.gpu));
        let Some(gpu) = draft.world.observed.gpu(&room.gpu) else { continue };
        if at_work || !room.usable {
            continue;
        }
        if !defragment(draft, room, gpu) && warm_ahead {
            make_ahead(draft, &there, index, gpu);
        }
    }
}

/// Makes one idle slice of the likeliest kind that is missing, where the GPU has room for it.
fn make_ahead(draft: &mut Draft<'_>, there: &[Room], index: usize, gpu: &GpuSnapshot) {
    let (state, world) = (&*draft.state, draft.world);
    let room = &there[index];
    let idle = room.parts(Hold::Warm).count() as u32;
    if idle >= world.policy.warm_ahead {
        return;
    }
    let Some(profile) = missing(there, room, world.forecast) else { return };
    let mut profiles = alloc::vec![None; there.len()];
    profiles[index] = Some(profile);
    let (policy, want) = (world.policy.placement, Want::of(profiles));
    let choice = world.planner.choose_by(policy, there, &want, world.forecast);
    // Nothing idle is given up for something idle.
    let Some(choice) = choice.filter(|choice| !choice.reuse && choice.evict.is_empty()) else {
        return;
    };
    let key = SliceKey { gpu: gpu.uuid.clone(), placement: choice.part.placement };
    if state.slices.contains_key(&key) {
        return;
    }
    let Ok(plan) = planner::plan_grant(gpu, &choice, Purpose::Warm) else { return };
    let target = SliceTarget { key, profile: choice.part.profile, reuse: false };
    open_plan(draft, plan, alloc::vec![target], Vec::new(), Vec::new());
}

/// The profile of which, for what it was asked for, the fewest idle slices exist.
fn missing(there: &[Room], room: &Room, forecast: &Forecast) -> Option<GpuInstanceProfileId> {
    let idle = |name: ProfileName| {
        let of = |room: &Room| {
            let parts = room.parts(Hold::Warm);
            let name_of = |part: PlacedProfile| room.geometry.profile(part.profile).map(|p| p.name);
            parts.filter(|part| name_of(*part) == Some(name)).count() as u64
        };
        there.iter().map(of).sum::<u64>()
    };
    let asked = room.geometry.profiles.iter().filter_map(|profile| {
        let demand = forecast.demand.get(&profile.name).copied().filter(|demand| *demand > 0)?;
        // Shares of seats as in an election: the next goes to whom one more is due most.
        Some((u64::from(demand) * UNIT / (idle(profile.name) + 1), profile.id))
    });
    asked.max_by_key(|(due, id)| (*due, core::cmp::Reverse(*id))).map(|(_, id)| id)
}

/// Lays idle slices elsewhere on their GPU, where a likely larger one would fit then beside all of
/// them and does not now. False if there is nothing to gain.
fn defragment(draft: &mut Draft<'_>, room: &Room, gpu: &GpuSnapshot) -> bool {
    let (state, world) = (&*draft.state, draft.world);
    let now = world.now;
    let recent = state.rearranged.iter().filter(|at| at.plus(HOUR) > now).count() as u32;
    let rested = |part: PlacedProfile| {
        let key = SliceKey { gpu: gpu.uuid.clone(), placement: part.placement };
        match state.slices.get(&key).map(|record| record.used) {
            Some(SliceUse::Warm { since }) => since.plus(world.policy.hysteresis) <= now,
            Some(SliceUse::Leased(_) | SliceUse::InPlan(_)) | None => false,
        }
    };
    let mut idle = room.parts(Hold::Warm).peekable();
    if idle.peek().is_none() || recent >= world.policy.moves_per_hour || !idle.all(rested) {
        return false;
    }
    let sum: u64 = world.forecast.demand.values().map(|demand| u64::from(*demand)).sum();
    let likely = room.geometry.profiles.iter().filter(|profile| {
        let demand = world.forecast.demand.get(&profile.name).copied().unwrap_or(0);
        demand > 0 && u64::from(demand) * LIKELY_PART >= sum
    });
    let mut likely: Vec<_> = likely.map(|profile| (profile.size, profile.id)).collect();
    likely.sort_unstable_by(|a, b| b.cmp(a));
    for (_, profile) in likely {
        if let Some((plan, targets, evicted)) = relaid(draft, room, gpu, profile) {
            open_plan(draft, plan, targets, evicted, Vec::new());
            return true;
        }
    }
    false
}

type Relaid = (Plan, Vec<SliceTarget>, Vec<SliceKey>);

/// The plan that makes room for one slice more of a profile beside everything that lies on a GPU.
fn relaid(
    draft: &Draft<'_>,
    room: &Room,
    gpu: &GpuSnapshot,
    profile: GpuInstanceProfileId,
) -> Option<Relaid> {
    let (desired, held) = one_more(draft, gpu, profile)?;
    let planner = draft.world.planner;
    let purpose = Purpose::Defragment;
    let planned = planner.plan_gpu(gpu, &held, &desired, &Rules::default(), purpose);
    let (plan, report) = planned.ok()?;
    report.destroyed().next()?;
    let free = report.created().find(|part| part.profile == profile)?;
    let promised = |part: &PlacedProfile| {
        let kept = room.promised.iter().flatten();
        kept.clone().any(|kept| kept.placement.overlaps(part.placement))
    };
    let made: Vec<PlacedProfile> = report.created().filter(|part| *part != free).collect();
    if made.iter().any(promised) {
        return None;
    }
    let of_free = |step: &Step| {
        matches!(step, Step::CreateGpuInstance { .. } | Step::CreateComputeInstance { .. })
            && step.names(&gpu.uuid, free.placement)
    };
    let steps = plan.steps.into_iter().filter(|step| !of_free(step)).collect();
    let key = |placement| SliceKey { gpu: gpu.uuid.clone(), placement };
    let target = |part: &PlacedProfile| SliceTarget {
        key: key(part.placement),
        profile: part.profile,
        reuse: false,
    };
    let gone = report.destroyed().filter_map(|id| gpu.instance(id));
    let evicted = gone.map(|instance| key(instance.placement)).collect();
    Some((Plan { purpose: plan.purpose, steps }, made.iter().map(target).collect(), evicted))
}

/// What lies on a GPU and one slice more, with what of it must stay: our warm slices may lie anywhere,
/// everything else is wanted as it is.
fn one_more(
    draft: &Draft<'_>,
    gpu: &GpuSnapshot,
    profile: GpuInstanceProfileId,
) -> Option<(DesiredGpu, BTreeMap<GpuInstanceId, Why>)> {
    let geometry = gpu.geometry.as_deref()?;
    let slice = |profile: GpuInstanceProfileId| {
        let whole = geometry.profile(profile)?.whole_compute_profile()?;
        let computes = alloc::vec![DesiredCompute { profile: whole.id, placement: None }];
        Some(DesiredInstance { profile, placement: None, computes })
    };
    let mut wanted = alloc::vec![slice(profile)?];
    let mut held = BTreeMap::new();
    for (instance, used) in gpu.instances.iter().zip(uses(draft.state, gpu)) {
        if used == Use::Warm {
            wanted.push(slice(instance.profile)?);
        } else {
            wanted.push(InstanceShape::from(instance).desired());
            held.insert(instance.id, Why::new("in use"));
        }
    }
    Some((DesiredGpu::Exactly(wanted), held))
}

/// Asks one restartable lease to move where its leaving lets a waiting request in and it finds
/// room elsewhere: the one with the fewest slices, of those the smallest.
fn ask_to_move(draft: &mut Draft<'_>) {
    let moving = |lease: &Lease| {
        let notice = lease.notice.as_ref().map(|notice| &notice.reason);
        matches!(notice, Some(NoticeReason::Move { .. }))
            || matches!(lease.phase, Phase::Granting { .. } | Phase::Ending { .. })
    };
    let (state, world) = (&*draft.state, draft.world);
    if !state.leases.values().any(|lease| lease.spec.terms.restartable && lease.holds_slices())
        || state.leases.values().any(moving)
    {
        return;
    }
    let long = |lease: &&Lease| {
        let waited = lease.requested_at.plus(world.policy.hysteresis) <= world.now;
        waited && lease.spec.terms.booking.is_none()
    };
    let Some(asker) = state.queue().find(long) else { return };
    let recent = |at: &Timestamp| at.plus(HOUR) > world.now;
    let asked =
        state.leases.values().filter(|lease| lease.asked_to_move.as_ref().is_some_and(recent));
    if asked.count() as u32 >= world.policy.moves_per_hour {
        return;
    }
    let may = |lease: &&Lease| {
        lease.spec.terms.restartable
            && matches!(lease.phase, Phase::Active { .. })
            && lease.notice.is_none()
            && !lease.slices.is_empty()
            && !lease.asked_to_move.as_ref().is_some_and(recent)
    };
    let size = |lease: &Lease| {
        let units = lease.slices.iter().map(|s| u32::from(s.key.placement.size.get()));
        (lease.slices.len(), units.sum::<u32>(), lease.id)
    };
    let mut candidates: Vec<&Lease> = state.leases.values().filter(may).collect();
    candidates.sort_unstable_by_key(|lease| size(lease));
    let found = candidates.into_iter().find(|lease| helps(draft, asker, lease));
    if let Some((lease, for_lease)) = found.map(|lease| (lease.id, asker.id)) {
        moves::displace(draft, lease, NoticeReason::Move { for_lease: Some(for_lease) });
    }
}

/// Whether both find room once a lease has left its slices.
fn helps(draft: &Draft<'_>, asker: &Lease, leaving: &Lease) -> bool {
    let (state, world) = (&*draft.state, draft.world);
    let mut views = keep::Views::new(state, world);
    let view = views.of(state, world, Some(asker.id), &asker.spec);
    let mut then = views.rooms(view).to_vec();
    let wanted = want(&asker.spec, world, &then);
    if world
        .planner
        .choose_many_by(world.policy.placement, &then, &wanted, asker.spec.count, world.forecast)
        .is_some()
    {
        // It is not for room that it waits.
        return false;
    }
    let gone = |id: LeaseId| id == leaving.id;
    for room in &mut then {
        let gpu = room.gpu.clone();
        room.occupants.retain(|occupant| {
            let owner = ends::owner(state, &gpu, occupant.part);
            occupant.hold == Hold::Warm || !matches!(owner, ends::Owner::Lease(id) if gone(id))
        });
    }
    for spec in [&asker.spec, &leaving.spec] {
        let wanted = want(spec, world, &then);
        let choices = world.planner.choose_many_by(
            world.policy.placement,
            &then,
            &wanted,
            spec.count,
            world.forecast,
        );
        let Some(choices) = choices else { return false };
        for choice in &choices {
            then[choice.room].take(choice);
        }
    }
    true
}
