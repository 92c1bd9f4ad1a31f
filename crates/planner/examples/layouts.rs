//! Prints what the plan for one GPU costs, on every board of the catalog, from any layout to any
//! other, some instances busy.
//!
//! Run it optimised: `cargo run --release -p planner --example layouts`. Asserts nothing about time.
#![allow(clippy::print_stdout, reason = "printing the figures is all this program does")]

use std::collections::BTreeMap;
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

/// Plans timed on each board.
const PLANS: usize = 50_000;

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

fn main() {
    for board in catalog::boards() {
        let geometry = Arc::new(board.geometry());
        let layouts = enumerate(&geometry, |_| true);
        let mut planner = Planner::new();
        planner.learn(&geometry);
        let mut dice = Dice(1);
        let mut blocked = 0;
        let mut taken: Vec<u64> = (0..PLANS)
            .map(|_| {
                let there = gpu(&geometry, &layouts[dice.below(layouts.len())], &mut dice);
                let wish = desired(&geometry, &layouts[dice.below(layouts.len())], &mut dice);
                let (nobody, rules) = (BTreeMap::new(), Rules::default());
                let start = Instant::now();
                let planned = black_box(&planner).plan_gpu(
                    black_box(&there),
                    &nobody,
                    &wish,
                    &rules,
                    Purpose::Prepare,
                );
                let taken = start.elapsed().as_nanos() as u64;
                blocked += usize::from(black_box(planned).is_err());
                taken
            })
            .collect();
        taken.sort_unstable();
        let at = |share: f64| taken[((taken.len() - 1) as f64 * share) as usize] as f64 / 1000.0;
        println!(
            "{:<20} {:>5} layouts: median {:>6.1} us, p99 {:>6.1} us, most {:>7.1} us; {} blocked",
            board.id,
            layouts.len(),
            at(0.5),
            at(0.99),
            at(1.0),
            blocked
        );
    }
}
