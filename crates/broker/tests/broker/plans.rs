//! Plans that fail, and others who change the machine meanwhile.

use broker::{Command, EndReason, GpuSelector, Patience, Phase, SliceKey, Stage};
use model::{Millis, PlacedProfile, Purpose, Step};

use crate::machine::{Advance, Origin, Rig};

fn rollbacks(rig: &Rig) -> usize {
    let plans = rig.running.iter();
    plans.filter(|running| matches!(running.plan.purpose, Purpose::Rollback(_))).count()
}

#[test]
fn a_failed_grant_is_undone_and_waits_again() {
    let mut rig = Rig::new(&["a30"]);
    let spec = rig.spec(1, "4g.24gb");
    let id = rig.request(spec).unwrap();
    rig.do_steps(1);
    assert_eq!(rig.machine.origins.len(), 1, "the GPU instance is there");
    rig.advance(0, Advance::Refused);
    assert!(rig.is_queued(id), "there is no room before the half-made slice is gone");
    assert_eq!(rig.lease(id).failures, 1);
    assert_eq!(rig.lease(id).last_failure.as_deref(), Some("an injected refusal"));
    assert_eq!(rollbacks(&rig), 1);
    rig.settle();
    assert!(rig.is_active(id) && rig.state.orphans.is_empty());
}

#[test]
fn a_grant_that_fails_again_and_again_is_given_up() {
    let mut rig = Rig::new(&["a30"]);
    let spec = rig.spec(1, "4g.24gb");
    let id = rig.request(spec).unwrap();
    for failures in 1..=3 {
        assert!(rig.ended(id).is_none());
        rig.do_steps(0);
        rig.advance(0, Advance::Refused);
        assert_eq!(
            rig.state.lease(id).map(|lease| lease.failures),
            Some(failures).filter(|n| *n < 3)
        );
        // The GPU has its rest, longer each time.
        rig.tick(Millis::from_secs(1 << failures));
    }
    assert_eq!(rig.ended(id), Some(&EndReason::GrantFailed("an injected refusal".into())));
    rig.settle();
    assert!(rig.machine.origins.is_empty() && rig.state.orphans.is_empty());
}

/// A call of a grant does not come back: the request goes elsewhere, nothing else is begun on that GPU,
/// and what the call made is taken away when it has come back.
#[test]
fn a_grant_whose_call_does_not_come_back_goes_elsewhere() {
    let mut rig = Rig::new(&["a30", "a30"]);
    let spec = rig.spec(1, "2g.12gb");
    let id = rig.request(spec).unwrap();
    let (plan, first) = (rig.running[0].id, rig.running[0].plan.gpus()[0].clone());
    rig.do_steps(1);
    let words = String::from("GPU 0: \"create 2g.12gb\" does not come back");
    rig.command(Command::PlanLate { plan, words: words.clone() }).unwrap();
    assert_eq!(rig.state.hangs(&first), Some(words.as_str()));
    assert_eq!(rig.lease(id).last_failure.as_deref(), Some(words.as_str()));
    assert_ne!(rig.running[1].plan.gpus()[0], &first, "it is served by the other GPU");
    let [other, third] = [2, 3].map(|uid| {
        let spec = rig.spec(uid, "2g.12gb");
        rig.request(spec).unwrap()
    });
    while rig.running.len() > 1 {
        rig.advance(1, Advance::Well);
    }
    assert!(
        rig.is_active(id) && rig.is_active(other) && rig.is_queued(third),
        "the GPU that hangs is left alone"
    );
    // The newest call of the plan comes back, and the next one is not made.
    rig.advance(0, Advance::Refused);
    assert!(rig.is_active(id), "the failure is nobody's any more");
    assert_eq!(rig.state.hangs(&first), None);
    rig.settle();
    assert!(rig.is_active(third) && rig.state.orphans.is_empty());
    assert_eq!(rig.machine.origins.len(), 3);
}

/// A daemon that takes over while a call of a grant hangs leaves the request where it has gone.
#[test]
fn a_restart_forgets_a_late_plan_and_not_the_lease() {
    let mut rig = Rig::new(&["a30", "a30"]);
    let spec = rig.spec(1, "2g.12gb");
    let id = rig.request(spec).unwrap();
    let plan = rig.running[0].id;
    rig.command(Command::PlanLate { plan, words: "it hangs".into() }).unwrap();
    while rig.running.len() > 1 {
        rig.advance(1, Advance::Well);
    }
    rig.crash();
    rig.settle();
    assert!(rig.is_active(id) && rig.state.plans.is_empty());
}

/// One GPU on which the driver refuses must not use up the patience of every request.
#[test]
fn a_gpu_that_refuses_is_avoided_while_others_serve() {
    let mut rig = Rig::new(&["a30", "a30"]);
    let spec = rig.spec(1, "4g.24gb");
    let id = rig.request(spec).unwrap();
    let first = rig.running[0].plan.gpus()[0].clone();
    rig.do_steps(0);
    rig.advance(0, Advance::Refused);
    let second = rig.running[0].plan.gpus()[0].clone();
    assert_ne!(first, second);
    rig.settle();
    assert!(rig.is_active(id));
    assert!(rig.state.avoided.contains(&first));
    rig.tick(Millis::from_secs(2));
    assert!(rig.state.avoided.is_empty());
}

#[test]
fn an_immediate_request_does_not_wait_after_its_grant_failed() {
    let mut rig = Rig::new(&["a30"]);
    let mut spec = rig.spec(1, "4g.24gb");
    spec.patience = Patience::Immediate;
    let id = rig.request(spec).unwrap();
    rig.do_steps(1);
    rig.advance(0, Advance::Refused);
    rig.tick(Millis::new(200));
    assert_eq!(rig.ended(id), Some(&EndReason::WaitExpired));
}

#[test]
fn what_somebody_else_made_where_a_plan_failed_is_left_alone() {
    let mut rig = Rig::new(&["a30"]);
    let spec = rig.spec(1, "4g.24gb");
    let id = rig.request(spec).unwrap();
    let target = rig.running[0].targets[0].clone();
    let part = PlacedProfile { placement: target.key.placement, profile: target.profile };
    rig.do_steps(0);
    rig.machine.foreign_create(&target.key.gpu, part, Origin::Foreign).unwrap();
    rig.disturb(&target.key.gpu);
    rig.advance(0, Advance::Well);
    assert_eq!(rig.lease(id).failures, 1);
    for _ in 0..3 {
        rig.settle();
        rig.tick(Millis::from_secs(400));
    }
    assert!(rig.machine.gpu(&target.key.gpu).instance_at(part.placement).is_some());
    assert!(rig.is_queued(id) && rig.state.slices.is_empty() && rig.state.orphans.is_empty());
}

#[test]
fn a_slice_half_taken_away_is_not_forgotten() {
    let mut rig = Rig::new(&["a30"]);
    let idle = rig.ask(1, "2g.12gb");
    rig.ask(1, "2g.12gb");
    let key = rig.lease(idle).slices[0].key.clone();
    rig.release(idle);
    let spec = rig.spec(2, "1g.6gb");
    let id = rig.request(spec).unwrap();
    rig.do_steps(1);
    rig.advance(0, Advance::Refused);
    // Its compute instance is gone and its GPU instance is not.
    assert!(!rig.state.slices.contains_key(&key));
    assert!(rig.state.orphans.iter().any(|orphan| orphan.key == key && orphan.undo));
    rig.settle();
    assert!(rig.is_active(id) && rig.state.orphans.is_empty());
}

#[test]
fn an_orphan_in_use_is_left_alone_until_it_is_idle() {
    let mut rig = Rig::new(&["a30"]);
    let mut spec = rig.spec(1, "2g.12gb");
    spec.count = 2;
    let id = rig.request(spec).unwrap();
    let key = rig.running[0].targets[0].key.clone();
    rig.do_steps(2);
    let pid = rig.stranger_on(&key);
    rig.advance(0, Advance::Refused);
    for _ in 0..3 {
        rig.settle();
        rig.tick(Millis::from_secs(400));
        assert_eq!(rollbacks(&rig), 0);
    }
    assert!(rig.machine.gpu(&key.gpu).instance_at(key.placement).is_some());
    rig.machine.stop(pid);
    rig.settle();
    assert!(rig.is_active(id) && rig.state.orphans.is_empty());
}

#[test]
fn a_rollback_that_fails_is_tried_again_after_a_while() {
    let mut rig = Rig::new(&["a30"]);
    let spec = rig.spec(1, "4g.24gb");
    let id = rig.request(spec).unwrap();
    rig.do_steps(1);
    rig.advance(0, Advance::Refused);
    rig.do_steps(0);
    rig.advance(0, Advance::Refused);
    assert!(rig.running.is_empty() && rig.state.orphans.len() == 1);
    rig.tick(Millis::new(1999));
    assert!(rig.running.is_empty(), "a driver that says no is not hammered");
    rig.tick(Millis::new(1));
    assert_eq!(rollbacks(&rig), 1);
    rig.settle();
    assert!(rig.is_active(id));
}

#[test]
fn a_lease_whose_slice_is_gone_is_over() {
    let mut rig = Rig::new(&["a30"]);
    let id = rig.ask(1, "4g.24gb");
    let key = rig.lease(id).slices[0].key.clone();
    rig.machine.foreign_destroy(&key).unwrap();
    rig.stolen.insert(key.clone());
    rig.disturb(&key.gpu);
    rig.observe();
    let lost = EndReason::SliceLost(format!("GPU 0 has no instance at {}", key.placement));
    assert_eq!(rig.ended(id), Some(&lost));
    assert!(rig.state.slices.is_empty());
}

/// The decision about a snapshot may be lost with a full disk, and no other snapshot comes.
#[test]
fn what_a_snapshot_showed_is_acted_upon_even_if_that_was_not_committed_at_once() {
    let mut rig = Rig::new(&["a30"]);
    let id = rig.ask(1, "4g.24gb");
    let key = rig.lease(id).slices[0].key.clone();
    rig.machine.foreign_destroy(&key).unwrap();
    rig.stolen.insert(key.clone());
    rig.disturb(&key.gpu);
    assert!(rig.look_at(None), "it is seen, and nobody hears of it");
    rig.tick(Millis::from_secs(1));
    assert!(matches!(rig.ended(id), Some(EndReason::SliceLost(_))));
}

#[test]
fn the_slices_a_lease_still_has_are_proven_empty_before_it_ends() {
    let mut rig = Rig::new(&["a30"]);
    let mut spec = rig.spec(1, "2g.12gb");
    spec.count = 2;
    let id = rig.request(spec).unwrap();
    rig.settle();
    let key = rig.lease(id).slices[0].key.clone();
    let survivor = rig.run_on(id, false, Some(Stage::Term));
    rig.machine.foreign_destroy(&key).unwrap();
    rig.stolen.insert(key.clone());
    rig.disturb(&key.gpu);
    rig.observe();
    rig.settle();
    assert!(matches!(&rig.lease(id).phase, Phase::Ending { stage: Stage::Waiting, .. }));
    assert_eq!(rig.lease(id).slices.len(), 1);
    rig.exit(survivor);
    rig.tick(Millis::new(200));
    rig.settle();
    assert!(matches!(rig.ended(id), Some(EndReason::SliceLost(_))));
}

/// An idle slice that is to be handed over vanishes; another request must not get the same place
/// while the first plan may still find something there.
#[test]
fn no_two_leases_get_a_slice_that_vanished_and_came_back() {
    let mut rig = Rig::new(&["a30", "a30"]);
    let first: Vec<_> = (0..4)
        .map(|_| {
            let mut spec = rig.spec(1, "1g.6gb");
            spec.gpu = GpuSelector::Index(0);
            let id = rig.request(spec).unwrap();
            rig.settle();
            id
        })
        .collect();
    rig.release(first[2]);
    rig.release(first[3]);
    let mut spec = rig.spec(2, "1g.6gb");
    spec.gpu = GpuSelector::Index(0);
    rig.request(spec).unwrap();
    let mut spec = rig.spec(2, "1g.6gb");
    spec.count = 2;
    let both = rig.request(spec).unwrap();
    let reused = rig.running[1].targets.iter().find(|target| target.reuse).unwrap();
    let key = reused.key.clone();
    assert_ne!(rig.running[1].plan.gpus(), [&key.gpu], "no step of it is on that GPU");
    rig.machine.foreign_destroy(&key).unwrap();
    rig.disturb(&key.gpu);
    // The end of another plan shows that GPU as it is.
    while rig.running.len() > 1 {
        rig.advance(0, Advance::Well);
    }
    let mut spec = rig.spec(3, "1g.6gb");
    spec.gpu = GpuSelector::Index(0);
    let other = rig.request(spec).unwrap();
    while rig.running.len() > 1 {
        rig.advance(1, Advance::Well);
    }
    rig.settle();
    let slices = |id| rig.state.lease(id).into_iter().flat_map(|lease| &lease.slices);
    let at_key = slices(both).chain(slices(other)).filter(|slice| slice.key == key);
    assert_eq!(at_key.count(), 1);
    assert!(rig.is_active(both));
}

#[test]
fn an_idle_slice_that_was_replaced_is_not_handed_over() {
    let mut rig = Rig::new(&["a30"]);
    let warm = rig.ask(1, "2g.12gb");
    let slice = rig.lease(warm).slices[0].clone();
    rig.release(warm);
    let spec = rig.spec(2, "2g.12gb");
    let id = rig.request(spec).unwrap();
    // Somebody destroys it and makes the same again, with another id.
    let key: SliceKey = slice.key.clone();
    rig.machine.foreign_destroy(&key).unwrap();
    let part = PlacedProfile { placement: key.placement, profile: slice.profile };
    rig.machine.foreign_create(&key.gpu, part, Origin::Foreign).unwrap();
    let gpu = rig.machine.gpu_mut(&key.gpu);
    gpu.instances[0].id = model::GpuInstanceId::new(13);
    rig.disturb(&key.gpu);
    rig.settle();
    let lease = rig.lease(id);
    assert_eq!(lease.failures, 1);
    assert!(lease.slices.iter().all(|slice| slice.key != key), "{lease:?}");
    assert!(rig.is_active(id), "there is room beside it");
}

#[test]
fn what_changed_during_a_plan_is_noticed_at_its_end() {
    let mut rig = Rig::new(&["a30"]);
    let lost = rig.ask(1, "1g.6gb");
    let key = rig.lease(lost).slices[0].key.clone();
    let spec = rig.spec(2, "1g.6gb");
    rig.request(spec).unwrap();
    rig.machine.foreign_destroy(&key).unwrap();
    rig.stolen.insert(key.clone());
    rig.disturb(&key.gpu);
    rig.settle();
    assert!(matches!(rig.ended(lost), Some(EndReason::SliceLost(_))));
}

#[test]
fn foreign_instances_are_never_in_a_plan() {
    let mut rig = Rig::new(&["a30"]);
    let gpu = rig.machine.node.gpus[0].uuid.clone();
    let geometry = rig.machine.node.gpus[0].geometry.clone().unwrap();
    let quarter =
        geometry.smallest_for(&model::geometry::Need { memory: None, compute_slices: None });
    let part =
        PlacedProfile { placement: model::Placement::new(1, 1), profile: quarter.unwrap().id };
    rig.machine.foreign_create(&gpu, part, Origin::Foreign).unwrap();
    rig.disturb(&gpu);
    rig.observe();
    let (fits, waits) = (rig.ask(1, "2g.12gb"), rig.ask(2, "2g.12gb"));
    assert!(rig.is_active(fits) && rig.is_queued(waits));
    rig.release(fits);
    rig.tick(Millis::from_secs(400));
    rig.settle();
    let touched = |step: &Step| step.names(&gpu, part.placement);
    assert!(!rig.steps_since(0).iter().any(touched));
}

/// Somebody destroys an idle slice between its reading back and the word that it is handed over.
#[test]
fn a_slice_that_went_after_it_was_read_back_is_granted_to_nobody() {
    let mut rig = Rig::new(&["a30"]);
    let warm = rig.ask(1, "2g.12gb");
    let slice = rig.lease(warm).slices[0].clone();
    rig.release(warm);
    let spec = rig.spec(2, "2g.12gb");
    let id = rig.request(spec).unwrap();
    let plan = rig.running.remove(0).id;
    rig.machine.foreign_destroy(&slice.key).unwrap();
    rig.observed = rig.machine.node.clone();
    rig.own(Command::PlanFinished { plan, slices: vec![slice.clone()] });
    assert!(rig.lease(id).slices.is_empty() && !rig.state.slices.contains_key(&slice.key));
    assert_eq!(rig.lease(id).failures, 1);
    rig.stolen.insert(slice.key);
    rig.settle();
    assert!(rig.is_active(id), "there is room for another one");
}
