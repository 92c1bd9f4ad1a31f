//! Each right, broken on purpose.

use broker::{GpuSelector, Holder, Patience, Peer, Reply, SliceKey, SliceTarget, Terms, Wanted};
use model::{Plan, PlanId, Tenant, Uid};
use planner::Planner;
use sim_gpu::HostSpec;

use super::super::office::rules;
use super::*;
use crate::bench::Bench;

const MINUTE: Millis = Millis::from_secs(60);

/// A machine, and what is known of two tenants: the asker L1 of rank high waits, L2 has a slice.
struct Case {
    room: Room,
    rights: Rights,
    at: Timestamp,
    protected: bool,
}

impl Case {
    fn new() -> Self {
        let bench = Bench::new(&HostSpec::cards("rights", "a30", 1).unwrap()).unwrap();
        bench.enable_mig();
        let mut policy = Policy::default();
        rules(&mut policy);
        let room = Room::new(bench, policy.clone(), Planner::default()).unwrap();
        let at = room.now;
        Self { room, rights: Rights::new(&policy), at, protected: false }
    }

    fn hear(&mut self, event: Event) -> Option<&'static str> {
        let seen = Seen { at: self.at, protected: self.protected, event };
        self.rights.broken_by(&self.room.observed, &seen).map(|(law, _)| law)
    }

    fn place(&self, profile: &str, start: u8) -> SliceTarget {
        let gpu = &self.room.observed.gpus[0];
        let geometry = gpu.geometry.as_deref().unwrap();
        let found = geometry.profiles.iter().find(|p| p.name.to_string() == profile).unwrap();
        let placement = model::Placement::new(start, found.size.get());
        let key = SliceKey { gpu: gpu.uuid.clone(), placement };
        SliceTarget { key, profile: found.id, reuse: false }
    }

    fn request(&mut self, lease: u64, terms: Terms, time: Option<Millis>) {
        let spec = RequestSpec {
            tenant: Tenant::new("tenant0"),
            uid: Uid::new(3),
            wanted: Wanted::Profile("1g.6gb".parse().unwrap()),
            count: 1,
            gpu: GpuSelector::Any,
            time,
            expect: None,
            patience: Patience::Forever,
            name: None,
            holder: Holder::Token { life: MINUTE },
            command: None,
            terms,
        };
        let lease = LeaseId::new(lease);
        assert_eq!(self.hear(Event::Requested { lease, spec, counts_as: None }), None);
    }

    fn plan(&mut self, lease: u64, place: SliceTarget) -> Option<&'static str> {
        let steps = Plan { purpose: Purpose::Grant(LeaseId::new(lease)), steps: Vec::new() };
        let (targets, evicted, whole) = (vec![place], Vec::new(), Vec::new());
        self.hear(Event::PlanOpened { plan: PlanId::new(1), steps, targets, evicted, whole })
    }

    fn grant(&mut self, lease: u64, place: &SliceTarget) {
        let slice = broker::GrantedSlice {
            key: place.key.clone(),
            profile: place.profile,
            gpu_instance: model::GpuInstanceId::new(3),
            compute_instance: model::ComputeInstanceId::new(0),
            uuid: model::MigUuid::new("MIG-1"),
        };
        let event = Event::Granted { lease: LeaseId::new(lease), slices: vec![slice] };
        assert_eq!(self.hear(event), None);
    }

    fn tell(&mut self, reason: NoticeReason, after: Millis) -> Option<&'static str> {
        let notice = Notice { reason, until: self.at.plus(after) };
        self.hear(Event::Noticed { lease: LeaseId::new(2), notice })
    }

    /// L1 waits with rank high and is kept a place; L2 has a slice there or beside.
    fn asked(victim: Terms, stands: &str, start: u8) -> Self {
        let mut case = Self::new();
        let terms = Terms { priority: Priority::High, ..Terms::default() };
        case.request(1, terms, None);
        case.request(2, victim, None);
        let place = case.place(stands, start);
        case.grant(2, &place);
        let (lease, whole) = (LeaseId::new(1), Vec::new());
        let places = vec![case.place("2g.12gb+me", 0)];
        assert_eq!(case.hear(Event::RoomPromised { lease, places, whole }), None);
        case
    }

    fn booked(&mut self, from: Timestamp, place: SliceTarget) {
        let spec = BookingSpec {
            tenant: Tenant::new("tenant1"),
            uid: Uid::new(1),
            wanted: Wanted::Profile("1g.6gb".parse().unwrap()),
            count: 1,
            gpu: GpuSelector::Any,
            from,
            until: from.plus(MINUTE),
            name: None,
            window: None,
        };
        let (booking, places, whole) = (BookingId::new(1), vec![place], Vec::new());
        assert_eq!(self.hear(Event::Booked { booking, spec, places, whole }), None);
    }
}

fn low(preemptible: bool) -> Terms {
    Terms { priority: Priority::Low, preemptible, ..Terms::default() }
}

fn for_first() -> NoticeReason {
    NoticeReason::Preempted { for_lease: LeaseId::new(1) }
}

#[test]
fn preemption_without_right_or_need_or_time_is_seen() {
    assert_eq!(Case::asked(low(true), "1g.6gb", 1).tell(for_first(), MINUTE), None);
    // The board has one media engine.
    assert_eq!(Case::asked(low(true), "1g.6gb+me", 3).tell(for_first(), MINUTE), None);
    let law = Case::asked(low(false), "1g.6gb", 1).tell(for_first(), MINUTE);
    assert_eq!(law, Some("L6: only the preemptible are preempted"));
    let needless = Some("L6: who is told to leave is in the way of a better right");
    assert_eq!(Case::asked(low(true), "1g.6gb", 3).tell(for_first(), MINUTE), needless);
    let normal = Terms { preemptible: true, ..Terms::default() };
    assert_eq!(Case::asked(normal, "1g.6gb", 1).tell(for_first(), MINUTE), needless);
    let law = Case::asked(low(true), "1g.6gb", 1).tell(for_first(), Millis::from_secs(59));
    assert_eq!(law, Some("L6: whoever is told to leave has the time that the rules give"));
}

#[test]
fn an_end_that_nobody_was_told_of_is_seen() {
    let reason = EndReason::Preempted { for_lease: LeaseId::new(1) };
    let ending = Event::Ending { lease: LeaseId::new(2), reason };
    let law = Some("L6: nobody is ended for others but as he was told");
    let mut case = Case::asked(low(true), "1g.6gb", 1);
    assert_eq!(case.hear(ending.clone()), law);
    let mut case = Case::asked(low(true), "1g.6gb", 1);
    assert_eq!(case.tell(for_first(), MINUTE), None);
    assert_eq!(case.hear(ending.clone()), law, "a minute too soon");
    let mut case = Case::asked(low(true), "1g.6gb", 1);
    assert_eq!(case.tell(for_first(), MINUTE), None);
    case.at = case.at.plus(MINUTE);
    assert_eq!(case.hear(ending), None);
}

#[test]
fn who_stays_told_to_leave_for_nobody_is_seen() {
    let mut case = Case::asked(low(true), "1g.6gb", 1);
    assert_eq!(case.tell(for_first(), MINUTE), None);
    let law = case.rights.broken_in(&case.room).map(|(law, _)| law);
    assert_eq!(law, Some("L6: nobody stays told to leave for who does not wait"));
}

#[test]
fn idle_leases_taken_in_protected_hours_or_without_evidence_are_seen() {
    let idle = |case: &mut Case| {
        let since = case.at;
        let (lease, activity) = (LeaseId::new(2), Activity::Idle { since });
        case.at = case.at.plus(Millis::from_secs(900));
        assert_eq!(case.hear(Event::ActivityChanged { lease, activity }), None);
        NoticeReason::Idle { since }
    };
    let ten = Millis::from_secs(600);
    let mut case = Case::asked(low(true), "1g.6gb", 1);
    let reason = idle(&mut case);
    assert_eq!(case.tell(reason, ten), None);
    let mut case = Case::asked(low(true), "1g.6gb", 1);
    let reason = idle(&mut case);
    case.protected = true;
    assert_eq!(case.tell(reason, ten), Some("L6: protected hours leave idle leases alone"));
    let mut case = Case::asked(low(true), "1g.6gb", 1);
    let reason = idle(&mut case);
    let (lease, activity) = (LeaseId::new(2), Activity::Unknown);
    assert_eq!(case.hear(Event::ActivityChanged { lease, activity }), None);
    assert_eq!(case.tell(reason, ten), Some("L6: only what is known to be idle is called so"));
}

#[test]
fn a_booked_place_given_away_is_seen() {
    let closed = Some("L6: a booked place gets nobody who might still be there");
    for (time, law) in [(None, closed), (Some(MINUTE), None)] {
        let mut case = Case::new();
        let from = case.at.plus(Millis::from_secs(100));
        let place = case.place("1g.6gb", 0);
        case.booked(from, place.clone());
        case.request(2, Terms::default(), time);
        let beside = case.place("1g.6gb", 2);
        assert_eq!(case.plan(2, beside), None);
        assert_eq!(case.plan(2, place), law);
    }
}

#[test]
fn a_booked_place_that_is_not_free_at_its_start_is_seen() {
    let mut case = Case::new();
    case.request(2, Terms::default(), Some(MINUTE));
    let place = case.place("2g.12gb", 0);
    case.grant(2, &place);
    let from = case.at.plus(Millis::from_secs(1));
    let taken = case.place("1g.6gb", 1);
    case.booked(from, taken);
    assert_eq!(case.rights.broken_in(&case.room), None, "not yet");
    (case.room.now, case.room.ticked) = (from, from);
    let law = case.rights.broken_in(&case.room).map(|(law, _)| law);
    assert_eq!(law, Some("L6: a booked place is free at its start"));
}

#[test]
fn the_rights_of_the_broker_itself_hold() {
    let mut case = Case::new();
    let process = case.room.new_process();
    let holder = Holder::Process { boot: case.room.boot_id(), client: process, command: None };
    case.request(1, Terms::default(), None);
    let spec = RequestSpec { holder, ..case.rights.leases[&LeaseId::new(1)].spec.clone() };
    let Ok(Reply::Lease(lease)) = case.room.ask(broker::Command::Request(spec)) else {
        panic!("not accepted");
    };
    let by = Peer { uid: Uid::new(0), admin: true };
    assert!(case.room.settle());
    case.room.ask(broker::Command::End { lease, by, holder: false }).unwrap();
    assert!(case.room.settle());
    let mut rights = Rights::new(&case.room.policy);
    let seen = std::mem::take(&mut case.room.fresh);
    assert!(seen.iter().all(|seen| rights.broken_by(&case.room.observed, seen).is_none()));
    assert_eq!(rights.broken_in(&case.room), None);
}
