//! Where rules of different kinds meet on one lease or one place: neither may undo the other for
//! ever, and an outage of the daemon is nobody's fault.

use broker::{
    Activity, Amount, BookingSpec, Command, EndReason, Event, GpuSelector, Holder, Metered, Notice,
    NoticeReason, Phase, Policy, Refusal, Reply, TenantRules, Wanted,
};
use model::{BookingId, Health, LeaseId, Millis, Tenant, Timestamp, Uid};

use super::machine::{Advance, Machine, PEER_ADMIN, Rig, peer};

const SECOND: Millis = Millis::from_secs(1);
const HOUR: Millis = Millis::from_secs(3600);

fn book(rig: &mut Rig, wanted: &str, from: Timestamp, length: Millis) -> BookingId {
    let spec = BookingSpec {
        tenant: Tenant::new("user5"),
        uid: Uid::new(5),
        wanted: Wanted::Profile(wanted.parse().expect("a profile")),
        count: 1,
        gpu: GpuSelector::Any,
        from,
        until: from.plus(length),
        name: None,
        window: None,
    };
    match rig.command(Command::Book { spec, by: peer(5) }).expect("booked").reply {
        Reply::Booking(id) => id,
        reply => panic!("{reply:?}"),
    }
}

fn preemptible(rig: &mut Rig, user: u32, wanted: &str) -> LeaseId {
    let mut spec = rig.spec(user, wanted);
    spec.terms.preemptible = true;
    let id = rig.request(spec).expect("accepted");
    rig.settle();
    assert!(rig.is_active(id));
    id
}

fn notices(rig: &Rig, id: LeaseId) -> usize {
    let of = |event: &Event| matches!(event, Event::Noticed { lease, .. } if *lease == id);
    rig.journal.iter().filter(|stamped| of(&stamped.event)).count()
}

fn pass(rig: &mut Rig, until: Timestamp) {
    while rig.now < until {
        rig.tick(SECOND);
        rig.settle();
    }
}

/// The daemon is away for so long.
fn outage(rig: &mut Rig, span: Millis) {
    rig.now = rig.now.plus(span);
    rig.crash();
    rig.tick(SECOND);
    rig.settle();
}

#[test]
fn an_idle_lease_on_a_booked_place_leaves_for_the_booking() {
    let mut policy = Policy::default();
    policy.default_tenant.idle_limit = Some(HOUR);
    let mut rig = Rig::with(Machine::new(&["a30"]), policy);
    let id = preemptible(&mut rig, 1, "4g.24gb");
    let since = rig.now;
    let activity = Activity::Idle { since };
    rig.own(Command::Measured { lease: id, activity, metered: Metered::default() });
    // The lease is told of the booking some seconds before it has been idle for too long.
    let from = since.plus(HOUR).plus(Millis::from_secs(90));
    let booking = book(&mut rig, "4g.24gb", from, HOUR);
    pass(&mut rig, from);
    assert_eq!(rig.ended(id), Some(&EndReason::BookingBegins { booking }));
    assert_eq!(notices(&rig, id), 1);
}

#[test]
fn who_leaves_for_a_booking_is_not_told_to_leave_for_somebody_else_in_turns() {
    let amount = Amount { slices: Some(4), memory: None };
    let rules = TenantRules { guaranteed: amount, ..TenantRules::default() };
    let tenants = [(Tenant::new("user1"), rules)].into();
    let mut rig = Rig::with(Machine::new(&["a30"]), Policy { tenants, ..Policy::default() });
    let id = preemptible(&mut rig, 2, "4g.24gb");
    let from = rig.now.plus(Millis::from_secs(300));
    let booking = book(&mut rig, "4g.24gb", from, HOUR);
    let due = rig.now.plus(Millis::from_secs(200));
    pass(&mut rig, due);
    assert_eq!(notices(&rig, id), 1);
    let mut spec = rig.spec(1, "1g.6gb");
    spec.time = Some(Millis::from_secs(10));
    rig.request(spec).expect("accepted");
    pass(&mut rig, from);
    assert_eq!(rig.ended(id), Some(&EndReason::BookingBegins { booking }));
    assert_eq!(notices(&rig, id), 1);
}

#[test]
fn a_token_lives_its_life_on_the_slice_it_moved_to() {
    let mut rig = Rig::new(&["a30"]);
    let mut spec = rig.spec(1, "1g.6gb");
    let life = Millis::from_secs(600);
    spec.holder = Holder::Token { life };
    spec.terms.restartable = true;
    let id = rig.request(spec).expect("accepted");
    rig.settle();
    rig.command(Command::Renew { lease: id, by: peer(1) }).expect("renewed");
    let gpu = rig.observed.gpus[0].uuid.clone();
    let cordon =
        Command::Cordon { gpu: gpu.clone(), drain: true, why: String::new(), by: PEER_ADMIN };
    rig.command(cordon).expect("cordoned");
    rig.command(Command::Agree { lease: id, by: peer(1) }).expect("agreed");
    rig.settle();
    rig.tick(HOUR);
    assert!(rig.is_queued(id));
    rig.command(Command::Uncordon { gpu, by: PEER_ADMIN }).expect("uncordoned");
    rig.settle();
    rig.tick(Millis::new(life.get() - 1));
    assert!(rig.is_active(id));
    rig.tick(SECOND);
    rig.settle();
    assert_eq!(rig.ended(id), Some(&EndReason::NotRenewed));
}

fn lingering(rig: &mut Rig) -> LeaseId {
    let mut spec = rig.spec(1, "1g.6gb");
    spec.name = Some("llm".into());
    spec.terms.linger = Some(Millis::from_secs(60));
    spec.terms.restartable = true;
    let id = rig.request(spec).expect("accepted");
    rig.settle();
    rig.tick(HOUR);
    let client = rig.client(id);
    rig.exit(client);
    rig.settle();
    assert!(rig.lease(id).lingering_until.is_some());
    id
}

#[test]
fn a_token_that_takes_over_a_lingering_lease_has_its_life_before_it() {
    let mut rig = Rig::new(&["a30"]);
    let id = lingering(&mut rig);
    let mut spec = rig.spec(1, "1g.6gb");
    spec.name = Some("llm".into());
    spec.holder = Holder::Token { life: Millis::from_secs(600) };
    assert_eq!(rig.request(spec), Ok(id));
    rig.tick(Millis::from_secs(599));
    assert!(rig.is_active(id));
    rig.tick(SECOND);
    rig.settle();
    assert_eq!(rig.ended(id), Some(&EndReason::NotRenewed));
}

#[test]
fn nobody_agrees_to_a_move_for_a_holder_that_is_gone() {
    let mut rig = Rig::new(&["a30"]);
    let id = lingering(&mut rig);
    let until = rig.now.plus(SECOND);
    let reason = NoticeReason::Preempted { for_lease: LeaseId::new(99) };
    rig.inject(Event::Noticed { lease: id, notice: Notice { reason, until } });
    let answer = rig.command(Command::Agree { lease: id, by: peer(1) });
    assert!(matches!(answer, Err(Refusal::WrongPhase { .. })), "{answer:?}");
}

#[test]
fn a_notice_that_ran_out_while_the_daemon_was_away_is_given_again() {
    let mut rig = Rig::with(Machine::new(&["a30"]), {
        let rules = TenantRules { max_priority: broker::Priority::High, ..TenantRules::default() };
        Policy { default_tenant: rules, ..Policy::default() }
    });
    let mut spec = rig.spec(1, "4g.24gb");
    spec.terms.preemptible = true;
    spec.terms.priority = broker::Priority::Low;
    spec.terms.notice_signal = Some(broker::NoticeSignal::Usr1);
    let id = rig.request(spec).expect("accepted");
    rig.settle();
    let mut spec = rig.spec(2, "1g.6gb");
    spec.terms.priority = broker::Priority::High;
    let high = rig.request(spec).expect("accepted");
    rig.settle();
    assert_eq!(rig.notified.len(), 1);
    outage(&mut rig, HOUR);
    assert!(rig.is_active(id), "{:?}", rig.ended(id));
    assert_eq!(rig.notified.len(), 2);
    let out = rig.now.plus(rig.policy.notice).plus(rig.policy.grace);
    pass(&mut rig, out);
    assert_eq!(rig.ended(id), Some(&EndReason::Preempted { for_lease: high }));
    assert!(rig.is_active(high));
}

#[test]
fn who_could_not_renew_or_come_back_while_the_daemon_was_away_is_given_the_time() {
    let mut rig = Rig::new(&["a30"]);
    let mut spec = rig.spec(1, "1g.6gb");
    spec.holder = Holder::Token { life: Millis::from_secs(60) };
    let token = rig.request(spec).expect("accepted");
    rig.settle();
    outage(&mut rig, HOUR);
    assert!(rig.is_active(token), "{:?}", rig.ended(token));
    let named = lingering(&mut rig);
    outage(&mut rig, HOUR);
    assert!(rig.is_active(named), "{:?}", rig.ended(named));
    let over = rig.now.plus(Millis::from_secs(90));
    pass(&mut rig, over);
    assert_eq!(rig.ended(named), Some(&EndReason::HolderDied));
    assert_eq!(rig.ended(token), Some(&EndReason::NotRenewed));
}

#[test]
fn a_booking_whose_place_was_not_cleared_while_the_daemon_was_away_is_kept_late() {
    let mut rig = Rig::new(&["a30"]);
    let id = preemptible(&mut rig, 1, "4g.24gb");
    let from = rig.now.plus(Millis::from_secs(600));
    let booking = book(&mut rig, "4g.24gb", from, HOUR);
    rig.tick(SECOND);
    outage(&mut rig, Millis::from_secs(700));
    assert!(rig.state.bookings.contains_key(&booking));
    assert!(rig.is_active(id), "told first");
    let out = rig.now.plus(rig.policy.notice).plus(rig.policy.grace);
    pass(&mut rig, out);
    assert_eq!(rig.ended(id), Some(&EndReason::BookingBegins { booking }));
}

#[test]
fn a_grant_that_succeeds_on_a_gpu_taken_out_of_use_meanwhile_ends() {
    let mut rig = Rig::new(&["a30"]);
    let spec = rig.spec(1, "1g.6gb");
    let id = rig.request(spec).expect("accepted");
    let gpu = rig.observed.gpus[0].uuid.clone();
    rig.do_steps(1);
    // What the observer sees, while the driver still does as it is told.
    rig.observed.gpus[0].health = Health::ResetRequired;
    rig.own(Command::Observed);
    assert!(rig.state.quarantine.contains_key(&gpu));
    assert!(matches!(rig.lease(id).phase, Phase::Granting { .. }));
    while !rig.running.is_empty() {
        rig.advance(0, Advance::Well);
    }
    rig.observed.gpus[0].health = Health::ResetRequired;
    rig.tick(SECOND);
    rig.settle();
    assert!(matches!(rig.ended(id), Some(EndReason::GpuLost(_))), "{:?}", rig.state.lease(id));
}

#[test]
fn room_is_not_kept_where_a_booking_comes_before_it_is_free() {
    let mut rig = Rig::new(&["a30", "a30"]);
    for (user, limit) in [(1, 600), (2, 1200)] {
        let mut spec = rig.spec(user, "4g.24gb");
        spec.time = Some(Millis::from_secs(limit));
        rig.request(spec).expect("accepted");
        rig.settle();
    }
    let large = rig.ask(3, "4g.24gb");
    rig.ask(4, "1g.6gb");
    rig.tick(rig.policy.drain_after);
    let kept = rig.state.reservation.clone().expect("kept");
    assert_eq!(kept.lease, large);
    let place = kept.places[0].key.clone();
    let from = rig.now.plus(Millis::from_secs(600));
    let booking = book(&mut rig, "4g.24gb", from, Millis::from_secs(24 * 3600));
    assert_eq!(rig.state.bookings[&booking].places[0].key, place);
    rig.tick(SECOND);
    let kept = rig.state.reservation.clone().expect("kept");
    assert_ne!(kept.places[0].key.gpu, place.gpu);
}

#[test]
fn a_limit_beyond_all_measure_breaks_nothing() {
    let mut rig = Rig::new(&["a30"]);
    for user in 1..4 {
        let mut spec = rig.spec(user, "4g.24gb");
        spec.time = Some(Millis::new(u64::MAX));
        spec.expect = Some(Millis::new(u64::MAX));
        spec.terms.preemptible = true;
        rig.request(spec).expect("accepted");
        rig.settle();
        rig.tick(HOUR);
    }
    assert_eq!(rig.state.queue().count(), 2);
}

#[test]
fn a_whole_gpu_is_had_under_an_endless_stream_of_slices() {
    let mut rig = Rig::with(
        Machine::new(&["a30"]),
        Policy { auto_mig: true, drain_lengths: 0, ..Policy::default() },
    );
    let limit = Millis::from_secs(120);
    let stream = |rig: &mut Rig, user: u32| {
        let mut spec = rig.spec(user, "1g.6gb");
        spec.time = Some(limit);
        rig.request(spec).expect("accepted");
        rig.settle();
    };
    rig.settle();
    for user in 0..4 {
        stream(&mut rig, user);
        rig.tick(Millis::from_secs(25));
    }
    let mut spec = rig.spec(99, "1g.6gb");
    spec.wanted = Wanted::WholeGpu;
    let whole = rig.request(spec).expect("accepted");
    let span = rig.policy.drain_after.get() + limit.get() + rig.policy.grace.get() + 60_000;
    let bound = rig.now.plus(Millis::new(span));
    let mut user = 100;
    while !rig.is_active(whole) {
        assert!(rig.now < bound, "{:?}", rig.state.reservation);
        for _ in 0..2 {
            user += 1;
            stream(&mut rig, user);
        }
        rig.tick(Millis::from_secs(5));
        rig.settle();
    }
}
