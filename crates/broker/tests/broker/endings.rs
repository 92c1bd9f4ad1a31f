//! How leases end: signals, grace, and the proof that nobody is left.

use broker::{Command, EndReason, Holder, Phase, Stage};
use model::{LeaseId, Millis};

use crate::machine::{PEER_ADMIN, Rig, peer};

fn stage(rig: &Rig, id: LeaseId) -> Stage {
    match &rig.lease(id).phase {
        Phase::Ending { stage, .. } => *stage,
        other => panic!("{id} is {other:?}"),
    }
}

#[test]
fn a_time_limit_terms_then_kills_then_ends_when_empty() {
    let mut rig = Rig::new(&["a30"]);
    let mut spec = rig.spec(1, "4g.24gb");
    spec.time = Some(Millis::from_secs(60));
    let id = rig.request(spec).unwrap();
    rig.settle();
    let stubborn = rig.run_on(id, true, None);
    let waits = rig.ask(2, "1g.6gb");
    rig.tick(Millis::new(59_999));
    assert!(rig.is_active(id));
    rig.tick(Millis::new(1));
    rig.settle();
    assert_eq!((stage(&rig, id), &*rig.signals), (Stage::Term, &[(id, Stage::Term)][..]));
    rig.tick(Millis::new(9_999));
    rig.settle();
    assert_eq!(stage(&rig, id), Stage::Term, "the grace is not over");
    rig.tick(Millis::new(1));
    rig.settle();
    assert_eq!(stage(&rig, id), Stage::Kill);
    assert_eq!(rig.signals.last(), Some(&(id, Stage::Kill)));
    rig.tick(Millis::from_secs(100));
    rig.settle();
    assert!(rig.ended(id).is_none() && rig.is_queued(waits), "somebody is still on the slice");
    rig.exit(stubborn);
    rig.tick(Millis::new(200));
    rig.settle();
    assert_eq!(rig.ended(id), Some(&EndReason::TimeLimit));
    assert!(rig.is_active(waits));
}

#[test]
fn processes_that_obey_term_are_never_killed() {
    let mut rig = Rig::new(&["a30"]);
    let id = rig.ask(1, "1g.6gb");
    rig.run_on(id, true, Some(Stage::Term));
    let client = rig.client(id);
    rig.exit(client);
    rig.settle();
    assert_eq!(rig.ended(id), Some(&EndReason::HolderDied));
    assert_eq!(rig.signals, [(id, Stage::Term)]);
}

#[test]
fn survivors_of_a_release_are_not_signalled_and_stay_charged() {
    let mut rig = Rig::new(&["a30"]);
    let id = rig.ask(1, "4g.24gb");
    // One that NVML does not list yet: the device is open all the same.
    let survivor = rig.run_on(id, false, Some(Stage::Term));
    let waits = rig.ask(2, "1g.6gb");
    rig.release(id);
    // Whoever gave it back ends, as `migctl run` does: that is not the death of a holder.
    let client = rig.client(id);
    rig.exit(client);
    for _ in 0..5 {
        rig.tick(Millis::from_secs(3600));
        rig.settle();
    }
    assert_eq!(stage(&rig, id), Stage::Waiting);
    assert!(rig.signals.is_empty() && rig.is_queued(waits));
    assert_eq!(rig.lease(id).slices.len(), 1);
    let Phase::Ending { held_by, .. } = &rig.lease(id).phase else { unreachable!() };
    assert_eq!(*held_by, [format!("pid {}", survivor.pid)]);
    rig.exit(survivor);
    rig.tick(Millis::new(200));
    rig.settle();
    assert_eq!(rig.ended(id), Some(&EndReason::Released));
    assert!(rig.is_active(waits));
}

#[test]
fn a_released_lease_with_survivors_still_obeys_its_time_limit() {
    let mut rig = Rig::new(&["a30"]);
    let mut spec = rig.spec(1, "1g.6gb");
    spec.time = Some(Millis::from_secs(60));
    let id = rig.request(spec).unwrap();
    rig.settle();
    rig.run_on(id, true, Some(Stage::Term));
    rig.release(id);
    rig.tick(Millis::from_secs(60));
    rig.settle();
    assert_eq!(rig.signals, [(id, Stage::Term)]);
    assert_eq!(rig.ended(id), Some(&EndReason::TimeLimit));
}

#[test]
fn revocation_reaches_what_a_release_left() {
    let mut rig = Rig::new(&["a30"]);
    let id = rig.ask(1, "1g.6gb");
    rig.run_on(id, true, Some(Stage::Kill));
    rig.release(id);
    rig.command(Command::End { lease: id, by: PEER_ADMIN, holder: false }).unwrap();
    rig.settle();
    assert_eq!(stage(&rig, id), Stage::Term);
    rig.tick(Millis::from_secs(10));
    rig.settle();
    assert_eq!(rig.ended(id), Some(&EndReason::Revoked));
}

#[test]
fn a_command_that_attaches_to_an_ending_lease_is_signalled() {
    let mut rig = Rig::new(&["a30"]);
    let id = rig.ask(1, "1g.6gb");
    rig.run_on(id, true, None);
    let client = rig.client(id);
    rig.exit(client);
    rig.settle();
    let command = rig.run_on(id, true, Some(Stage::Term));
    rig.signals.clear();
    rig.command(Command::Attach { lease: id, by: peer(1), command }).unwrap();
    rig.settle();
    assert_eq!(rig.signals, [(id, Stage::Term)]);
    assert!(rig.machine.processes.iter().all(|process| process.pid != command.pid));
}

#[test]
fn the_end_of_the_command_alone_ends_nothing() {
    let mut rig = Rig::new(&["a30"]);
    let id = rig.ask(1, "1g.6gb");
    let command = rig.run_on(id, true, None);
    rig.command(Command::Attach { lease: id, by: peer(1), command }).unwrap();
    rig.settle();
    rig.exit(command);
    rig.settle();
    assert!(rig.is_active(id));
}

#[test]
fn a_token_lives_as_long_as_it_is_renewed() {
    let mut rig = Rig::new(&["a30"]);
    let mut spec = rig.spec(1, "1g.6gb");
    spec.holder = Holder::Token { life: Millis::from_secs(60) };
    let id = rig.request(spec).unwrap();
    rig.settle();
    rig.tick(Millis::from_secs(50));
    rig.command(Command::Renew { lease: id, by: peer(1) }).unwrap();
    rig.tick(Millis::new(59_999));
    assert!(rig.is_active(id));
    rig.tick(Millis::new(1));
    rig.settle();
    assert_eq!(rig.ended(id), Some(&EndReason::NotRenewed));
}

#[test]
fn what_was_made_for_somebody_who_left_stays_warm() {
    for dies in [true, false] {
        let mut rig = Rig::new(&["a30"]);
        let spec = rig.spec(1, "2g.12gb");
        let id = rig.request(spec).unwrap();
        rig.do_effect(0);
        rig.do_steps(1);
        assert!(matches!(rig.lease(id).phase, Phase::Granting { .. }));
        if dies {
            let client = rig.client(id);
            rig.exit(client);
            assert_eq!(rig.ended(id), Some(&EndReason::HolderDied));
        } else {
            rig.command(Command::End { lease: id, by: peer(1), holder: true }).unwrap();
            assert_eq!(rig.ended(id), Some(&EndReason::Cancelled));
        }
        rig.settle();
        assert_eq!(rig.state.slices.len(), 1, "the made slice is kept");
        let from = rig.journal.len();
        let next = rig.ask(2, "2g.12gb");
        assert!(rig.is_active(next) && rig.steps_since(from).is_empty());
    }
}

#[test]
fn a_holder_that_died_before_it_was_watched_is_noticed() {
    let mut rig = Rig::new(&["a30"]);
    let spec = rig.spec(1, "1g.6gb");
    let id = rig.request(spec).unwrap();
    let client = rig.client(id);
    rig.exit(client);
    assert!(rig.ended(id).is_none(), "nobody watched yet");
    rig.settle();
    assert_eq!(rig.ended(id), Some(&EndReason::HolderDied));
}
