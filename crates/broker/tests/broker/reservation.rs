//! Room kept for the large request that small ones pass by.

use broker::{Amount, Event, Policy, Priority, SliceTarget, Stage, TenantRules, Wanted};
use model::geometry::Need;
use model::{LeaseId, MemoryMib, MemoryRequest, Millis, NominalGb, Tenant, Timestamp};

use crate::machine::{Machine, Rig};

/// Requests of one slice each that come and never stop coming.
fn stream(rig: &mut Rig, user: u32, time: Option<Millis>) -> LeaseId {
    let mut spec = rig.spec(user, "1g.5gb");
    spec.time = time;
    let id = rig.request(spec).expect("accepted");
    rig.settle();
    id
}

fn reserved(rig: &Rig) -> Option<(LeaseId, Vec<SliceTarget>, Option<Timestamp>)> {
    let kept = rig.state.reservation.as_ref()?;
    Some((kept.lease, kept.places.clone(), kept.free_at))
}

#[test]
fn a_large_request_is_served_under_an_endless_stream_of_small_ones() {
    let mut rig = Rig::new(&["a100-sxm4-40gb"]);
    let limit = Millis::from_secs(120);
    for user in 0..7 {
        stream(&mut rig, user, Some(limit));
        rig.tick(Millis::from_secs(15));
    }
    let large = rig.ask(99, "7g.40gb");
    let asked = rig.now;
    // At the end of the longest limit the processes have the grace, and the looks some seconds.
    let bound = asked
        .plus(rig.policy.drain_after)
        .plus(limit)
        .plus(rig.policy.grace)
        .plus(Millis::from_secs(30));
    let mut user = 100;
    while !rig.is_active(large) {
        assert!(rig.now < bound, "{:?}", rig.state.reservation);
        for _ in 0..2 {
            user += 1;
            stream(&mut rig, user, Some(limit));
        }
        rig.tick(Millis::from_secs(5));
        rig.settle();
    }
}

#[test]
fn without_limits_no_new_one_enters_the_reserved_place() {
    let mut rig = Rig::new(&["a100-sxm4-40gb", "a100-sxm4-40gb"]);
    let there: Vec<LeaseId> = (0..14).map(|user| stream(&mut rig, user, None)).collect();
    let large = rig.ask(99, "7g.40gb");
    rig.tick(rig.policy.drain_after);
    let (lease, places, free_at) = reserved(&rig).expect("kept");
    assert_eq!((lease, free_at), (large, None));
    let gpu = places[0].key.gpu.clone();
    for (index, old) in there.iter().enumerate() {
        let was_there = rig.lease(*old).slices[0].key.gpu == gpu;
        let newcomer = stream(&mut rig, 200 + index as u32, None);
        rig.release(*old);
        if was_there {
            assert!(!rig.is_active(newcomer), "it took a place that is kept");
        }
        if rig.is_active(large) {
            return;
        }
    }
    panic!("{large} was not served: {:?}", rig.state.reservation);
}

#[test]
fn who_ends_in_time_may_use_the_reserved_place() {
    let mut rig = Rig::new(&["a100-sxm4-40gb"]);
    let mut long = rig.spec(1, "3g.20gb");
    long.time = Some(Millis::from_secs(600));
    let long = rig.request(long).unwrap();
    rig.settle();
    let large = rig.ask(2, "7g.40gb");
    rig.tick(rig.policy.drain_after);
    let (_, _, free_at) = reserved(&rig).expect("kept");
    let free_at = free_at.expect("the only one there has a limit");
    let quick = stream(&mut rig, 3, Some(Millis::from_secs(300)));
    let slow = stream(&mut rig, 4, Some(Millis::from_secs(590)));
    let unknown = stream(&mut rig, 5, None);
    let mut yielding = rig.spec(6, "1g.5gb");
    yielding.terms.preemptible = true;
    let yielding = rig.request(yielding).unwrap();
    rig.settle();
    assert!(rig.is_active(quick) && rig.is_active(yielding));
    assert!(rig.is_queued(slow) && rig.is_queued(unknown));
    while !rig.is_active(large) {
        rig.tick(Millis::from_secs(5));
        rig.settle();
        assert!(rig.now < free_at.plus(Millis::from_secs(40)), "delayed: {:?}", rig.state);
    }
    assert!(rig.ended(long).is_some() && rig.ended(quick).is_some());
    let for_lease = large;
    assert_eq!(rig.ended(yielding), Some(&broker::EndReason::Preempted { for_lease }));
}

#[test]
fn a_reservation_goes_with_its_request() {
    let mut rig = Rig::new(&["a100-sxm4-40gb"]);
    stream(&mut rig, 1, None);
    let large = rig.ask(2, "7g.40gb");
    rig.tick(rig.policy.drain_after);
    assert_eq!(reserved(&rig).map(|(lease, ..)| lease), Some(large));
    let small = stream(&mut rig, 3, None);
    assert!(rig.is_queued(small));
    rig.release(large);
    assert!(reserved(&rig).is_none() && rig.is_active(small));
}

#[test]
fn who_asks_for_no_more_than_others_has_nothing_kept() {
    let mut rig = Rig::new(&["a30"]);
    for user in 0..4 {
        rig.ask(user, "1g.6gb");
    }
    rig.ask(9, "1g.6gb");
    rig.tick(Millis::from_secs(3600));
    assert!(reserved(&rig).is_none());
}

#[test]
fn a_reservation_moves_to_a_place_without_unlimited_leases() {
    let mut rig = Rig::new(&["a30", "a30"]);
    let ids: Vec<LeaseId> = (0..8).map(|user| rig.ask(user, "1g.6gb")).collect();
    let large = rig.ask(99, "4g.24gb");
    rig.tick(rig.policy.drain_after);
    let (_, first, _) = reserved(&rig).expect("kept");
    let on = |rig: &Rig, id: LeaseId| rig.lease(id).slices[0].key.gpu.clone();
    let other: Vec<LeaseId> =
        ids.iter().copied().filter(|id| on(&rig, *id) != first[0].key.gpu).collect();
    rig.release(other[0]);
    let (_, second, _) = reserved(&rig).expect("kept");
    assert_ne!(first[0].key.gpu, second[0].key.gpu, "one less is in the way there");
    for id in &other[1..] {
        rig.release(*id);
    }
    assert!(rig.is_active(large));
}

#[test]
fn a_reservation_leaves_a_gpu_that_is_taken_out_of_use() {
    let mut rig = Rig::new(&["a30", "a30"]);
    for user in 0..8 {
        rig.ask(user, "1g.6gb");
    }
    rig.ask(99, "4g.24gb");
    rig.tick(rig.policy.drain_after);
    let (_, places, _) = reserved(&rig).expect("kept");
    let gpu = places[0].key.gpu.clone();
    let by = crate::machine::PEER_ADMIN;
    let why = "a fan".to_owned();
    rig.command(broker::Command::Cordon { gpu: gpu.clone(), drain: false, why, by }).unwrap();
    rig.tick(Millis::from_secs(1));
    let (_, places, _) = reserved(&rig).expect("kept elsewhere");
    assert_ne!(places[0].key.gpu, gpu);
}

/// By seed: small requests with limits come and go, some end early; the large one is served when
/// it was said at the latest.
#[test]
fn what_is_let_in_never_delays_the_reservation() {
    for seed in 0..10u64 {
        let mut random = seed + 1;
        let mut below = |most: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) % most
        };
        let mut rig = Rig::new(&["a100-sxm4-40gb", "a30"]);
        let mut user = 0;
        let mut said: Option<(LeaseId, Timestamp)> = None;
        for _ in 0..150 {
            user += 1;
            let sizes = ["1g.5gb", "1g.6gb", "2g.10gb", "3g.20gb", "7g.40gb", "4g.24gb"];
            let large = below(12) == 0;
            let size = sizes[if large { 4 + below(2) } else { below(4) } as usize];
            let mut spec = rig.spec(user, size);
            spec.time = Some(Millis::from_secs(30 + below(400)));
            spec.terms.preemptible = below(6) == 0;
            let id = rig.request(spec).unwrap();
            rig.settle();
            if rig.is_active(id) && below(3) == 0 {
                rig.run_on(id, true, Some(Stage::Kill));
            }
            if below(4) == 0
                && let Some(done) = rig.state.leases.values().find(|l| l.holds_slices())
            {
                let (by, lease) = (crate::machine::PEER_ADMIN, done.id);
                rig.command(broker::Command::End { lease, by, holder: false }).ok();
            }
            rig.tick(Millis::from_secs(5));
            rig.settle();
            let kept = rig.state.reservation.as_ref();
            let now = kept.and_then(|kept| Some((kept.lease, kept.free_at?)));
            if let (Some((lease, at)), true) = (said, now.is_none()) {
                let granted = rig.journal.iter().find_map(|stamped| match &stamped.event {
                    Event::Granted { lease: of, .. } if *of == lease => Some(stamped.at),
                    _ => None,
                });
                let bound = at.plus(Millis::from_secs(10));
                let in_time = granted.is_some_and(|granted| granted <= bound);
                assert!(in_time, "seed {seed}: {lease} {at:?} {granted:?}");
            }
            if let (Some((old, before)), Some((lease, at))) = (said, now)
                && old == lease
            {
                assert!(at <= before, "seed {seed}: {lease} is put off");
            }
            said = now;
        }
    }
}

/// One that was let in, told to leave at once and started anew would come back to the same place,
/// and go, for ever.
#[test]
fn who_may_be_preempted_is_not_let_in_shortly_before_the_room_is_needed() {
    let mut rig = Rig::new(&["a30"]);
    let mut first = rig.spec(1, "2g.12gb");
    first.time = Some(Millis::from_secs(100));
    rig.request(first).unwrap();
    rig.settle();
    let large = rig.ask(2, "4g.24gb");
    rig.tick(rig.policy.drain_after);
    rig.settle();
    assert_eq!(reserved(&rig).map(|(lease, ..)| lease), Some(large));
    let mut yielding = rig.spec(3, "1g.6gb");
    yielding.terms.preemptible = true;
    yielding.terms.restartable = true;
    let yielding = rig.request(yielding).unwrap();
    rig.settle();
    assert!(rig.is_queued(yielding), "the room is needed within the minute");
    rig.tick(Millis::from_secs(100));
    rig.settle();
    assert!(rig.is_active(large));
}

/// Tenants that may have 15,000 MiB at most, on a machine where the same need is 12 GB on one board
/// and 20 GB on the other.
fn capped(priority: Priority, preemptible: bool) -> (Rig, LeaseId) {
    let cap = Amount { slices: None, memory: Some(MemoryMib::new(15_000)) };
    let rules = TenantRules { cap, max_priority: Priority::High, ..TenantRules::default() };
    let tenants = [(Tenant::new("user9"), rules)].into();
    let policy = Policy { tenants, drain_lengths: 0, ..Policy::default() };
    let mut rig = Rig::with(Machine::new(&["a100-sxm4-80gb", "a30"]), policy);
    // The large board is free much sooner.
    for (gpu, wanted, seconds) in [(0, "7g.80gb", 600), (1, "4g.24gb", 5000)] {
        let mut spec = rig.spec(gpu, wanted);
        spec.time = Some(Millis::from_secs(seconds));
        spec.terms.preemptible = preemptible;
        spec.terms.priority = Priority::Low;
        let id = rig.request(spec).expect("accepted");
        rig.settle();
        assert!(rig.is_active(id));
    }
    rig.ask(3, "1g.10gb");
    let mut spec = rig.spec(9, "2g.12gb");
    let memory = Some(MemoryRequest::Nominal(NominalGb::new(12)));
    spec.wanted = Wanted::Need(Need { memory, compute_slices: None });
    spec.terms.priority = priority;
    let id = rig.request(spec).expect("accepted");
    rig.settle();
    (rig, id)
}

#[test]
fn room_is_kept_where_the_tenants_cap_can_hold_it() {
    let (mut rig, id) = capped(Priority::Normal, false);
    rig.tick(rig.policy.drain_after);
    rig.settle();
    let (lease, places, _) = reserved(&rig).expect("room is kept");
    assert_eq!((lease, places[0].key.gpu.as_str()), (id, "GPU-1"));
}

/// Nobody is told to leave a board that would be of no use.
#[test]
fn others_leave_only_where_the_tenants_cap_can_hold_it() {
    let (rig, id) = capped(Priority::High, true);
    let told: Vec<_> = rig.state.leases.values().filter(|lease| lease.notice.is_some()).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].slices[0].key.gpu.as_str(), "GPU-1");
    assert_eq!(rig.lease(id).promised[0].key.gpu.as_str(), "GPU-1");
}

/// One tenant's lease without a limit on every GPU; another asks for more than is left.
fn patient(wanted: &str, say: impl Fn(&mut broker::RequestSpec)) -> (Rig, LeaseId) {
    let policy = Policy { drain_lengths: 1, ..Policy::default() };
    let mut rig = Rig::with(Machine::new(&["a100-sxm4-40gb"]), policy);
    stream(&mut rig, 1, None);
    rig.ask(2, "3g.20gb");
    let mut spec = rig.spec(3, wanted);
    say(&mut spec);
    let id = rig.request(spec).expect("accepted");
    rig.settle();
    (rig, id)
}

/// Whether room is kept when a request has waited so long, and was not a second earlier.
fn is_kept_after(rig: &mut Rig, id: LeaseId, minutes: u64) -> bool {
    let due = rig.lease(id).requested_at.plus(Millis::from_secs(60 * minutes));
    rig.tick(Millis::new(due.since(rig.now).get() - 1000));
    let before = reserved(rig).is_none();
    rig.tick(Millis::from_secs(1));
    before && reserved(rig).is_some_and(|(lease, ..)| lease == id)
}

#[test]
fn whoever_wants_a_gpu_has_room_kept_after_as_long_as_it_will_run() {
    let minutes = |count: u64| Some(Millis::from_secs(60 * count));
    let (mut rig, id) = patient("7g.40gb", |spec| spec.expect = minutes(20));
    assert!(is_kept_after(&mut rig, id, 20), "as long as it says");
    let (mut rig, id) = patient("7g.40gb", |spec| spec.time = minutes(20));
    assert!(is_kept_after(&mut rig, id, 10), "half of its limit");
    let (mut rig, id) = patient("7g.40gb", |spec| spec.expect = minutes(600));
    assert!(is_kept_after(&mut rig, id, 60), "an hour at most");
    let (mut rig, id) = patient("7g.40gb", |_| {});
    assert!(is_kept_after(&mut rig, id, 30), "half an hour, if it says nothing");
    let (mut rig, id) = patient("4g.20gb", |spec| spec.expect = minutes(20));
    assert!(is_kept_after(&mut rig, id, 80), "four times as long for half a GPU");
    let (mut rig, id) = patient("4g.20gb", |spec| spec.expect = minutes(600));
    assert!(is_kept_after(&mut rig, id, 240), "four hours at most");
    let (mut rig, id) = patient("7g.40gb", |spec| spec.expect = Some(Millis::from_secs(5)));
    assert!(is_kept_after(&mut rig, id, 1), "a minute at least");
}

#[test]
fn room_that_asking_makes_free_is_kept_soon() {
    let policy = Policy { drain_lengths: 1, ..Policy::default() };
    let mut rig = Rig::with(Machine::new(&["a100-sxm4-40gb"]), policy);
    let mut small = rig.spec(1, "1g.5gb");
    small.terms.preemptible = true;
    let small = rig.request(small).expect("accepted");
    rig.settle();
    let large = rig.ask(2, "7g.40gb");
    rig.tick(rig.policy.drain_after);
    assert_eq!(reserved(&rig).map(|(lease, ..)| lease), Some(large));
    for _ in 0..40 {
        rig.tick(Millis::from_secs(5));
        rig.settle();
    }
    assert!(rig.is_active(large) && rig.ended(small).is_some());
}
