//! Requests, the queue, and what becomes of plans.
//!
//! Must never grant a slice before it was read back, nor let a plan disturb a held instance.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use model::geometry::SelectError;
use model::{Geometry, GpuSnapshot, GpuUuid, Health, LeaseId, Plan, PlanId, ProfileName, Purpose};
use planner::{Choice, Room, Verdict};

use crate::command::{Effect, Refusal, World};
use crate::decide::Draft;
use crate::event::{EndReason, Event, GrantedSlice, SliceTarget};
use crate::lifecycle::HeldUp;
use crate::request::{Patience, RequestSpec, Wanted};
use crate::rooms::{can_become_usable, explain_spec, rooms, want};
use crate::serve::Pass;
pub(crate) use crate::serve::schedule;
use crate::state::{OpenPlan, Phase, SliceKey, State};
use crate::{bookings, changes, holders, quota, reclaim, reconcile, whole};

/// Accepts a request, and grants it at once if there is room.
pub(crate) fn request(draft: &mut Draft<'_>, mut spec: RequestSpec) -> Result<LeaseId, Refusal> {
    if let Some(lease) = holders::heir(draft, &spec) {
        holders::replace(draft, lease, spec.holder);
        return Ok(lease);
    }
    quota::resolve(draft.world, &mut spec)?;
    bookings::claim(draft.state, draft.world.now, &mut spec)?;
    let rooms = rooms(draft.state, draft.world.observed);
    admit(draft, &spec, &rooms)?;
    let wanted = want(&spec, draft.world, &rooms);
    if spec.wanted != Wanted::WholeGpu {
        let verdict = draft.world.planner.could_ever_fit(&rooms, &wanted, spec.count);
        if let Verdict::Never { most } = verdict {
            return Err(Refusal::NeverFits { asked: spec.wish(), most });
        }
    }
    quota::refuse_over_cap(draft.world, &spec, &wanted, &rooms)?;
    if spec.patience == Patience::Immediate {
        let mut pass = Pass::new(draft.state, draft.world);
        if pass.place(draft.state, draft.world, None, &spec).is_err() {
            let waits_for = explain_spec(draft.state, draft.world, &spec, &rooms);
            return Err(Refusal::NoRoomNow {
                wish: spec.wish(),
                waits_for: alloc::format!("it would wait for {waits_for}"),
            });
        }
    }
    let lease = LeaseId::new(draft.state.next_lease.max(1));
    let counts_as = counts_as(&spec, draft.world);
    draft.emit(Event::Requested { lease, spec, counts_as });
    let watches = draft.state.lease(lease).map(holders::watches).unwrap_or_default();
    draft.effects.extend(watches);
    schedule(draft);
    Ok(lease)
}

/// The profile that answers a request on the first GPU that has one.
fn counts_as(spec: &RequestSpec, world: &World<'_>) -> Option<ProfileName> {
    let geometries = world.observed.gpus.iter().filter_map(|gpu| gpu.geometry.as_deref());
    let mut answers = geometries.filter_map(|geometry| spec.wanted.on(geometry).ok());
    answers.next().map(|profile| profile.name)
}

/// Everything about a request that can be judged without looking for room.
fn admit(draft: &Draft<'_>, spec: &RequestSpec, rooms: &[Room]) -> Result<(), Refusal> {
    let (state, world) = (&*draft.state, draft.world);
    if spec.count == 0 || spec.count > world.policy.max_count {
        return Err(Refusal::BadCount(world.policy.max_count));
    }
    reclaim::admit(spec, world.policy)?;
    if let Some(name) = &spec.name {
        let twin = state.leases.values().find(|lease| {
            lease.spec.tenant == spec.tenant && lease.spec.name.as_ref() == Some(name)
        });
        if let Some(twin) = twin {
            return Err(Refusal::NameTaken { name: name.clone(), lease: twin.id });
        }
    }
    let waiting = state.queue().filter(|lease| lease.spec.uid == spec.uid).count();
    if waiting as u32 >= world.policy.max_waiting_per_user {
        return Err(Refusal::TooManyWaiting(world.policy.max_waiting_per_user));
    }
    if spec.wanted == Wanted::WholeGpu {
        return whole::admit(draft, spec);
    }
    select(draft, spec, rooms)
}

/// Whether some allowed GPU has a profile that answers the request, whatever runs there.
fn select(draft: &Draft<'_>, spec: &RequestSpec, rooms: &[Room]) -> Result<(), Refusal> {
    let observed = draft.world.observed;
    let allowed: Vec<&GpuSnapshot> =
        observed.gpus.iter().filter(|gpu| spec.gpu.matches(gpu)).collect();
    if allowed.is_empty() {
        return Err(Refusal::NoSuchGpu {
            selector: spec.gpu.to_string(),
            present: present(&observed.gpus),
        });
    }
    let geometry_of = |gpu: &GpuSnapshot| {
        rooms.iter().find(|room| room.gpu == gpu.uuid).map(|room| room.geometry.as_ref())
    };
    let geometries: Vec<&Geometry> = allowed.iter().filter_map(|gpu| geometry_of(gpu)).collect();
    let mut refusals = Vec::new();
    for geometry in &geometries {
        if let Err(error) = spec.wanted.on(geometry) {
            refusals.push(error);
        }
    }
    if refusals.len() == geometries.len() {
        return Err(Refusal::NoSuchSlice(most_telling(refusals)));
    }
    let answers = |gpu: &&&GpuSnapshot| {
        geometry_of(gpu).is_some_and(|geometry| spec.wanted.on(geometry).is_ok())
    };
    let answering: Vec<&GpuSnapshot> = allowed.iter().filter(answers).copied().collect();
    if answering.iter().any(|gpu| can_become_usable(gpu, draft.world.policy.auto_mig)) {
        return Ok(());
    }
    let names: Vec<String> =
        answering.iter().map(|gpu| alloc::format!("GPU {} ({})", gpu.index, gpu.name)).collect();
    Err(Refusal::MigOff(names.join(", ")))
}

/// Of the boards' answers, the one with the largest slice to offer, or the first.
fn most_telling(refusals: Vec<SelectError>) -> SelectError {
    let size = |error: &SelectError| match error {
        SelectError::TooLarge { memory, .. } => memory.get(),
        SelectError::Unknown { .. } | SelectError::ComputePart(..) | SelectError::NoProfiles => 0,
    };
    let mut best = SelectError::NoProfiles;
    for (index, refusal) in refusals.into_iter().enumerate() {
        if index == 0 || size(&refusal) > size(&best) {
            best = refusal;
        }
    }
    best
}

pub(crate) fn present(gpus: &[GpuSnapshot]) -> String {
    match gpus {
        [] => "no GPU".to_string(),
        [only] => alloc::format!("GPU {} ({})", only.index, only.name),
        [first, .., last] => {
            let mut models: Vec<&str> = gpus.iter().map(|gpu| gpu.name.as_str()).collect();
            models.dedup();
            alloc::format!("GPU {} to {} ({})", first.index, last.index, models.join(", "))
        }
    }
}

/// Opens the plan of a grant; false if the snapshot does not hold what the choices rely on.
pub(crate) fn open_grant(
    draft: &mut Draft<'_>,
    id: LeaseId,
    rooms: &[Room],
    choices: &[Choice],
) -> bool {
    let mut steps = Vec::new();
    let mut targets = Vec::new();
    let mut evicted = Vec::new();
    for choice in choices {
        let room = &rooms[choice.room];
        let Some(gpu) = draft.world.observed.gpu(&room.gpu) else { return false };
        let Ok(plan) = planner::plan_grant(gpu, choice, Purpose::Grant(id)) else { return false };
        steps.extend(plan.steps);
        let key = |placement| SliceKey { gpu: room.gpu.clone(), placement };
        targets.push(SliceTarget {
            key: key(choice.part.placement),
            profile: choice.part.profile,
            reuse: choice.reuse,
        });
        evicted.extend(choice.evict.iter().map(|part| key(part.placement)));
    }
    let plan = Plan { purpose: Purpose::Grant(id), steps };
    open_plan(draft, plan, targets, evicted, Vec::new());
    true
}

/// Journals a plan and has it executed.
pub(crate) fn open_plan(
    draft: &mut Draft<'_>,
    plan: Plan,
    targets: Vec<SliceTarget>,
    evicted: Vec<SliceKey>,
    whole: Vec<GpuUuid>,
) {
    let id = PlanId::new(draft.state.next_plan.max(1));
    draft.emit(Event::PlanOpened { plan: id, steps: plan.clone(), targets, evicted, whole });
    draft.effect(Effect::Execute { id, plan });
}

/// A plan is done and read back.
pub(crate) fn plan_finished(draft: &mut Draft<'_>, id: PlanId, slices: Vec<GrantedSlice>) {
    let Some(open) = draft.state.plans.get(&id) else { return };
    if let Some(key) = replaced(draft.state, open, &slices) {
        let place = key.placement;
        let error = alloc::format!("the idle slice at {place} of {} was replaced", key.gpu);
        plan_failed(draft, id, None, error);
        return;
    }
    // The snapshot is at least as new as the plan's own reading back. What has gone since is granted
    // to nobody: no later look would tell of a change.
    let gone = slices.iter().find_map(|slice| {
        let gpu = draft.world.observed.gpu(&slice.key.gpu)?;
        reconcile::difference(gpu, slice).filter(|_| gpu.health == Health::Ok)
    });
    if let Some(found) = gone {
        plan_failed(draft, id, None, found);
        return;
    }
    let (purpose, gpus) = (open.plan.purpose.clone(), open.whole.clone());
    let of_change = changes::of_plan(draft, id);
    draft.emit(Event::PlanFinished { plan: id });
    // What others did to these GPUs meanwhile could not be told from the plan's own work.
    reconcile::lose_missing(draft);
    match purpose {
        Purpose::Grant(lease) => hand_over(draft, id, lease, slices, gpus),
        Purpose::Prepare => end_maintenance(draft),
        Purpose::Warm | Purpose::Defragment => {
            for slice in slices {
                draft.emit(Event::SliceAdopted { slice });
            }
        }
        Purpose::Retire | Purpose::Reconcile => {}
        Purpose::Rollback(_) | Purpose::Apply(_) => changes::plan_ended(draft, of_change),
    }
    schedule(draft);
}

/// Gives what a plan provides to whom it was made for; it stays for the next if he has left, or
/// would be in somebody's way by now.
fn hand_over(
    draft: &mut Draft<'_>,
    plan: PlanId,
    id: LeaseId,
    slices: Vec<GrantedSlice>,
    gpus: Vec<GpuUuid>,
) {
    let asker = draft.state.lease(id).filter(|_| awaits(draft.state, id, plan));
    let late = asker.is_some_and(|it| {
        bookings::late_for(draft.state, draft.world, it, &slices, &gpus).is_some()
    });
    let waits = asker.is_some();
    if waits && !late && !gpus.is_empty() {
        draft.emit(Event::GrantedWhole { lease: id, gpus });
    } else if waits && !late {
        draft.emit(Event::Granted { lease: id, slices });
    } else {
        for slice in slices {
            draft.emit(Event::SliceAdopted { slice });
        }
        if waits {
            draft.emit(Event::Requeued { lease: id });
        }
    }
}

/// A slice that was to be handed over as it was, and is another one now.
fn replaced<'a>(
    state: &State,
    open: &'a OpenPlan,
    slices: &[GrantedSlice],
) -> Option<&'a SliceKey> {
    let mut reused = open.targets.iter().filter(|target| target.reuse).map(|target| &target.key);
    reused.find(|key| {
        let found = slices.iter().find(|slice| slice.key == **key);
        state.slices.get(key).map(|record| &record.slice) != found
    })
}

/// A plan was given up; what it made is undone by a plan of its own.
pub(crate) fn plan_failed(draft: &mut Draft<'_>, id: PlanId, step: Option<u32>, error: String) {
    let Some(open) = draft.state.plans.get(&id) else { return };
    let purpose = open.plan.purpose.clone();
    let of_change = changes::of_plan(draft, id);
    draft.emit(Event::PlanFailed { plan: id, step, error: error.clone() });
    reconcile::lose_missing(draft);
    match purpose {
        Purpose::Grant(lease) => fail_grant(draft, id, lease, error),
        Purpose::Prepare => end_maintenance(draft),
        Purpose::Retire | Purpose::Warm | Purpose::Defragment | Purpose::Reconcile => {}
        Purpose::Rollback(_) | Purpose::Apply(_) => changes::plan_ended(draft, of_change),
    }
    reconcile::sweep(draft);
    schedule(draft);
}

/// What a plan provides is held by somebody from before. That is no failure: the request keeps its
/// turn and goes elsewhere if there is room, since the snapshot shows the holder by now.
pub(crate) fn plan_held_up(draft: &mut Draft<'_>, id: PlanId, held: HeldUp) {
    let Some(open) = draft.state.plans.get(&id) else { return };
    let purpose = open.plan.purpose.clone();
    draft.emit(Event::PlanFailed { plan: id, step: None, error: held.by.clone() });
    reconcile::lose_missing(draft);
    if let Purpose::Grant(lease) = purpose
        && awaits(draft.state, lease, id)
    {
        draft.emit(Event::HeldUp { lease, held });
    }
    reconcile::sweep(draft);
    schedule(draft);
}

/// A step of a plan does not come back from the driver. Whoever it is for goes elsewhere; on its GPUs
/// nothing else is begun until it has ended.
pub(crate) fn plan_late(draft: &mut Draft<'_>, id: PlanId, words: String) {
    let known = draft.state.plans.get(&id).filter(|open| open.late.is_none());
    let Some(purpose) = known.map(|open| open.plan.purpose.clone()) else { return };
    match purpose {
        Purpose::Rollback(_) | Purpose::Apply(_) => return changes::late(draft, id, words),
        Purpose::Grant(_)
        | Purpose::Prepare
        | Purpose::Retire
        | Purpose::Warm
        | Purpose::Defragment
        | Purpose::Reconcile => {
            draft.emit(Event::PlanLate { plan: id, words: words.clone() });
        }
    }
    if let Purpose::Grant(lease) = purpose {
        fail_grant(draft, id, lease, words);
    }
    schedule(draft);
}

/// Whether a request waits for a plan. Closing the plan leaves its phase as it was; it may have left,
/// or be somewhere else by now.
pub(crate) fn awaits(state: &State, lease: LeaseId, plan: PlanId) -> bool {
    state.lease(lease).is_some_and(|lease| lease.phase == Phase::Granting { plan })
}

fn fail_grant(draft: &mut Draft<'_>, plan: PlanId, lease: LeaseId, error: String) {
    if !awaits(draft.state, lease, plan) {
        return;
    }
    draft.emit(Event::GrantUndone { lease, error: error.clone() });
    let failures = draft.state.lease(lease).map_or(0, |lease| lease.failures);
    if failures >= draft.world.policy.max_failures {
        draft.end(lease, EndReason::GrantFailed(error));
    }
}

/// GPUs whose mode no open plan changes are back in use.
pub(crate) fn end_maintenance(draft: &mut Draft<'_>) {
    let preparing: Vec<_> = draft
        .state
        .plans
        .values()
        .filter(|open| changes::turns(&open.plan))
        .flat_map(|open| open.plan.gpus())
        .cloned()
        .collect();
    let over: Vec<_> =
        draft.state.maintenance.iter().filter(|gpu| !preparing.contains(gpu)).cloned().collect();
    for gpu in over {
        draft.emit(Event::MaintenanceEnded { gpu });
    }
}
