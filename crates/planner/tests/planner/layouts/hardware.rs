//! Plans on the simulated hardware: it accepts every step, and what it then shows is what was wanted.

use std::collections::BTreeMap;
use std::sync::Arc;

use checker::{Protected, check};
use model::{
    ComputeInstance, DesiredGpu, GpuInstance, GpuSnapshot, MigMode, MigState, NodeSnapshot, Plan,
    ProcessId, Purpose, Step, Timestamp,
};
use planner::{Impossible, Rules};
use sim_gpu::{BoardCache, Caller, ComputeInstanceRequest, HostSpec, Latencies, Node, Return};

use super::computes::{Board, meets};
use super::oracle::Dice;
use crate::world::*;

const NOW: Timestamp = Timestamp::from_millis(0);
/// Changes of one GPU, one after another.
const CHANGES: usize = 60;

fn root() -> Caller {
    Caller::root(ProcessId { pid: 100, start_ticks: 7 })
}

/// A host with one GPU, MIG off.
fn host(board: &str) -> Node {
    let mut spec = HostSpec::named("test", &format!("{board}:1")).unwrap();
    spec.knobs.latencies = Latencies::ZERO;
    Node::new(&spec, &mut BoardCache::new()).unwrap()
}

/// The machine as the simulated driver has it.
fn seen(node: &Node, board: &Board, template: &NodeSnapshot) -> NodeSnapshot {
    let gpu = &node.gpus[0];
    let instance = |there: &sim_gpu::GpuInstance| GpuInstance {
        id: there.id,
        profile: there.profile,
        placement: there.placement,
        compute_instances: there
            .compute
            .iter()
            .map(|compute| ComputeInstance {
                id: compute.id,
                profile: compute.profile,
                placement: compute.placement,
                uuid: None,
                processes: Vec::new(),
            })
            .collect(),
    };
    let needs_reset = node.mode_change_needs_reset(0).unwrap();
    let mut machine = template.clone();
    machine.gpus[0] = GpuSnapshot {
        compute_capability: Some(if needs_reset { (8, 0) } else { (9, 0) }),
        mig: MigState::Supported { current: gpu.current, pending: gpu.pending },
        geometry: Some(Arc::new(board.geometry.clone())),
        instances: gpu.instances.iter().map(instance).collect(),
        ..machine.gpus[0].clone()
    };
    machine
}

fn perform(node: &mut Node, step: &Step) -> Result<(), Return> {
    let at = |node: &Node, place| {
        let found = node.gpus[0].instances.iter().find(|instance| instance.placement == place);
        found.map(sim_gpu::GpuInstance::reference).ok_or(Return::NotFound)
    };
    match step {
        Step::SetMigMode { mode, .. } => node.set_mig_mode(0, root(), *mode, NOW).map(|_| ()),
        Step::ResetGpu { .. } => node.reset_gpu(0, root(), NOW),
        Step::DestroyComputeInstance { at: place, compute_instance, .. } => {
            let instance = at(node, *place)?;
            let compute = node.compute_instance_by_id(0, root(), instance, *compute_instance)?;
            node.destroy_compute_instance(0, root(), compute, NOW)
        }
        Step::DestroyGpuInstance { placement, .. } => {
            let instance = at(node, *placement)?;
            node.destroy_gpu_instance(0, root(), instance, NOW)
        }
        Step::CreateGpuInstance { profile, placement, .. } => {
            node.create_gpu_instance(0, root(), *profile, Some(*placement), NOW).map(|_| ())
        }
        Step::CreateComputeInstance { at: place, profile, placement, .. } => {
            let instance = at(node, *place)?;
            let request =
                ComputeInstanceRequest { instance, profile: *profile, placement: Some(*placement) };
            node.create_compute_instance(0, root(), request, NOW).map(|_| ())
        }
    }
}

/// Brings the GPU to what is desired, every step proven before and accepted then.
fn apply(node: &mut Node, board: &Board, template: &NodeSnapshot, desired: &DesiredGpu) -> Plan {
    let before = seen(node, board, template);
    let (gpu, nobody) = (&before.gpus[0], BTreeMap::new());
    let purpose = Purpose::Apply("test".into());
    let planned = planner().plan_gpu(gpu, &nobody, desired, &Rules::default(), purpose);
    let (plan, _) = planned.unwrap();
    let proof = check(&plan, &before, &Protected::nothing()).unwrap();
    for step in &plan.steps {
        assert_eq!(perform(node, step), Ok(()), "{step} of {plan:?}");
    }
    assert_eq!(proof.matches(&seen(node, board, template)), Ok(()), "{plan:?}");
    plan
}

#[test]
fn the_hardware_accepts_every_step() {
    for (id, _) in geometries() {
        let board = Board::of(id);
        let template = node(&[World::new(&geometry(id), &[])]);
        let mut host = host(id);
        let mut dice = Dice(1);
        for change in 0..CHANGES {
            let there = seen(&host, &board, &template);
            let wanted = board.wanted(&there.gpus[0], &mut dice);
            apply(&mut host, &board, &template, &DesiredGpu::Exactly(wanted.clone()));
            assert!(meets(&seen(&host, &board, &template).gpus[0], &wanted), "{id}");
            if change % 20 == 19 {
                // Off with all that lies there, and on again with the next one.
                apply(&mut host, &board, &template, &DesiredGpu::Whole);
                assert_eq!(host.gpus[0].current, MigMode::Disabled);
                let again = apply(&mut host, &board, &template, &DesiredGpu::Whole);
                assert!(again.steps.is_empty());
            }
        }
    }
}

/// By hand, beside what lies there: refused only where the hardware has no room for it either.
#[test]
fn what_is_refused_beside_does_not_fit() {
    let board = Board::of("a100-sxm4-40gb");
    let template = node(&[World::new(&a100(), &[])]);
    let mut dice = Dice(3);
    for _ in 0..300 {
        let mut host = host("a100-sxm4-40gb");
        let first = board.wanted(&seen(&host, &board, &template).gpus[0], &mut dice);
        apply(&mut host, &board, &template, &DesiredGpu::Exactly(first));
        let profiles = &board.geometry.profiles;
        let one = &profiles[dice.below(profiles.len())];
        let Some(place) = one.placements().next() else { continue };
        let part = model::PlacedProfile { placement: place, profile: one.id };
        let beside = vec![anywhere(&board.geometry, part)];
        let before = seen(&host, &board, &template);
        let desired = DesiredGpu::Beside { instances: beside, computes: Vec::new() };
        let purpose = Purpose::Apply("test".into());
        let (gpu, rules) = (&before.gpus[0], Rules::default());
        match planner().plan_gpu(gpu, &BTreeMap::new(), &desired, &rules, purpose) {
            Ok((plan, _)) => {
                for step in &plan.steps {
                    assert_eq!(perform(&mut host, step), Ok(()));
                }
            }
            Err(Impossible::NoRoom { .. }) => {
                assert!(host.create_gpu_instance(0, root(), one.id, None, NOW).is_err());
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}
