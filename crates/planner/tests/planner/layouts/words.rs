//! Modes, changes by hand, refusals and reports, one by one.

use std::collections::{BTreeMap, BTreeSet};

use checker::{Protected, check};
use model::{
    ComputeInstanceId, ComputeInstanceProfileId, DesiredCompute, DesiredGpu, DesiredInstance,
    GpuInstanceId, GpuInstanceProfileId, GpuProcess, Health, MigMode, MigState, NodeSnapshot,
    Placement, Purpose,
};
use planner::{Fate, GpuReport, Impossible, Reset, Rules, Why};

use crate::world::*;

pub(super) const ON: MigMode = MigMode::Enabled;
pub(super) const OFF: MigMode = MigMode::Disabled;

pub(super) fn machine(parts: &[(model::PlacedProfile, Who)]) -> NodeSnapshot {
    node(&[World::new(&a100(), parts)])
}

pub(super) fn nobody() -> BTreeMap<GpuInstanceId, Why> {
    BTreeMap::new()
}

pub(super) fn apply() -> Purpose {
    Purpose::Apply("test".into())
}

/// The steps of a plan that the checker proves, in words, and the report.
fn steps(machine: &NodeSnapshot, desired: &DesiredGpu, rules: &Rules) -> (Vec<String>, GpuReport) {
    let planned = planner().plan_gpu(&machine.gpus[0], &nobody(), desired, rules, apply());
    let (plan, report) = planned.unwrap();
    if let Err(violations) = check(&plan, machine, &Protected::nothing()) {
        panic!("{plan:?}: {violations:?}");
    }
    assert_eq!(report.calls.total() as usize, plan.steps.len());
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<GpuReport>(&text).unwrap(), report);
    let words = plan.steps.iter().map(|step| step.to_string().replace(" on GPU-0", ""));
    (words.collect(), report)
}

fn refused(machine: &NodeSnapshot, desired: &DesiredGpu) -> Impossible {
    refused_with(machine, &nobody(), desired, &Rules::default())
}

fn refused_with(
    machine: &NodeSnapshot,
    held: &BTreeMap<GpuInstanceId, Why>,
    desired: &DesiredGpu,
    rules: &Rules,
) -> Impossible {
    let gpu = &machine.gpus[0];
    let error = planner().plan_gpu(gpu, held, desired, rules, apply()).unwrap_err();
    let text = serde_json::to_string(&error).unwrap();
    assert_eq!(serde_json::from_str::<Impossible>(&text).unwrap(), error);
    error
}

pub(super) fn one(profile: u32) -> DesiredInstance {
    anywhere(&a100(), part(profile, 0, 0))
}

pub(super) fn computes(profile: u32, parts: &[(u32, Option<(u8, u8)>)]) -> DesiredInstance {
    let compute = |(profile, at): &(u32, Option<(u8, u8)>)| DesiredCompute {
        profile: ComputeInstanceProfileId::new(*profile),
        placement: at.map(|(start, size)| Placement::new(start, size)),
    };
    DesiredInstance {
        profile: GpuInstanceProfileId::new(profile),
        placement: None,
        computes: parts.iter().map(compute).collect(),
    }
}

#[test]
fn modes_change_with_a_reset_where_the_architecture_needs_one() {
    let mut empty = machine(&[]);
    let mut modes = |current, pending, capability, desired: DesiredGpu| {
        empty.gpus[0].mig = MigState::Supported { current, pending };
        empty.gpus[0].compute_capability = capability;
        let (words, report) = steps(&empty, &desired, &Rules::default());
        (words, report.mode.map(|mode| (mode.reset, mode.to_string())))
    };
    let (ampere, hopper) = (Some((8, 0)), Some((9, 0)));
    let sliced = || DesiredGpu::Sliced;
    let (words, told) = modes(OFF, OFF, ampere, sliced());
    assert_eq!(words, ["enable MIG", "reset GPU-0"]);
    let words_of = "MIG mode goes on; the GPU is reset for it".to_owned();
    assert_eq!(told, Some((Reset::Needed, words_of)));
    let (words, told) = modes(OFF, OFF, hopper, sliced());
    assert_eq!(words, ["enable MIG"]);
    assert_eq!(told, Some((Reset::No, "MIG mode goes on; no reset is needed".into())));
    let (words, told) = modes(OFF, OFF, None, sliced());
    assert_eq!(words, ["enable MIG", "reset GPU-0"]);
    assert_eq!(told.unwrap().0, Reset::Assumed);
    // What is pending already.
    assert_eq!(modes(OFF, ON, ampere, sliced()).0, ["reset GPU-0"]);
    assert_eq!(modes(OFF, ON, hopper, sliced()).0, ["enable MIG"]);
    assert_eq!(modes(ON, OFF, ampere, DesiredGpu::Whole).0, ["reset GPU-0"]);
    // What is taken back.
    let (words, told) = modes(OFF, ON, ampere, DesiredGpu::Whole);
    assert_eq!(words, ["disable MIG"]);
    let words_of = "MIG mode stays off; the pending change is taken back".to_owned();
    assert_eq!(told, Some((Reset::No, words_of)));
    assert_eq!(modes(ON, OFF, ampere, sliced()).0, ["enable MIG"]);
    // Nothing to do.
    assert!(modes(ON, ON, ampere, sliced()).0.is_empty());
    assert_eq!(modes(OFF, OFF, hopper, DesiredGpu::Whole), (Vec::new(), None));
}

#[test]
fn a_layout_is_made_from_mig_off() {
    let mut empty = machine(&[]);
    empty.gpus[0].mig = MigState::Supported { current: OFF, pending: OFF };
    empty.gpus[0].compute_capability = Some((8, 0));
    let desired = DesiredGpu::Exactly(vec![one(THREE), one(FOUR)]);
    let (words, report) = steps(&empty, &desired, &Rules::default());
    assert_eq!(
        words,
        [
            "enable MIG",
            "reset GPU-0",
            "create a GPU instance of profile 5 at 0:4",
            "create a GPU instance of profile 9 at 4:4",
            "create a compute instance of profile 3 in the GPU instance at 0:4",
            "create a compute instance of profile 2 in the GPU instance at 4:4",
        ]
    );
    assert_eq!(report.undoable, [true, false, true, true, true, true]);
    empty.gpus[0].processes = vec![GpuProcess { pid: 44, memory: None }];
    let error = refused(&empty, &desired);
    assert_eq!(error.to_string(), "the GPU as a whole (process 44) is in the way on GPU-0");
    // A unit that is stopped first is not in the way; but the snapshot still shows it.
    let leaving = Rules { leaving: BTreeSet::from([44]), ..Rules::default() };
    let planned = planner().plan_gpu(&empty.gpus[0], &nobody(), &desired, &leaving, apply());
    assert_eq!(planned.unwrap().0.steps.len(), 6);
}

#[test]
fn a_whole_gpu_is_emptied_first() {
    let parts = [(part(TWO, 0, 2), Who::Warm), (part(ONE, 6, 1), Who::Warm)];
    let mut there = machine(&parts);
    there.gpus[0].compute_capability = Some((9, 0));
    let (words, _) = steps(&there, &DesiredGpu::Whole, &Rules::default());
    assert_eq!(
        words,
        [
            "destroy compute instance 0 of GPU instance 1",
            "destroy compute instance 0 of GPU instance 2",
            "destroy GPU instance 1 at 0:2",
            "destroy GPU instance 2 at 6:1",
            "disable MIG",
        ]
    );
    // While disabling is pending nothing can be destroyed: the wish is taken back first.
    there.gpus[0].mig = MigState::Supported { current: ON, pending: OFF };
    there.gpus[0].compute_capability = Some((8, 0));
    let (words, _) = steps(&there, &DesiredGpu::Whole, &Rules::default());
    assert_eq!((words[0].as_str(), words.len()), ("enable MIG", 7));
    assert_eq!(words[5..], ["disable MIG", "reset GPU-0"]);
    let held = BTreeMap::from([(GpuInstanceId::new(2), Why::new("lease L3 of alice"))]);
    let error = refused_with(&there, &held, &DesiredGpu::Whole, &Rules::default());
    let words = "GPU instance 2 (1g.5gb at 6:1, lease L3 of alice) is in the way on GPU-0";
    assert_eq!(error.to_string(), words);
    let planned =
        planner().plan_part(&there.gpus[0], &held, &DesiredGpu::Whole, &Rules::default(), apply());
    let now = planned.unwrap();
    assert_eq!((now.plan.steps.len(), now.rest.len()), (3, 1));
    assert_eq!(now.report.destroyed().collect::<Vec<_>>(), [GpuInstanceId::new(1)]);
}

#[test]
fn rules_forbid_modes_and_resets() {
    let mut empty = machine(&[]);
    empty.gpus[0].mig = MigState::Supported { current: OFF, pending: OFF };
    empty.gpus[0].compute_capability = Some((8, 0));
    let sliced = DesiredGpu::Sliced;
    let no_mode = Rules { mode: false, ..Rules::default() };
    let error = refused_with(&empty, &nobody(), &sliced, &no_mode);
    assert!(matches!(error, Impossible::ModeFixed(_)));
    let no_reset = Rules { reset: false, ..Rules::default() };
    let error = refused_with(&empty, &nobody(), &sliced, &no_reset);
    assert!(matches!(error, Impossible::ResetForbidden(_)));
    empty.gpus[0].compute_capability = Some((9, 0));
    assert_eq!(steps(&empty, &sliced, &no_reset).0, ["enable MIG"]);
}

#[test]
fn what_cannot_be_is_told_apart() {
    let mut there = machine(&[(part(ONE, 1, 1), Who::Busy), (part(ONE, 6, 1), Who::Warm)]);
    let exactly = |instances: &[DesiredInstance]| DesiredGpu::Exactly(instances.to_vec());
    let error = refused(&there, &exactly(&[one(THREE), one(THREE)]));
    let words = "GPU instance 1 (1g.5gb at 1:1, process 1000) is in the way on GPU-0; \
                 the most that fits now lacks 1 x 3g.20gb";
    assert_eq!(error.to_string(), words);
    let error = refused(&there, &exactly(&[one(THREE), one(THREE), one(THREE)]));
    assert!(matches!(error, Impossible::TooMuch { .. }));
    let words = "GPU-0 cannot hold that even when it is empty; \
                 the most that fits now lacks 2 x 3g.20gb";
    assert_eq!(error.to_string(), words);
    let unknown = DesiredInstance { profile: GpuInstanceProfileId::new(77), ..one(ONE) };
    let error = refused(&there, &exactly(&[unknown]));
    assert_eq!(error.to_string(), "GPU-0 has no profile with id 77");
    let error = refused(&there, &exactly(&[computes(THREE, &[(4, None)])]));
    let words = "3g.20gb of GPU-0 has no compute instance profile with id 4";
    assert_eq!(error.to_string(), words);
    let error = refused(&there, &exactly(&[computes(THREE, &[(1, None), (1, Some((0, 2)))])]));
    let words = "3g.20gb on GPU-0 cannot hold these compute instances: \
                 2c.3g.20gb, 2c.3g.20gb at 0:2";
    assert_eq!(error.to_string(), words);
    let nowhere = DesiredInstance { placement: Some(Placement::new(1, 4)), ..one(THREE) };
    let error = refused(&there, &exactly(&[nowhere]));
    assert_eq!(error.to_string(), "3g.20gb may not lie at 1:4 on GPU-0");
    let same = DesiredInstance { placement: Some(Placement::new(0, 1)), ..one(ONE) };
    let error = refused(&there, &exactly(&[same.clone(), same]));
    assert!(matches!(error, Impossible::TooMuch { .. }));
    let gpu = &mut there.gpus[0];
    gpu.geometry = None;
    assert!(matches!(refused(&there, &exactly(&[one(ONE)])), Impossible::NoGeometry(_)));
    there.gpus[0].mig = MigState::Unsupported;
    assert!(matches!(refused(&there, &DesiredGpu::Sliced), Impossible::NoMig(_)));
    there.gpus[0].health = Health::Failing("it smells".into());
    let error = refused(&there, &DesiredGpu::Sliced);
    let words = "GPU-0 is not healthy (it smells); nothing can be changed on it";
    assert_eq!(error.to_string(), words);
}

#[test]
fn instances_are_made_beside_what_is_there() {
    let there = machine(&[(part(TWO, 0, 2), Who::Warm), (part(ONE, 3, 1), Who::Busy)]);
    let beside =
        |instances: Vec<DesiredInstance>| DesiredGpu::Beside { instances, computes: Vec::new() };
    let (words, report) = steps(&there, &beside(vec![one(THREE)]), &Rules::default());
    assert_eq!(
        words,
        [
            "create a GPU instance of profile 9 at 4:4",
            "create a compute instance of profile 2 in the GPU instance at 4:4",
        ]
    );
    assert_eq!(report.with_fate(Fate::Stays).count(), 2);
    // The idle one would do, but it was not to go.
    let error = refused(&there, &beside(vec![one(FOUR)]));
    let words = "GPU-0 has no room for that unless GPU instance 1 (2g.10gb at 0:2, idle), \
                 GPU instance 2 (1g.5gb at 3:1, process 1001) go first; \
                 the most that fits now lacks 1 x 4g.20gb";
    assert_eq!(error.to_string(), words);
    let error = refused(&there, &beside(vec![one(THREE), one(TWO), one(TWO), one(TWO)]));
    assert!(matches!(error, Impossible::TooMuch { .. }));
    let mut off = there.clone();
    off.gpus[0].mig = MigState::Supported { current: OFF, pending: ON };
    assert!(matches!(refused(&off, &beside(vec![one(ONE)])), Impossible::ModeOff(_)));
}

#[test]
fn compute_instances_are_made_in_what_is_there() {
    let mut there = machine(&[(part(THREE, 4, 4), Who::Warm)]);
    let compute = |profile, at: Option<(u8, u8)>| DesiredCompute {
        profile: ComputeInstanceProfileId::new(profile),
        placement: at.map(|(start, size)| Placement::new(start, size)),
    };
    let id = GpuInstanceId::new(1);
    let beside = |computes: &[DesiredCompute]| DesiredGpu::Beside {
        instances: Vec::new(),
        computes: computes.iter().map(|compute| (id, *compute)).collect(),
    };
    let error = refused(&there, &beside(&[compute(0, None)]));
    let words = "GPU instance 1 (3g.20gb) on GPU-0 has no room for 1c.3g.20gb beside what it holds";
    assert_eq!(error.to_string(), words);
    let only = &mut there.gpus[0].instances[0].compute_instances[0];
    (only.profile, only.placement) = (ComputeInstanceProfileId::new(0), Placement::new(1, 1));
    only.processes = vec![GpuProcess { pid: 5, memory: None }];
    let (words, report) =
        steps(&there, &beside(&[compute(0, None), compute(0, Some((2, 1)))]), &Rules::default());
    assert_eq!(words.len(), 2);
    let places = report.instances[0].computes.iter();
    let places: Vec<_> =
        places.map(|c| (c.fate, c.placement.to_string(), c.name.clone())).collect();
    let name = || "1c.3g.20gb".to_owned();
    assert_eq!(
        places,
        [
            (Fate::Stays, "1:1".to_owned(), name()),
            (Fate::Comes, "0:1".to_owned(), name()),
            (Fate::Comes, "2:1".to_owned(), name()),
        ]
    );
    let held = BTreeMap::from([(id, Why::new("lease L3 of alice"))]);
    let error = refused_with(&there, &held, &beside(&[compute(0, None)]), &Rules::default());
    let words = "GPU instance 1 (3g.20gb at 4:4, lease L3 of alice, process 5) is in the way on \
                 GPU-0";
    assert_eq!(error.to_string(), words);
    let nowhere = DesiredGpu::Beside {
        instances: Vec::new(),
        computes: vec![(GpuInstanceId::new(9), compute(0, None))],
    };
    assert_eq!(refused(&there, &nowhere).to_string(), "GPU-0 has no GPU instance 9");
}

#[test]
fn instances_are_destroyed_by_id() {
    let mut there = machine(&[
        (part(THREE, 4, 4), Who::Warm),
        (part(TWO, 0, 2), Who::Warm),
        (part(ONE, 3, 1), Who::Busy),
    ]);
    let mut second = there.gpus[0].instances[0].compute_instances[0].clone();
    let first = &mut there.gpus[0].instances[0].compute_instances[0];
    (first.profile, first.placement) = (ComputeInstanceProfileId::new(0), Placement::new(0, 1));
    (second.id, second.profile) = (ComputeInstanceId::new(1), ComputeInstanceProfileId::new(1));
    second.placement = Placement::new(1, 2);
    there.gpus[0].instances[0].compute_instances.push(second);
    let id = GpuInstanceId::new;
    let without = |instances: &[u32], computes: &[(u32, u32)]| DesiredGpu::Without {
        instances: instances.iter().copied().map(id).collect(),
        computes: computes.iter().map(|(i, c)| (id(*i), ComputeInstanceId::new(*c))).collect(),
    };
    let (words, _) = steps(&there, &without(&[2], &[(1, 1)]), &Rules::default());
    assert_eq!(
        words,
        [
            "destroy compute instance 1 of GPU instance 1",
            "destroy compute instance 0 of GPU instance 2",
            "destroy GPU instance 2 at 0:2",
        ]
    );
    let error = refused(&there, &without(&[2, 3], &[]));
    let words = "GPU instance 3 (1g.5gb at 3:1, process 1002) is in the way on GPU-0";
    assert_eq!(error.to_string(), words);
    let now = planner()
        .plan_part(&there.gpus[0], &nobody(), &without(&[2, 3], &[]), &Rules::default(), apply())
        .unwrap();
    assert_eq!((now.plan.steps.len(), now.rest.len()), (2, 1));
    let error = refused(&there, &without(&[], &[(1, 7)]));
    assert_eq!(error.to_string(), "GPU instance 1 on GPU-0 has no compute instance 7");
    assert!(matches!(refused(&there, &without(&[8], &[])), Impossible::NoInstance { .. }));
}

#[test]
fn the_first_instance_waits_for_whoever_uses_the_gpu_as_a_whole() {
    let mut there = machine(&[(part(TWO, 0, 2), Who::Warm)]);
    there.gpus[0].processes = vec![GpuProcess { pid: 9, memory: None }];
    let keeps = DesiredGpu::Exactly(vec![one(TWO), one(ONE)]);
    assert_eq!(steps(&there, &keeps, &Rules::default()).0.len(), 2);
    let replaces = DesiredGpu::Exactly(vec![one(FOUR)]);
    let error = refused(&there, &replaces);
    assert_eq!(error.to_string(), "the GPU as a whole (process 9) is in the way on GPU-0");
    let now = planner()
        .plan_part(&there.gpus[0], &nobody(), &replaces, &Rules::default(), apply())
        .unwrap();
    assert_eq!((now.plan.steps.len(), now.rest.len()), (2, 1));
}

/// The vendor's two examples of several compute instances, and the names the report gives them.
#[test]
fn several_compute_instances_are_made_and_named() {
    let empty = machine(&[]);
    let three = computes(THREE, &[(0, None), (0, None), (0, None)]);
    let two_and_one = computes(THREE, &[(0, None), (1, None)]);
    let desired = DesiredGpu::Exactly(vec![three, two_and_one]);
    let (words, report) = steps(&empty, &desired, &Rules::default());
    assert_eq!(words.len(), 7);
    let names = report.with_fate(Fate::Comes).map(|instance| {
        let computes = instance.computes.iter();
        let computes: Vec<_> = computes.map(|c| format!("{}@{}", c.name, c.placement)).collect();
        format!("{}@{}: {}", instance.name, instance.placement, computes.join(", "))
    });
    assert_eq!(
        names.collect::<Vec<_>>(),
        [
            "3g.20gb@0:4: 1c.3g.20gb@0:1, 1c.3g.20gb@1:1, 1c.3g.20gb@2:1",
            "3g.20gb@4:4: 2c.3g.20gb@0:2, 1c.3g.20gb@2:1",
        ]
    );
    let single = DesiredGpu::Exactly(vec![one(THREE), one(TWO), one(ONE)]);
    let (_, report) = steps(&empty, &single, &Rules::default());
    let devices = report.instances.iter().flat_map(|i| &i.computes).map(|c| c.name.clone());
    let devices: BTreeSet<String> = devices.collect();
    assert_eq!(devices.into_iter().collect::<Vec<_>>(), ["1g.5gb", "2g.10gb", "3g.20gb"]);
}
