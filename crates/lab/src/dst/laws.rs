//! What must hold after every act, whatever happened: one function a law, each with its sentence.
//!
//! Must never be weakened for a seed: a seed that breaks one of these has found something.

use broker::{Phase, SliceUse};
use model::{Purpose, Step};

use crate::bench::{Change, Origin};
use crate::room::{Broken, Room};

/// A law of the state and the machine as they are.
pub(crate) type Law = (&'static str, fn(&Room) -> Result<(), String>);

/// The laws that hold at every moment.
pub(crate) const LAWS: &[Law] = &[
    ("L3: no two records overlap", no_two_records_overlap),
    ("L3: no slice has two leases", no_slice_has_two_leases),
    ("L3: nobody is on a slice that his lease does not have", nobody_is_on_anothers_slice),
    ("L4: no lease is a ghost", no_lease_is_a_ghost),
    ("L4: no instance of ours is forgotten", no_instance_of_ours_is_forgotten),
    ("L6: no tenant exceeds its cap", no_tenant_exceeds_its_cap),
    ("L5: every plan that is waited for is open", plans_and_phases_agree),
];

/// The first law that does not hold.
pub(crate) fn broken(room: &mut Room) -> Option<Broken> {
    if let Some(seen) = room.broken.pop() {
        return Some(seen);
    }
    LAWS.iter().find_map(|(name, law)| law(room).err().map(|text| (*name, text)))
}

/// L1 and L5, at the moment when a plan acts on a GPU: what it takes away is nobody's, and what
/// comes and goes is what its step says.
pub(crate) fn on_act(room: &mut Room, step: Option<&Step>, change: &Change) {
    for gone in &change.gone {
        if gone.origin == Origin::Foreign {
            let text = format!("a foreign instance was destroyed: {gone:?} by {step:?}");
            room.broken.push(("L1: no foreign instance is destroyed", text));
        }
        let holder = room.state.leases.values().find(|lease| {
            lease.slices.iter().any(|slice| slice.key == gone.key)
                && !room.stolen.contains(&gone.key)
        });
        if let Some(lease) = holder {
            let text = format!("{} had {gone:?}, destroyed by {step:?}", lease.id);
            room.broken.push(("L1: no leased instance is destroyed", text));
        }
    }
    let (most_made, most_gone) = match step {
        Some(Step::CreateGpuInstance { .. }) => (1, 1),
        Some(Step::DestroyGpuInstance { .. }) => (0, 1),
        Some(Step::ResetGpu { .. }) => (0, usize::MAX),
        Some(
            Step::SetMigMode { .. }
            | Step::DestroyComputeInstance { .. }
            | Step::CreateComputeInstance { .. },
        )
        | None => (0, 0),
    };
    if change.made.len() > most_made || change.gone.len() > most_gone {
        let text = format!("{step:?} made {:?} and took away {:?}", change.made, change.gone);
        room.broken.push(("L5: a plan does what its steps say", text));
    }
}

/// Two slices of one GPU never share a unit of its grid.
fn no_two_records_overlap(room: &Room) -> Result<(), String> {
    let mut keys = room.state.slices.keys().peekable();
    while let Some(one) = keys.next() {
        // Ordered by GPU and place: whoever overlaps one of them overlaps its neighbour.
        if let Some(next) = keys.peek()
            && next.gpu == one.gpu
            && one.placement.overlaps(next.placement)
        {
            return Err(format!("{one:?} and {next:?}"));
        }
    }
    Ok(())
}

/// Each leased slice is recorded as that lease's, and each such record has its lease.
fn no_slice_has_two_leases(room: &Room) -> Result<(), String> {
    for lease in room.state.leases.values() {
        if lease.holds_slices() != (!lease.slices.is_empty() || !lease.whole.is_empty()) {
            return Err(format!("phase and slices disagree: {lease:?}"));
        }
        for slice in &lease.slices {
            match room.state.slices.get(&slice.key) {
                Some(record)
                    if record.used == SliceUse::Leased(lease.id) && record.slice == *slice => {}
                other => return Err(format!("{} has {slice:?}, recorded as {other:?}", lease.id)),
            }
        }
    }
    for record in room.state.slices.values() {
        if let SliceUse::Leased(id) = record.used {
            let lease = room.state.lease(id);
            if !lease.is_some_and(|lease| lease.slices.contains(&record.slice)) {
                return Err(format!("a ghost has {record:?}"));
            }
        }
    }
    let mut whole = std::collections::BTreeSet::new();
    for gpu in room.state.leases.values().flat_map(|lease| &lease.whole) {
        if !whole.insert(gpu) {
            return Err(format!("two leases have the whole of {gpu}"));
        }
        if let Some(key) = room.state.slices.keys().find(|key| key.gpu == *gpu) {
            return Err(format!("{key:?} lies on a GPU that is leased as a whole"));
        }
    }
    Ok(())
}

/// A process of a lease is only where that lease has a slice: a slice is proven empty before
/// somebody else may get it.
fn nobody_is_on_anothers_slice(room: &Room) -> Result<(), String> {
    for process in room.bench.processes.values() {
        let Some(id) = process.lease else { continue };
        for spot in &process.on {
            let Some(made) = room.bench.origins.get(spot) else { continue };
            let lease = room.state.lease(id);
            if !lease.is_some_and(|lease| lease.slices.iter().any(|s| s.key == made.key)) {
                return Err(format!("{process:?} is on {made:?}, which {id} does not have"));
            }
        }
        for gpu in &process.on_whole {
            let uuid = &room.bench.gpus()[*gpu];
            if !room.state.lease(id).is_some_and(|lease| lease.whole.contains(uuid)) {
                return Err(format!("{process:?} is on the whole of {uuid}, which {id} has not"));
            }
        }
    }
    Ok(())
}

/// What a lease has exists, or somebody else took it and the broker has yet to notice.
fn no_lease_is_a_ghost(room: &Room) -> Result<(), String> {
    for lease in room.state.leases.values() {
        for slice in &lease.slices {
            if !room.bench.exists(slice) && !room.stolen.contains(&slice.key) {
                return Err(format!("{} has {slice:?}, which does not exist", lease.id));
            }
        }
    }
    Ok(())
}

/// Each instance that a step of ours made is a slice, an orphan or part of an open plan.
fn no_instance_of_ours_is_forgotten(room: &Room) -> Result<(), String> {
    for made in room.bench.origins.values() {
        if made.origin != Origin::Ours {
            continue;
        }
        let explained = room.state.slices.contains_key(&made.key)
            || room.state.orphans.iter().any(|orphan| orphan.key == made.key)
            || room.state.plans.values().flat_map(|open| &open.plan.steps).any(|step| {
                matches!(step, Step::CreateGpuInstance { gpu, placement, .. }
                    if *gpu == made.key.gpu && *placement == made.key.placement)
            });
        if !explained {
            return Err(format!("nobody remembers {made:?}"));
        }
    }
    Ok(())
}

/// What a tenant holds and what is being made for it stays under its cap.
fn no_tenant_exceeds_its_cap(room: &Room) -> Result<(), String> {
    super::office::caps_hold(&room.state.leases)
}

/// A lease that is being granted, a slice in a plan and a GPU in maintenance each wait for a plan
/// that is open.
fn plans_and_phases_agree(room: &Room) -> Result<(), String> {
    let state = &room.state;
    for lease in state.leases.values() {
        if let Phase::Granting { plan } = lease.phase {
            let purpose = state.plans.get(&plan).map(|open| &open.plan.purpose);
            if purpose != Some(&Purpose::Grant(lease.id)) {
                return Err(format!("{} waits for {plan}, which is {purpose:?}", lease.id));
            }
        }
    }
    for record in state.slices.values() {
        if let SliceUse::InPlan(plan) = record.used
            && !state.plans.contains_key(&plan)
        {
            return Err(format!("{record:?} waits for no plan"));
        }
    }
    for gpu in &state.maintenance {
        if !state.plans.values().any(|open| open.gpus().any(|at| at == gpu)) {
            return Err(format!("{gpu} is in maintenance and nothing happens there"));
        }
    }
    Ok(())
}
