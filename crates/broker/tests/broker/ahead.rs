//! Idle room: what is likely, slices made ahead, slices laid elsewhere, leases asked to move.

use broker::{Command, Event, NoticeReason, Policy, SliceUse, Usage, forecast};
use model::{Millis, Purpose, Timestamp};

use crate::machine::{Machine, PEER_ADMIN, Rig, peer};

const DAY_MS: u64 = 24 * 3_600_000;

fn profiles(rig: &Rig) -> Vec<String> {
    let gpu = &rig.machine.node.gpus[0];
    let geometry = gpu.geometry.as_ref().expect("MIG");
    let name =
        |i: &model::GpuInstance| geometry.profile(i.profile).expect("known").name.to_string();
    gpu.instances.iter().map(name).collect()
}

fn opened(rig: &Rig, purpose: &Purpose) -> usize {
    let of = |event: &Event| matches!(event, Event::PlanOpened { steps, .. } if steps.purpose == *purpose);
    rig.journal.iter().filter(|stamped| of(&stamped.event)).count()
}

fn pass(rig: &mut Rig, seconds: u64) {
    for _ in 0..seconds {
        rig.tick(Millis::from_secs(1));
        rig.settle();
    }
}

#[test]
fn what_was_asked_for_lately_counts_more() {
    let (mut usage, now) = (Usage::default(), Timestamp::from_millis(100 * DAY_MS));
    let (one, two) = ("1g.5gb".parse().unwrap(), "2g.10gb".parse().unwrap());
    for _ in 0..8 {
        usage.count(Timestamp::from_millis(93 * DAY_MS), one);
        usage.count(now, two);
    }
    let demand = forecast(&usage, now).demand;
    assert_eq!((demand[&one], demand[&two]), (2, 8));
    assert_eq!(forecast(&Usage::default(), now), planner::Forecast::unknown());
}

#[test]
fn slices_are_made_ahead_and_yield_to_whoever_asks() {
    let policy = Policy { warm_ahead: 2, ..Policy::default() };
    let mut rig = Rig::with(Machine::new(&["a30"]), policy);
    rig.forecast.demand.insert("1g.6gb".parse().unwrap(), 2);
    rig.forecast.demand.insert("2g.12gb".parse().unwrap(), 3);
    pass(&mut rig, 5);
    let mut made = profiles(&rig);
    made.sort();
    assert_eq!(made, ["1g.6gb", "2g.12gb"], "the likeliest kinds, as many as allowed");
    assert!(rig.state.slices.values().all(|r| matches!(r.used, SliceUse::Warm { .. })));
    pass(&mut rig, 400);
    assert_eq!(profiles(&rig).len(), 2, "they are not given back");
    let opened_before = opened(&rig, &Purpose::Warm);
    assert_eq!(opened_before, 2);
    let big = rig.ask(1, "4g.24gb");
    assert!(rig.is_active(big));
    pass(&mut rig, 5);
    assert_eq!(profiles(&rig), ["4g.24gb"]);
}

#[test]
fn idle_slices_in_the_way_of_a_likely_one_are_laid_elsewhere_but_not_at_once_nor_often() {
    let policy =
        Policy { moves_per_hour: 1, warm_for: Millis::from_secs(7200), ..Policy::default() };
    let mut rig = Rig::with(Machine::new(&["a30"]), policy);
    // All four places are taken, and those given back lie apart.
    let ids: Vec<_> = (0..4).map(|uid| rig.ask(uid, "1g.6gb")).collect();
    let start = |rig: &Rig, id| rig.lease(id).slices[0].key.placement.start.get();
    let (mut stays, mut goes): (Vec<_>, Vec<_>) =
        ids.iter().partition(|id| [0, 1].contains(&start(&rig, **id)));
    // One place of each half is given back to the driver, the other stays leased or idle.
    let leaves = [stays.remove(0), goes.remove(0)];
    rig.release(stays[0]);
    rig.forecast.demand.insert("2g.12gb".parse().unwrap(), 5);
    for id in leaves {
        let key = rig.lease(id).slices[0].key.clone();
        rig.release(id);
        rig.machine.foreign_destroy(&key).expect("idle");
        rig.disturb(&key.gpu);
        rig.settle();
    }
    assert_eq!(profiles(&rig).len(), 2);
    let free_pair = |rig: &Rig| {
        let gpu = &rig.machine.node.gpus[0];
        let taken = gpu.occupied();
        [0u8, 2].into_iter().any(|at| {
            let mask = model::Placement::new(at, 2).mask();
            !mask.intersects(taken)
        })
    };
    assert!(!free_pair(&rig));
    pass(&mut rig, 20);
    assert_eq!(opened(&rig, &Purpose::Defragment), 0, "it must look worthwhile for a while");
    pass(&mut rig, 15);
    assert_eq!(opened(&rig, &Purpose::Defragment), 1);
    assert!(free_pair(&rig) && profiles(&rig).len() == 2, "nothing idle was given up");
    assert_eq!(rig.state.rearranged.len(), 1);
    assert!(rig.is_active(goes[0]), "who is there is left alone");
}

#[test]
fn one_restartable_lease_is_asked_to_move_where_that_helps() {
    let mut rig = Rig::new(&["a30", "a30"]);
    let first = rig.machine.node.gpus[0].uuid.clone();
    let movable = |rig: &mut Rig, uid| {
        let mut spec = rig.spec(uid, "2g.12gb");
        spec.terms.restartable = true;
        let id = rig.request(spec).expect("accepted");
        rig.settle();
        id
    };
    let one = movable(&mut rig, 1);
    let had = rig.lease(one).slices[0].key.gpu.clone();
    let (drain, why, by) = (false, String::new(), PEER_ADMIN);
    rig.command(Command::Cordon { gpu: had.clone(), drain, why, by }).expect("an administrator");
    let other = movable(&mut rig, 2);
    rig.command(Command::Uncordon { gpu: had, by }).expect("an administrator");
    let waits = rig.ask(7, "4g.24gb");
    pass(&mut rig, 29);
    let told = |rig: &Rig, id| rig.lease(id).notice.as_ref().map(|notice| notice.reason.clone());
    assert!(told(&rig, one).is_none() && told(&rig, other).is_none(), "a passing wish");
    pass(&mut rig, 2);
    let reason = Some(NoticeReason::Move { for_lease: Some(waits) });
    assert_eq!((told(&rig, one), told(&rig, other)), (reason, None), "one of them is asked");
    rig.command(Command::Agree { lease: one, by: peer(1) }).expect("agreed");
    rig.settle();
    pass(&mut rig, 2);
    assert!(rig.is_active(waits) && rig.is_active(one) && rig.is_active(other));
    assert_eq!(rig.lease(waits).slices[0].key.gpu, first);
}

#[test]
fn nobody_is_asked_to_move_for_nothing_nor_again_and_again() {
    let mut rig = Rig::new(&["a30"]);
    let mut spec = rig.spec(1, "1g.6gb");
    spec.terms.restartable = true;
    let id = rig.request(spec).expect("accepted");
    rig.settle();
    let waits = rig.ask(2, "4g.24gb");
    pass(&mut rig, 100);
    assert!(rig.lease(id).notice.is_none(), "it would find no other room");
    assert!(rig.is_queued(waits));
}
