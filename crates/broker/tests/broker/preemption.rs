//! Leases that agreed to leave for a better right, told to.

use broker::{
    Amount, Command, EndReason, Event, NoticeReason, NoticeSignal, Peer, Policy, Priority,
    RequestSpec, Stage, TenantRules,
};
use model::{LeaseId, Millis, Tenant};

use crate::machine::{Machine, Rig};

/// `owner` is guaranteed so many slices; everybody may ask for high rank.
fn guaranteed(boards: &[&str], owner: &str, slices: u32) -> Rig {
    let amount = Amount { slices: Some(slices), memory: None };
    let rules = TenantRules { guaranteed: amount, ..TenantRules::default() };
    let default_tenant = TenantRules { max_priority: Priority::High, ..TenantRules::default() };
    let tenants = [(Tenant::new(owner), rules)].into();
    Rig::with(
        Machine::new(boards),
        Policy { tenants, default_tenant, drain_lengths: 0, ..Policy::default() },
    )
}

fn borrow(rig: &mut Rig, user: u32, wanted: &str) -> LeaseId {
    let mut spec = rig.spec(user, wanted);
    spec.terms.preemptible = true;
    spec.terms.notice_signal = Some(NoticeSignal::Usr1);
    let id = rig.request(spec).expect("accepted");
    rig.settle();
    rig.tick(Millis::from_secs(10));
    id
}

fn told(rig: &Rig) -> Vec<LeaseId> {
    let told = rig.state.leases.values().filter(|lease| {
        let reason = lease.notice.as_ref().map(|notice| &notice.reason);
        matches!(reason, Some(NoticeReason::Preempted { .. }))
    });
    told.map(|lease| lease.id).collect()
}

#[test]
fn the_guaranteed_get_theirs_back_from_the_youngest_borrower() {
    let mut rig = guaranteed(&["a30"], "user1", 2);
    let borrowed: Vec<LeaseId> = (0..4).map(|_| borrow(&mut rig, 2, "1g.6gb")).collect();
    let youngest = borrowed[3];
    let process = rig.run_on(youngest, true, Some(Stage::Kill));
    let owner = rig.ask(1, "1g.6gb");
    assert_eq!(told(&rig), [youngest]);
    assert_eq!(rig.notified, [(youngest, NoticeSignal::Usr1)]);
    // Nobody slips in while it leaves, nor when it is gone.
    let stranger = rig.ask(3, "1g.6gb");
    rig.tick(rig.policy.notice);
    rig.settle();
    assert!(rig.signals.contains(&(youngest, Stage::Term)) && !rig.is_active(owner));
    rig.tick(rig.policy.grace);
    rig.settle();
    assert!(!rig.machine.processes.iter().any(|p| p.pid == process.pid), "it was killed");
    rig.tick(Millis::from_secs(1));
    rig.settle();
    assert!(rig.is_active(owner) && rig.is_queued(stranger));
    assert_eq!(rig.ended(youngest), Some(&EndReason::Preempted { for_lease: owner }));
}

#[test]
fn what_is_not_preemptible_is_not_touched() {
    let mut rig = guaranteed(&["a30"], "user1", 4);
    for _ in 0..4 {
        rig.ask(2, "1g.6gb");
    }
    let owner = rig.ask(1, "1g.6gb");
    rig.tick(Millis::from_secs(3600));
    rig.settle();
    assert!(rig.is_queued(owner) && told(&rig).is_empty());
}

#[test]
fn beyond_the_guarantee_nobody_is_told_to_leave() {
    let mut rig = guaranteed(&["a30"], "user1", 1);
    borrow(&mut rig, 1, "1g.6gb");
    for _ in 0..3 {
        borrow(&mut rig, 2, "1g.6gb");
    }
    rig.ask(1, "1g.6gb");
    rig.tick(Millis::from_secs(30));
    assert!(told(&rig).is_empty());
}

#[test]
fn no_borrower_is_left_with_less_than_its_guarantee() {
    let mut rig = guaranteed(&["a30"], "user1", 3);
    let amount = Amount { slices: Some(2), memory: None };
    let rules = TenantRules { guaranteed: amount, ..TenantRules::default() };
    rig.policy.tenants.insert(Tenant::new("user2"), rules);
    let two: Vec<LeaseId> = (0..3).map(|_| borrow(&mut rig, 2, "1g.6gb")).collect();
    let other = borrow(&mut rig, 3, "1g.6gb");
    let mut spec = rig.spec(1, "1g.6gb");
    spec.count = 2;
    rig.request(spec).unwrap();
    rig.settle();
    assert_eq!(told(&rig), [two[2], other], "of the three of user2 one is borrowed");
    let mut rig = guaranteed(&["a30"], "user1", 3);
    let amount = Amount { slices: Some(4), memory: None };
    let rules = TenantRules { guaranteed: amount, ..TenantRules::default() };
    rig.policy.tenants.insert(Tenant::new("user2"), rules);
    for _ in 0..4 {
        borrow(&mut rig, 2, "1g.6gb");
    }
    rig.ask(1, "1g.6gb");
    assert!(told(&rig).is_empty());
}

#[test]
fn never_more_are_told_than_needed() {
    let mut rig = guaranteed(&["a100-sxm4-40gb"], "user1", 7);
    let three = borrow(&mut rig, 2, "3g.20gb");
    for _ in 0..4 {
        borrow(&mut rig, 3, "1g.5gb");
    }
    rig.ask(1, "3g.20gb");
    assert_eq!(told(&rig), [three], "one is enough, though it is older");
}

/// Whether `profile` finds a place on some GPU once `leaving` have left; by the placements alone.
fn fits_without(rig: &Rig, profile: &str, leaving: &[LeaseId]) -> bool {
    rig.machine.node.gpus.iter().any(|gpu| {
        let geometry = gpu.geometry.as_deref().expect("it does MIG");
        let Some(profile) = geometry.profiles.iter().find(|p| p.name.to_string() == profile) else {
            return false;
        };
        let stays = |lease: &&broker::Lease| !leaving.contains(&lease.id);
        let held: Vec<_> = rig
            .state
            .leases
            .values()
            .filter(stays)
            .flat_map(|lease| &lease.slices)
            .filter(|slice| slice.key.gpu == gpu.uuid)
            .map(|slice| slice.key.placement)
            .collect();
        profile.placements().any(|place| held.iter().all(|other| !place.overlaps(*other)))
    })
}

/// Against every set of leases that could be told: none of fewer makes room, of those none that holds
/// less, and of those none that is younger.
#[test]
fn the_fewest_are_told_then_the_smallest_then_the_youngest() {
    let mut judged = [0; 5];
    for seed in 0..150_u64 {
        let mut random = seed * 31 + 7;
        let mut draw = |most: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            ((random >> 33) % most) as usize
        };
        let mut rig = guaranteed(&["a100-sxm4-40gb", "a100-sxm4-40gb"], "user1", 14);
        let profiles = ["1g.5gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb"];
        let mut preemptible = Vec::new();
        for _ in 0..14 {
            let (user, wanted) = (2 + draw(4) as u32, profiles[draw(4)]);
            if draw(4) == 0 {
                rig.ask(user, wanted);
                rig.tick(Millis::from_secs(10));
            } else {
                preemptible.push(borrow(&mut rig, user, wanted));
            }
        }
        // Those who wait would have room kept, for which others are told to leave, too.
        let waiting: Vec<(LeaseId, Peer)> = rig
            .state
            .queue()
            .map(|lease| (lease.id, Peer { uid: lease.spec.uid, admin: false }))
            .collect();
        for (lease, by) in waiting {
            rig.command(Command::End { lease, by, holder: false }).expect("it is its own");
        }
        rig.settle();
        preemptible.retain(|id| rig.is_active(*id));
        let wanted = profiles[draw(5)];
        let owner = rig.ask(1, wanted);
        if rig.is_active(owner) {
            continue;
        }
        let now = rig.now;
        let age = |id: &LeaseId| {
            let since = rig.lease(*id).granted_at.expect("it is active");
            now.since(since).get()
        };
        let sets = (0..1_u32 << preemptible.len()).map(|bits| {
            let at = |at: &usize| bits >> at & 1 == 1;
            (0..preemptible.len()).filter(at).map(|at| preemptible[at]).collect::<Vec<_>>()
        });
        let units = |id: &LeaseId| u32::from(rig.lease(*id).slices[0].key.placement.size.get());
        let cost = |set: &[LeaseId]| {
            (set.len(), set.iter().map(units).sum::<u32>(), set.iter().map(age).sum::<u64>())
        };
        let best = sets.filter(|set| fits_without(&rig, wanted, set)).map(|set| cost(&set)).min();
        let told = told(&rig);
        assert_eq!(best.unwrap_or_default(), cost(&told), "seed {seed}: {wanted}: {told:?}");
        judged[told.len().min(4)] += 1;
    }
    assert!(judged.iter().all(|cases| *cases >= 3), "by number told: {judged:?}");
}

#[test]
fn a_lease_of_several_slices_leaves_once() {
    let mut rig = guaranteed(&["a30"], "user1", 4);
    let mut spec = rig.spec(2, "1g.6gb");
    (spec.count, spec.terms.preemptible) = (3, true);
    let several = rig.request(spec).unwrap();
    rig.settle();
    borrow(&mut rig, 3, "1g.6gb");
    let owner = rig.ask(1, "2g.12gb");
    assert_eq!(told(&rig), [several]);
    rig.tick(rig.policy.notice);
    rig.settle();
    assert!(rig.is_active(owner));
}

#[test]
fn a_notice_is_withdrawn_when_the_need_is_gone() {
    let mut rig = guaranteed(&["a30"], "user1", 2);
    let borrowed: Vec<LeaseId> = (0..4).map(|_| borrow(&mut rig, 2, "1g.6gb")).collect();
    let owner = rig.ask(1, "1g.6gb");
    assert_eq!(told(&rig), [borrowed[3]]);
    rig.release(owner);
    assert!(told(&rig).is_empty(), "it was cancelled");
    let owner = rig.ask(1, "1g.6gb");
    assert_eq!(told(&rig), [borrowed[3]]);
    rig.release(borrowed[0]);
    assert!(rig.is_active(owner) && told(&rig).is_empty(), "another one left by itself");
    rig.tick(Millis::from_secs(3600));
    rig.settle();
    assert!(rig.is_active(borrowed[3]));
    let withdrawn = |event: &Event| matches!(event, Event::NoticeWithdrawn { .. });
    assert_eq!(rig.journal.iter().filter(|stamped| withdrawn(&stamped.event)).count(), 2);
}

#[test]
fn high_rank_displaces_low_and_not_normal() {
    let mut rig = guaranteed(&["a30"], "nobody", 1);
    let normal = borrow(&mut rig, 2, "2g.12gb");
    let mut spec = rig.spec(3, "2g.12gb");
    (spec.terms.priority, spec.terms.preemptible) = (Priority::Low, true);
    let low = rig.request(spec).unwrap();
    rig.settle();
    let mut spec = rig.spec(4, "2g.12gb");
    spec.terms.priority = Priority::High;
    let high = rig.request(spec).unwrap();
    rig.settle();
    assert_eq!(told(&rig), [low]);
    rig.tick(rig.policy.notice);
    rig.settle();
    assert!(rig.is_active(high) && rig.is_active(normal));
}

#[test]
fn a_promise_does_not_outlive_its_gpu() {
    let mut rig = guaranteed(&["a30", "a30"], "user1", 4);
    for _ in 0..8 {
        borrow(&mut rig, 2, "1g.6gb");
    }
    let owner = rig.ask(1, "1g.6gb");
    let gpu = rig.lease(owner).promised[0].key.gpu.clone();
    let (before, why, by) = (told(&rig), "a fan".to_owned(), crate::machine::PEER_ADMIN);
    rig.command(Command::Cordon { gpu: gpu.clone(), drain: false, why, by }).unwrap();
    rig.tick(Millis::from_secs(1));
    rig.settle();
    assert_ne!(rig.lease(owner).promised[0].key.gpu, gpu);
    assert_ne!(told(&rig), before, "{:?}", rig.state.leases);
    rig.tick(rig.policy.notice);
    rig.settle();
    assert!(rig.is_active(owner));
}

/// The guaranteed drive out the borrower, for whom room is kept then; were they driven out for that
/// by their lower rank, they would have the right to it again at once, and so for ever.
#[test]
fn what_is_guaranteed_does_not_leave_for_a_reservation_of_better_rank() {
    let mut rig = guaranteed(&["a30"], "user1", 1);
    let stops = |spec: &mut RequestSpec| {
        (spec.terms.preemptible, spec.terms.restartable) = (true, true);
    };
    let mut spec = rig.spec(2, "2g.12gb");
    spec.count = 2;
    stops(&mut spec);
    let borrower = rig.request(spec).unwrap();
    rig.settle();
    let mut spec = rig.spec(1, "2g.12gb");
    spec.terms.priority = Priority::Low;
    stops(&mut spec);
    let owner = rig.request(spec).unwrap();
    rig.settle();
    assert_eq!(told(&rig), [borrower]);
    let by = Peer { uid: rig.lease(borrower).spec.uid, admin: false };
    rig.command(Command::Agree { lease: borrower, by }).unwrap();
    rig.settle();
    assert!(rig.is_active(owner) && rig.is_queued(borrower));
    for _ in 0..20 {
        rig.tick(Millis::from_secs(30));
        rig.settle();
        assert!(rig.is_active(owner) && told(&rig).is_empty(), "{:?}", rig.state.reservation);
    }
    let said = rig.state.reservation.as_ref().map(|kept| (kept.lease, kept.free_at));
    assert_eq!(said, Some((borrower, None)), "nobody can say when the owner leaves");
    rig.release(owner);
    assert!(rig.is_active(borrower));
}

#[test]
fn high_rank_does_not_displace_what_others_are_guaranteed() {
    let mut rig = guaranteed(&["a30"], "user1", 1);
    let low = |rig: &mut Rig| {
        let mut spec = rig.spec(1, "2g.12gb");
        (spec.terms.priority, spec.terms.preemptible) = (Priority::Low, true);
        let id = rig.request(spec).unwrap();
        rig.settle();
        rig.tick(Millis::from_secs(10));
        id
    };
    let covered = low(&mut rig);
    let borrowed = low(&mut rig);
    let high = |rig: &mut Rig| {
        let mut spec = rig.spec(4, "2g.12gb");
        spec.terms.priority = Priority::High;
        let id = rig.request(spec).unwrap();
        rig.settle();
        id
    };
    let first = high(&mut rig);
    assert_eq!(told(&rig), [borrowed], "not the older one, which is guaranteed");
    rig.tick(rig.policy.notice);
    rig.settle();
    let second = high(&mut rig);
    rig.tick(Millis::from_secs(3600));
    rig.settle();
    assert!(rig.is_active(first) && rig.is_active(covered) && rig.is_queued(second));
}

/// Of some engines a board has one: whoever has it is in the way wherever he is.
#[test]
fn who_has_the_only_media_engine_leaves_though_he_is_elsewhere() {
    let mut rig = guaranteed(&["a30"], "user1", 1);
    let holder = borrow(&mut rig, 2, "1g.6gb+me");
    let beside = borrow(&mut rig, 2, "1g.6gb");
    let owner = rig.ask(1, "1g.6gb+me");
    for _ in 0..8 {
        rig.tick(Millis::from_secs(10));
        rig.settle();
    }
    assert!(rig.is_active(owner), "{}", rig.why(owner));
    assert_eq!(rig.ended(holder), Some(&EndReason::Preempted { for_lease: owner }));
    let notices =
        rig.journal.iter().filter(|stamped| matches!(stamped.event, Event::Noticed { .. }));
    assert!(notices.count() == 1 && rig.is_active(beside), "he is told once, and nobody else");
}
