//! Plans for grants, retirements and mode changes.

use checker::{Protected, check};
use model::{GpuInstanceId, GpuProcess, LeaseId, MigMode, MigState, Plan, Purpose, Step};
use planner::{Choice, PlanError, plan_grant, plan_mode, plan_retire};

use crate::world::*;

fn words(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(ToString::to_string).collect()
}

fn grant(world: &World, choice: &Choice) -> Result<Plan, PlanError> {
    plan_grant(&world.snapshot(0), choice, Purpose::Grant(LeaseId::new(1)))
}

#[test]
fn a_grant_evicts_then_creates() {
    let world = World::new(&a100(), &[(part(ONE, 4, 1), Who::Warm), (part(ONE, 0, 1), Who::Busy)]);
    let choice =
        Choice { room: 0, part: part(THREE, 4, 4), reuse: false, evict: vec![part(ONE, 4, 1)] };
    let plan = grant(&world, &choice).unwrap();
    let expected = [
        "destroy compute instance 0 of GPU instance 1 on GPU-0",
        "destroy GPU instance 1 at 4:1 on GPU-0",
        "create a GPU instance of profile 9 at 4:4 on GPU-0",
        "create a compute instance of profile 2 in the GPU instance at 4:4 on GPU-0",
    ];
    assert_eq!(words(&plan), expected);
    let Some(Step::CreateComputeInstance { placement, .. }) = plan.steps.last() else { panic!() };
    assert_eq!(placement.to_string(), "0:3");
}

#[test]
fn a_grant_refuses_what_changed_since_the_choice() {
    let evict =
        |evict| Choice { room: 0, part: part(THREE, 4, 4), reuse: false, evict: vec![evict] };
    let busy = World::new(&a100(), &[(part(ONE, 4, 1), Who::Busy)]);
    let error = grant(&busy, &evict(part(ONE, 4, 1))).unwrap_err();
    assert!(matches!(error, PlanError::Busy { pid: 1000, .. }), "{error}");
    let error = grant(&busy, &evict(part(ONE, 5, 1))).unwrap_err();
    assert!(matches!(error, PlanError::Gone { .. }), "{error}");
    let error = grant(&busy, &evict(part(20, 4, 1))).unwrap_err();
    assert!(matches!(error, PlanError::Gone { .. }), "{error}");
    let reuse = Choice { room: 0, part: part(ONE, 4, 1), reuse: true, evict: Vec::new() };
    let error = grant(&busy, &reuse).unwrap_err();
    assert!(matches!(error, PlanError::Busy { .. }), "{error}");
    let unknown = Choice { room: 0, part: part(99, 0, 1), reuse: false, evict: Vec::new() };
    let error = grant(&busy, &unknown).unwrap_err();
    assert!(matches!(error, PlanError::UnknownProfile { .. }), "{error}");
}

#[test]
fn reuse_needs_one_whole_compute_instance() {
    let world = World::new(&a100(), &[(part(TWO, 0, 2), Who::Warm)]);
    let choice = Choice { room: 0, part: part(TWO, 0, 2), reuse: true, evict: Vec::new() };
    let purpose = || Purpose::Grant(LeaseId::new(1));
    assert!(grant(&world, &choice).unwrap().steps.is_empty());
    let mut gpu = world.snapshot(0);
    let compute = gpu.instances[0].compute_instances.remove(0);
    let plan = plan_grant(&gpu, &choice, purpose()).unwrap();
    assert_eq!(plan.steps.len(), 1, "the missing compute instance is made: {:?}", words(&plan));
    let mut half = compute;
    half.profile = model::ComputeInstanceProfileId::new(0);
    half.placement = model::Placement::new(0, 1);
    gpu.instances[0].compute_instances = vec![half];
    let error = plan_grant(&gpu, &choice, purpose()).unwrap_err();
    assert!(matches!(error, PlanError::NotWhole { .. }), "{error}");
}

#[test]
fn retiring_takes_compute_instances_first() {
    let parts = [(part(TWO, 0, 2), Who::Warm), (part(ONE, 6, 1), Who::Warm)];
    let worlds = [World::new(&a100(), &parts)];
    let machine = node(&worlds);
    let ids = [GpuInstanceId::new(2), GpuInstanceId::new(1)];
    let plan = plan_retire(&machine.gpus[0], &ids, Purpose::Retire).unwrap();
    assert_eq!(plan.steps.len(), 4);
    assert!(check(&plan, &machine, &Protected::nothing()).is_ok());
    assert!(execute(&machine, &plan).gpus[0].instances.is_empty());
    let missing = plan_retire(&machine.gpus[0], &[GpuInstanceId::new(9)], Purpose::Retire);
    assert!(matches!(missing, Err(PlanError::NoInstance { .. })));
    let busy = World::new(&a100(), &[(part(ONE, 6, 1), Who::Busy)]).snapshot(0);
    let busy = plan_retire(&busy, &[GpuInstanceId::new(1)], Purpose::Retire);
    assert!(matches!(busy, Err(PlanError::Busy { .. })));
}

#[test]
fn mode_changes_only_on_an_empty_gpu_and_resets_what_is_pending() {
    let (on, off) = (MigMode::Enabled, MigMode::Disabled);
    let mut machine = node(&[World::new(&a100(), &[])]);
    let mut steps = |current, pending, wish| {
        machine.gpus[0].mig = MigState::Supported { current, pending };
        let plan = plan_mode(&machine.gpus[0], wish, Purpose::Prepare).unwrap();
        let proof = check(&plan, &machine, &Protected::nothing()).unwrap();
        let end = MigState::Supported { current: wish, pending: wish };
        assert!(proof.gpus().values().all(|gpu| gpu.mig == end));
        words(&plan)
    };
    assert!(steps(on, on, on).is_empty());
    assert_eq!(steps(off, off, on), ["enable MIG on GPU-0"]);
    assert_eq!(steps(off, on, on), ["reset GPU-0"]);
    assert_eq!(steps(off, on, off), ["disable MIG on GPU-0"]);
    let mut gpu = World::new(&a100(), &[(part(ONE, 0, 1), Who::Warm)]).snapshot(0);
    let occupied =
        |gpu: &_| matches!(plan_mode(gpu, off, Purpose::Prepare), Err(PlanError::Occupied(_)));
    assert!(occupied(&gpu));
    gpu.instances.clear();
    assert!(!occupied(&gpu));
    gpu.processes = vec![GpuProcess { pid: 3, memory: None }];
    assert!(occupied(&gpu));
    gpu.mig = MigState::Unsupported;
    assert!(matches!(plan_mode(&gpu, on, Purpose::Prepare), Err(PlanError::NoGeometry(_))));
}
