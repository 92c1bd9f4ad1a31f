//! Bookings: accepted when they can be kept for sure, kept, used, given up.

use broker::{
    BookingEnd, BookingSpec, Command, EndReason, Event, GpuSelector, Policy, Refusal, Reply, Stage,
    Wanted,
};
use model::{BookingId, Health, LeaseId, Millis, Tenant, Timestamp, Uid};

use crate::machine::{Machine, PEER_ADMIN, Rig, peer};

const HOUR: Millis = Millis::from_secs(3600);

fn in_(rig: &Rig, span: Millis) -> Timestamp {
    rig.now.plus(span)
}

fn spec(rig: &Rig, uid: u32, wanted: &str, from: Millis) -> BookingSpec {
    BookingSpec {
        tenant: Tenant::new(format!("user{uid}")),
        uid: Uid::new(uid),
        wanted: Wanted::Profile(wanted.parse().expect("a profile")),
        count: 1,
        gpu: GpuSelector::Any,
        from: in_(rig, from),
        until: in_(rig, from).plus(HOUR),
        name: None,
        window: None,
    }
}

fn book(rig: &mut Rig, spec: BookingSpec) -> Result<BookingId, Refusal> {
    let by = peer(spec.uid.get());
    let reply = rig.command(Command::Book { spec, by })?.reply;
    rig.settle();
    match reply {
        Reply::Booking(id) => Ok(id),
        Reply::Lease(_) | Reply::Change(_) | Reply::Done => {
            panic!("a booking is answered with its id")
        }
    }
}

/// A request that makes use of a booking.
fn use_it(rig: &mut Rig, uid: u32, booking: BookingId) -> Result<LeaseId, Refusal> {
    let mut spec = rig.spec(uid, "1g.6gb");
    spec.terms.booking = Some(booking);
    let id = rig.request(spec)?;
    rig.settle();
    Ok(id)
}

fn over(rig: &Rig, booking: BookingId) -> Option<&BookingEnd> {
    rig.journal.iter().find_map(|stamped| match &stamped.event {
        Event::BookingEnded { booking: id, why } if *id == booking => Some(why),
        _ => None,
    })
}

/// Time passes in steps, and whatever is due is done.
fn pass(rig: &mut Rig, span: Millis) {
    for _ in 0..60 {
        rig.tick(Millis::new(span.get() / 60));
        rig.settle();
    }
    rig.tick(Millis::new(span.get() % 60));
    rig.settle();
}

#[test]
fn only_what_ends_in_time_makes_room_for_a_booking() {
    let mut rig = Rig::new(&["a30"]);
    let endless = rig.ask(1, "1g.6gb");
    let wish = spec(&rig, 2, "4g.24gb", HOUR);
    let refused = book(&mut rig, wish).map_err(|refusal| refusal.to_string());
    let words = "that cannot be booked: L1 of user1 (1g.6gb on GPU 0) may still be there then; \
                 no time is known at which it could begin";
    assert_eq!(refused, Err(words.into()));
    rig.release(endless);
    let mut limited = rig.spec(1, "1g.6gb");
    limited.time = Some(Millis::from_secs(5400));
    rig.request(limited).expect("accepted");
    rig.settle();
    let wish = spec(&rig, 2, "4g.24gb", HOUR);
    let refused = book(&mut rig, wish).map_err(|refusal| refusal.to_string());
    let words = refused.expect_err("it lasts half an hour too long");
    assert!(words.contains("it could begin 1h3"), "{words}");
    let wish = spec(&rig, 2, "4g.24gb", Millis::from_secs(5600));
    assert!(book(&mut rig, wish).is_ok());
    let wish = spec(&rig, 3, "4g.24gb", Millis::from_secs(6000));
    let words = book(&mut rig, wish).expect_err("booked already").to_string();
    assert!(words.contains("B1 of user2 may still be there then"), "{words}");
}

#[test]
fn a_booking_is_honoured_under_load_and_ends_its_lease() {
    let mut rig = Rig::new(&["a30"]);
    let wish = spec(&rig, 2, "4g.24gb", HOUR);
    let booking = book(&mut rig, wish).expect("booked");
    let endless = rig.ask(1, "1g.6gb");
    assert!(rig.is_queued(endless), "it might still be there");
    let mut short = rig.spec(1, "1g.6gb");
    short.time = Some(Millis::from_secs(1800));
    let short = rig.request(short).expect("accepted");
    rig.settle();
    assert!(rig.is_active(short), "it is gone in time");
    rig.run_on(short, true, Some(Stage::Term));
    let early = use_it(&mut rig, 2, booking).expect("accepted");
    assert!(rig.is_queued(early) && rig.why(early).contains("B1 to begin"), "{}", rig.why(early));
    let again = use_it(&mut rig, 2, booking);
    assert!(matches!(again, Err(Refusal::BookingInUse { .. })), "{again:?}");
    let foreign = use_it(&mut rig, 7, booking);
    assert!(matches!(foreign, Err(Refusal::NotAllowed { .. })), "{foreign:?}");
    pass(&mut rig, HOUR);
    assert!(rig.is_active(early), "{}", rig.why(early));
    assert!(rig.is_queued(endless));
    rig.run_on(early, true, Some(Stage::Term));
    pass(&mut rig, HOUR);
    rig.tick(Millis::from_secs(60));
    rig.settle();
    assert_eq!(rig.ended(early), Some(&EndReason::BookingOver));
    assert_eq!(over(&rig, booking), Some(&BookingEnd::Over));
    assert!(rig.is_active(endless), "now there is room");
}

#[test]
fn preemptible_leases_are_told_early_and_leave() {
    let mut rig = Rig::new(&["a30"]);
    let mut soft = rig.spec(1, "4g.24gb");
    soft.terms.preemptible = true;
    let soft = rig.request(soft).expect("accepted");
    rig.settle();
    rig.run_on(soft, true, Some(Stage::Kill));
    let wish = spec(&rig, 2, "4g.24gb", HOUR);
    let booking = book(&mut rig, wish).expect("booked");
    pass(&mut rig, Millis::from_secs(3400));
    assert!(rig.is_active(soft) && rig.lease(soft).notice.is_none());
    pass(&mut rig, Millis::from_secs(199));
    assert_eq!(rig.ended(soft), Some(&EndReason::BookingBegins { booking }));
    rig.tick(Millis::from_secs(1));
    let id = use_it(&mut rig, 2, booking).expect("accepted");
    assert!(rig.is_active(id));
}

#[test]
fn room_that_nobody_comes_for_is_given_to_others() {
    let mut rig = Rig::new(&["a30"]);
    let wish = spec(&rig, 2, "4g.24gb", HOUR);
    let booking = book(&mut rig, wish).expect("booked");
    let waits = rig.ask(1, "4g.24gb");
    pass(&mut rig, Millis::from_secs(3600 + 899));
    assert!(rig.is_queued(waits));
    rig.tick(Millis::from_secs(1));
    rig.settle();
    assert_eq!(over(&rig, booking), Some(&BookingEnd::NotUsed));
    assert!(rig.is_active(waits));
}

#[test]
fn a_booking_moves_when_its_gpu_fails_and_is_lost_when_there_is_no_other() {
    let mut rig = Rig::new(&["a30", "a30"]);
    let wish = spec(&rig, 2, "4g.24gb", HOUR);
    let booking = book(&mut rig, wish).expect("booked");
    let kept = rig.state.bookings[&booking].places[0].key.gpu.clone();
    rig.machine.gpu_mut(&kept).health = Health::Lost;
    rig.disturb(&kept);
    rig.settle();
    let now = rig.state.bookings[&booking].places[0].key.gpu.clone();
    assert_ne!(now, kept);
    let (drain, why, by) = (false, String::new(), PEER_ADMIN);
    rig.command(Command::Cordon { gpu: now, drain, why, by }).expect("an administrator");
    rig.settle();
    assert_eq!(over(&rig, booking), None, "it may be well again in time");
    pass(&mut rig, HOUR);
    assert!(matches!(over(&rig, booking), Some(BookingEnd::Lost(_))));
}

#[test]
fn whole_gpus_are_booked_and_mig_is_off_when_the_time_comes() {
    let policy = Policy { auto_mig: true, ..Policy::default() };
    let mut rig = Rig::with(Machine::new(&["a30"]), policy);
    let wish = BookingSpec { wanted: Wanted::WholeGpu, ..spec(&rig, 2, "1g.6gb", HOUR) };
    let booking = book(&mut rig, wish).expect("booked");
    assert_eq!(rig.state.bookings[&booking].whole.len(), 1);
    let slice = rig.ask(1, "1g.6gb");
    assert!(rig.is_queued(slice));
    pass(&mut rig, HOUR);
    let id = use_it(&mut rig, 2, booking).expect("accepted");
    assert!(rig.is_active(id) && rig.lease(id).whole.len() == 1);
    rig.release(id);
    let gone = rig.command(Command::CancelBooking { booking, by: peer(9) }).map(|_| ());
    assert!(matches!(gone, Err(Refusal::NotAllowed { .. })));
    rig.command(Command::CancelBooking { booking, by: peer(2) }).expect("its own");
    rig.tick(Millis::from_secs(31));
    rig.settle();
    assert!(rig.is_active(slice), "{}", rig.why(slice));
}

#[test]
fn limits_on_bookings_bind_and_a_window_is_booked_once() {
    let policy = Policy { max_bookings_per_user: 1, ..Policy::default() };
    let mut rig = Rig::with(Machine::new(&["a30", "a30"]), policy);
    let wish = spec(&rig, 1, "1g.6gb", HOUR);
    book(&mut rig, wish.clone()).expect("booked");
    let words = book(&mut rig, wish).expect_err("one too many").to_string();
    assert!(words.contains("the most one user may have"), "{words}");
    let far = spec(&rig, 2, "1g.6gb", Millis::from_secs(91 * 24 * 3600));
    assert!(book(&mut rig, far).is_err());
    let window = BookingSpec { window: Some("night@1".into()), ..spec(&rig, 0, "1g.6gb", HOUR) };
    let mut ids = Vec::new();
    for _ in 0..2 {
        let command = Command::Book { spec: window.clone(), by: PEER_ADMIN };
        ids.push(rig.command(command).expect("booked").reply);
    }
    assert_eq!(ids[0], ids[1]);
    rig.policy.default_tenant.may_book = false;
    let refused = spec(&rig, 3, "1g.6gb", HOUR);
    assert!(matches!(book(&mut rig, refused), Err(Refusal::NotAllowed { .. })));
}

/// Nobody can come while no daemon runs, so that time is not held against whoever booked.
#[test]
fn the_time_to_show_up_begins_with_the_daemon() {
    let mut rig = Rig::new(&["a30"]);
    let wish = spec(&rig, 2, "4g.24gb", HOUR);
    let booking = book(&mut rig, wish).expect("booked");
    // The daemon dies before the booking begins and is away for longer than anybody is waited for.
    let late = Millis::new(HOUR.get() + 2 * rig.policy.no_show.get());
    rig.now = rig.now.plus(late);
    rig.crash();
    rig.tick(Millis::from_secs(1));
    assert_eq!(over(&rig, booking), None);
    let id = use_it(&mut rig, 2, booking).expect("it can still be used");
    rig.settle();
    assert!(rig.is_active(id));
    // Whoever does not come then either has lost it.
    let mut rig = Rig::new(&["a30"]);
    let wish = spec(&rig, 2, "4g.24gb", HOUR);
    let booking = book(&mut rig, wish).expect("booked");
    rig.now = rig.now.plus(late);
    rig.crash();
    let no_show = rig.policy.no_show;
    rig.tick(no_show);
    assert_eq!(over(&rig, booking), Some(&BookingEnd::NotUsed));
}

/// A lease that may be told to leave, and has no limit.
fn borrow(rig: &mut Rig, user: u32, wanted: &str) -> LeaseId {
    let mut spec = rig.spec(user, wanted);
    spec.terms.preemptible = true;
    let id = rig.request(spec).expect("accepted");
    rig.settle();
    id
}

#[test]
fn who_has_the_only_media_engine_leaves_for_its_booking_though_he_is_elsewhere() {
    let mut rig = Rig::new(&["a30"]);
    let holder = borrow(&mut rig, 1, "1g.6gb+me");
    let beside = borrow(&mut rig, 1, "1g.6gb");
    let wish = spec(&rig, 2, "1g.6gb+me", HOUR);
    let booking = book(&mut rig, wish).expect("booked");
    let user = use_it(&mut rig, 2, booking).expect("accepted");
    pass(&mut rig, HOUR);
    rig.tick(Millis::from_secs(30));
    rig.settle();
    assert!(rig.is_active(user) && rig.is_active(beside), "{}", rig.why(user));
    assert_eq!(rig.ended(holder), Some(&EndReason::BookingBegins { booking }));
}

#[test]
fn a_booked_media_engine_closes_its_gpu_to_nobody_who_needs_none() {
    let mut rig = Rig::new(&["a30"]);
    let mut limited = rig.spec(1, "1g.6gb+me");
    limited.time = Some(Millis::from_secs(600));
    let limited = rig.request(limited).expect("accepted");
    rig.settle();
    let wish = spec(&rig, 2, "1g.6gb+me", HOUR);
    book(&mut rig, wish).expect("booked");
    let other = rig.ask(3, "1g.6gb");
    assert!(rig.is_active(limited) && rig.is_active(other), "{}", rig.why(other));
}

#[test]
fn who_leaves_late_for_one_of_two_bookings_is_told_which() {
    let mut rig = Rig::new(&["a30"]);
    let borrower = borrow(&mut rig, 1, "4g.24gb");
    let (ten, from) = (Millis::from_secs(600), in_(&rig, HOUR));
    let first = BookingSpec { until: from.plus(ten), ..spec(&rig, 2, "4g.24gb", HOUR) };
    let second = BookingSpec { from: from.plus(ten), ..spec(&rig, 3, "4g.24gb", HOUR) };
    let first = book(&mut rig, first).expect("booked");
    book(&mut rig, second).expect("booked, too");
    // The daemon slept through the time to tell it.
    rig.tick(Millis::from_secs(3600 + 585));
    rig.settle();
    rig.tick(Millis::from_secs(1));
    rig.settle();
    assert_eq!(rig.ended(borrower), Some(&EndReason::BookingBegins { booking: first }));
}

/// A slow driver is nobody's fault, but the booking was there first.
#[test]
fn what_a_driver_made_too_late_for_a_booking_is_not_handed_over() {
    let mut rig = Rig::new(&["a30"]);
    let booked = spec(&rig, 1, "4g.24gb", Millis::from_secs(200));
    let booking = book(&mut rig, booked).expect("the machine is free");
    let request = |rig: &mut Rig| {
        let mut spec = rig.spec(2, "1g.6gb");
        spec.time = Some(Millis::from_secs(120));
        spec
    };
    let in_time = request(&mut rig);
    let in_time = rig.request(in_time).expect("accepted");
    rig.settle();
    assert!(rig.is_active(in_time), "it is gone before the booking begins");
    rig.release(in_time);
    let late = request(&mut rig);
    let late = rig.request(late).expect("accepted");
    assert!(matches!(rig.lease(late).phase, broker::Phase::Granting { .. }));
    rig.now = rig.now.plus(Millis::from_secs(90));
    rig.settle();
    assert!(rig.is_queued(late), "{:?}", rig.lease(late));
    rig.tick(Millis::from_secs(120));
    let user = use_it(&mut rig, 1, booking).expect("it is his");
    assert!(rig.is_active(user));
}

/// The daemon slept over the time at which both should have been cleared: the earlier booking's notice is
/// the one that counts, though the later one was booked first.
#[test]
fn of_two_bookings_the_earlier_one_is_cleared_first() {
    let mut rig = Rig::new(&["a30"]);
    let mut lease = rig.spec(1, "4g.24gb");
    lease.terms.preemptible = true;
    let lease = rig.request(lease).unwrap();
    rig.settle();
    let minutes = |count: u64| Millis::from_secs(count * 60);
    let later = spec(&rig, 2, "4g.24gb", minutes(63));
    book(&mut rig, later).expect("booked");
    let mut earlier = spec(&rig, 3, "4g.24gb", minutes(60));
    earlier.until = in_(&rig, minutes(62));
    let earlier = book(&mut rig, earlier).expect("booked");
    rig.tick(Millis::new(minutes(62).get() - 10_000));
    rig.tick(Millis::new(0));
    let reason = EndReason::BookingBegins { booking: earlier };
    let phase = &rig.lease(lease).phase;
    assert!(
        matches!(phase, broker::Phase::Ending { reason: why, .. } if *why == reason),
        "{phase:?}"
    );
}
