//! Leases of whole GPUs: which are free, which can be made so, and when they are cut again.
//!
//! Must never give a GPU away on which anything lies or runs, nor flip its mode back and forth.

use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use model::{
    GpuInstanceId, GpuSnapshot, GpuUuid, Health, LeaseId, MigMode, MigState, Plan, Purpose, Step,
    Timestamp,
};

use crate::claim::Claim;
use crate::command::{Refusal, World};
use crate::cordon::leases_on;
use crate::decide::Draft;
use crate::endings::begin_end;
use crate::ends::{self, GRANT, Owner};
use crate::event::{EndReason, Event};
use crate::grant::open_plan;
use crate::quota::Stake;
use crate::request::{RequestSpec, Wanted};
use crate::rooms::{Use, gpu_list, join, rooms, unusable_reason, uses, want};
use crate::serve::Block;
use crate::state::{Lease, SliceKey, State};
use crate::terms::Arrangement;
use crate::{bookings, keep, quota};

/// What a GPU is to somebody who wants all of it.
enum Standing {
    /// It can be had as it is.
    Ready,
    /// It can be had once MIG is off; these idle slices go before.
    Turn(Vec<(GpuInstanceId, SliceKey)>),
    /// MIG is being disabled there.
    Turning,
    /// Something lies or runs there, and will end.
    Occupied,
    /// It is out of use, or its mode may not be changed.
    Out,
}

/// Whether a GPU could be a whole one at all.
pub(crate) fn can_be_whole(gpu: &GpuSnapshot, auto_mig: bool) -> bool {
    match gpu.mig {
        MigState::Unsupported => true,
        MigState::Supported { current, pending } => {
            auto_mig || (current, pending) == (MigMode::Disabled, MigMode::Disabled)
        }
    }
}

/// Whether MIG is off after the next reset.
fn is_pending_off(gpu: &GpuSnapshot) -> bool {
    matches!(gpu.mig, MigState::Supported { pending: MigMode::Disabled, .. })
}

fn standing(state: &State, world: &World<'_>, gpu: &GpuSnapshot) -> Standing {
    let uuid = &gpu.uuid;
    if gpu.health != Health::Ok
        || state.avoided.contains(uuid)
        || state.cordons.contains_key(uuid)
        || state.is_left_alone(uuid) && !state.lends(uuid)
        || state.quarantine.contains_key(uuid)
        || state.hangs(uuid).is_some()
        || !can_be_whole(gpu, world.policy.auto_mig)
    {
        return Standing::Out;
    }
    let idle: Option<Vec<(GpuInstanceId, SliceKey)>> = gpu
        .instances
        .iter()
        .zip(uses(state, gpu))
        .map(|(instance, used)| {
            let key = SliceKey { gpu: uuid.clone(), placement: instance.placement };
            (used == Use::Warm && !instance.is_busy()).then_some((instance.id, key))
        })
        .collect();
    let free = gpu.processes.is_empty()
        && !state.maintenance.contains(uuid)
        && state.plans.values().all(|open| open.gpus().all(|on| on != uuid))
        && leases_on(state, uuid).is_empty();
    let turning = state.plans.values().any(|open| {
        open.plan.purpose == Purpose::Prepare
            && open.plan.steps.iter().any(|step| match step {
                Step::SetMigMode { gpu, mode } => gpu == uuid && *mode == MigMode::Disabled,
                Step::ResetGpu { gpu: of } => of == uuid && is_pending_off(gpu),
                Step::DestroyComputeInstance { .. }
                | Step::DestroyGpuInstance { .. }
                | Step::CreateGpuInstance { .. }
                | Step::CreateComputeInstance { .. } => false,
            })
    });
    if turning {
        return Standing::Turning;
    }
    let off = match gpu.mig {
        MigState::Unsupported => true,
        MigState::Supported { current, pending } => {
            (current, pending) == (MigMode::Disabled, MigMode::Disabled)
        }
    };
    match idle {
        Some(idle) if free && off && idle.is_empty() => Standing::Ready,
        // While a mode is pending nothing else works, so nothing may lie there.
        // A fixed GPU is had as it is or not at all.
        Some(_) if !off && state.fixed.contains_key(uuid) => Standing::Out,
        Some(idle) if free && !off && (idle.is_empty() || !gpu.mig.needs_reset()) => {
            Standing::Turn(idle)
        }
        Some(_) | None => Standing::Occupied,
    }
}

/// Whether a GPU can be had as a whole as soon as the leases on it have ended.
pub(crate) fn can_be_had(state: &State, world: &World<'_>, gpu: &GpuSnapshot) -> bool {
    match standing(state, world, gpu) {
        Standing::Ready | Standing::Turn(_) | Standing::Turning => true,
        Standing::Occupied => {
            !leases_on(state, &gpu.uuid).is_empty()
                || state.maintenance.contains(&gpu.uuid)
                || state.plans.values().any(|open| open.gpus().any(|on| *on == gpu.uuid))
        }
        Standing::Out => false,
    }
}

/// GPUs that a request names, those that can do nothing else first.
pub(crate) fn named<'w>(world: &World<'w>, spec: &RequestSpec) -> Vec<&'w GpuSnapshot> {
    let gpus = world.observed.gpus.iter().filter(|gpu| spec.gpu.matches(gpu));
    let mut gpus: Vec<&GpuSnapshot> = gpus.collect();
    gpus.sort_by_key(|gpu| (gpu.mig != MigState::Unsupported, gpu.index));
    gpus
}

/// Those of them that its tenant's cap can ever hold: waiting for another would never end.
pub(crate) fn affordable<'w>(world: &World<'w>, spec: &RequestSpec) -> Vec<&'w GpuSnapshot> {
    let rules = world.policy.tenant(&spec.tenant);
    let holds = |gpu: &&GpuSnapshot| !quota::over_cap(rules, Stake::default(), Stake::of_gpu(gpu));
    named(world, spec).into_iter().filter(holds).collect()
}

/// Whether the GPUs are there at all.
pub(crate) fn admit(draft: &Draft<'_>, spec: &RequestSpec) -> Result<(), Refusal> {
    let named = named(draft.world, spec);
    if named.is_empty() {
        return Err(Refusal::NoSuchGpu {
            selector: spec.gpu.to_string(),
            present: crate::grant::present(&draft.world.observed.gpus),
        });
    }
    let auto_mig = draft.world.policy.auto_mig;
    let most = named.iter().filter(|gpu| can_be_whole(gpu, auto_mig)).count() as u32;
    if most == 0 {
        let gpus: Vec<String> =
            named.iter().map(|gpu| alloc::format!("GPU {} ({})", gpu.index, gpu.name)).collect();
        return Err(Refusal::MigOn(gpus.join(", ")));
    }
    let together = if spec.terms.arrangement == Arrangement::SameGpu { 1 } else { most };
    if spec.count > together {
        return Err(Refusal::NeverFits { asked: spec.wish(), most: together });
    }
    Ok(())
}

/// Why a request for whole GPUs that was accepted can never be met after all: what it named could
/// not be read when it came, and now that it can, its mode turns out to be one that must stay, or it
/// to be more than the tenant may ever have.
/// `None` while any of those GPUs cannot be read.
pub(crate) fn impossible(draft: &Draft<'_>, spec: &RequestSpec) -> Option<Refusal> {
    let (state, world) = (&*draft.state, draft.world);
    let named = named(world, spec);
    let known = !named.is_empty() && named.iter().all(|gpu| gpu.health == Health::Ok);
    if !known {
        return None;
    }
    let over_cap = || {
        let rooms = rooms(state, world.observed);
        let want = want(spec, world, &rooms);
        quota::refuse_over_cap(world, spec, &want, &rooms)
    };
    admit(draft, spec).and_then(|()| over_cap()).err()
}

/// The GPUs that a request can have now, beside what its tenant holds.
pub(crate) fn choose(
    state: &State,
    world: &World<'_>,
    id: Option<LeaseId>,
    spec: &RequestSpec,
    held: Stake,
) -> Result<Vec<GpuUuid>, Block> {
    let ready = |gpu: &GpuSnapshot| matches!(standing(state, world, gpu), Standing::Ready);
    let gpus: Vec<&GpuSnapshot> = if let Some(id) = spec.terms.booking {
        let booking = state.bookings.get(&id).filter(|_| keep::may_use(state, spec, id));
        let begun = booking.filter(|b| b.spec.from <= world.now && world.now < b.spec.until);
        let kept = &begun.ok_or(Block::Booking)?.whole;
        kept.iter().filter_map(|uuid| world.observed.gpu(uuid)).filter(|gpu| ready(gpu)).collect()
    } else {
        let kept = kept_from(state, world, id, spec);
        let free = |gpu: &&GpuSnapshot| ready(gpu) && !kept.contains(&gpu.uuid);
        affordable(world, spec).into_iter().filter(free).collect()
    };
    let rules = world.policy.tenant(&spec.tenant);
    let chosen: Vec<&GpuSnapshot> = gpus.into_iter().take(spec.count as usize).collect();
    if chosen.len() < spec.count as usize {
        return Err(Block::Room);
    }
    let more = chosen.iter().map(|gpu| Stake::of_gpu(gpu)).fold(Stake::default(), Stake::plus);
    if quota::over_cap(rules, held, more) {
        return Err(Block::Cap);
    }
    Ok(chosen.into_iter().map(|gpu| gpu.uuid.clone()).collect())
}

/// GPUs on which something is kept for others, before whose time the request will not be over.
pub(crate) fn kept_from(
    state: &State,
    world: &World<'_>,
    id: Option<LeaseId>,
    spec: &RequestSpec,
) -> BTreeSet<GpuUuid> {
    let mut gpus = BTreeSet::new();
    for kept in keep::kept(state, world) {
        if kept.closed_to(state, world, id, spec) {
            gpus.extend(kept.places.into_iter().map(|(gpu, _)| gpu).chain(kept.whole));
        }
    }
    gpus
}

/// Opens the grant of whole GPUs that are free.
pub(crate) fn open_grant(draft: &mut Draft<'_>, id: LeaseId, gpus: Vec<GpuUuid>) {
    open_plan(draft, Plan::nothing(Purpose::Grant(id)), Vec::new(), Vec::new(), gpus);
}

/// What a request for whole GPUs waits for.
pub(crate) fn explain(
    state: &State,
    world: &World<'_>,
    id: Option<LeaseId>,
    spec: &RequestSpec,
) -> String {
    let kept = kept_from(state, world, id, spec);
    let (mut ready, mut waits): (u32, Vec<(usize, Waits)>) = (0, Vec::new());
    for gpu in named(world, spec) {
        let (cost, what) = match standing(state, world, gpu) {
            Standing::Ready if kept.contains(&gpu.uuid) => {
                let what = alloc::format!("GPU {}, which is kept for others,", gpu.index);
                (20, Waits::Other(what))
            }
            Standing::Ready => {
                ready += 1;
                continue;
            }
            Standing::Turn(_) | Standing::Turning => {
                (0, Waits::Other(alloc::format!("MIG to be disabled on GPU {}", gpu.index)))
            }
            Standing::Occupied => occupied(state, gpu),
            Standing::Out if !can_be_whole(gpu, world.policy.auto_mig) => continue,
            Standing::Out => {
                let why = unusable_reason(state, gpu);
                (30, Waits::Other(alloc::format!("{} {why}", gpu_list(&[gpu.index.get()]))))
            }
        };
        waits.push((cost, what));
    }
    waits.sort_by_key(|(cost, _)| *cost);
    let needed = spec.count.saturating_sub(ready).max(u32::from(!waits.is_empty())) as usize;
    if ready >= spec.count || waits.is_empty() {
        return "its turn; there is a free GPU for it".to_string();
    }
    in_words(state, waits.into_iter().take(needed).map(|(_, what)| what))
}

/// What a request for whole GPUs waits for on one of them.
enum Waits {
    /// These leases to end there.
    Leases(Vec<LeaseId>, u32),
    /// Something else, in words.
    Other(String),
}

/// Who has several of the GPUs is named once.
fn in_words(state: &State, waits: impl Iterator<Item = Waits>) -> String {
    let mut parts: Vec<(Vec<LeaseId>, Vec<u32>, String)> = Vec::new();
    for wait in waits {
        match wait {
            Waits::Leases(leases, gpu) => {
                match parts.iter_mut().find(|(known, ..)| *known == leases) {
                    Some((_, gpus, _)) => gpus.push(gpu),
                    None => parts.push((leases, alloc::vec![gpu], String::new())),
                }
            }
            Waits::Other(words) => parts.push((Vec::new(), Vec::new(), words)),
        }
    }
    let of = |id: &LeaseId| Some(alloc::format!("{id} of {}", state.lease(*id)?.spec.tenant));
    let words = parts.into_iter().map(|(leases, mut gpus, words)| {
        if leases.is_empty() {
            return words;
        }
        gpus.sort_unstable();
        let names: Vec<String> = leases.iter().filter_map(of).collect();
        alloc::format!("{} (on {}) to end", join(&names), gpu_list(&gpus))
    });
    join(&words.collect::<Vec<String>>())
}

/// Who is on a GPU, and how many there are.
fn occupied(state: &State, gpu: &GpuSnapshot) -> (usize, Waits) {
    let leases = leases_on(state, &gpu.uuid);
    if !leases.is_empty() {
        return (leases.len(), Waits::Leases(leases, gpu.index.get()));
    }
    let foreign = uses(state, gpu).contains(&Use::Foreign);
    let what = if foreign {
        "to be free of instances that migd did not make"
    } else if !gpu.processes.is_empty() || gpu.instances.iter().any(model::GpuInstance::is_busy) {
        "to be free of processes"
    } else {
        "to be free of a change under way"
    };
    (10, Waits::Other(alloc::format!("GPU {} {what}", gpu.index)))
}

/// What the waiting requests for whole GPUs make of the machine.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    /// GPUs that stay whole for them.
    pub(crate) gpus: BTreeSet<GpuUuid>,
    /// GPUs whose MIG mode is to be disabled for them, with the idle slices that go before.
    pub(crate) turn: Vec<(GpuUuid, Vec<(GpuInstanceId, SliceKey)>)>,
}

/// Which GPUs are kept or made whole for those who wait. Nothing is claimed for a request that the
/// GPUs in use cannot serve even when their leases end.
pub(crate) fn claims(draft: &Draft<'_>) -> Claims {
    let (state, world) = (&*draft.state, draft.world);
    let mut claims = Claims::default();
    let waiting = state.queue().filter(|lease| lease.spec.wanted == Wanted::WholeGpu);
    let booked = state.bookings.values().filter(|booking| {
        let soon = booking.spec.from <= world.now.plus(bookings::clearing_time(world.policy));
        soon && !booking.whole.is_empty()
    });
    for booking in booked {
        let gpus = booking.whole.iter().filter_map(|uuid| world.observed.gpu(uuid)).collect();
        claim(state, world, gpus, booking.whole.len(), &mut claims);
    }
    for lease in waiting {
        let kept = kept_from(state, world, Some(lease.id), &lease.spec);
        let free = |gpu: &&GpuSnapshot| !kept.contains(&gpu.uuid);
        let gpus = affordable(world, &lease.spec).into_iter().filter(free).collect();
        claim(state, world, gpus, lease.spec.count as usize, &mut claims);
    }
    claims
}

fn claim(
    state: &State,
    world: &World<'_>,
    gpus: Vec<&GpuSnapshot>,
    count: usize,
    claims: &mut Claims,
) {
    let (mut ready, mut turn, mut later) = (Vec::new(), Vec::new(), 0);
    for gpu in gpus.into_iter().filter(|gpu| !claims.gpus.contains(&gpu.uuid)) {
        match standing(state, world, gpu) {
            // On its way: nothing else is turned for it.
            Standing::Turning => ready.insert(0, gpu.uuid.clone()),
            Standing::Ready => ready.push(gpu.uuid.clone()),
            Standing::Turn(idle) => turn.push((gpu.uuid.clone(), idle)),
            Standing::Occupied => later += 1,
            Standing::Out => {}
        }
    }
    if ready.len() + turn.len() + later < count {
        return;
    }
    ready.truncate(count);
    let missing = count - ready.len();
    claims.gpus.extend(ready);
    if turn.len() < missing {
        return;
    }
    turn.sort_by_key(|(_, idle)| idle.len());
    turn.truncate(missing);
    for (gpu, idle) in turn {
        claims.gpus.insert(gpu.clone());
        if is_rested(state, world, &gpu) {
            claims.turn.push((gpu, idle));
        }
    }
}

/// When all of a GPU can be had at the latest, as long as nobody new comes; `None` where no hard
/// limit says so.
/// `asks` tells whether whom the claim drives out is asked to leave.
pub(crate) fn had_by(
    state: &State,
    world: &World<'_>,
    gpu: &GpuSnapshot,
    claim: &Claim<'_>,
    asks: bool,
) -> Option<Timestamp> {
    free_by(state, world, gpu, &|owner| match owner {
        Owner::Lease(id) if !asks => ends::latest(state, world, state.lease(id)?),
        owner @ (Owner::Lease(_) | Owner::Change | Owner::Visitor { .. } | Owner::Stranger) => {
            ends::owner_latest(state, world, owner, Some(claim))
        }
    })
}

/// When all of a GPU can probably be had, as long as nobody new comes.
pub(crate) fn likely_by(state: &State, world: &World<'_>, gpu: &GpuSnapshot) -> Option<Timestamp> {
    free_by(state, world, gpu, &|owner| match owner {
        Owner::Lease(id) => state.lease(id).map(|lease| ends::likely(state, world, lease)),
        Owner::Change => Some(world.now.plus(GRANT)),
        Owner::Visitor { .. } | Owner::Stranger => None,
    })
}

/// `gone` tells when somebody who is in the way has left.
fn free_by(
    state: &State,
    world: &World<'_>,
    gpu: &GpuSnapshot,
    gone: &dyn Fn(Owner) -> Option<Timestamp>,
) -> Option<Timestamp> {
    let uuid = &gpu.uuid;
    let mut free = world.now;
    match standing(state, world, gpu) {
        Standing::Ready => return Some(free),
        Standing::Turning => return Some(free.plus(GRANT)),
        Standing::Turn(_) => {}
        Standing::Occupied => {
            // Whoever computes there without a lease leaves when it likes.
            let stranger = !gpu.processes.is_empty() && state.whole_lease(uuid).is_none();
            if stranger || !can_be_had(state, world, gpu) {
                return None;
            }
            for owner in ends::in_the_way(state, world, &[], core::slice::from_ref(uuid)) {
                free = free.max(gone(owner)?);
            }
            if state.maintenance.contains(uuid) {
                free = free.max(world.now.plus(GRANT));
            }
        }
        Standing::Out => return None,
    }
    let off = match gpu.mig {
        MigState::Unsupported => true,
        MigState::Supported { pending, .. } => pending == MigMode::Disabled,
    };
    if off {
        return Some(free);
    }
    // Its mode is changed, once it was left alone long enough.
    let rested = state.turned.get(uuid).map(|at| at.plus(world.policy.hysteresis));
    let due = state.prepared.get(uuid).map(crate::state::Attempts::due);
    let from = rested.into_iter().chain(due).fold(free, Timestamp::max);
    Some(from.plus(GRANT))
}

/// Whether the mode of a GPU was left alone long enough to be changed again.
pub(crate) fn is_rested(state: &State, world: &World<'_>, gpu: &GpuUuid) -> bool {
    let turned =
        state.turned.get(gpu).is_none_or(|at| at.plus(world.policy.hysteresis) <= world.now);
    turned && state.prepared.get(gpu).is_none_or(|attempts| attempts.due() <= world.now)
}

/// Whether MIG may be enabled on a GPU that is whole and idle: at once where we never changed its
/// mode, and where it served as a whole GPU before, once somebody waits for a slice there.
pub(crate) fn may_be_cut(draft: &Draft<'_>, gpu: &GpuSnapshot) -> bool {
    let (state, world) = (&*draft.state, draft.world);
    if state.whole_lease(&gpu.uuid).is_some() || !is_rested(state, world, &gpu.uuid) {
        return false;
    }
    let Some(geometry) = gpu.geometry.as_deref() else { return false };
    let waits =
        |lease: &Lease| lease.spec.gpu.matches(gpu) && lease.spec.wanted.on(geometry).is_ok();
    !state.turned.contains_key(&gpu.uuid)
        || gpu.mig.needs_reset()
        || state.queue().any(waits)
        || state.bookings.values().any(|booking| {
            booking.places.iter().any(|place| place.key.gpu == gpu.uuid)
                && booking.spec.from <= world.now.plus(bookings::clearing_time(world.policy))
        })
}

/// Disables MIG on GPUs that are claimed whole, with the GPU out of use meanwhile.
pub(crate) fn turn(draft: &mut Draft<'_>, claims: &Claims) {
    for (uuid, idle) in &claims.turn {
        let Some(gpu) = draft.world.observed.gpu(uuid) else { continue };
        let (ids, keys): (Vec<GpuInstanceId>, Vec<SliceKey>) = idle.iter().cloned().unzip();
        let Ok(plan) = planner::plan_whole(gpu, &ids, Purpose::Prepare) else { continue };
        draft.emit(Event::MaintenanceBegan { gpu: uuid.clone() });
        open_plan(draft, plan, Vec::new(), keys, Vec::new());
    }
}

/// Ends leases of whole GPUs that somebody else cut.
pub(crate) fn lose_cut(draft: &mut Draft<'_>, gpu: &GpuSnapshot) {
    let Some(id) = draft.state.whole_lease(&gpu.uuid) else { return };
    let cut = gpu.mig.is_enabled() || !gpu.instances.is_empty();
    let held = draft.state.lease(id).is_some_and(|lease| lease.whole.contains(&gpu.uuid));
    if cut && held {
        let found = alloc::format!("MIG was enabled on GPU {}", gpu.index);
        begin_end(draft, id, EndReason::SliceLost(found));
    }
}
