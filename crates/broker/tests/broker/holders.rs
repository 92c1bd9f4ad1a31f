//! Leases that outlive their holder, and those that follow a container.

use broker::{Command, Effect, EndReason, Event, Holder, Policy, Refusal, Stage};
use model::{LeaseId, Millis, Uid};

use super::machine::{Rig, peer};

const LINGER: Millis = Millis::from_secs(600);
const A100: &str = "a100-sxm4-40gb";

fn service(rig: &mut Rig) -> broker::RequestSpec {
    let mut spec = rig.spec(1, "1g.5gb");
    spec.name = Some("llm".into());
    spec.terms.linger = Some(LINGER);
    spec
}

fn started(rig: &mut Rig) -> LeaseId {
    let spec = service(rig);
    let id = rig.request(spec).unwrap();
    rig.settle();
    assert!(rig.is_active(id));
    id
}

#[test]
fn a_named_lease_keeps_its_slice_for_the_next_holder() {
    let mut rig = Rig::new(&[A100]);
    let id = started(&mut rig);
    let slices = rig.lease(id).slices.clone();
    let left = rig.run_on(id, true, Some(Stage::Term));
    let client = rig.client(id);
    rig.exit(client);
    rig.settle();
    assert_eq!(rig.lease(id).lingering_until, Some(rig.now.plus(LINGER)));
    assert!(rig.signals.contains(&(id, Stage::Term)), "what is left would share the slice");
    assert!(!rig.machine.is_running(left.pid));
    rig.crash();
    rig.tick(Millis::from_secs(300));
    rig.settle();
    assert!(rig.is_active(id), "also after a restart of the daemon");
    let spec = service(&mut rig);
    let again = rig.request(spec).unwrap();
    rig.settle();
    assert_eq!(again, id);
    assert_eq!((&rig.lease(id).slices, rig.lease(id).lingering_until), (&slices, None));
    let client = rig.client(id);
    assert!(rig.watched.contains(&(id, client)));
    rig.tick(LINGER);
    assert!(rig.is_active(id));
    // A crash loop keeps it, too.
    rig.exit(client);
    assert!(rig.lease(id).lingering_until.is_some());
}

#[test]
fn a_lease_that_nobody_comes_for_ends() {
    let mut rig = Rig::new(&[A100]);
    let id = started(&mut rig);
    rig.exit(rig.client(id));
    rig.tick(Millis::new(LINGER.get() - 1));
    assert!(rig.is_active(id));
    rig.tick(Millis::new(1));
    rig.settle();
    assert_eq!(rig.ended(id), Some(&EndReason::HolderDied));
}

#[test]
fn what_a_dead_holder_left_is_killed_after_the_grace() {
    let mut rig = Rig::new(&[A100]);
    let id = started(&mut rig);
    let left = rig.run_on(id, true, Some(Stage::Kill));
    rig.exit(rig.client(id));
    rig.settle();
    assert!(rig.machine.is_running(left.pid));
    rig.tick(Policy::default().grace);
    rig.settle();
    assert!(!rig.machine.is_running(left.pid));
    assert!(rig.is_active(id));
    let sent = rig.signals.len();
    rig.tick(Millis::from_secs(60));
    rig.settle();
    assert_eq!(rig.signals.len(), sent, "nobody is searched for all the while");
}

#[test]
fn a_holder_that_gives_a_service_back_leaves_it_to_the_next_and_its_owner_ends_it() {
    let mut rig = Rig::new(&[A100]);
    let id = started(&mut rig);
    rig.command(Command::End { lease: id, by: peer(1), holder: true }).unwrap();
    assert!(rig.lease(id).lingering_until.is_some(), "its command ended, and may be restarted");
    rig.command(Command::End { lease: id, by: peer(1), holder: false }).unwrap();
    rig.settle();
    assert_eq!(rig.ended(id), Some(&EndReason::Released));
}

#[test]
fn only_the_same_user_with_the_same_wish_takes_over() {
    let mut rig = Rig::new(&[A100]);
    let id = started(&mut rig);
    let early = service(&mut rig);
    let taken = |refusal| matches!(refusal, Err(Refusal::NameTaken { lease, .. }) if lease == id);
    assert!(taken(rig.request(early)), "it has a holder");
    rig.exit(rig.client(id));
    let mut other_wish = service(&mut rig);
    other_wish.count = 2;
    assert!(taken(rig.request(other_wish)));
    let mut other_user = service(&mut rig);
    other_user.uid = Uid::new(2);
    assert!(taken(rig.request(other_user)));
    assert!(rig.lease(id).lingering_until.is_some());
}

#[test]
fn without_a_name_or_a_wish_to_linger_the_holders_end_is_the_end() {
    let mut rig = Rig::new(&[A100]);
    for (name, linger) in [(None, Some(LINGER)), (Some("x".to_owned()), None)] {
        let mut spec = rig.spec(1, "1g.5gb");
        (spec.name, spec.terms.linger) = (name, linger);
        let id = rig.request(spec).unwrap();
        rig.settle();
        rig.exit(rig.client(id));
        rig.settle();
        assert_eq!(rig.ended(id), Some(&EndReason::HolderDied));
    }
}

#[test]
fn a_lease_follows_a_container_once_its_command_is_one() {
    let mut rig = Rig::new(&[A100]);
    let id = rig.ask(1, "1g.5gb");
    let client = rig.client(id);
    let contain = |container: &str| Command::Contain {
        lease: id,
        by: peer(1),
        container: container.into(),
        cgroup: "/libpod-abc".into(),
    };
    let refused = rig.command(Command::Contain {
        lease: id,
        by: peer(2),
        container: "abc".into(),
        cgroup: "/x".into(),
    });
    assert_eq!(refused, Err(Refusal::NotYours(id)));
    let decision = rig.command(contain("abc")).unwrap();
    let watch = Effect::WatchContainer { lease: id, cgroup: "/libpod-abc".into() };
    assert_eq!(decision.effects.as_slice(), std::slice::from_ref(&watch));
    assert!(rig.command(contain("abc")).unwrap().events.is_empty(), "twice is once");
    assert!(rig.command(contain("def")).is_err(), "one container holds it");
    rig.exit(client);
    rig.settle();
    assert!(rig.is_active(id), "whoever started the container may leave");
    assert!(broker::resume(&rig.state).contains(&watch));
    rig.own(Command::HolderGone { lease: id });
    rig.settle();
    assert_eq!(rig.ended(id), Some(&EndReason::HolderDied));
}

#[test]
fn an_engine_releases_by_word() {
    let mut rig = Rig::new(&[A100]);
    let mut spec = rig.spec(1, "1g.5gb");
    spec.holder = Holder::Engine { kind: "slurm".into(), job: "17".into() };
    let id = rig.request(spec).unwrap();
    rig.settle();
    assert!(rig.command(Command::Renew { lease: id, by: peer(1) }).is_err());
    rig.command(Command::End { lease: id, by: peer(1), holder: false }).unwrap();
    rig.settle();
    assert_eq!(rig.ended(id), Some(&EndReason::Released));
    assert!(rig.signals.is_empty());
}

#[test]
fn the_end_of_somebody_else_ends_no_lease() {
    let mut rig = Rig::new(&[A100]);
    let id = rig.ask(1, "1g.5gb");
    rig.own(Command::HolderGone { lease: id });
    let process = rig.new_process();
    rig.own(Command::HolderExited { lease: id, process });
    rig.settle();
    assert!(rig.is_active(id));
    assert!(!rig.journal.iter().any(|stamped| matches!(stamped.event, Event::Lingering { .. })));
}
