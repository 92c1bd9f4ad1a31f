//! Idle leases: only evidence counts, a warning comes first, and use takes it back.

use broker::{
    Activity, Command, EndReason, Event, IdleRule, Metered, Notice, NoticeReason, NoticeSignal,
    Policy, Refusal, TenantRules,
};
use model::{Health, LeaseId, MemoryMib, Millis, Timestamp};

use super::machine::{Machine, Rig};

const LIMIT: Millis = Millis::from_secs(3600);
const WARNING: Millis = Millis::from_secs(600);
const A100: &str = "a100-sxm4-40gb";

fn rules(change: impl Fn(&mut TenantRules)) -> Policy {
    let mut policy = Policy { idle_warning: WARNING, ..Policy::default() };
    policy.default_tenant.idle_limit = Some(LIMIT);
    change(&mut policy.default_tenant);
    policy
}

fn rig() -> Rig {
    Rig::with(Machine::new(&[A100]), rules(|_| {}))
}

fn measured(rig: &mut Rig, lease: LeaseId, activity: Activity) {
    rig.own(Command::Measured { lease, activity, metered: Metered::default() });
}

fn idle_now(rig: &mut Rig, lease: LeaseId) -> Timestamp {
    let since = rig.now;
    measured(rig, lease, Activity::Idle { since });
    since
}

fn notice(rig: &Rig, lease: LeaseId) -> Option<Notice> {
    rig.lease(lease).notice.clone()
}

#[test]
fn an_idle_lease_is_warned_and_then_taken_back() {
    let mut rig = rig();
    let mut spec = rig.spec(1, "1g.5gb");
    spec.terms.notice_signal = Some(NoticeSignal::Usr1);
    let id = rig.request(spec).unwrap();
    rig.settle();
    let since = idle_now(&mut rig, id);
    rig.tick(Millis::new(LIMIT.get() - 1));
    assert_eq!(notice(&rig, id), None, "not yet");
    rig.tick(Millis::new(1));
    let until = rig.now.plus(WARNING);
    let warned = Notice { reason: NoticeReason::Idle { since }, until };
    assert_eq!(notice(&rig, id), Some(warned.clone()));
    rig.settle();
    assert_eq!(rig.notified, [(id, NoticeSignal::Usr1)]);
    rig.tick(Millis::new(WARNING.get() - 1));
    assert_eq!(notice(&rig, id), Some(warned), "once is enough");
    assert!(rig.is_active(id));
    rig.tick(Millis::new(1));
    rig.settle();
    assert_eq!(rig.ended(id), Some(&EndReason::Idle { since }));
    assert_eq!(rig.notified.len(), 1);
}

#[test]
fn use_in_time_withdraws_the_warning() {
    let mut rig = rig();
    let id = rig.ask(1, "1g.5gb");
    idle_now(&mut rig, id);
    rig.tick(LIMIT);
    assert!(notice(&rig, id).is_some());
    measured(&mut rig, id, Activity::Busy);
    assert_eq!(notice(&rig, id), None);
    rig.tick(WARNING);
    assert!(rig.is_active(id));
    let since = idle_now(&mut rig, id);
    rig.tick(LIMIT);
    assert_eq!(notice(&rig, id).map(|n| n.reason), Some(NoticeReason::Idle { since }), "anew");
}

#[test]
fn unknown_is_never_idle() {
    let mut rig = rig();
    let id = rig.ask(1, "1g.5gb");
    rig.tick(Millis::new(100 * LIMIT.get()));
    assert_eq!(notice(&rig, id), None, "nothing was ever measured");
    idle_now(&mut rig, id);
    rig.tick(LIMIT);
    assert!(notice(&rig, id).is_some());
    measured(&mut rig, id, Activity::Unknown);
    assert_eq!(notice(&rig, id), None, "the evidence was lost");
    rig.tick(Millis::new(100 * LIMIT.get()));
    assert!(rig.is_active(id));
}

#[test]
fn idleness_that_began_anew_is_warned_anew() {
    let mut rig = rig();
    let id = rig.ask(1, "1g.5gb");
    idle_now(&mut rig, id);
    rig.tick(LIMIT);
    assert!(notice(&rig, id).is_some());
    idle_now(&mut rig, id);
    assert_eq!(notice(&rig, id), None);
    rig.tick(WARNING);
    assert!(rig.is_active(id) && notice(&rig, id).is_none());
}

#[test]
fn a_new_daemon_does_not_go_by_what_the_last_one_saw() {
    let mut rig = rig();
    let id = rig.ask(1, "1g.5gb");
    idle_now(&mut rig, id);
    rig.tick(LIMIT);
    rig.crash();
    assert_eq!(notice(&rig, id), None);
    rig.tick(WARNING);
    assert!(rig.is_active(id));
}

#[test]
fn what_was_seen_of_a_gpu_that_does_not_answer_is_no_evidence() {
    let mut rig = rig();
    let id = rig.ask(1, "1g.5gb");
    idle_now(&mut rig, id);
    rig.observed.gpus[0].health = Health::Failing("silent".into());
    rig.tick(LIMIT);
    assert_eq!(notice(&rig, id), None);
    rig.observed.gpus[0].health = Health::Ok;
    rig.tick(Millis::new(1));
    assert!(notice(&rig, id).is_some());
}

#[test]
fn protected_hours_hold_off_warning_and_end() {
    let mut rig = rig();
    let id = rig.ask(1, "1g.5gb");
    idle_now(&mut rig, id);
    rig.protected = true;
    rig.tick(LIMIT);
    assert_eq!(notice(&rig, id), None);
    rig.protected = false;
    rig.tick(Millis::new(1));
    assert!(notice(&rig, id).is_some());
    rig.protected = true;
    rig.tick(WARNING);
    assert_eq!(notice(&rig, id), None);
    assert!(rig.is_active(id));
}

#[test]
fn the_limit_is_the_leases_own_or_the_tenants_as_its_rules_allow() {
    let hour = |hours: u64| Millis::from_secs(3600 * hours);
    for (may, tenant, asked, limit) in [
        (true, Some(1), IdleRule::Tenant, Some(1)),
        (true, Some(1), IdleRule::Never, None),
        (true, Some(1), IdleRule::After(hour(3)), Some(3)),
        (true, None, IdleRule::After(hour(3)), Some(3)),
        (true, None, IdleRule::Tenant, None),
        (false, Some(2), IdleRule::After(hour(1)), Some(1)),
        (false, None, IdleRule::Never, None),
    ] {
        let mut rig = Rig::with(
            Machine::new(&[A100]),
            rules(|r| {
                r.may_stay_idle = may;
                r.idle_limit = tenant.map(hour);
            }),
        );
        let mut spec = rig.spec(1, "1g.5gb");
        spec.terms.idle = asked;
        let id = rig.request(spec).expect("allowed");
        let found = broker::idle_limit(&rig.policy, rig.lease(id));
        assert_eq!(found, limit.map(hour), "{may} {tenant:?} {asked:?}");
        // Rules that were made stricter meanwhile.
        rig.policy.default_tenant.may_stay_idle = false;
        rig.policy.default_tenant.idle_limit = Some(hour(1));
        assert_eq!(broker::idle_limit(&rig.policy, rig.lease(id)), Some(hour(1)));
    }
}

#[test]
fn staying_idle_is_refused_where_the_rules_say_so() {
    let mut rig = Rig::with(Machine::new(&[A100]), rules(|r| r.may_stay_idle = false));
    for (asked, words) in [
        (IdleRule::Never, "user1 may not keep a lease that is not used"),
        (
            IdleRule::After(Millis::from_secs(7200)),
            "user1 may not keep a lease that is not used for more than 1h00m",
        ),
    ] {
        let mut spec = rig.spec(1, "1g.5gb");
        spec.terms.idle = asked;
        let refusal = rig.request(spec).unwrap_err();
        assert!(matches!(refusal, Refusal::NotAllowed { .. }));
        assert_eq!(refusal.to_string(), words);
    }
}

#[test]
fn totals_only_grow_and_are_on_the_receipt() {
    let mut rig = rig();
    let id = rig.ask(1, "1g.5gb");
    let totals = |peak: u64, busy: u64, observed: u64| Metered {
        peak_memory: Some(MemoryMib::new(peak)),
        busy: Millis::new(busy),
        observed: Millis::new(observed),
    };
    for metered in [totals(700, 1000, 2000), totals(500, 1500, 1000)] {
        rig.own(Command::Measured { lease: id, activity: Activity::Busy, metered });
    }
    rig.tick(Millis::from_secs(3600));
    rig.release(id);
    let receipt = rig.journal.iter().find_map(|stamped| match &stamped.event {
        Event::Ended { receipt, .. } => receipt.clone(),
        _ => None,
    });
    let receipt = receipt.expect("it was granted");
    assert_eq!(receipt.metered, totals(700, 1500, 2000));
    assert_eq!(receipt.held, Millis::from_secs(3600));
    assert_eq!(receipt.gpu_time, Millis::from_secs(450), "one of eight units");
}

/// Half of the time that it may be idle over, a lease counts as one that will be taken back; from the
/// beginning, `why` says when that would be.
#[test]
fn whoever_waits_for_an_idle_lease_is_told_when_it_is_taken_back() {
    let mut rig = rig();
    let holder = rig.ask(1, "7g.40gb");
    let since = idle_now(&mut rig, holder);
    let taken = since.plus(LIMIT).plus(WARNING);
    let told = |rig: &Rig, id| {
        let why = broker::why(&rig.state, &rig.world(), id).expect("it waits");
        (why.blockers[0].taken_at, why.start.likely)
    };
    let half = Millis::new(LIMIT.get() / 2);
    rig.tick(Millis::new(half.get() - 1));
    let waiting = rig.ask(2, "1g.5gb");
    let (at, likely) = told(&rig, waiting);
    assert_eq!(at, Some(taken));
    assert_ne!(likely, Some(taken), "it may be used again");
    rig.tick(Millis::new(1));
    assert_eq!(told(&rig, waiting), (Some(taken), Some(taken)));
    measured(&mut rig, holder, Activity::Busy);
    assert_eq!(told(&rig, waiting).0, None);
    // In protected hours nobody is taken back.
    idle_now(&mut rig, holder);
    rig.protected = true;
    assert_eq!(told(&rig, waiting).0, None);
}
