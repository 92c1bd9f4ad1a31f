//! The situations in which nvidia-mig-parted was measured, and the calls that our plans make in
//! them. The table in `docs/vs-mig-parted.md` says the same.

use std::collections::BTreeMap;

use checker::{Protected, check};
use model::{
    DesiredGpu, DesiredInstance, GpuProcess, NodeSnapshot, PlacedProfile, ProfileSelector, Purpose,
    geometry::SelectError,
};
use planner::{Calls, Impossible, Rules};

use crate::world::*;

const TABLE: &str = include_str!("../../../../../docs/vs-mig-parted.md");
/// `1g.10gb` of A100.
const ONE_DOUBLE: u32 = 15;

/// A layout of A100-40GB: profile, first unit, units.
type Parts<'a> = &'a [(u32, u8, u8)];

fn machine(parts: Parts<'_>) -> NodeSnapshot {
    let parts: Vec<(PlacedProfile, Who)> = parts
        .iter()
        .map(|(profile, start, size)| (part(*profile, *start, *size), Who::Warm))
        .collect();
    node(&[World::new(&a100(), &parts)])
}

fn wanted(counts: &[(u32, usize)]) -> DesiredGpu {
    let one = |profile: u32| anywhere(&a100(), part(profile, 0, 0));
    let all = counts.iter().flat_map(|(profile, count)| vec![one(*profile); *count]);
    DesiredGpu::Exactly(all.collect::<Vec<DesiredInstance>>())
}

/// The calls of the plan, once it is proven and once it leads to where nothing is left to do.
fn calls(before: &NodeSnapshot, desired: &DesiredGpu) -> Calls {
    let plan = |machine: &NodeSnapshot| {
        let purpose = Purpose::Apply("test".into());
        let (gpu, rules) = (&machine.gpus[0], Rules::default());
        planner().plan_gpu(gpu, &BTreeMap::new(), desired, &rules, purpose).unwrap()
    };
    let (found, report) = plan(before);
    assert!(check(&found, before, &Protected::nothing()).is_ok());
    let after = execute(before, &found);
    assert!(plan(&after).1.is_nothing(), "it never compares equal: {desired:?}");
    assert_eq!((report.calls.modes, report.calls.resets), (0, 0));
    report.calls
}

fn refusal(before: &NodeSnapshot, desired: &DesiredGpu) -> Impossible {
    let (gpu, rules) = (&before.gpus[0], Rules::default());
    let purpose = Purpose::Apply("test".into());
    planner().plan_gpu(gpu, &BTreeMap::new(), desired, &rules, purpose).unwrap_err()
}

/// `GI +1/-2, CI +1/-2`.
fn words(calls: Calls) -> String {
    format!(
        "GI +{}/-{}, CI +{}/-{}",
        calls.gpu_instances_created,
        calls.gpu_instances_destroyed,
        calls.compute_instances_created,
        calls.compute_instances_destroyed
    )
}

/// The row of a situation ends with what we do.
fn told(situation: &str, ours: &str) {
    let row = TABLE.lines().find(|line| line.starts_with(&format!("| {situation} |")));
    let row = row.unwrap_or_else(|| panic!("no row for {situation}"));
    let last = row.trim_end_matches(" |").rsplit("| ").next().unwrap();
    assert_eq!(last, ours, "{situation}");
}

fn differs(situation: &str, before: Parts<'_>, desired: &[(u32, usize)], expected: &str) {
    let found = words(calls(&machine(before), &wanted(desired)));
    assert_eq!(found, expected, "{situation}");
    told(situation, expected);
}

#[test]
fn one_instance_less_or_more_is_one_instance() {
    differs(
        "{1g x2, 2g, 3g} to {1g x1, 2g, 3g}",
        &[(ONE, 0, 1), (ONE, 1, 1), (TWO, 2, 2), (THREE, 4, 4)],
        &[(ONE, 1), (TWO, 1), (THREE, 1)],
        "GI +0/-1, CI +0/-1",
    );
    differs(
        "{1g x3} to {1g x4}",
        &[(ONE, 0, 1), (ONE, 1, 1), (ONE, 2, 1)],
        &[(ONE, 4)],
        "GI +1/-0, CI +1/-0",
    );
    let seven: Vec<(u32, u8, u8)> = (0..7).map(|start| (ONE, start, 1)).collect();
    differs("{1g x7} to {1g x6}", &seven, &[(ONE, 6)], "GI +0/-1, CI +0/-1");
}

/// First fit laid the 3g and the 2g so that both have to move; nothing is tried out.
#[test]
fn what_lies_badly_moves_once() {
    differs(
        "{3g, 2g} to {1g x2, 2g, 3g}, laid first-fit",
        &[(THREE, 0, 4), (TWO, 4, 2)],
        &[(ONE, 2), (TWO, 1), (THREE, 1)],
        "GI +4/-2, CI +4/-2",
    );
    differs(
        "{3g, 2g} to {1g x2, 2g, 3g}, laid by the driver",
        &[(THREE, 4, 4), (TWO, 2, 2)],
        &[(ONE, 2), (TWO, 1), (THREE, 1)],
        "GI +2/-0, CI +2/-0",
    );
}

#[test]
fn what_is_infeasible_is_refused_before_the_first_call() {
    let there = machine(&[(THREE, 0, 4), (TWO, 4, 2)]);
    let first = wanted(&[(ONE, 3), (TWO, 2), (THREE, 1)]);
    let second = wanted(&[(ONE, 3), (ONE_DOUBLE, 2), (TWO, 2), (THREE, 1)]);
    for (situation, desired) in [
        ("{3g, 2g} to {1g x3, 2g x2, 3g}, infeasible", first),
        ("to {1g x3, 1g.10gb x2, 2g x2, 3g}, infeasible", second),
    ] {
        assert!(matches!(refusal(&there, &desired), Impossible::TooMuch { .. }), "{situation}");
        told(situation, "refused, no call");
    }
}

#[test]
fn a_name_of_another_card_is_refused_with_the_nearest() {
    for (situation, name, nearest) in [
        ("{3g, 2g} to {1g.5gb x2, 1g.6gb x1}, a name of another GPU", "1g.6gb", "1g.5gb"),
        ("{3g, 2g} to {3g.40gb x2} on the 40 GB card", "3g.40gb", "3g.20gb"),
    ] {
        let selector: ProfileSelector = name.parse().unwrap();
        let error = a100().select(&selector).unwrap_err();
        let SelectError::Unknown { nearest: found, .. } = &error else { panic!("{error:?}") };
        assert!(found.iter().any(|name| name.to_string() == nearest), "{error}");
        told(situation, "refused, no call");
    }
}

#[test]
fn what_is_busy_stays() {
    let mut there = machine(&[(THREE, 4, 4), (TWO, 2, 2), (ONE, 0, 1), (ONE, 1, 1)]);
    let busy = &mut there.gpus[0].instances[0].compute_instances[0];
    busy.processes = vec![GpuProcess { pid: 4242, memory: None }];
    let found = words(calls(&there, &wanted(&[(ONE, 1), (TWO, 1), (THREE, 1)])));
    assert_eq!(found, "GI +0/-1, CI +0/-1");
    told("{1g x2, 2g, 3g} to one 1g less, the 3g busy", &found);
    let error = refusal(&there, &wanted(&[(ONE, 1), (TWO, 1)]));
    let words = "GPU instance 1 (3g.20gb at 4:4, process 4242) is in the way on GPU-0";
    assert_eq!(error.to_string(), words);
    told("the same without the busy 3g", "refused, no call; names the process");
}

#[test]
fn a_gpu_instance_without_compute_instances_is_seen() {
    let mut there = machine(&[(TWO, 0, 2)]);
    there.gpus[0].instances[0].compute_instances.clear();
    let found = words(calls(&there, &wanted(&[(SEVEN, 1)])));
    assert_eq!(found, "GI +1/-1, CI +1/-0");
    told("a 2g without compute instance, to {7g}", &found);
    let found = words(calls(&there, &wanted(&[(TWO, 1)])));
    assert_eq!(found, "GI +0/-0, CI +1/-0");
    told("a 2g without compute instance, to {2g}", &found);
}

/// Whoever writes a count of none, or a compute instance that is all of its GPU instance, means the
/// same layout, and once it is there nothing is left to do.
#[test]
fn other_words_for_the_same_layout_compare_equal() {
    let found = words(calls(&machine(&[]), &wanted(&[(ONE, 1), (TWO, 0)])));
    assert_eq!(found, "GI +1/-0, CI +1/-0");
    told("empty to {1g.5gb x1, 2g.10gb x0}, twice", &format!("{found}, then nothing"));
    let part: ProfileSelector = "1c.1g.5gb".parse().unwrap();
    assert_eq!(a100().select(&part).unwrap().id.get(), ONE);
    told("empty to {1c.1g.5gb x1}, twice", &format!("{found}, then nothing"));
}
