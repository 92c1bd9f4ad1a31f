//! What waiting requests are told: whom they wait for, and until when at the latest.

use std::collections::BTreeMap;

use broker::{Activity, Amount, Command, Event, Metered, Policy, TenantRules};
use model::{LeaseId, Millis, Tenant, Timestamp};

use crate::machine::{Machine, Rig};

fn limited(rig: &mut Rig, user: u32, wanted: &str, seconds: u64) -> LeaseId {
    let mut spec = rig.spec(user, wanted);
    spec.time = Some(Millis::from_secs(seconds));
    let id = rig.request(spec).expect("accepted");
    rig.settle();
    id
}

#[test]
fn the_end_of_a_hard_limit_is_the_latest_start() {
    let mut rig = Rig::new(&["a30"]);
    limited(&mut rig, 1, "4g.24gb", 600);
    let waiting = rig.ask(2, "1g.6gb");
    let said = rig.lease(waiting).predicted.expect("told");
    let at = said.not_later_than.expect("the only one there has a limit");
    let limit = rig.now.plus(Millis::from_secs(600));
    assert!(at >= limit.plus(rig.policy.grace) && at <= limit.plus(Millis::from_secs(60)));
    assert!(said.likely <= said.not_later_than);
    let why = broker::why(&rig.state, &rig.world(), waiting).expect("it waits");
    assert_eq!((why.before, why.said), (0, Some(said)));
    assert_eq!(why.blockers.len(), 1);
    assert_eq!(why.blockers[0].tenant, Tenant::new("user1"));
}

#[test]
fn without_limits_the_latest_start_is_unknown_and_the_likely_one_is_not() {
    let mut rig = Rig::new(&["a30"]);
    let mut spec = rig.spec(1, "4g.24gb");
    spec.expect = Some(Millis::from_secs(900));
    rig.request(spec).unwrap();
    rig.settle();
    let asked = rig.now;
    let waiting = rig.ask(2, "1g.6gb");
    let said = rig.lease(waiting).predicted.expect("told");
    assert_eq!(said.not_later_than, None);
    assert_eq!(said.likely, Some(asked.plus(Millis::from_secs(900))));
    let count = |rig: &Rig| {
        let told = |event: &Event| matches!(event, Event::Predicted { .. });
        rig.journal.iter().filter(|stamped| told(&stamped.event)).count()
    };
    rig.tick(Millis::from_secs(3600));
    assert_eq!(count(&rig), 1, "what was unknown stays unsaid");
}

/// A preemptible lease leaves for room that is kept, and no room is kept yet.
#[test]
fn the_latest_start_does_not_count_on_leases_that_nobody_has_asked_to_leave() {
    let mut rig = Rig::new(&["a30"]);
    let mut spec = rig.spec(1, "4g.24gb");
    spec.time = Some(Millis::from_secs(7200));
    spec.terms.preemptible = true;
    rig.request(spec).expect("accepted");
    rig.settle();
    let begun = rig.now;
    let waiting = rig.ask(2, "1g.6gb");
    let said = rig.lease(waiting).predicted.expect("told");
    assert!(said.not_later_than >= Some(begun.plus(Millis::from_secs(7200))), "{said:?}");
}

#[test]
fn people_name_limits_with_as_much_again_to_spare() {
    let mut rig = Rig::new(&["a30"]);
    limited(&mut rig, 1, "4g.24gb", 7200);
    let begun = rig.now;
    let likely = |rig: &mut Rig| {
        let waiting = rig.ask(2, "1g.6gb");
        rig.lease(waiting).predicted.expect("told").likely.expect("known")
    };
    let hour = Millis::from_secs(3600);
    assert_eq!(likely(&mut rig), begun.plus(hour));
    rig.tick(Millis::from_secs(4500));
    let soon = likely(&mut rig);
    assert!(soon > begun.plus(Millis::from_secs(7200)), "as long again, though not past its limit");
    assert!(soon <= begun.plus(Millis::from_secs(7260)));
}

#[test]
fn a_limit_by_default_says_nothing_of_a_lease() {
    let day = Some(Millis::from_secs(24 * 3600));
    let default_tenant = TenantRules { default_time: day, ..TenantRules::default() };
    let policy = Policy { default_tenant, ..Policy::default() };
    let mut rig = Rig::with(Machine::new(&["a30"]), policy);
    rig.ask(1, "4g.24gb");
    let begun = rig.now;
    rig.tick(Millis::from_secs(3 * 3600));
    let waiting = rig.ask(2, "1g.6gb");
    let said = rig.lease(waiting).predicted.expect("told");
    assert_eq!(said.likely, Some(begun.plus(Millis::from_secs(6 * 3600))));
    assert!(said.not_later_than > Some(begun.plus(Millis::from_secs(24 * 3600))));
}

#[test]
fn an_idle_lease_in_the_way_is_named_as_idle() {
    let mut rig = Rig::new(&["a30"]);
    let holder = rig.ask(1, "4g.24gb");
    let (activity, metered) = (Activity::Idle { since: rig.now }, Metered::default());
    rig.own(Command::Measured { lease: holder, activity, metered });
    rig.tick(Millis::from_secs(7200));
    let waiting = rig.ask(2, "1g.6gb");
    assert_eq!(rig.why(waiting), "L1 of user1 (4g.24gb on GPU 0, idle for 2h00m) to end");
}

#[test]
fn who_is_kept_out_is_told_for_whom() {
    let mut rig = Rig::new(&["a100-sxm4-40gb"]);
    rig.ask(1, "1g.5gb");
    let large = rig.ask(2, "7g.40gb");
    rig.tick(rig.policy.drain_after);
    let small = rig.ask(3, "1g.5gb");
    assert_eq!(rig.why(small), "L2 of user2, which has waited longer, to be served");
    assert_eq!(rig.why(large), "L1 of user1 (1g.5gb on GPU 0) to end");
}

#[test]
fn who_was_told_to_leave_is_named_with_the_time_that_is_left() {
    let amount = Amount { slices: Some(1), memory: None };
    let rules = TenantRules { guaranteed: amount, ..TenantRules::default() };
    let tenants = [(Tenant::new("user1"), rules)].into();
    let mut rig = Rig::with(Machine::new(&["a30"]), Policy { tenants, ..Policy::default() });
    let mut spec = rig.spec(2, "4g.24gb");
    spec.terms.preemptible = true;
    rig.request(spec).unwrap();
    rig.settle();
    let owner = rig.ask(1, "1g.6gb");
    assert_eq!(rig.why(owner), "L1 of user2, which must leave in 1m00s");
    let said = rig.lease(owner).predicted.and_then(|said| said.not_later_than);
    let gone = rig.now.plus(rig.policy.notice).plus(rig.policy.grace);
    assert!(said.is_some_and(|at| at >= gone && at <= gone.plus(Millis::from_secs(60))));
}

/// By seed: where every lease has a limit and nobody comes later, nobody starts after the moment it
/// was told first; processes leave at the limit or before.
#[test]
fn nobody_starts_later_than_said_where_limits_hold() {
    for seed in 0..40u64 {
        let mut random = seed * 31 + 7;
        let mut below = |most: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) % most
        };
        let boards: &[&str] =
            [&["a30"] as &[&str], &["a30", "a30"], &["a100-sxm4-40gb"], &["a100-sxm4-40gb", "a30"]]
                [below(4) as usize];
        let mut rig = Rig::new(boards);
        let sizes: &[&str] = if boards[0] == "a30" {
            &["1g.6gb", "2g.12gb", "4g.24gb"]
        } else {
            &["1g.5gb", "2g.10gb", "3g.20gb", "7g.40gb"]
        };
        let uniform = below(2) == 0;
        let mut ids = Vec::new();
        for user in 0..(6 + below(20) as u32) {
            let size = sizes[if uniform { 0 } else { below(sizes.len() as u64) as usize }];
            ids.push(limited(&mut rig, user % 4, size, 20 + below(200)));
            rig.tick(Millis::from_secs(below(3)));
        }
        // What is said when the last one has come.
        let told: BTreeMap<LeaseId, Timestamp> = ids
            .iter()
            .filter_map(|id| {
                let why = broker::why(&rig.state, &rig.world(), *id)?;
                Some((*id, why.start.not_later_than.expect("all limits are known")))
            })
            .collect();
        let mut steps = 0;
        while rig.state.queue().next().is_some() {
            if below(6) == 0
                && let Some(done) = rig.state.leases.values().find(|l| rig.is_active(l.id))
            {
                let id = done.id;
                rig.release(id);
            }
            rig.tick(Millis::from_secs(2));
            rig.settle();
            for id in &ids {
                if rig.is_queued(*id) {
                    assert!(rig.now <= told[id], "seed {seed}: {id} should run by {:?}", told[id]);
                }
            }
            steps += 1;
            assert!(steps < 10_000, "seed {seed}: nothing comes to an end");
        }
    }
}

/// One lease on every place is one that must end.
#[test]
fn a_lease_that_is_in_the_way_several_times_is_named_once() {
    let mut rig = Rig::new(&["a30"]);
    let mut spec = rig.spec(1, "1g.6gb");
    spec.count = 4;
    rig.request(spec).expect("accepted");
    rig.settle();
    let waiting = rig.ask(2, "4g.24gb");
    assert_eq!(rig.why(waiting), "L1 of user1 (1g.6gb on GPU 0) to end");
    let why = broker::why(&rig.state, &rig.world(), waiting).expect("it waits");
    assert_eq!(why.blockers.len(), 1);
}
