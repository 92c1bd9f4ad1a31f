//! What a daemon finds when it takes over.

use broker::{Command, EndReason, Phase, Stage, StepOutcome};
use model::{Millis, PlacedProfile};

use crate::machine::{Advance, Origin, Rig};

#[test]
fn a_whole_slice_of_an_interrupted_plan_is_kept() {
    let mut rig = Rig::new(&["a30"]);
    let spec = rig.spec(1, "2g.12gb");
    let id = rig.request(spec).unwrap();
    rig.do_steps(1);
    rig.advance(0, Advance::Unheard);
    rig.crash();
    assert_eq!(rig.state.slices.len(), 1, "adopted");
    let from = rig.journal.len();
    rig.settle();
    assert!(rig.is_active(id));
    assert_eq!(rig.lease(id).failures, 0, "a crash is not the driver's refusal");
    assert!(rig.steps_since(from).is_empty());
}

#[test]
fn a_half_made_instance_of_an_interrupted_plan_is_taken_away() {
    let mut rig = Rig::new(&["a30"]);
    let spec = rig.spec(1, "2g.12gb");
    let id = rig.request(spec).unwrap();
    let client = rig.client(id);
    rig.do_steps(0);
    rig.advance(0, Advance::Unheard);
    rig.crash();
    assert_eq!(rig.state.orphans.len(), 1);
    rig.exit(client);
    rig.settle();
    assert_eq!(rig.ended(id), Some(&EndReason::HolderDied));
    rig.tick(Millis::from_secs(400));
    rig.settle();
    assert!(rig.machine.origins.is_empty() && rig.state.orphans.is_empty());
}

#[test]
fn a_busy_orphan_is_left_alone_until_it_is_idle() {
    let mut rig = Rig::new(&["a30"]);
    let spec = rig.spec(1, "2g.12gb");
    rig.request(spec).unwrap();
    let key = rig.running[0].targets[0].key.clone();
    rig.do_steps(1);
    rig.advance(0, Advance::Unheard);
    let pid = rig.stranger_on(&key);
    rig.crash();
    rig.tick(Millis::from_secs(400));
    rig.settle();
    assert!(!rig.state.slices.contains_key(&key) && rig.state.orphans.len() == 1);
    assert!(rig.machine.gpu(&key.gpu).instance_at(key.placement).is_some());
    rig.machine.stop(pid);
    rig.settle();
    assert!(rig.state.slices.contains_key(&key) && rig.state.orphans.is_empty());
}

#[test]
fn a_plan_that_had_not_begun_leaves_nothing() {
    let mut rig = Rig::new(&["a30"]);
    let spec = rig.spec(1, "2g.12gb");
    let id = rig.request(spec).unwrap();
    rig.crash();
    rig.settle();
    assert!(rig.is_active(id) && rig.state.orphans.is_empty());
    assert_eq!(rig.machine.origins.len(), 1);
}

#[test]
fn an_interrupted_eviction_keeps_what_is_whole_and_clears_what_is_not() {
    for (steps, whole) in [(0, true), (1, false)] {
        let mut rig = Rig::new(&["a30"]);
        let idle = rig.ask(1, "2g.12gb");
        rig.ask(1, "2g.12gb");
        let key = rig.lease(idle).slices[0].key.clone();
        rig.release(idle);
        let spec = rig.spec(2, "1g.6gb");
        let id = rig.request(spec).unwrap();
        rig.do_steps(steps);
        let client = rig.client(id);
        rig.crash();
        rig.exit(client);
        assert_eq!(rig.state.slices.contains_key(&key), whole);
        rig.settle();
        rig.tick(Millis::from_secs(31));
        rig.settle();
        assert!(rig.state.orphans.is_empty());
    }
}

#[test]
fn a_slice_whose_end_is_in_doubt_is_not_forgotten_for_what_was_to_follow_it() {
    let mut rig = Rig::new(&["a30"]);
    let idle = rig.ask(1, "2g.12gb");
    rig.ask(1, "2g.12gb");
    let key = rig.lease(idle).slices[0].key.clone();
    rig.release(idle);
    let spec = rig.spec(2, "2g.12gb+me");
    let id = rig.request(spec).unwrap();
    let client = rig.client(id);
    let plan = rig.running[0].id;
    assert_eq!(rig.running[0].targets[0].key, key, "another instance at the same place");
    // The compute instance goes; of the instance the driver cannot say, and it stands.
    rig.do_steps(1);
    rig.own(Command::StepDone { plan, step: 1, outcome: StepOutcome::Unsure });
    rig.crash();
    rig.exit(client);
    for _ in 0..2 {
        rig.settle();
        rig.tick(Millis::from_secs(400));
    }
    assert!(rig.machine.gpu(&key.gpu).instance_at(key.placement).is_none(), "cleared");
    assert!(rig.state.orphans.is_empty());
}

#[test]
fn leases_live_through_a_restart_of_the_daemon() {
    let mut rig = Rig::new(&["a30"]);
    let (lives, dies) = (rig.ask(1, "1g.6gb"), rig.ask(2, "1g.6gb"));
    rig.run_on(dies, true, Some(Stage::Kill));
    let client = rig.client(dies);
    rig.alive.remove(&client);
    rig.crash();
    rig.settle();
    assert!(rig.is_active(lives));
    assert!(matches!(rig.lease(dies).phase, Phase::Ending { stage: Stage::Term, .. }));
    // Another restart sends the signal again: nobody knows whether the first was.
    rig.signals.clear();
    rig.crash();
    rig.settle();
    assert_eq!(rig.signals, [(dies, Stage::Term)]);
    rig.tick(Millis::from_secs(10));
    rig.settle();
    assert_eq!(rig.ended(dies), Some(&EndReason::HolderDied));
}

#[test]
fn a_restart_of_the_machine_ends_everything() {
    let mut rig = Rig::new(&["a30"]);
    let (active, waits) = (rig.ask(1, "4g.24gb"), rig.ask(2, "1g.6gb"));
    rig.reboot();
    for id in [active, waits] {
        assert_eq!(rig.ended(id), Some(&EndReason::Rebooted));
    }
    assert!(rig.state.leases.is_empty() && rig.state.slices.is_empty());
    let next = rig.ask(3, "4g.24gb");
    assert!(rig.is_active(next));
}

#[test]
fn what_a_boot_script_made_is_not_ours_even_where_it_looks_the_same() {
    let mut rig = Rig::new(&["a30"]);
    let id = rig.ask(1, "4g.24gb");
    let slice = rig.lease(id).slices[0].clone();
    rig.release(id);
    rig.machine.reboot();
    let part = PlacedProfile { placement: slice.key.placement, profile: slice.profile };
    rig.machine.foreign_create(&slice.key.gpu, part, Origin::Foreign).unwrap();
    assert!(rig.machine.exists(&slice), "the same ids and UUIDs");
    rig.restarted();
    rig.tick(Millis::from_secs(400));
    let waits = rig.ask(2, "1g.6gb");
    assert!(rig.is_queued(waits) && rig.machine.exists(&slice));
}
