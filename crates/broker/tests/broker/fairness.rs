//! The order between tenants and inside one: shares, ages, ranks.

use std::collections::BTreeMap;

use broker::{Phase, Policy, Priority, TenantRules};
use model::{LeaseId, Millis, Tenant};

use crate::machine::{Machine, Rig};

/// Keeps so many requests of each user waiting, for so many steps of time.
fn saturate(rig: &mut Rig, users: &[(u32, &str)], waiting: usize, steps: usize, step: Millis) {
    for _ in 0..steps {
        for (user, wanted) in users {
            let tenant = Tenant::new(format!("user{user}"));
            let count = rig.state.queue().filter(|lease| lease.spec.tenant == tenant).count();
            for _ in count..waiting {
                let mut spec = rig.spec(*user, wanted);
                spec.time = Some(Millis::from_secs(60));
                rig.request(spec).expect("accepted");
            }
        }
        rig.settle();
        rig.tick(step);
        rig.settle();
    }
}

/// What each tenant was charged, in parts of a hundred.
fn shares(rig: &Rig) -> BTreeMap<Tenant, f64> {
    let of = |tenant: &Tenant| rig.state.usage.of(tenant).map(|(_, c)| c.get() as f64).sum::<f64>();
    let charged: BTreeMap<Tenant, f64> =
        rig.state.usage.tenants().map(|tenant| (tenant.clone(), of(tenant))).collect();
    let sum: f64 = charged.values().sum();
    charged.into_iter().map(|(tenant, charge)| (tenant, 100.0 * charge / sum)).collect()
}

fn weighted(weights: &[(u32, u32)]) -> Policy {
    let rules = |weight| TenantRules { weight, ..TenantRules::default() };
    let tenants = weights
        .iter()
        .map(|(user, weight)| (Tenant::new(format!("user{user}")), rules(*weight)))
        .collect();
    Policy { tenants, ..Policy::default() }
}

#[test]
fn tenants_share_a_full_machine_by_weight() {
    let mut rig = Rig::with(Machine::new(&["a100-sxm4-40gb"]), weighted(&[(1, 1), (2, 3)]));
    saturate(&mut rig, &[(1, "1g.5gb"), (2, "1g.5gb")], 10, 400, Millis::from_secs(15));
    let shares = shares(&rig);
    let first = shares[&Tenant::new("user1")];
    assert!((first - 25.0).abs() < 3.0, "{shares:?}");
}

#[test]
fn a_share_is_of_the_machine_and_not_of_grants() {
    let mut rig = Rig::with(Machine::new(&["a100-sxm4-40gb"]), weighted(&[(1, 1), (2, 1)]));
    saturate(&mut rig, &[(1, "1g.5gb"), (2, "3g.20gb")], 10, 400, Millis::from_secs(15));
    let shares = shares(&rig);
    let first = shares[&Tenant::new("user1")];
    assert!((first - 50.0).abs() < 8.0, "{shares:?}");
}

/// Who used the machine alone for hours waits behind who comes now, and not for ever.
#[test]
fn past_use_counts_and_fades() {
    let mut rig = Rig::new(&["a30"]);
    let greedy = rig.ask(1, "4g.24gb");
    rig.tick(Millis::from_secs(4 * 3600));
    let mut ask = |user| rig.ask(user, "4g.24gb");
    let (again, newcomer) = (ask(1), ask(2));
    rig.release(greedy);
    assert!(rig.is_active(newcomer) && rig.is_queued(again));
    rig.tick(Millis::from_secs(20 * 3600));
    let (second, third) = (rig.ask(2, "4g.24gb"), again);
    rig.release(newcomer);
    assert!(rig.is_active(third) && rig.is_queued(second), "now the other one had more");
}

#[test]
fn inside_a_tenant_age_for_size_decides() {
    let mut rig = Rig::new(&["a30"]);
    let holder = rig.ask(1, "4g.24gb");
    let large = rig.ask(2, "4g.24gb");
    rig.tick(Millis::from_secs(10));
    let small = rig.ask(2, "1g.6gb");
    rig.tick(Millis::from_secs(10));
    assert_eq!(broker::queue(&rig.state, &rig.world()), [small, large], "10/1 is more than 20/4");
    let mut quick = rig.spec(2, "4g.24gb");
    quick.expect = Some(Millis::from_secs(60));
    let quick = rig.request(quick).unwrap();
    rig.tick(Millis::from_secs(5));
    assert_eq!(
        broker::queue(&rig.state, &rig.world())[0],
        quick,
        "an hour is the guess for others"
    );
    rig.release(holder);
    assert!(rig.is_active(quick));
}

#[test]
fn rank_goes_before_share_and_low_rises_with_time() {
    let rules = TenantRules { max_priority: Priority::High, ..TenantRules::default() };
    let policy = Policy { default_tenant: rules, ..Policy::default() };
    let mut rig = Rig::with(Machine::new(&["a30"]), policy);
    rig.ask(1, "4g.24gb");
    let mut ranked = |priority| {
        let mut spec = rig.spec(3, "4g.24gb");
        spec.terms.priority = priority;
        let id = rig.request(spec).unwrap();
        rig.tick(Millis::new(10));
        id
    };
    let low = ranked(Priority::Low);
    let (normal, high) = (ranked(Priority::Normal), ranked(Priority::High));
    assert_eq!(broker::queue(&rig.state, &rig.world()), [high, normal, low]);
    rig.tick(Millis::from_secs(24 * 3600 + 60));
    let mut late = rig.spec(3, "4g.24gb");
    late.terms.priority = Priority::Normal;
    let late = rig.request(late).unwrap();
    assert_eq!(broker::queue(&rig.state, &rig.world()), [normal, high, low, late]);
}

/// The order that is shown is the order in which slices that come free are given out.
#[test]
fn the_queue_is_shown_in_the_order_of_service() {
    let mut rig = Rig::new(&["a100-sxm4-40gb"]);
    let first: Vec<LeaseId> = (0..7).map(|_| rig.ask(1, "1g.5gb")).collect();
    for (user, pause) in [(1, 5), (2, 3), (2, 9), (3, 1), (1, 2), (3, 4), (2, 8)] {
        rig.ask(user, "1g.5gb");
        rig.tick(Millis::from_secs(pause));
    }
    for id in first {
        let next = broker::queue(&rig.state, &rig.world())[0];
        rig.release(id);
        assert!(rig.is_active(next));
    }
}

/// Whatever others ask, everybody is served some day.
#[test]
fn nobody_starves() {
    for seed in 0..12u64 {
        let mut rig = Rig::new(&["a30"]);
        let mut random = seed * 7919 + 1;
        let mut below = |most: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) % most
        };
        let mut oldest = Millis::new(0);
        for _ in 0..300 {
            let (user, wanted) = (1 + below(3) as u32, ["1g.6gb", "2g.12gb", "4g.24gb"]);
            let mut spec = rig.spec(user, wanted[below(3) as usize]);
            spec.time = Some(Millis::from_secs(10 + below(60)));
            // On average a little less than the machine can do.
            if below(5) < 2 {
                rig.request(spec).unwrap();
            }
            rig.tick(Millis::from_secs(15));
            rig.settle();
            let age = |lease: &broker::Lease| rig.now.since(lease.requested_at);
            oldest = oldest.max(rig.state.queue().map(age).max().unwrap_or_default());
        }
        assert!(oldest < Millis::from_secs(2400), "seed {seed}: somebody waited {oldest}");
        let holding =
            |rig: &Rig| rig.state.leases.values().filter(|l| l.phase == Phase::Queued).count();
        for _ in 0..200 {
            rig.tick(Millis::from_secs(15));
            rig.settle();
        }
        assert_eq!(holding(&rig), 0, "seed {seed}");
    }
}
