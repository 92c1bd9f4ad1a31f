//! The machine as the placement sees it: the snapshot joined with what records say of each part.
//!
//! Must never count an instance as free to take unless a record says it is ours and idle and the
//! driver shows nobody on it.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use model::{
    GpuInstance, GpuSnapshot, Health, LeaseId, MigState, NodeSnapshot, PlacedProfile, Step,
};
use planner::{Hold, Occupant, Room, Want};

use crate::command::World;
use crate::ends::{self, Owner};
use crate::lifecycle::HeldUp;
use crate::request::{RequestSpec, Wanted};
use crate::state::{Lease, Phase, SliceKey, SliceUse, State};
use crate::{bookings, changes, whole, why};

/// What an instance is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// A lease has it.
    Leased(LeaseId),
    /// A lease that must end still has it.
    Ending(LeaseId),
    /// Ours and idle.
    Warm,
    /// Being made or taken away.
    Changing,
    /// Not ours.
    Foreign,
}

/// Whether slices may be granted on a GPU now.
pub fn usable(state: &State, gpu: &GpuSnapshot) -> bool {
    in_order(state, gpu) && !state.is_left_alone(&gpu.uuid)
}

/// Whether nothing stands against using the slices of a GPU, be it fixed or not.
pub(crate) fn in_order(state: &State, gpu: &GpuSnapshot) -> bool {
    gpu.mig.is_enabled()
        && gpu.health == Health::Ok
        && !state.maintenance.contains(&gpu.uuid)
        && !state.avoided.contains(&gpu.uuid)
        && !state.cordons.contains_key(&gpu.uuid)
        && !state.quarantine.contains_key(&gpu.uuid)
        && state.hangs(&gpu.uuid).is_none()
        && state.whole_lease(&gpu.uuid).is_none()
        && state.change_on(&gpu.uuid).is_none()
}

fn record_matches(instance: &GpuInstance, slice: &crate::event::GrantedSlice) -> bool {
    instance.id == slice.gpu_instance
        && instance.profile == slice.profile
        && instance.compute_instances.len() == 1
        && instance.compute_instances.iter().all(|compute| {
            compute.id == slice.compute_instance && compute.uuid.as_ref() == Some(&slice.uuid)
        })
}

/// What each instance of a GPU is for, in the snapshot's order.
pub fn uses(state: &State, gpu: &GpuSnapshot) -> Vec<Use> {
    gpu.instances.iter().map(|instance| use_of(state, gpu, instance)).collect()
}

fn use_of(state: &State, gpu: &GpuSnapshot, instance: &GpuInstance) -> Use {
    let key = SliceKey { gpu: gpu.uuid.clone(), placement: instance.placement };
    let in_plan = || {
        let steps = state.plans.values().flat_map(|open| &open.plan.steps);
        steps.into_iter().any(|step| step.names(&gpu.uuid, instance.placement))
    };
    match state.slices.get(&key).filter(|record| record_matches(instance, &record.slice)) {
        Some(record) => match record.used {
            SliceUse::Leased(lease) => match state.lease(lease).map(|lease| &lease.phase) {
                Some(Phase::Ending { .. }) => Use::Ending(lease),
                _ => Use::Leased(lease),
            },
            SliceUse::Warm { .. } => Use::Warm,
            SliceUse::InPlan(_) => Use::Changing,
        },
        None if in_plan() || state.orphans.iter().any(|orphan| orphan.key == key) => Use::Changing,
        None => Use::Foreign,
    }
}

/// Rooms of every GPU that can do MIG, in the snapshot's order.
pub fn rooms(state: &State, observed: &NodeSnapshot) -> Vec<Room> {
    observed.gpus.iter().filter_map(|gpu| room(state, gpu)).collect()
}

pub(crate) fn room(state: &State, gpu: &GpuSnapshot) -> Option<Room> {
    let geometry = Arc::clone(gpu.geometry.as_ref()?);
    let coming: Vec<PlacedProfile> = state
        .plans
        .values()
        .flat_map(|open| &open.plan.steps)
        .filter_map(|step| {
            let Step::CreateGpuInstance { gpu: on, profile, placement } = step else { return None };
            let part = PlacedProfile { placement: *placement, profile: *profile };
            (*on == gpu.uuid).then_some(part)
        })
        .collect();
    let mut occupants: Vec<Occupant> =
        coming.iter().map(|part| Occupant { part: *part, hold: Hold::Held }).collect();
    for instance in &gpu.instances {
        let part = PlacedProfile { placement: instance.placement, profile: instance.profile };
        // The snapshot may be newer than a plan's step. What a plan is about to take away stays
        // beside what it puts there: nothing more goes on that GPU until the plan has ended, since
        // plans are executed in any order and each must hold by itself.
        if coming.contains(&part) {
            continue;
        }
        let warm = use_of(state, gpu, instance) == Use::Warm && !instance.is_busy();
        occupants.push(Occupant { part, hold: if warm { Hold::Warm } else { Hold::Held } });
    }
    for (key, record) in state.slices.iter().filter(|(key, _)| key.gpu == gpu.uuid) {
        // A record without its slice: held until it is known to be gone, whatever lies there.
        let part = PlacedProfile { placement: key.placement, profile: record.slice.profile };
        if occupants.iter().all(|occupant| occupant.part != part) {
            occupants.push(Occupant { part, hold: Hold::Held });
        }
    }
    for part in leaving(state, gpu) {
        // Somebody else may have taken it away already; a step that comes later must not meet what
        // was put in its place meanwhile.
        if occupants.iter().all(|occupant| occupant.part != part) {
            occupants.push(Occupant { part, hold: Hold::Held });
        }
    }
    let (usable, promised) = (usable(state, gpu), Vec::new());
    Some(Room { gpu: gpu.uuid.clone(), geometry, occupants, usable, promised })
}

/// What open plans are to take away from a GPU.
fn leaving(state: &State, gpu: &GpuSnapshot) -> Vec<PlacedProfile> {
    let steps = state.plans.values().flat_map(|open| &open.plan.steps);
    let parts = steps.filter_map(|step| {
        let Step::DestroyGpuInstance { gpu: on, profile, placement, .. } = step else {
            return None;
        };
        let part = PlacedProfile { placement: *placement, profile: *profile };
        (*on == gpu.uuid).then_some(part)
    });
    parts.collect()
}

/// For each room, the profile that answers a request there; `None` where it may not go.
pub(crate) fn want(spec: &RequestSpec, world: &World<'_>, rooms: &[Room]) -> Want {
    let profiles = rooms.iter().map(|room| {
        let gpu = world.observed.gpu(&room.gpu)?;
        let allowed = spec.gpu.matches(gpu) && can_become_usable(gpu, world.policy.auto_mig);
        let profile = if allowed { spec.wanted.on(&room.geometry).ok()? } else { return None };
        Some(profile.id)
    });
    Want { profiles: profiles.collect(), arrangement: spec.terms.arrangement.into() }
}

/// Whether slices can be granted on the GPU now or without an administrator's help.
pub(crate) fn can_become_usable(gpu: &GpuSnapshot, auto_mig: bool) -> bool {
    match gpu.mig {
        MigState::Unsupported => false,
        MigState::Supported { .. } => gpu.mig.is_enabled() || auto_mig,
    }
}

/// What a waiting request waits for, in one sentence.
pub fn explain(state: &State, world: &World<'_>, lease: &Lease) -> String {
    let rooms = rooms(state, world.observed);
    let words = explain_request(state, world, Some(lease.id), &lease.spec, &rooms);
    let held = lease.held_up.iter().filter(|held| still_held(world, held));
    held.fold(words, |words, held| alloc::format!("{words}; {}", held.by))
}

/// Whether somebody is still there where a grant was held up.
fn still_held(world: &World<'_>, held: &HeldUp) -> bool {
    let Some(gpu) = world.observed.gpu(&held.gpu) else { return false };
    match held.place {
        Some(place) => gpu.instance_at(place).is_some_and(GpuInstance::is_busy),
        None => !gpu.processes.is_empty(),
    }
}

pub(crate) fn explain_spec(
    state: &State,
    world: &World<'_>,
    spec: &RequestSpec,
    rooms: &[Room],
) -> String {
    explain_request(state, world, None, spec, rooms)
}

fn explain_request(
    state: &State,
    world: &World<'_>,
    id: Option<LeaseId>,
    spec: &RequestSpec,
    rooms: &[Room],
) -> String {
    if let Some(words) = bookings::explain(state, world, spec) {
        return words;
    }
    if spec.wanted == Wanted::WholeGpu {
        return whole::explain(state, world, id, spec);
    }
    let want = want(spec, world, rooms);
    if !rooms.iter().enumerate().any(|(i, room)| room.usable && want.profile(i).is_some()) {
        return unusable_sentence(state, world, rooms, &want);
    }
    if let Some(words) = why::cause(state, world, id, spec) {
        return words;
    }
    match world.planner.blockers(rooms, &want, spec.count) {
        Some(blockers) if blockers.is_empty() => "its turn; there is room for it".to_string(),
        Some(blockers) => {
            let places = blockers.iter().map(|blocker| (&rooms[blocker.room], blocker.part));
            let names = occupants(state, world, places);
            alloc::format!("{} to end", join(&names))
        }
        None => unusable_sentence(state, world, rooms, &want),
    }
}

/// Names the GPUs that are not usable and what each kind of trouble waits for.
fn unusable_sentence(state: &State, world: &World<'_>, rooms: &[Room], want: &Want) -> String {
    let mut reasons: Vec<(String, Vec<u32>)> = Vec::new();
    for (index, room) in rooms.iter().enumerate() {
        if want.profile(index).is_none() || room.usable {
            continue;
        }
        let Some(gpu) = world.observed.gpu(&room.gpu) else { continue };
        let why = unusable_reason(state, gpu);
        match reasons.iter_mut().find(|(known, _)| *known == why) {
            Some((_, gpus)) => gpus.push(gpu.index.get()),
            None => reasons.push((why, alloc::vec![gpu.index.get()])),
        }
    }
    let parts: Vec<String> =
        reasons.iter().map(|(why, gpus)| alloc::format!("{} {why}", gpu_list(gpus))).collect();
    if parts.is_empty() { "a GPU that can serve it".to_string() } else { join(&parts) }
}

pub(crate) fn unusable_reason(state: &State, gpu: &GpuSnapshot) -> String {
    let words = changes::left_alone_words(state, &gpu.uuid);
    words.unwrap_or_else(|| plain_reason(state, gpu).to_string())
}

fn plain_reason(state: &State, gpu: &GpuSnapshot) -> &'static str {
    if state.maintenance.contains(&gpu.uuid) {
        return "to be made ready for slices";
    }
    match gpu.health {
        Health::Lost => return "to come back (the driver no longer reaches it)",
        Health::ResetRequired => return "to be reset",
        Health::Failing(_) => return "to be repaired",
        Health::Ok => {}
    }
    if state.cordons.contains_key(&gpu.uuid) {
        "to be put back into use by an administrator"
    } else if state.quarantine.contains_key(&gpu.uuid) {
        "to be well again"
    } else if state.hangs(&gpu.uuid).is_some() {
        "to answer (a driver call there does not come back)"
    } else if state.whole_lease(&gpu.uuid).is_some() {
        "to be given back (a lease has all of it)"
    } else if state.avoided.contains(&gpu.uuid) {
        "to be tried again (the driver refused a change there)"
    } else if gpu.mig.needs_reset() {
        "to be reset, so that its MIG mode comes into force"
    } else if gpu.processes.is_empty() {
        "to be made ready for slices"
    } else {
        "to be free of processes, so that MIG can be enabled"
    }
}

/// `GPU 3`, `GPUs 1 and 3`, `GPUs 0 to 7`.
pub(crate) fn gpu_list(gpus: &[u32]) -> String {
    match gpus {
        [only] => alloc::format!("GPU {only}"),
        [first, .., last]
            if last.saturating_sub(*first) as usize + 1 == gpus.len() && gpus.len() > 2 =>
        {
            alloc::format!("GPUs {first} to {last}")
        }
        several => {
            let names: Vec<String> = several.iter().map(ToString::to_string).collect();
            alloc::format!("GPUs {}", join(&names))
        }
    }
}

/// Who has these places, each lease once, however many of them it has.
pub(crate) fn occupants<'r>(
    state: &State,
    world: &World<'_>,
    places: impl IntoIterator<Item = (&'r Room, PlacedProfile)>,
) -> Vec<String> {
    let (mut leases, mut names) = (Vec::new(), Vec::new());
    for (room, part) in places {
        if let Owner::Lease(id) = ends::owner(state, &room.gpu, part) {
            if leases.contains(&id) {
                continue;
            }
            leases.push(id);
        }
        let name = occupant_sentence(state, world, room, part);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

pub(crate) fn occupant_sentence(
    state: &State,
    world: &World<'_>,
    room: &Room,
    part: PlacedProfile,
) -> String {
    let gpu = world.observed.gpu(&room.gpu);
    let index = gpu.map(|gpu| gpu.index.to_string()).unwrap_or_default();
    let profile = room.geometry.profile(part.profile).map(|p| p.name.to_string());
    let what = alloc::format!("{} on GPU {index}", profile.unwrap_or_default());
    let key = SliceKey { gpu: room.gpu.clone(), placement: part.placement };
    let owner = match state.slices.get(&key).map(|record| record.used) {
        Some(SliceUse::Leased(lease)) => Some(lease),
        _ => state.promised_to(&key),
    };
    match owner.and_then(|id| state.lease(id)) {
        Some(lease) => {
            let idle = why::idle_words(lease, world.now);
            alloc::format!("{} of {} ({what}{idle})", lease.id, lease.spec.tenant)
        }
        None if state.slices.contains_key(&key) => {
            alloc::format!("a change under way ({what})")
        }
        None if gpu.is_some_and(|gpu| gpu.instance_at(part.placement).is_some()) => {
            alloc::format!("an instance that migd did not make or that is in use ({what})")
        }
        None => alloc::format!("a change under way ({what})"),
    }
}

pub(crate) fn join(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => alloc::format!("{} and {last}", first.join(", ")),
    }
}
