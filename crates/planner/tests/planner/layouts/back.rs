//! The way back from wherever a plan broke off.

use std::collections::BTreeSet;

use checker::{Protected, check};
use model::{DesiredGpu, GpuShape, MigState, NodeSnapshot, PlanId, Purpose, Step};
use planner::Rules;

use super::words::{OFF, ON, apply, computes, machine, nobody, one};
use crate::world::*;

/// From the middle of a plan, wherever it broke off, there is a way back to what was.
#[test]
fn a_plan_that_broke_off_is_taken_back() {
    let mut before = machine(&[(part(ONE, 0, 1), Who::Warm), (part(THREE, 4, 4), Who::Busy)]);
    before.gpus[0].compute_capability = Some((8, 0));
    let desired = DesiredGpu::Exactly(vec![one(THREE), one(TWO), computes(TWO, &[(0, None)])]);
    let planned =
        planner().plan_gpu(&before.gpus[0], &nobody(), &desired, &Rules::default(), apply());
    let (plan, _) = planned.unwrap();
    for done in 0..=plan.steps.len() {
        let half = model::Plan { steps: plan.steps[..done].to_vec(), ..plan.clone() };
        let now = execute(&before, &half);
        let (gpu, purpose) = (&now.gpus[0], Purpose::Rollback(PlanId::new(1)));
        let was = GpuShape::of(&before.gpus[0]).desired();
        let rules = Rules::default();
        let back = planner().plan_gpu(gpu, &nobody(), &was, &rules, purpose);
        let (back, _) = back.unwrap();
        assert!(back.steps.len() <= done);
        assert!(check(&back, &now, &Protected::nothing()).is_ok());
        let after = execute(&now, &back);
        assert_eq!(parts_of(&after.gpus[0]), parts_of(&before.gpus[0]));
        let slices = |node: &NodeSnapshot| {
            let computes = node.gpus[0].instances.iter().flat_map(|i| &i.compute_instances);
            computes.map(|c| (c.profile, c.placement)).collect::<BTreeSet<_>>()
        };
        assert_eq!(slices(&after), slices(&before));
    }
}

/// A mode that was changed is changed back, whether or not it came into force.
#[test]
fn a_mode_is_taken_back() {
    let mut before = machine(&[]);
    before.gpus[0].compute_capability = Some((8, 0));
    before.gpus[0].mig = MigState::Supported { current: OFF, pending: OFF };
    let mut now = before.clone();
    let mut back = |current, pending, parts: &[(model::PlacedProfile, Who)]| {
        now.gpus[0].instances = machine(parts).gpus[0].instances.clone();
        now.gpus[0].mig = MigState::Supported { current, pending };
        let purpose = Purpose::Rollback(PlanId::new(1));
        let was = GpuShape::of(&before.gpus[0]).desired();
        let rules = Rules::default();
        let back = planner().plan_gpu(&now.gpus[0], &nobody(), &was, &rules, purpose);
        let (back, _) = back.unwrap();
        assert!(check(&back, &now, &Protected::nothing()).is_ok());
        back.steps
            .iter()
            .filter(|step| !matches!(step, Step::DestroyComputeInstance { .. }))
            .count()
    };
    assert_eq!(back(OFF, ON, &[]), 1);
    assert_eq!(back(ON, ON, &[]), 2);
    assert_eq!(back(ON, ON, &[(part(ONE, 0, 1), Who::Warm)]), 3);
    assert_eq!(back(OFF, OFF, &[]), 0);
}
