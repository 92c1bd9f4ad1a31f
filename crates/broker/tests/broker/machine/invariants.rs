//! What must hold after every event, whatever happened.
//!
//! Must never be weakened for a seed: a seed that breaks one of these has found something.

use broker::{Phase, SliceUse};
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
        assert_eq!(lease.holds_slices(), !lease.slices.is_empty(), "{lease:?}");
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
        let preparing =
            rig.state.plans.values().any(|open| {
                open.plan.purpose == Purpose::Prepare && open.plan.gpus().contains(&gpu)
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
