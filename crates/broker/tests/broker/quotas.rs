//! Rules of tenants: limits filled in, caps, what is refused.

use broker::{Amount, Policy, Priority, Refusal, TenantRules};
use model::{MemoryMib, Millis};

use crate::machine::{Machine, Rig};

fn rig(boards: &[&str], rules: TenantRules) -> Rig {
    Rig::with(Machine::new(boards), Policy { default_tenant: rules, ..Policy::default() })
}

fn capped(slices: Option<u32>, memory: Option<u64>) -> TenantRules {
    let cap = Amount { slices, memory: memory.map(MemoryMib::new) };
    TenantRules { cap, ..TenantRules::default() }
}

#[test]
fn limits_of_the_tenant_are_filled_in() {
    let (hour, day) = (Millis::from_secs(3600), Millis::from_secs(86_400));
    let rules = TenantRules {
        default_time: Some(day),
        max_time: Some(hour),
        default_expect: Some(day),
        ..TenantRules::default()
    };
    let mut rig = rig(&["a30"], rules);
    let plain = rig.ask(1, "1g.6gb");
    let spec = &rig.lease(plain).spec;
    assert_eq!((spec.time, spec.expect), (Some(hour), Some(hour)));
    let mut short = rig.spec(1, "1g.6gb");
    short.time = Some(Millis::from_secs(60));
    let short = rig.request(short).unwrap();
    assert_eq!(rig.lease(short).spec.expect, Some(Millis::from_secs(60)));
    let mut long = rig.spec(1, "1g.6gb");
    long.time = Some(day);
    let refusal = rig.request(long).unwrap_err();
    assert_eq!(refusal.to_string(), "user1 may not ask for 1d00h; the longest is 1h00m");
}

#[test]
fn a_rank_above_the_rules_is_refused() {
    let mut rig = rig(&["a30"], TenantRules::default());
    let mut spec = rig.spec(1, "1g.6gb");
    spec.terms.priority = Priority::High;
    let refusal = rig.request(spec).unwrap_err();
    assert_eq!(refusal.to_string(), "user1 may not ask for high priority");
}

#[test]
fn what_alone_exceeds_the_cap_is_refused() {
    let mut rig = rig(&["a30"], capped(Some(2), None));
    let mut spec = rig.spec(1, "1g.6gb");
    spec.count = 3;
    let refusal = rig.request(spec).unwrap_err();
    assert_eq!(refusal.code(), "E-OVER-CAP");
    assert_eq!(refusal.to_string(), "3 x 1g.6gb is more than user1 may have at once (2 slices)");
}

#[test]
fn at_its_cap_a_tenant_waits_for_its_own() {
    let mut rig = rig(&["a30"], capped(Some(2), None));
    // Two grants under way count before they are done.
    let spec = rig.spec(1, "1g.6gb");
    let first = rig.request(spec).unwrap();
    let spec = rig.spec(1, "1g.6gb");
    rig.request(spec).unwrap();
    let spec = rig.spec(1, "1g.6gb");
    let third = rig.request(spec).unwrap();
    rig.settle();
    let other = rig.ask(2, "1g.6gb");
    assert!(rig.is_queued(third) && rig.is_active(other));
    assert_eq!(rig.why(third), "one of its own tenant's 2 slices to end, which is all it may have");
    let mut spec = rig.spec(1, "1g.6gb");
    spec.patience = broker::Patience::Immediate;
    assert!(matches!(rig.request(spec), Err(Refusal::NoRoomNow { .. })));
    rig.release(first);
    assert!(rig.is_active(third));
}

/// A restart on a machine where one GPU hangs: its driver does not answer, and what lies there is
/// held all the same.
#[test]
fn leases_on_a_gpu_that_is_not_seen_count() {
    let mut rig = rig(&["a30", "a30"], capped(Some(2), None));
    let first = rig.ask(1, "1g.6gb");
    let hangs = rig.lease(first).slices[0].key.gpu.clone();
    rig.observed.gpus.retain(|gpu| gpu.uuid != hangs);
    let specs = [rig.spec(1, "1g.6gb"), rig.spec(1, "1g.6gb")];
    let [second, third] = specs.map(|spec| rig.request(spec).unwrap());
    assert!(!rig.is_queued(second) && rig.is_queued(third), "one of two is held there");
}

#[test]
fn a_cap_of_memory_is_by_the_profile_of_each_gpu() {
    let mut rig = rig(&["a30", "a100-sxm4-40gb"], capped(None, Some(6000)));
    let mut spec = rig.spec(1, "1g.6gb");
    spec.wanted = broker::Wanted::Profile(model::ProfileSelector::Slices(1));
    let first = rig.request(spec.clone()).unwrap();
    rig.settle();
    assert!(rig.is_active(first));
    let second = rig.request(spec).unwrap();
    rig.settle();
    assert!(rig.is_queued(second), "{:?}", rig.lease(first).slices);
}

/// On another board the same profile has another memory, so nobody knows what lies on a GPU that
/// is not seen.
#[test]
fn memory_on_a_gpu_that_is_not_seen_is_too_much_for_every_cap() {
    let mut rig = rig(&["h100-sxm5-80gb", "a30"], capped(None, Some(60_000)));
    let first = rig.ask(1, "4g.40gb");
    let hangs = rig.lease(first).slices[0].key.gpu.clone();
    rig.observed.gpus.retain(|gpu| gpu.uuid != hangs);
    let spec = rig.spec(1, "4g.24gb");
    let second = rig.request(spec).unwrap();
    assert!(rig.is_queued(second), "both together are 64 GB");
}

#[test]
fn what_only_boards_beyond_the_cap_have_room_for_is_refused() {
    let boards = ["a30", "a100-sxm4-40gb"];
    let mut rig = rig(&boards, capped(None, Some(60_000)));
    let mut spec = rig.spec(1, "1g.6gb");
    spec.wanted = broker::Wanted::Need(model::geometry::Need {
        memory: Some(model::MemoryRequest::Nominal(model::NominalGb::new(24))),
        compute_slices: None,
    });
    spec.count = 2;
    let refusal = rig.request(spec.clone()).unwrap_err();
    assert_eq!(refusal.code(), "E-OVER-CAP", "24 and 40 GB are too much, and there is one a30");
    spec.count = 1;
    rig.request(spec).unwrap();
}
