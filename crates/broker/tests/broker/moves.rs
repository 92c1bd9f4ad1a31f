//! Restartable leases: asked, stopped, proven gone, granted anew; never without their word.

use broker::{Command, EndReason, Event, Notice, NoticeReason, Patience, Phase, Refusal, Stage};
use model::{GpuUuid, LeaseId, Millis};

use super::machine::{Rig, peer};

const A100: &str = "a100-sxm4-40gb";

/// A notice, as whoever needs the room gives it.
fn given(rig: &mut Rig, lease: LeaseId, reason: NoticeReason) -> Notice {
    let notice = Notice { reason, until: rig.now.plus(rig.policy.notice) };
    rig.inject(Event::Noticed { lease, notice: notice.clone() });
    notice
}

fn restartable(rig: &mut Rig) -> LeaseId {
    let mut spec = rig.spec(1, "1g.5gb");
    spec.terms.restartable = true;
    spec.patience = Patience::Immediate;
    let id = rig.request(spec).unwrap();
    rig.settle();
    id
}

fn drained(rig: &Rig) -> NoticeReason {
    NoticeReason::Drained { gpu: rig.observed.gpus[0].uuid.clone() }
}

#[test]
fn a_holder_that_agrees_is_stopped_and_gets_another_slice() {
    let mut rig = Rig::new(&[A100, A100]);
    let id = restartable(&mut rig);
    let asked_at = rig.lease(id).requested_at;
    let gpu: GpuUuid = rig.lease(id).slices[0].key.gpu.clone();
    let command = rig.run_on(id, true, Some(Stage::Term));
    rig.command(Command::Attach { lease: id, by: peer(1), command }).unwrap();
    rig.tick(Millis::from_secs(10));
    rig.command(Command::Cordon { gpu: gpu.clone(), drain: false, why: String::new(), by: PEER })
        .unwrap();
    let reason = NoticeReason::Drained { gpu: gpu.clone() };
    given(&mut rig, id, reason.clone());
    rig.command(Command::Agree { lease: id, by: peer(1) }).unwrap();
    assert!(matches!(
        rig.lease(id).phase,
        Phase::Ending { reason: EndReason::Moving(_), stage: Stage::Term, .. }
    ));
    rig.command(Command::Agree { lease: id, by: peer(1) }).expect("twice is once");
    rig.settle();
    assert!(!rig.machine.is_running(command.pid));
    let moved = rig.lease(id);
    assert!(matches!(moved.phase, Phase::Active { .. }), "{:?}", moved.phase);
    assert_ne!(moved.slices[0].key.gpu, gpu);
    assert_eq!((moved.requested_at, moved.displaced, moved.notice.clone()), (asked_at, 1, None));
    let receipt = rig.journal.iter().find_map(|stamped| match &stamped.event {
        Event::Displaced { reason: why, receipt, .. } if *why == reason => receipt.clone(),
        _ => None,
    });
    assert_eq!(receipt.expect("a receipt").held, Millis::from_secs(10));
    rig.tick(Millis::from_secs(1));
    assert!(rig.is_active(id));
}

const PEER: broker::Peer = super::machine::PEER_ADMIN;

#[test]
fn a_displaced_request_waits_however_impatient_it_was() {
    let mut rig = Rig::new(&[A100]);
    let id = restartable(&mut rig);
    let gpu = rig.observed.gpus[0].uuid.clone();
    rig.command(Command::Cordon { gpu: gpu.clone(), drain: false, why: String::new(), by: PEER })
        .unwrap();
    let reason = drained(&rig);
    given(&mut rig, id, reason);
    rig.command(Command::Agree { lease: id, by: peer(1) }).unwrap();
    rig.settle();
    rig.tick(Millis::from_secs(3600));
    assert!(rig.is_queued(id));
    rig.command(Command::Uncordon { gpu, by: PEER }).unwrap();
    rig.settle();
    assert!(rig.is_active(id));
}

#[test]
fn without_agreement_a_move_is_off_and_a_preemption_is_not() {
    let mut rig = Rig::new(&[A100]);
    let id = restartable(&mut rig);
    given(&mut rig, id, NoticeReason::Move { for_lease: None });
    let notice = rig.policy.notice;
    rig.tick(notice);
    assert!(rig.is_active(id) && rig.lease(id).notice.is_none());
    let reason = drained(&rig);
    given(&mut rig, id, reason);
    rig.tick(notice);
    assert!(rig.is_active(id), "nobody is driven away from a GPU that is emptied");
    let for_lease = LeaseId::new(99);
    given(&mut rig, id, NoticeReason::Preempted { for_lease });
    rig.tick(Millis::new(notice.get() - 1));
    assert!(rig.is_active(id));
    rig.tick(Millis::new(1));
    rig.settle();
    assert_eq!(rig.ended(id), Some(&EndReason::Preempted { for_lease }));
}

#[test]
fn agreement_takes_a_notice_and_a_restartable_lease() {
    let mut rig = Rig::new(&[A100]);
    let id = restartable(&mut rig);
    let agree = |lease, uid| Command::Agree { lease, by: peer(uid) };
    let wrong = |result: Result<_, Refusal>| matches!(result, Err(Refusal::WrongPhase { .. }));
    assert!(wrong(rig.command(agree(id, 1))), "nobody asked");
    given(&mut rig, id, NoticeReason::Move { for_lease: None });
    assert_eq!(rig.command(agree(id, 2)), Err(Refusal::NotYours(id)));
    let stays = rig.ask(1, "1g.5gb");
    given(&mut rig, stays, NoticeReason::Move { for_lease: None });
    assert!(wrong(rig.command(agree(stays, 1))));
    let since = rig.now;
    given(&mut rig, id, NoticeReason::Idle { since });
    assert!(wrong(rig.command(agree(id, 1))));
}

#[test]
fn a_holder_that_dies_while_it_moves_is_not_waited_for() {
    let mut rig = Rig::new(&[A100]);
    let id = restartable(&mut rig);
    rig.run_on(id, true, Some(Stage::Kill));
    given(&mut rig, id, NoticeReason::Move { for_lease: None });
    rig.command(Command::Agree { lease: id, by: peer(1) }).unwrap();
    rig.exit(rig.client(id));
    let grace = rig.policy.grace;
    rig.settle();
    rig.tick(grace);
    rig.settle();
    assert_eq!(rig.ended(id), Some(&EndReason::HolderDied));
}
