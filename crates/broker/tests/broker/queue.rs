//! Who is served when, with what, and what those who wait are told.

use std::collections::BTreeSet;

use broker::{Command, EndReason, GpuSelector, Patience};
use model::{Millis, PlacedProfile, Placement, Step};

use crate::changes::uuid;
use crate::machine::{Origin, PEER_ADMIN, Rig};

#[test]
fn the_older_request_is_served_first_where_both_fit() {
    let mut rig = Rig::new(&["a30"]);
    let holder = rig.ask(1, "4g.24gb");
    let older = rig.ask(2, "4g.24gb");
    let younger = rig.ask(3, "1g.6gb");
    rig.release(holder);
    assert!(rig.is_active(older) && rig.is_queued(younger));
}

#[test]
fn what_does_not_fit_is_skipped() {
    let mut rig = Rig::new(&["a30"]);
    let (left, right) = (rig.ask(1, "2g.12gb"), rig.ask(1, "2g.12gb"));
    let large = rig.ask(2, "4g.24gb");
    let (first, second) = (rig.ask(3, "2g.12gb"), rig.ask(4, "2g.12gb"));
    rig.release(left);
    assert!(rig.is_queued(large) && rig.is_active(first) && rig.is_queued(second));
    rig.release(right);
    assert!(rig.is_queued(large) && rig.is_active(second));
    rig.release(first);
    rig.release(second);
    assert!(rig.is_active(large));
}

#[test]
fn several_slices_come_together_or_not_at_all() {
    let mut rig = Rig::new(&["a30"]);
    let holder = rig.ask(1, "1g.6gb");
    let from = rig.journal.len();
    let mut spec = rig.spec(2, "2g.12gb");
    spec.count = 2;
    let id = rig.request(spec).unwrap();
    rig.settle();
    assert!(rig.is_queued(id));
    assert!(rig.steps_since(from).is_empty(), "half of it is not begun");
    rig.release(holder);
    let keys: BTreeSet<_> = rig.lease(id).slices.iter().map(|slice| slice.key.clone()).collect();
    assert!(rig.is_active(id));
    assert_eq!(keys.len(), 2);
}

#[test]
fn waiting_ends_with_the_patience() {
    let mut rig = Rig::new(&["a30"]);
    rig.ask(1, "4g.24gb");
    let mut spec = rig.spec(2, "1g.6gb");
    spec.patience = Patience::AtMost(Millis::from_secs(10));
    let id = rig.request(spec).unwrap();
    rig.tick(Millis::new(9_999));
    assert!(rig.is_queued(id));
    rig.tick(Millis::new(1));
    assert_eq!(rig.ended(id), Some(&EndReason::WaitExpired));
}

#[test]
fn a_granted_lease_does_not_expire_with_the_patience_it_had() {
    let mut rig = Rig::new(&["a30"]);
    let mut spec = rig.spec(2, "1g.6gb");
    spec.patience = Patience::AtMost(Millis::from_secs(10));
    let id = rig.request(spec).unwrap();
    rig.settle();
    rig.tick(Millis::from_secs(3600));
    assert!(rig.is_active(id));
}

#[test]
fn a_warm_slice_is_granted_without_a_driver_step() {
    let mut rig = Rig::new(&["a30"]);
    let first = rig.ask(1, "2g.12gb");
    let slice = rig.lease(first).slices[0].clone();
    rig.release(first);
    let from = rig.journal.len();
    let second = rig.ask(2, "2g.12gb");
    assert_eq!(rig.lease(second).slices, [slice]);
    assert!(rig.steps_since(from).is_empty());
}

#[test]
fn a_warm_slice_with_a_process_on_it_is_not_granted() {
    let mut rig = Rig::new(&["a30"]);
    let first = rig.ask(1, "4g.24gb");
    let key = rig.lease(first).slices[0].key.clone();
    rig.release(first);
    let pid = rig.stranger_on(&key);
    rig.observe();
    let from = rig.journal.len();
    let second = rig.ask(2, "4g.24gb");
    assert!(rig.is_queued(second) && rig.steps_since(from).is_empty());
    rig.machine.stop(pid);
    rig.settle();
    assert!(rig.is_active(second));
}

#[test]
fn only_warm_slices_are_evicted() {
    let mut rig = Rig::new(&["a30"]);
    let small: Vec<_> = (0..4).map(|_| rig.ask(1, "1g.6gb")).collect();
    let kept = rig.lease(small[0]).slices[0].clone();
    for id in &small[1..] {
        rig.release(*id);
    }
    let from = rig.journal.len();
    let large = rig.ask(2, "2g.12gb");
    assert!(rig.is_active(large) && rig.is_active(small[0]));
    let destroyed: Vec<Placement> = rig
        .steps_since(from)
        .iter()
        .filter_map(|step| match step {
            Step::DestroyGpuInstance { placement, .. } => Some(*placement),
            _ => None,
        })
        .collect();
    assert_eq!(destroyed.len(), 2, "the fewest");
    assert!(!destroyed.contains(&kept.key.placement));
    let next = rig.ask(3, "2g.12gb");
    assert!(rig.is_queued(next), "the leased slice stays");
    assert!(rig.machine.exists(&kept));
}

#[test]
fn idle_slices_are_retired_after_their_time() {
    let mut rig = Rig::new(&["a30"]);
    let id = rig.ask(1, "1g.6gb");
    rig.release(id);
    rig.tick(Millis::from_secs(299));
    rig.settle();
    assert_eq!(rig.machine.origins.len(), 1);
    rig.tick(Millis::from_secs(1));
    rig.settle();
    assert!(rig.machine.origins.is_empty() && rig.state.slices.is_empty());
}

#[test]
fn no_grant_relies_on_an_eviction_that_is_under_way() {
    let mut rig = Rig::new(&["a30"]);
    let idle = rig.ask(1, "2g.12gb");
    rig.ask(1, "2g.12gb");
    rig.release(idle);
    let specs = [rig.spec(2, "1g.6gb"), rig.spec(3, "1g.6gb")];
    let ids = specs.map(|spec| rig.request(spec).unwrap());
    // Were both plans open, the second would be unsound if it were executed first.
    assert_eq!(rig.running.len(), 1);
    rig.settle();
    assert!(rig.is_active(ids[0]) && rig.is_active(ids[1]));
}

#[test]
fn who_waits_is_told_for_whom() {
    let mut rig = Rig::new(&["a30"]);
    let half = rig.ask(1, "2g.12gb");
    let quarters = [rig.ask(2, "1g.6gb"), rig.ask(3, "1g.6gb")];
    let waits = rig.ask(4, "2g.12gb");
    assert_eq!(rig.why(waits), format!("{half} of user1 (2g.12gb on GPU 0) to end"));
    let waits = rig.ask(4, "4g.24gb");
    let why = rig.why(waits);
    for id in [half, quarters[0], quarters[1]] {
        assert!(why.contains(&format!("{id} of user")), "{why}");
    }
}

#[test]
fn who_waits_is_told_of_grants_under_way_and_foreign_instances() {
    let mut rig = Rig::new(&["a30"]);
    let spec = rig.spec(1, "4g.24gb");
    let first = rig.request(spec).unwrap();
    let spec = rig.spec(2, "1g.6gb");
    let waits = rig.request(spec).unwrap();
    assert_eq!(rig.why(waits), format!("{first} of user1 (4g.24gb on GPU 0) to end"));
    rig.settle();
    rig.release(first);

    let mut rig = Rig::new(&["a30"]);
    let gpu = rig.machine.node.gpus[0].uuid.clone();
    let geometry = rig.machine.node.gpus[0].geometry.clone().unwrap();
    let profile = geometry.full_profile().unwrap().id;
    let part = PlacedProfile { placement: Placement::new(0, 4), profile };
    rig.machine.foreign_create(&gpu, part, Origin::Foreign).unwrap();
    rig.observe();
    let waits = rig.ask(2, "1g.6gb");
    assert!(rig.why(waits).starts_with("an instance that migd did not make"), "{}", rig.why(waits));
}

#[test]
fn a_cancelled_request_leaves_the_queue() {
    let mut rig = Rig::new(&["a30"]);
    rig.ask(1, "4g.24gb");
    let id = rig.ask(2, "1g.6gb");
    let end = Command::End { lease: id, by: PEER_ADMIN, holder: false };
    rig.command(end).unwrap();
    assert_eq!(rig.ended(id), Some(&EndReason::Cancelled));
}

/// Between places that are equally good a lease goes where it puts off least that the GPU becomes empty;
/// what says nothing of its length goes by the order of the GPUs.
#[test]
fn leases_that_end_together_lie_together() {
    let hour = Millis::from_secs(3600);
    let hours = |count: u64| Millis::new(hour.get() * count);
    let (long, short) = (Some(hours(10)), Some(hour));
    for (expect, index) in [(short, 1), (long, 0), (None, 0)] {
        let mut rig = Rig::new(&["a30", "a30"]);
        for (gpu, expect) in [(0, long), (1, short)] {
            let mut spec = rig.spec(1, "2g.12gb");
            spec.gpu = GpuSelector::Index(gpu);
            spec.expect = expect;
            rig.request(spec).unwrap();
            rig.settle();
        }
        let mut spec = rig.spec(2, "2g.12gb");
        spec.expect = expect;
        let lease = rig.request(spec).unwrap();
        rig.settle();
        assert_eq!(rig.lease(lease).slices[0].key.gpu, uuid(index), "{expect:?}");
    }
}
