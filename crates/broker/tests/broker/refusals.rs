//! Requests and other commands that are refused, and with which words.

use broker::{Command, GpuSelector, Patience, Refusal};
use model::geometry::SelectError;
use model::{LeaseId, MigMode};

use crate::machine::{PEER_ADMIN, Rig, mode, peer};

#[test]
fn immediate_request_without_room_leaves_no_trace() {
    let mut rig = Rig::new(&["a30"]);
    let holder = rig.ask(1, "4g.24gb");
    let mut spec = rig.spec(2, "1g.6gb");
    spec.patience = Patience::Immediate;
    let (state, events) = (rig.state.clone(), rig.journal.len());
    let refusal = rig.request(spec).unwrap_err();
    assert_eq!(refusal.code(), "E-NO-ROOM");
    assert!(refusal.to_string().contains(&format!("{holder} of user1")), "{refusal}");
    assert_eq!((rig.state.clone(), rig.journal.len()), (state, events));
    assert!(rig.due.is_empty() && rig.running.is_empty());
}

#[test]
fn immediate_request_with_room_is_granted() {
    let mut rig = Rig::new(&["a30"]);
    let mut spec = rig.spec(2, "1g.6gb");
    spec.patience = Patience::Immediate;
    let id = rig.request(spec).unwrap();
    rig.settle();
    assert!(rig.is_active(id));
}

#[test]
fn unknown_profile_names_the_nearest() {
    let mut rig = Rig::new(&["a30"]);
    let spec = rig.spec(1, "1g.10gb");
    let Err(Refusal::NoSuchSlice(SelectError::Unknown { asked, nearest })) = rig.request(spec)
    else {
        panic!("accepted")
    };
    assert_eq!(asked, "1g.10gb");
    assert_eq!(nearest[0].to_string(), "1g.6gb");
    assert!(nearest.iter().any(|name| name.to_string() == "2g.12gb"), "{nearest:?}");
}

#[test]
fn more_than_the_empty_machine_holds_never_fits() {
    let mut rig = Rig::new(&["a30", "a30"]);
    rig.ask(1, "4g.24gb");
    let mut spec = rig.spec(2, "1g.6gb");
    spec.count = 9;
    let refusal = rig.request(spec.clone()).unwrap_err();
    assert_eq!(refusal, Refusal::NeverFits { asked: "9 x 1g.6gb".into(), most: 8 });
    spec.count = 8;
    assert!(rig.request(spec).is_ok(), "what fits on the empty machine may wait");
}

#[test]
fn counts_have_limits() {
    let mut rig = Rig::new(&["a30"]);
    rig.policy.max_count = 3;
    for count in [0, 4] {
        let mut spec = rig.spec(1, "1g.6gb");
        spec.count = count;
        assert_eq!(rig.request(spec), Err(Refusal::BadCount(3)));
    }
}

#[test]
fn selectors_that_mean_no_gpu_say_what_there_is() {
    let mut rig = Rig::new(&["a30"]);
    let mut spec = rig.spec(1, "1g.6gb");
    spec.gpu = GpuSelector::Model("h100".into());
    let refusal = rig.request(spec).unwrap_err();
    assert_eq!(refusal.code(), "E-GPU-UNKNOWN");
    assert!(refusal.to_string().ends_with("this machine has GPU 0 (NVIDIA A30)"), "{refusal}");
}

#[test]
fn gpus_without_mig_mode_refuse_unless_the_daemon_may_enable_it() {
    let mut rig = Rig::new(&["a30", "a100-sxm4-40gb"]);
    rig.machine.node.gpus[0].mig = mode(MigMode::Disabled);
    rig.observe();
    let spec = rig.spec(1, "4g.24gb");
    assert_eq!(rig.request(spec.clone()), Err(Refusal::MigOff("GPU 0 (NVIDIA A30)".into())));
    assert!(rig.steps_since(0).is_empty());
    rig.policy.auto_mig = true;
    assert!(rig.request(spec).is_ok());
}

#[test]
fn names_are_unique_among_the_live_leases_of_a_tenant() {
    let mut rig = Rig::new(&["a30"]);
    let named = |rig: &mut Rig, uid| {
        let mut spec = rig.spec(uid, "1g.6gb");
        spec.name = Some("train".into());
        rig.request(spec)
    };
    let first = named(&mut rig, 1).unwrap();
    rig.settle();
    let taken = Refusal::NameTaken { name: "train".into(), lease: first };
    assert_eq!(named(&mut rig, 1), Err(taken));
    assert!(named(&mut rig, 2).is_ok(), "another tenant's names are its own");
    rig.settle();
    rig.release(first);
    assert!(named(&mut rig, 1).is_ok(), "an ended lease gives its name back");
}

#[test]
fn one_user_may_have_so_many_waiting() {
    let mut rig = Rig::new(&["a30"]);
    rig.policy.max_waiting_per_user = 2;
    rig.ask(1, "4g.24gb");
    rig.ask(1, "1g.6gb");
    rig.ask(1, "1g.6gb");
    let spec = rig.spec(1, "1g.6gb");
    assert_eq!(rig.request(spec), Err(Refusal::TooManyWaiting(2)));
    let spec = rig.spec(2, "1g.6gb");
    assert!(rig.request(spec).is_ok());
}

#[test]
fn leases_of_others_are_not_yours() {
    let mut rig = Rig::new(&["a30"]);
    let id = rig.ask(1, "1g.6gb");
    let (by, command) = (peer(2), rig.new_process());
    let refused = Err(Refusal::NotYours(id));
    let end = Command::End { lease: id, by, holder: true };
    assert_eq!(rig.command(end).map(|_| ()), refused.clone());
    let attach = Command::Attach { lease: id, by, command };
    assert_eq!(rig.command(attach).map(|_| ()), refused.clone());
    assert_eq!(rig.command(Command::Renew { lease: id, by }).map(|_| ()), refused);
    assert!(rig.is_active(id));
    let end = Command::End { lease: id, by: PEER_ADMIN, holder: false };
    assert!(rig.command(end).is_ok(), "an administrator may");
}

#[test]
fn what_has_ended_is_unknown() {
    let mut rig = Rig::new(&["a30"]);
    let id = rig.ask(1, "1g.6gb");
    rig.release(id);
    for lease in [id, LeaseId::new(77)] {
        let end = Command::End { lease, by: PEER_ADMIN, holder: false };
        assert_eq!(rig.command(end).map(|_| ()), Err(Refusal::NoSuchLease(lease)));
    }
}

#[test]
fn a_waiting_request_has_nothing_to_attach_to() {
    let mut rig = Rig::new(&["a30"]);
    rig.ask(1, "4g.24gb");
    let id = rig.ask(2, "1g.6gb");
    let command = rig.new_process();
    let refused = rig.command(Command::Attach { lease: id, by: peer(2), command });
    assert_eq!(refused.unwrap_err().code(), "E-WRONG-PHASE");
    let refused = rig.command(Command::Renew { lease: id, by: peer(2) });
    assert_eq!(refused.unwrap_err().code(), "E-WRONG-PHASE");
}
