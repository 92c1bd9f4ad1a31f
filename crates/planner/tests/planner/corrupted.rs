//! Plans that were damaged on the way: either the checker refuses, or nothing bad comes of them.

use checker::check;
use model::{DesiredGpu, Layout, Placement, Plan, Purpose, Step};
use planner::Rules;
use proptest::prelude::*;

use crate::world::*;

/// One way to damage a plan.
#[derive(Debug, Clone)]
enum Damage {
    Drop(prop::sample::Index),
    Repeat(prop::sample::Index),
    Swap(prop::sample::Index, prop::sample::Index),
    Move(prop::sample::Index, u8),
    Borrow(prop::sample::Index, u32),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        at().prop_map(Damage::Drop),
        at().prop_map(Damage::Repeat),
        (at(), at()).prop_map(|(a, b)| Damage::Swap(a, b)),
        (at(), 0u8..12).prop_map(|(at, start)| Damage::Move(at, start)),
        (at(), 1u32..9).prop_map(|(at, id)| Damage::Borrow(at, id)),
    ]
}

fn damaged(mut plan: Plan, damage: &Damage) -> Plan {
    let steps = &mut plan.steps;
    match damage {
        Damage::Drop(at) => {
            steps.remove(at.index(steps.len()));
        }
        Damage::Repeat(at) => {
            let at = at.index(steps.len());
            steps.push(steps[at].clone());
        }
        Damage::Swap(a, b) => {
            let (a, b) = (a.index(steps.len()), b.index(steps.len()));
            steps.swap(a, b);
        }
        Damage::Move(at, to) => {
            let at = at.index(steps.len());
            match &mut steps[at] {
                Step::CreateGpuInstance { placement, .. }
                | Step::DestroyGpuInstance { placement, .. }
                | Step::DestroyComputeInstance { at: placement, .. }
                | Step::CreateComputeInstance { at: placement, .. } => {
                    *placement = Placement::new(*to, placement.size.get());
                }
                Step::SetMigMode { .. } | Step::ResetGpu { .. } => {}
            }
        }
        Damage::Borrow(at, id) => {
            let at = at.index(steps.len());
            match &mut steps[at] {
                Step::DestroyGpuInstance { gpu_instance, .. }
                | Step::DestroyComputeInstance { gpu_instance, .. } => {
                    *gpu_instance = model::GpuInstanceId::new(*id);
                }
                Step::CreateGpuInstance { .. }
                | Step::CreateComputeInstance { .. }
                | Step::SetMigMode { .. }
                | Step::ResetGpu { .. } => {}
            }
        }
    }
    plan
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn a_damaged_plan_is_refused_or_harmless(
        worlds in worlds(2), damages in proptest::collection::vec(damage(), 1..3),
    ) {
        let (world, other) = (&worlds[0], &worlds[worlds.len() - 1]);
        // Towards another layout of the same board, as far as what is held there allows.
        let mut layout = world.layout_of(false);
        for (part, _) in &other.parts {
            layout = layout.with(&world.geometry, *part).unwrap_or(layout);
        }
        let desired = layout.placed().iter().map(|part| pinned(&world.geometry, *part));
        let desired = DesiredGpu::Exactly(desired.collect());
        let machine = node(&worlds[..1]);
        let protected = protected(&worlds[..1]);
        let purpose = Purpose::Apply("test".into());
        let rules = Rules::default();
        let found =
            planner().plan_gpu(&machine.gpus[0], &world.why(), &desired, &rules, purpose);
        let (plan, _) = found.unwrap();
        prop_assert!(check(&plan, &machine, &protected).is_ok());
        let broken = damages.iter().fold(plan, |plan, damage| {
            if plan.steps.is_empty() { plan } else { damaged(plan, damage) }
        });
        if let Ok(proof) = check(&broken, &machine, &protected) {
            let after = execute(&machine, &broken);
            prop_assert_eq!(proof.matches(&after), Ok(()));
            prop_assert!(Layout::of_gpu(&world.geometry, &after.gpus[0]).is_ok());
            for (instance, (part, who)) in machine.gpus[0].instances.iter().zip(&world.parts) {
                if *who != Who::Warm {
                    prop_assert_eq!(after.gpus[0].instance_at(part.placement), Some(instance));
                }
            }
        }
    }
}
