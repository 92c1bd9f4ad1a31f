//! What the plan for one GPU costs, on every geometry, from any layout to any other, some instances
//! busy; beside the plan that clears the GPU and makes everything anew.
//!
//! Must never count the making of the snapshot and of the wish.

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use model::layout::enumerate;
use model::{
    ComputeInstance, ComputeInstanceId, DesiredCompute, DesiredGpu, DesiredInstance, Geometry,
    GpuIndex, GpuInstance, GpuInstanceId, GpuInstanceProfile, GpuMinor, GpuProcess, GpuSnapshot,
    GpuUuid, Health, Layout, MemoryMib, MigMode, MigState, PciAddress, PlacedProfile, Placement,
    Purpose, catalog,
};
use planner::{Planner, Rules};

use crate::at;

/// Plans timed on each board.
const PLANS: usize = 20_000;

struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as usize % sides
    }
}

/// Some compute instances: the whole one, or the most of the smallest.
fn computes(profile: &GpuInstanceProfile, split: bool) -> Vec<(DesiredCompute, Placement)> {
    let whole = profile.whole_compute_profile();
    let small = profile.compute_profiles.iter().min_by_key(|compute| (compute.slices, compute.id));
    let Some(compute) = (if split { small } else { whole }) else { return Vec::new() };
    let starts = compute.starts.iter().take(compute.max_count as usize);
    let one = DesiredCompute { profile: compute.id, placement: None };
    starts.map(|start| (one, Placement::new(start.get(), compute.slices))).collect()
}

fn instance(geometry: &Geometry, id: u32, part: PlacedProfile, dice: &mut Dice) -> GpuInstance {
    let profile = geometry.profile(part.profile);
    let computes = profile.map(|profile| computes(profile, dice.below(3) == 0)).unwrap_or_default();
    let computes = computes.into_iter().enumerate().map(|(index, (one, placement))| {
        let busy = dice.below(5) == 0;
        ComputeInstance {
            id: ComputeInstanceId::new(index as u32),
            profile: one.profile,
            placement,
            uuid: None,
            processes: if busy { vec![GpuProcess { pid: 7, memory: None }] } else { Vec::new() },
        }
    });
    GpuInstance {
        id: GpuInstanceId::new(id),
        profile: part.profile,
        placement: part.placement,
        compute_instances: computes.collect(),
    }
}

fn gpu(geometry: &Arc<Geometry>, layout: &Layout, dice: &mut Dice) -> GpuSnapshot {
    let parts = layout.placed().iter().enumerate();
    GpuSnapshot {
        uuid: GpuUuid::new("GPU-0"),
        index: GpuIndex::new(0),
        minor: GpuMinor::new(0),
        pci: PciAddress { domain: 0, bus: 7, device: 0 },
        name: "board".into(),
        pci_device_id: 0,
        pci_subsystem_id: None,
        memory: MemoryMib::new(1),
        compute_capability: Some((8, 0)),
        mig: MigState::Supported { current: MigMode::Enabled, pending: MigMode::Enabled },
        geometry: Some(Arc::clone(geometry)),
        instances: parts.map(|(i, part)| instance(geometry, i as u32, *part, dice)).collect(),
        processes: Vec::new(),
        health: Health::Ok,
    }
}

fn desired(geometry: &Geometry, layout: &Layout, dice: &mut Dice) -> DesiredGpu {
    let one = |part: &PlacedProfile| {
        let profile = geometry.profile(part.profile)?;
        let computes = computes(profile, dice.below(3) == 0);
        Some(DesiredInstance {
            profile: part.profile,
            placement: None,
            computes: computes.into_iter().map(|(one, _)| one).collect(),
        })
    };
    DesiredGpu::Exactly(layout.placed().iter().filter_map(one).collect())
}

/// The number of driver calls of clearing the GPU and making everything anew, the instances that
/// somebody uses and that go with it.
fn cleared(there: &GpuSnapshot, wish: &DesiredGpu) -> (usize, usize) {
    let gone = there.instances.iter().map(|instance| 1 + instance.compute_instances.len());
    let made = match wish {
        DesiredGpu::Exactly(all) => all.iter().map(|one| 1 + one.computes.len()).sum(),
        DesiredGpu::Whole
        | DesiredGpu::Sliced
        | DesiredGpu::Beside { .. }
        | DesiredGpu::Without { .. } => 0,
    };
    let calls = gone.sum::<usize>() + made;
    let busy = there.instances.iter().filter(|instance| instance.is_busy()).count();
    (calls, busy)
}

/// Plans on one geometry.
fn on(board: &str, geometry: &Arc<Geometry>) {
    let layouts = enumerate(geometry, |_| true);
    let mut planner = Planner::new();
    planner.learn(geometry);
    let mut dice = Dice(1);
    let (mut blocked, mut calls, mut plain_calls, mut lost) = (0, 0, 0, 0);
    let mut taken = Vec::with_capacity(PLANS);
    for _ in 0..PLANS {
        let there = gpu(geometry, &layouts[dice.below(layouts.len())], &mut dice);
        let wish = desired(geometry, &layouts[dice.below(layouts.len())], &mut dice);
        let (nobody, rules) = (BTreeMap::new(), Rules::default());
        let start = Instant::now();
        let planned = black_box(&planner).plan_gpu(
            black_box(&there),
            &nobody,
            &wish,
            &rules,
            Purpose::Prepare,
        );
        taken.push(start.elapsed().as_nanos() as u64);
        match planned {
            Err(_) => blocked += 1,
            Ok((plan, _)) => {
                let (all, busy) = cleared(&there, &wish);
                calls += plan.steps.len();
                plain_calls += all;
                lost += busy;
            }
        }
    }
    taken.sort_unstable();
    println!(
        "{board:<18} {:>5} layouts: median {:>6.1} us, p99 {:>6.1} us, {blocked} of {PLANS} blocked; \
         {:.2} of the driver calls of clearing the GPU, which would end {lost} busy instances, here 0",
        layouts.len(),
        at(&taken, 0.5) as f64 / 1000.0,
        at(&taken, 0.99) as f64 / 1000.0,
        calls as f64 / plain_calls.max(1) as f64,
    );
}

/// Every geometry of the catalog that differs in its shapes.
pub(crate) fn print() {
    let mut seen = BTreeSet::new();
    for board in catalog::boards() {
        let geometry = Arc::new(board.geometry());
        let shape = |p: &GpuInstanceProfile| {
            let computes: Vec<_> =
                p.compute_profiles.iter().map(|c| (c.slices, &c.starts)).collect();
            format!("{} {:?} {} {:?} {computes:?}", p.size, p.starts, p.max_instances, p.engines)
        };
        let shapes: Vec<String> = geometry.profiles.iter().map(shape).collect();
        if seen.insert((format!("{:?}", geometry.engine_capacity), shapes)) {
            on(board.id, &geometry);
        }
    }
}
