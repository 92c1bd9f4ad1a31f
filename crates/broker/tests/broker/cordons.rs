//! GPUs out of use: cordoned, emptied, failing.

use broker::{Command, EndReason, Event, NoticeReason, Policy, Refusal, Stage};
use model::{GpuUuid, Health, LeaseId, Millis};

use crate::machine::{Machine, PEER_ADMIN, Rig, peer};

fn uuid(rig: &Rig, index: usize) -> GpuUuid {
    rig.machine.node.gpus[index].uuid.clone()
}

fn cordon(rig: &mut Rig, index: usize, drain: bool) {
    let (gpu, why, by) = (uuid(rig, index), "fan".into(), PEER_ADMIN);
    rig.command(Command::Cordon { gpu, drain, why, by }).expect("an administrator");
    rig.settle();
}

fn uncordon(rig: &mut Rig, index: usize) {
    let gpu = uuid(rig, index);
    rig.command(Command::Uncordon { gpu, by: PEER_ADMIN }).expect("an administrator");
    rig.settle();
}

fn on(rig: &Rig, id: LeaseId) -> usize {
    let slice = &rig.lease(id).slices[0];
    rig.machine.node.gpus.iter().position(|gpu| gpu.uuid == slice.key.gpu).expect("there")
}

fn has(rig: &Rig, kind: impl Fn(&Event) -> bool) -> bool {
    rig.journal.iter().any(|stamped| kind(&stamped.event))
}

#[test]
fn a_cordoned_gpu_gets_nothing_and_keeps_what_it_has() {
    let mut rig = Rig::new(&["a30", "a30"]);
    let first = rig.ask(1, "4g.24gb");
    let (had, other) = (on(&rig, first), 1 - on(&rig, first));
    cordon(&mut rig, other, false);
    let second = rig.ask(1, "1g.6gb");
    assert!(rig.is_active(first) && rig.is_queued(second));
    let why = rig.why(second);
    assert!(why.contains("L1 of user1"), "{why}");
    cordon(&mut rig, had, false);
    let why = rig.why(second);
    assert!(why.contains("put back into use by an administrator"), "{why}");
    uncordon(&mut rig, other);
    assert_eq!(on(&rig, second), other);
    rig.crash();
    assert!(rig.state.cordons.contains_key(&uuid(&rig, had)), "it survives a restart");
    let gpu = uuid(&rig, had);
    for command in [
        Command::Cordon { gpu: gpu.clone(), drain: false, why: String::new(), by: peer(1) },
        Command::Uncordon { gpu, by: peer(1) },
    ] {
        let refused = rig.command(command).map(|_| ());
        assert!(matches!(refused, Err(Refusal::AdminsOnly(_))), "{refused:?}");
    }
}

#[test]
fn a_drain_waits_asks_and_ends_by_what_each_agreed_to() {
    let mut rig = Rig::new(&["a100-sxm4-40gb", "a100-sxm4-40gb"]);
    cordon(&mut rig, 1, false);
    let firm = rig.ask(1, "1g.5gb");
    let mut spec = rig.spec(2, "1g.5gb");
    spec.terms.preemptible = true;
    let soft = rig.request(spec).expect("accepted");
    let mut spec = rig.spec(3, "1g.5gb");
    spec.terms.restartable = true;
    let movable = rig.request(spec).expect("accepted");
    let idle = rig.ask(4, "1g.5gb");
    rig.release(idle);
    assert_eq!(rig.state.slices.len(), 4, "one of them is idle");
    rig.run_on(soft, true, Some(Stage::Term));
    uncordon(&mut rig, 1);
    cordon(&mut rig, 0, true);
    assert_eq!(rig.state.slices.len(), 3, "idle slices go at once");
    let gpu = uuid(&rig, 0);
    let reason = NoticeReason::Drained { gpu: gpu.clone() };
    for id in [soft, movable] {
        let notice = rig.lease(id).notice.as_ref().map(|notice| notice.reason.clone());
        assert_eq!(notice, Some(reason.clone()));
    }
    assert_eq!(rig.lease(firm).notice, None);
    rig.command(Command::Agree { lease: movable, by: peer(3) }).expect("agreed");
    rig.settle();
    assert_eq!(on(&rig, movable), 1, "moved");
    rig.tick(Millis::from_secs(61));
    rig.settle();
    assert_eq!(rig.ended(soft), Some(&EndReason::Drained));
    rig.tick(Millis::from_secs(3600));
    rig.settle();
    assert!(rig.is_active(firm), "nobody is killed who did not agree");
    assert!(!rig.state.cordons[&gpu].drained);
    rig.release(firm);
    for _ in 0..2 {
        rig.tick(Millis::from_secs(1));
        rig.settle();
    }
    assert!(rig.state.cordons[&gpu].drained);
    assert!(has(&rig, |event| matches!(event, Event::Drained { .. })));
}

#[test]
fn a_drain_that_is_called_off_withdraws_its_notices() {
    let mut rig = Rig::new(&["a30"]);
    let mut spec = rig.spec(1, "1g.6gb");
    spec.terms.preemptible = true;
    let id = rig.request(spec).expect("accepted");
    rig.settle();
    cordon(&mut rig, 0, true);
    assert!(rig.lease(id).notice.is_some());
    cordon(&mut rig, 0, false);
    assert!(rig.lease(id).notice.is_none());
    cordon(&mut rig, 0, true);
    uncordon(&mut rig, 0);
    assert!(rig.lease(id).notice.is_none());
    rig.tick(Millis::from_secs(600));
    rig.settle();
    assert!(rig.is_active(id));
}

#[test]
fn a_lost_gpu_ends_its_leases_and_no_others() {
    let mut rig = Rig::new(&["a30", "a30"]);
    let mut spec = rig.spec(1, "2g.12gb");
    spec.count = 2;
    spec.terms.arrangement = broker::Arrangement::OtherGpu;
    let both = rig.request(spec).expect("accepted");
    rig.settle();
    let (a, b) = (rig.ask(2, "1g.6gb"), rig.ask(3, "2g.12gb"));
    let lost = on(&rig, a);
    let stays = if on(&rig, b) == lost { None } else { Some(b) };
    let gpu = uuid(&rig, lost);
    rig.machine.gpu_mut(&gpu).health = Health::Lost;
    rig.disturb(&gpu);
    rig.settle();
    assert!(rig.state.quarantine.contains_key(&gpu));
    for id in [both, a] {
        assert!(matches!(rig.ended(id), Some(EndReason::GpuLost(_))), "{id}");
    }
    if let Some(id) = stays {
        assert!(rig.is_active(id), "what runs elsewhere goes on");
    }
    let waits = rig.ask(4, "4g.24gb");
    assert!(rig.is_queued(waits));
    rig.machine.gpu_mut(&gpu).health = Health::Ok;
    rig.disturb(&gpu);
    rig.settle();
    assert!(rig.state.quarantine.contains_key(&gpu), "a moment of health is not enough");
    rig.tick(Millis::from_secs(31));
    rig.settle();
    assert!(!rig.state.quarantine.contains_key(&gpu));
    assert_eq!(on(&rig, waits), lost);
}

#[test]
fn a_failing_gpu_is_given_time() {
    let policy = Policy { failing_for: Millis::from_secs(300), ..Policy::default() };
    let mut rig = Rig::with(Machine::new(&["a30"]), policy);
    let id = rig.ask(1, "1g.6gb");
    let gpu = uuid(&rig, 0);
    let set = |rig: &mut Rig, health: Health| {
        rig.machine.gpu_mut(&gpu).health = health;
        rig.disturb(&gpu);
        rig.settle();
    };
    set(&mut rig, Health::Failing("ECC".into()));
    rig.tick(Millis::from_secs(299));
    assert!(rig.is_active(id) && rig.state.quarantine.is_empty());
    set(&mut rig, Health::Ok);
    set(&mut rig, Health::Failing("ECC".into()));
    rig.tick(Millis::from_secs(299));
    assert!(rig.is_active(id), "it was well in between");
    rig.tick(Millis::from_secs(1));
    rig.settle();
    assert_eq!(rig.ended(id), Some(&EndReason::GpuLost("GPU 0: ECC".into())));
}
