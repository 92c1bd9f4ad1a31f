//! What must hold after every event, whatever happened.
//!
//! Must never be weakened for a seed: a seed that breaks one of these has found something.

use broker::{Event, Phase, Progress, SliceUse};
use model::{Purpose, Step};

use super::{Origin, Rig};

/// Checks everything.
pub(crate) fn check(rig: &Rig) {
    records_do_not_overlap(rig);
    leases_and_records_agree(rig);
    leased_slices_exist(rig);
    plans_and_phases_agree(rig);
    every_instance_of_ours_is_explained(rig);
    nobody_is_on_the_slice_of_another(rig);
    whole_gpus_have_no_slices(rig);
    nothing_goes_to_gpus_out_of_use(rig);
    booked_places_are_free_in_time(rig);
    changed_and_fixed_gpus_are_left_alone(rig);
    changes_are_whole(rig);
}

fn records_do_not_overlap(rig: &Rig) {
    let keys: Vec<_> = rig.state.slices.keys().collect();
    for (index, one) in keys.iter().enumerate() {
        for other in &keys[index + 1..] {
            let apart = one.gpu != other.gpu || !one.placement.overlaps(other.placement);
            assert!(apart, "records overlap: {one:?} {other:?}");
        }
    }
}

fn leases_and_records_agree(rig: &Rig) {
    for lease in rig.state.leases.values() {
        let has = !lease.slices.is_empty() || !lease.whole.is_empty();
        assert_eq!(lease.holds_slices(), has, "{lease:?}");
        for slice in &lease.slices {
            let record = rig.state.slices.get(&slice.key);
            let record = record.expect("a leased slice has a record");
            assert_eq!(record.used, SliceUse::Leased(lease.id), "two leases share {slice:?}");
            assert_eq!(record.slice, *slice);
        }
    }
    for record in rig.state.slices.values() {
        if let SliceUse::Leased(id) = record.used {
            let lease = rig.state.lease(id);
            let has = lease.is_some_and(|lease| lease.slices.contains(&record.slice));
            assert!(has, "a ghost has {record:?}");
        }
    }
}

fn leased_slices_exist(rig: &Rig) {
    for lease in rig.state.leases.values() {
        for slice in &lease.slices {
            let there = rig.machine.exists(slice) || rig.stolen.contains(&slice.key);
            assert!(there, "{} has {slice:?}, which does not exist", lease.id);
        }
    }
}

/// Nobody else has anything on a GPU that a lease has all of.
fn whole_gpus_have_no_slices(rig: &Rig) {
    for lease in rig.state.leases.values() {
        for gpu in &lease.whole {
            let others = rig.state.leases.values().filter(|other| other.id != lease.id);
            for other in others {
                assert!(!other.is_on(gpu), "{} and {} share {gpu}", lease.id, other.id);
            }
            let record = rig.state.slices.keys().find(|key| key.gpu == *gpu);
            assert!(record.is_none(), "{record:?} lies on a GPU of {}", lease.id);
        }
    }
    for process in &rig.machine.processes {
        let Some(id) = process.lease else { continue };
        for gpu in &process.whole {
            let has = rig.state.lease(id).is_some_and(|lease| lease.whole.contains(gpu));
            assert!(has, "{process:?} is on {gpu}, which {id} no longer has");
        }
    }
}

/// The newest plan, when it was just opened, grants nothing on a GPU that is out of use.
fn nothing_goes_to_gpus_out_of_use(rig: &Rig) {
    let Some(Event::PlanOpened { steps, targets, whole, .. }) =
        rig.journal.last().map(|s| &s.event)
    else {
        return;
    };
    if !matches!(steps.purpose, Purpose::Grant(_) | Purpose::Warm) {
        return;
    }
    for gpu in targets.iter().map(|target| &target.key.gpu).chain(whole) {
        let out = rig.state.cordons.contains_key(gpu) || rig.state.quarantine.contains_key(gpu);
        assert!(!out, "{gpu} is out of use and gets {targets:?}");
    }
}

/// The newest plan, when it was just opened, is nothing that happens by itself on a GPU that is
/// under a change or fixed; what it lends there lies there already.
fn changed_and_fixed_gpus_are_left_alone(rig: &Rig) {
    let Some(Event::PlanOpened { plan, steps, targets, .. }) = rig.journal.last().map(|s| &s.event)
    else {
        return;
    };
    let own = rig.state.change_of(*plan).is_some();
    let rollback = matches!(steps.purpose, Purpose::Rollback(_));
    for gpu in steps.gpus() {
        let fixed = rig.state.fixed.contains_key(gpu) || rig.state.change_on(gpu).is_some();
        assert!(own || rollback || !fixed, "{steps:?} on a GPU that is left alone");
    }
    for target in targets {
        let gpu = &target.key.gpu;
        assert!(rig.state.change_on(gpu).is_none(), "{steps:?} on a GPU under change");
        let lent = rig.state.fixed.get(gpu).is_none_or(|fixed| fixed.lend && target.reuse);
        assert!(lent, "{steps:?} on a fixed GPU");
    }
}

/// Units are stopped only while a change is open, and a change that is over left its GPUs as
/// wanted, as before, or says what stands.
fn changes_are_whole(rig: &Rig) {
    for unit in &rig.stopped {
        let mut open = rig.state.changes.values().filter(|change| change.is_open());
        assert!(open.any(|change| change.units.names.contains(unit)), "{unit} is down");
    }
    for change in rig.state.changes.values().filter(|change| !change.is_open()) {
        for (gpu, part) in &change.gpus {
            let right = match part.progress {
                Progress::Done => change.turned.is_none(),
                Progress::Undone | Progress::Stands { .. } => change.turned.is_some(),
                _ => false,
            };
            assert!(right, "{} ended with {gpu} {:?}", change.id, part.progress);
        }
    }
}

/// A booking can be kept: whoever is on its places ends by itself before, or agreed to be ended,
/// or is ending. GPUs that fail or are cordoned break a booking, and so do strangers.
fn booked_places_are_free_in_time(rig: &Rig) {
    for booking in rig.state.bookings.values() {
        let from = booking.spec.from;
        for lease in rig.state.leases.values() {
            let Phase::Active { .. } = lease.phase else { continue };
            let across = booking.places.iter().any(|place| {
                let key = &place.key;
                let over = |slice: &broker::GrantedSlice| {
                    slice.key.gpu == key.gpu && slice.key.placement.overlaps(key.placement)
                };
                lease.slices.iter().any(over) || lease.whole.contains(&key.gpu)
            });
            let across = across || booking.whole.iter().any(|gpu| lease.is_on(gpu));
            let other = lease.spec.terms.booking.and_then(|id| rig.state.bookings.get(&id));
            let own = lease.spec.terms.booking == Some(booking.id);
            let before = other.is_some_and(|other| other.spec.until <= from);
            let limit = lease.deadline().is_some_and(|end| end <= from);
            let fine = own || before || limit || lease.spec.terms.preemptible;
            assert!(!across || fine, "{} is on a place of {booking:?}", lease.id);
        }
    }
}

fn plans_and_phases_agree(rig: &Rig) {
    for lease in rig.state.leases.values() {
        if let Phase::Granting { plan } = lease.phase {
            let open = rig.state.plans.get(&plan);
            let purpose = open.map(|open| &open.plan.purpose);
            assert_eq!(purpose, Some(&Purpose::Grant(lease.id)));
        }
    }
    for record in rig.state.slices.values() {
        if let SliceUse::InPlan(plan) = record.used {
            assert!(rig.state.plans.contains_key(&plan), "{record:?} waits for no plan");
        }
    }
    for gpu in &rig.state.maintenance {
        let preparing = rig.state.plans.values().any(|open| {
            let turns = |step: &Step| {
                step.gpu() == gpu && matches!(step, Step::SetMigMode { .. } | Step::ResetGpu { .. })
            };
            open.plan.steps.iter().any(turns)
        });
        assert!(preparing, "{gpu} is in maintenance and nothing happens there");
    }
}

/// L4 at every moment: no instance of ours is outside records, orphans and open plans.
fn every_instance_of_ours_is_explained(rig: &Rig) {
    for (key, origin) in &rig.machine.origins {
        if *origin != Origin::Ours {
            continue;
        }
        let coming = rig.state.plans.values().flat_map(|open| &open.plan.steps).any(|step| {
            matches!(step, Step::CreateGpuInstance { gpu, placement, .. }
                if *gpu == key.gpu && *placement == key.placement)
        });
        let explained = coming
            || rig.state.slices.contains_key(key)
            || rig
                .state
                .change_on(&key.gpu)
                .is_some_and(|c| c.gpus[&key.gpu].ours.iter().any(|slice| slice.key == *key))
            || rig.state.orphans.iter().any(|orphan| orphan.key == *key);
        assert!(explained, "nobody remembers our instance at {key:?}");
    }
}

/// L3: a slice is proven empty before somebody else may get it.
fn nobody_is_on_the_slice_of_another(rig: &Rig) {
    for process in &rig.machine.processes {
        let Some(id) = process.lease else { continue };
        for key in &process.on {
            let lease = rig.state.lease(id);
            let has = lease.is_some_and(|lease| lease.slices.iter().any(|s| s.key == *key));
            assert!(has, "{process:?} is on {key:?}, which {id} no longer has");
        }
    }
}
