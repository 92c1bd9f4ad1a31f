//! What must hold after every act, whatever happened: one function a law, each with its sentence.
//!
//! Must never be weakened for a seed: a seed that breaks one of these has found something.

use broker::{Phase, SliceKey, SliceUse};
use model::{ChangeId, PlanId, Purpose, Step};

use crate::bench::{Change, Made, Origin};
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
/// `by_hand` is the change whose plan it is, and that plan.
pub(crate) fn on_act(
    room: &mut Room,
    step: Option<&Step>,
    change: &Change,
    by_hand: Option<(ChangeId, PlanId)>,
) {
    for gone in &change.gone {
        if is_others(room, gone) && !by_hand.is_some_and(|plan| is_meant(room, plan, gone)) {
            let text = format!("a foreign instance was destroyed: {gone:?} by {step:?}");
            room.broken.push(("L1: no foreign instance is destroyed", text));
        }
        let named = step.is_some_and(|step| {
            matches!(step, Step::ResetGpu { .. }) || step.names(&gone.key.gpu, gone.key.placement)
        });
        if !named {
            let text = format!("{gone:?} went by {step:?}");
            room.broken.push(("L5: a plan takes away what its step names", text));
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

/// Whether an instance is neither ours nor recorded as ours.
fn is_others(room: &Room, made: &Made) -> bool {
    let recorded = || {
        room.state.slices.contains_key(&made.key)
            || room.state.orphans.iter().any(|orphan| orphan.key == made.key)
    };
    match made.origin {
        Origin::Foreign => true,
        Origin::Hand => !recorded(),
        Origin::Ours | Origin::Doubtful | Origin::Impostor => false,
    }
}

/// Whether a plan of a change may take an instance away: it lay there when the plan was made; or, to
/// take the change back, the change made one just there.
fn is_meant(room: &Room, (change, plan): (ChangeId, PlanId), gone: &Made) -> bool {
    if let Some(shape) = room.shapes.get(&plan) {
        return shape.instances.iter().any(|there| there.placement == gone.key.placement);
    }
    let change = room.state.changes.get(&change);
    let part = change.and_then(|change| change.gpus.get(&gone.key.gpu));
    part.is_some_and(|part| part.made.iter().any(|made| made.placement == gone.key.placement))
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
/// somebody else may get it. A stranger's instance in place of a slice that the stranger took away
/// is no slice of anybody's, and who came there unknowingly may stay while it is not.
fn nobody_is_on_anothers_slice(room: &Room) -> Result<(), String> {
    for process in room.bench.processes.values() {
        let Some(id) = process.lease else { continue };
        for spot in &process.on {
            let Some(made) = room.bench.origins.get(spot) else { continue };
            let has = |lease: &broker::Lease| lease.slices.iter().any(|s| s.key == made.key);
            let is_nobodys = || !room.state.leases.values().any(has);
            let allowed = room.state.lease(id).is_some_and(has)
                || made.origin == Origin::Impostor && is_nobodys();
            if !allowed {
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
            })
            || is_of_a_change(room, &made.key);
        if !explained {
            return Err(format!("nobody remembers {made:?}"));
        }
    }
    Ok(())
}

/// Whether an idle slice was ours when an open change began to take it away: it is ours again, or
/// looked after, when the change is taken back.
fn is_of_a_change(room: &Room, key: &SliceKey) -> bool {
    let open = room.state.changes.values().filter(|change| change.is_open());
    let mut parts = open.filter_map(|change| change.gpus.get(&key.gpu));
    parts.any(|part| part.ours.iter().any(|slice| slice.key == *key))
}

/// What a tenant holds and what is being made for it stays under its cap.
fn no_tenant_exceeds_its_cap(room: &Room) -> Result<(), String> {
    super::office::caps_hold(room)
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

/// Each law, broken on purpose.
#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use broker::{Command, State};
    use broker::{GpuSelector, Holder, Patience, Policy, Reply, RequestSpec, Terms, Wanted};
    use model::{Placement, Tenant, Uid};
    use planner::Planner;
    use sim_gpu::HostSpec;

    use super::*;
    use crate::bench::Bench;

    /// A room in which one lease has one slice, and another slice is idle.
    fn room() -> Room {
        let bench = Bench::new(&HostSpec::cards("laws", "a30", 1).unwrap()).unwrap();
        bench.enable_mig();
        let mut policy = Policy::default();
        super::super::office::rules(&mut policy);
        let mut room = Room::new(bench, policy, Planner::default()).unwrap();
        for uid in [1, 2] {
            let client = room.new_process();
            let holder = Holder::Process { boot: room.boot_id(), client, command: None };
            let spec = RequestSpec {
                tenant: Tenant::new("tenant1"),
                uid: Uid::new(uid),
                wanted: Wanted::Profile("1g.6gb".parse().unwrap()),
                count: 1,
                gpu: GpuSelector::Any,
                time: None,
                expect: None,
                patience: Patience::Forever,
                name: None,
                holder,
                command: None,
                terms: Terms::default(),
            };
            let Ok(Reply::Lease(lease)) = room.ask(Command::Request(spec)) else {
                panic!("not accepted");
            };
            assert!(room.settle());
            if uid == 2 {
                let by = broker::Peer { uid: Uid::new(uid), admin: false };
                room.ask(Command::End { lease, by, holder: true }).unwrap();
                assert!(room.settle());
            }
        }
        assert_eq!(broken(&mut room), None);
        room
    }

    fn law_after(spoil: impl FnOnce(&mut State)) -> Option<&'static str> {
        let mut room = room();
        spoil(Arc::make_mut(&mut room.state));
        broken(&mut room).map(|(law, _)| law)
    }

    #[test]
    fn a_slice_with_two_leases_is_seen() {
        let law = law_after(|state| {
            let (id, mut twin) = state.leases.pop_first().unwrap();
            state.leases.insert(id, twin.clone());
            twin.id = model::LeaseId::new(77);
            state.leases.insert(twin.id, twin);
        });
        assert_eq!(law, Some("L3: no slice has two leases"));
    }

    #[test]
    fn overlapping_records_are_seen() {
        let law = law_after(|state| {
            let (key, record) = state.slices.first_key_value().unwrap();
            let (mut key, mut record) = (key.clone(), record.clone());
            key.placement = Placement::new(0, 4);
            record.slice.key = key.clone();
            record.used = SliceUse::Warm { since: model::Timestamp::default() };
            state.slices.insert(key, record);
        });
        assert_eq!(law, Some("L3: no two records overlap"));
    }

    #[test]
    fn a_forgotten_instance_is_seen() {
        let law = law_after(|state| {
            state.slices.retain(|_, record| matches!(record.used, SliceUse::Leased(_)));
        });
        assert_eq!(law, Some("L4: no instance of ours is forgotten"));
    }

    #[test]
    fn a_ghost_is_seen() {
        let mut room = room();
        let key = room.state.leases.values().next().unwrap().slices[0].key.clone();
        room.bench.foreign_destroy(0, key.placement).unwrap();
        assert_eq!(broken(&mut room).map(|(law, _)| law), Some("L4: no lease is a ghost"));
    }

    #[test]
    fn somebody_on_anothers_slice_is_seen() {
        let mut room = room();
        let slice = room.state.leases.values().next().unwrap().slices[0].clone();
        let habits = crate::processes::Habits { listed: true, dies_of: None };
        let stranger = Some(model::LeaseId::new(99));
        room.bench.start(stranger, &[(0, Some(slice.gpu_instance))], habits).unwrap();
        let law = broken(&mut room).map(|(law, _)| law);
        assert_eq!(law, Some("L3: nobody is on a slice that his lease does not have"));
    }

    #[test]
    fn who_came_to_a_strangers_instance_unknowingly_may_stay_until_somebody_is_granted_it() {
        let mut room = room();
        let lease = room.state.leases.values().next().unwrap().clone();
        let slice = lease.slices[0].clone();
        let habits = crate::processes::Habits { listed: true, dies_of: None };
        room.bench.start(Some(lease.id), &[(0, Some(slice.gpu_instance))], habits).unwrap();
        let made = room.bench.origins.values_mut().find(|made| made.key == slice.key).unwrap();
        made.origin = Origin::Impostor;
        Arc::make_mut(&mut room.state).leases.remove(&lease.id);
        assert_eq!(nobody_is_on_anothers_slice(&room), Ok(()));
        let other = broker::Lease { id: model::LeaseId::new(77), ..lease };
        Arc::make_mut(&mut room.state).leases.insert(other.id, other);
        assert!(nobody_is_on_anothers_slice(&room).is_err());
    }

    #[test]
    fn a_plan_that_nobody_opened_is_seen() {
        let law = law_after(|state| {
            let lease = state.leases.values_mut().next().unwrap();
            let plan = PlanId::new(99);
            lease.phase = Phase::Granting { plan };
            lease.slices.clear();
            let used = SliceUse::InPlan(plan);
            for record in state.slices.values_mut() {
                record.used = used;
            }
        });
        assert_eq!(law, Some("L5: every plan that is waited for is open"));
    }

    #[test]
    fn too_much_for_a_cap_is_seen() {
        let law = law_after(|state| {
            let lease = state.leases.values_mut().next().unwrap();
            let five = vec![lease.slices[0].clone(); 5];
            lease.slices = five;
        });
        assert_eq!(law, Some("L6: no tenant exceeds its cap"));
    }

    #[test]
    fn what_a_plan_must_not_take_is_seen() {
        let mut room = room();
        let key = room.state.leases.values().next().unwrap().slices[0].key.clone();
        for (origin, law) in [
            (Origin::Ours, "L1: no leased instance is destroyed"),
            (Origin::Foreign, "L1: no foreign instance is destroyed"),
        ] {
            let gone = vec![Made { origin, key: key.clone() }];
            on_act(&mut room, None, &Change { made: Vec::new(), gone }, None);
            assert!(room.broken.iter().any(|(seen, _)| *seen == law), "{law}");
            assert!(room.broken.iter().any(|(seen, _)| seen.starts_with("L5")));
            room.broken.clear();
        }
    }

    #[test]
    fn a_journal_that_folds_to_another_state_is_seen() {
        let mut room = room();
        Arc::make_mut(&mut room.state).next_lease += 1;
        room.replay();
        let law = broken(&mut room).map(|(law, _)| law);
        assert_eq!(law, Some("L7: the journal folds to the state"));
    }
}
