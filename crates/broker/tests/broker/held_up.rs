//! What a grant was to hand over is held by somebody from before: no failure, and no end of waiting.

use broker::{Command, HeldUp, SliceKey};
use model::{Millis, PlanId};

use crate::machine::Rig;

/// The plan of a grant is carried through to where its slice would be handed over, and somebody is
/// found there.
fn hold_up(rig: &mut Rig) -> (u32, SliceKey) {
    let key = rig.running[0].targets[0].key.clone();
    let steps = rig.running[0].plan.steps.len();
    rig.do_steps(steps);
    let done = rig.running.remove(0);
    let pid = rig.stranger_on(&key);
    let gpus = done.gpus();
    rig.look_at(Some(&gpus));
    rig.own(held(done.id, &key, pid));
    (pid, key)
}

fn held(plan: PlanId, key: &SliceKey, pid: u32) -> Command {
    let (gpu, place) = (key.gpu.clone(), Some(key.placement));
    Command::PlanHeldUp { plan, held: HeldUp { gpu, place, by: format!("pid {pid} has it open") } }
}

#[test]
fn a_grant_that_is_held_up_goes_elsewhere_and_waits_where_all_is_held() {
    let mut rig = Rig::new(&["a30"]);
    rig.policy.max_failures = 1;
    let spec = rig.spec(1, "2g.12gb");
    let id = rig.request(spec).unwrap();
    let (first, at) = hold_up(&mut rig);
    let (second, other) = hold_up(&mut rig);
    assert_ne!(at, other, "the other half was taken");
    assert!(rig.is_queued(id) && rig.running.is_empty());
    assert_eq!((rig.lease(id).failures, &rig.lease(id).last_failure), (0, &None));
    let why = rig.why(id);
    let both = format!("; pid {first} has it open; pid {second} has it open");
    assert!(why.ends_with(&both), "{why}");
    let start = broker::why(&rig.state, &rig.world(), id).expect("it waits").start;
    assert_eq!(start.not_later_than, None, "nobody knows when a stranger leaves");
    // Time alone changes nothing: neither does it end, nor is it tried again and again.
    for _ in 0..5 {
        rig.tick(Millis::from_secs(60));
        rig.settle();
    }
    assert!(rig.is_queued(id) && rig.lease(id).failures == 0);
    rig.machine.stop(second);
    rig.disturb(&other.gpu);
    rig.settle();
    assert!(rig.is_active(id), "{}", rig.why(id));
    assert!(rig.lease(id).slices[0].key == other && rig.lease(id).held_up.is_empty());
    assert!(rig.machine.is_running(first));
}

/// A warm slice: nothing was made, so nothing is undone.
#[test]
fn an_idle_slice_that_is_held_stays_and_is_not_said_once_it_is_free() {
    let mut rig = Rig::new(&["a30"]);
    let warm = rig.ask(1, "4g.24gb");
    rig.release(warm);
    let spec = rig.spec(2, "4g.24gb");
    let id = rig.request(spec).unwrap();
    let key = rig.running[0].targets[0].key.clone();
    let plan = rig.running.remove(0);
    assert!(plan.plan.steps.is_empty());
    let pid = rig.stranger_on(&key);
    rig.look_at(Some(&plan.gpus()));
    rig.own(held(plan.id, &key, pid));
    rig.settle();
    assert!(rig.is_queued(id) && rig.state.slices.contains_key(&key));
    assert!(rig.why(id).contains(&format!("pid {pid} has it open")), "{}", rig.why(id));
    rig.machine.stop(pid);
    rig.disturb(&key.gpu);
    rig.look_at(None);
    assert!(!rig.why(id).contains("has it open"), "{}", rig.why(id));
    rig.own(Command::Observed);
    rig.settle();
    assert!(rig.is_active(id));
}
