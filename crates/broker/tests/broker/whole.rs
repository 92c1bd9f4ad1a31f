//! Leases of whole GPUs beside slices.

use broker::{Amount, EndReason, Policy, Refusal, Stage, TenantRules, Wanted};
use model::{Health, LeaseId, MigMode, MigState, Millis, Purpose, Step};

use crate::machine::{Machine, Rig, mode};

fn may_turn() -> Policy {
    Policy { auto_mig: true, ..Policy::default() }
}

fn without_mig(boards: &[&str], off: &[usize]) -> Machine {
    let mut machine = Machine::new(boards);
    for index in off {
        let gpu = &mut machine.node.gpus[*index];
        (gpu.mig, gpu.geometry) = (MigState::Unsupported, None);
    }
    machine
}

fn ask_whole(rig: &mut Rig, uid: u32, count: u32) -> Result<LeaseId, Refusal> {
    let mut spec = rig.spec(uid, "1g.5gb");
    spec.wanted = Wanted::WholeGpu;
    spec.count = count;
    let id = rig.request(spec)?;
    rig.settle();
    rig.tick(Millis::from_secs(1));
    rig.settle();
    Ok(id)
}

fn mig_on(rig: &Rig, index: usize) -> bool {
    rig.machine.node.gpus[index].mig.is_enabled()
}

#[test]
fn a_gpu_without_mig_is_leased_as_a_whole_and_given_back_when_it_is_empty() {
    let mut rig = Rig::with(without_mig(&["a30", "a30"], &[1]), Policy::default());
    let gpu = rig.machine.node.gpus[1].uuid.clone();
    let id = ask_whole(&mut rig, 1, 1).expect("accepted");
    assert!(rig.is_active(id));
    assert_eq!(rig.lease(id).whole, [gpu]);
    let next = ask_whole(&mut rig, 2, 1).expect("accepted");
    assert_eq!(rig.why(next), "L1 of user1 (on GPU 1) to end");
    let process = rig.run_on(id, true, Some(Stage::Kill));
    rig.release(id);
    assert!(rig.is_queued(next), "somebody is still on it");
    rig.exit(process);
    rig.tick(Millis::from_secs(1));
    rig.settle();
    assert!(rig.is_active(next) && rig.ended(id) == Some(&EndReason::Released));
    let slice = rig.ask(3, "1g.6gb");
    assert!(rig.is_active(slice), "slices go on beside it");
}

#[test]
fn what_can_never_be_had_is_refused() {
    let mut rig = Rig::new(&["a30", "a30"]);
    let refused = ask_whole(&mut rig, 1, 1);
    assert!(matches!(refused, Err(Refusal::MigOn(_))), "{refused:?}");
    let mut rig = Rig::with(Machine::new(&["a30", "a30"]), may_turn());
    let refused = ask_whole(&mut rig, 1, 3);
    assert!(matches!(refused, Err(Refusal::NeverFits { most: 2, .. })), "{refused:?}");
}

#[test]
fn a_request_that_turns_out_to_be_impossible_ends_instead_of_waiting_for_ever() {
    let mut machine = Machine::new(&["a30"]);
    let seen = machine.node.gpus[0].clone();
    let sick = Health::ResetRequired;
    let gpu = &mut machine.node.gpus[0];
    (gpu.mig, gpu.geometry, gpu.health) = (MigState::Unsupported, None, sick);
    let mut rig = Rig::with(machine, Policy::default());
    let id = ask_whole(&mut rig, 1, 1).expect("its mode cannot be read, so it may be possible");
    assert!(rig.is_queued(id));
    rig.machine.node.gpus[0] = seen;
    rig.tick(Millis::from_secs(1));
    rig.settle();
    let ended = rig.ended(id).expect("it ended").to_string();
    assert!(ended.starts_with("it can never be met: MIG mode is on on GPU 0"), "{ended}");
}

#[test]
fn a_whole_gpu_that_turns_out_to_be_beyond_the_cap_is_not_waited_for() {
    let mut machine = Machine::new(&["a100-sxm4-40gb"]);
    let seen = machine.node.gpus[0].clone();
    let gpu = &mut machine.node.gpus[0];
    (gpu.geometry, gpu.health) = (None, Health::Lost);
    let cap = Amount { slices: Some(4), memory: None };
    let default_tenant = TenantRules { cap, ..TenantRules::default() };
    let policy = Policy { default_tenant, ..may_turn() };
    let mut rig = Rig::with(machine, policy);
    let id = ask_whole(&mut rig, 1, 1).expect("nobody knows yet how much it is");
    rig.machine.node.gpus[0] = seen;
    rig.tick(Millis::from_secs(1));
    rig.settle();
    rig.tick(Millis::from_secs(60));
    rig.settle();
    let ended = rig.ended(id).expect("it ended").to_string();
    assert!(ended.contains("is more than user1 may have at once (4 slices)"), "{ended}");
}

#[test]
fn mig_is_disabled_on_an_empty_gpu_and_enabled_again_when_slices_are_waited_for() {
    let mut rig = Rig::with(Machine::new(&["a30", "a30"]), may_turn());
    let slice = rig.ask(1, "2g.12gb");
    let whole = ask_whole(&mut rig, 2, 1).expect("accepted");
    assert!(rig.is_active(whole) && rig.is_active(slice));
    let index = rig.machine.node.gpus.iter().position(|g| g.uuid == rig.lease(whole).whole[0]);
    let index = index.expect("there");
    assert!(!mig_on(&rig, index) && mig_on(&rig, 1 - index));
    rig.release(whole);
    rig.tick(Millis::from_secs(600));
    rig.settle();
    assert!(!mig_on(&rig, index), "nobody waits for a slice, so nothing is changed");
    let big = rig.ask(3, "4g.24gb");
    rig.tick(Millis::from_secs(1));
    rig.settle();
    assert!(mig_on(&rig, index) && rig.is_active(big));
}

#[test]
fn nothing_else_is_turned_while_a_gpu_is_being_turned() {
    let mut rig = Rig::with(Machine::new(&["a30", "a30", "a30"]), may_turn());
    let mut spec = rig.spec(1, "1g.6gb");
    spec.wanted = Wanted::WholeGpu;
    let id = rig.request(spec).expect("accepted");
    for _ in 0..3 {
        rig.tick(Millis::from_secs(1));
    }
    assert_eq!(rig.running.len(), 1);
    rig.settle();
    assert!(rig.is_active(id));
    assert_eq!((0..3).filter(|index| mig_on(&rig, *index)).count(), 2);
}

#[test]
fn modes_are_not_flipped_back_and_forth() {
    let mut rig = Rig::with(Machine::new(&["a30"]), may_turn());
    let whole = ask_whole(&mut rig, 1, 1).expect("accepted");
    rig.release(whole);
    let slice = rig.ask(2, "1g.6gb");
    assert!(rig.is_queued(slice), "its mode was left a moment ago");
    rig.tick(Millis::from_secs(30));
    rig.settle();
    assert!(rig.is_active(slice));
    rig.release(slice);
    let again = ask_whole(&mut rig, 1, 1).expect("accepted");
    assert!(rig.is_queued(again), "its mode was changed a moment ago");
    rig.tick(Millis::from_secs(30));
    rig.settle();
    assert!(rig.is_active(again), "half a minute is over");
    let turns = rig.steps_since(0);
    let turns = turns.iter().filter(|step| matches!(step, Step::SetMigMode { .. })).count();
    assert_eq!(turns, 3);
}

#[test]
fn idle_slices_go_and_a_reset_follows_where_the_board_needs_one() {
    let mut machine = Machine::new(&["a100-sxm4-40gb"]);
    let gpu = machine.node.gpus[0].uuid.clone();
    machine.resets_for_mode.insert(gpu.clone());
    let mut rig = Rig::with(machine, may_turn());
    let slice = rig.ask(1, "1g.5gb");
    rig.release(slice);
    assert_eq!(rig.state.slices.len(), 1);
    let whole = ask_whole(&mut rig, 2, 1).expect("accepted");
    assert!(rig.machine.gpu(&gpu).mig.needs_reset() && rig.is_queued(whole));
    rig.tick(Millis::from_secs(2));
    assert_eq!(rig.running[0].plan.purpose, Purpose::Prepare);
    assert_eq!(rig.running[0].plan.steps, [Step::ResetGpu { gpu: gpu.clone() }]);
    rig.settle();
    assert!(rig.is_active(whole) && rig.state.slices.is_empty());
    assert_eq!(rig.machine.gpu(&gpu).mig, mode(MigMode::Disabled));
}

#[test]
fn several_are_had_together_or_not_at_all() {
    let mut rig = Rig::with(Machine::new(&["a30", "a30", "a30"]), may_turn());
    let slice = rig.ask(1, "1g.6gb");
    let all = ask_whole(&mut rig, 2, 3).expect("accepted");
    assert!(rig.is_queued(all));
    assert!((0..3).all(|index| mig_on(&rig, index)), "nothing is turned for less than all");
    rig.release(slice);
    rig.tick(Millis::from_secs(1));
    rig.settle();
    assert_eq!(rig.lease(all).whole.len(), 3);
}

#[test]
fn a_gpu_that_somebody_else_cuts_is_lost_to_its_lease() {
    let mut machine = Machine::new(&["a30"]);
    machine.node.gpus[0].mig = mode(MigMode::Disabled);
    let mut rig = Rig::with(machine, Policy::default());
    let id = ask_whole(&mut rig, 1, 1).expect("accepted");
    rig.machine.node.gpus[0].mig = mode(MigMode::Enabled);
    let gpu = rig.machine.node.gpus[0].uuid.clone();
    rig.disturb(&gpu);
    rig.settle();
    let found = EndReason::SliceLost("MIG was enabled on GPU 0".into());
    assert_eq!(rig.ended(id), Some(&found));
}

/// Slices with hard limits fill two GPUs; when they are over and MIG is off again is known.
#[test]
fn the_latest_start_of_a_whole_gpu_follows_from_hard_limits() {
    let mut rig = Rig::with(Machine::new(&["a30", "a30"]), may_turn());
    for (user, seconds) in [(1, 4000), (2, 900)] {
        let mut spec = rig.spec(user, "4g.24gb");
        spec.time = Some(Millis::from_secs(seconds));
        rig.request(spec).expect("accepted");
        rig.settle();
    }
    let id = ask_whole(&mut rig, 3, 1).expect("accepted");
    let said = rig.lease(id).predicted.expect("told");
    let at = said.not_later_than.expect("both have limits");
    let limit = rig.now.plus(Millis::from_secs(900));
    assert!(at > limit && at < limit.plus(Millis::from_secs(120)), "{at:?}");
    assert!(said.likely.is_some_and(|likely| likely <= at), "{said:?}");
    while !rig.is_active(id) {
        assert!(rig.now <= at, "it should run by {at:?}");
        rig.tick(Millis::from_secs(2));
        rig.settle();
    }
    // Without a limit nobody knows.
    rig.ask(4, "4g.24gb");
    let waits = ask_whole(&mut rig, 5, 2).expect("accepted");
    assert_eq!(rig.lease(waits).predicted.expect("told").not_later_than, None);
}

/// A lease that has both GPUs is named once.
#[test]
fn who_has_several_gpus_is_named_once() {
    let mut rig = Rig::with(without_mig(&["a30", "a30"], &[0, 1]), Policy::default());
    ask_whole(&mut rig, 1, 2).expect("accepted");
    let waits = ask_whole(&mut rig, 2, 2).expect("accepted");
    assert_eq!(rig.why(waits), "L1 of user1 (on GPUs 0 and 1) to end");
}
