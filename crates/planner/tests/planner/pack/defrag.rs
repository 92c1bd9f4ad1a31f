//! Rearrangements of fleets against an integer program over layouts, carried out through the checker.

use std::sync::Arc;

use good_lp::{Expression, ProblemVariables, Solution, SolverModel, microlp, variable};
use model::layout::enumerate;
use model::{Geometry, GpuInstanceProfileId, Layout, PlacedProfile};
use planner::pack::{Demand, Packer};
use planner::{NoRoom, Spot};
use proptest::prelude::*;

use super::ilp::Draw;
use super::openings::{carry_out, fleet, population, price};
use super::packers;
use crate::world::*;

/// Some GPUs of one geometry with random layouts; `held` of a hundred instances stay.
fn random(geometry: &Arc<Geometry>, gpus: usize, held: u64, draw: &mut Draw) -> Vec<World> {
    let all: Vec<PlacedProfile> = geometry
        .profiles
        .iter()
        .flat_map(|p| p.placements().map(|at| PlacedProfile { placement: at, profile: p.id }))
        .collect();
    let world = |_| {
        let (mut layout, mut parts) = (Layout::empty(), Vec::new());
        for _ in 0..draw.below(7) {
            let part = all[draw.below(all.len() as u64) as usize];
            if let Ok(next) = layout.with(geometry, part) {
                layout = next;
                let who = match draw.below(100) {
                    low if low < held => Who::Busy,
                    high if high > 90 => Who::Warm,
                    _ => Who::Leased,
                };
                parts.push((part, who));
            }
        }
        World::new(geometry, &parts)
    };
    (0..gpus).map(world).collect()
}

/// The least cost, and what it is the cost of, by a program with one variable for each GPU and each
/// layout that it could have: everybody has a place again, and `extra` beside; each used GPU costs
/// `per_gpu` more.
fn by_program(worlds: &[World], extra: &[u64], per_gpu: u64) -> Option<u64> {
    let geometry = &worlds[0].geometry;
    let layouts = enumerate(geometry, |_| true);
    let count = |layout: &Layout, id: GpuInstanceProfileId| {
        layout.placed().iter().filter(|part| part.profile == id).count() as f64
    };
    let mut variables = ProblemVariables::new();
    let mut ways = Vec::new();
    for (gpu, world) in worlds.iter().enumerate() {
        let parts = |who| world.parts.iter().filter(move |(_, w)| *w == who).map(|(part, _)| *part);
        let keeps = |layout: &&Layout| parts(Who::Busy).all(|part| layout.placed().contains(&part));
        for layout in layouts.iter().filter(keeps) {
            let gone = parts(Who::Leased).filter(|part| !layout.placed().contains(part));
            let used = if layout.placed().is_empty() { 0 } else { per_gpu };
            let cost = gone.map(|part| price(gpu, part)).sum::<u64>() + used;
            ways.push((gpu, layout, cost, variables.add(variable().binary())));
        }
    }
    let cost: Expression = ways.iter().map(|(_, _, cost, way)| *cost as f64 * *way).sum();
    let mut problem = variables.minimise(cost.clone()).using(microlp);
    for gpu in 0..worlds.len() {
        let of: Expression = ways.iter().filter(|way| way.0 == gpu).map(|way| way.3).sum();
        problem = problem.with(of.eq(1.0));
    }
    for (profile, extra) in geometry.profiles.iter().zip(extra) {
        let there = worlds.iter().map(|world| count(&world.layout_of(false), profile.id));
        let there: f64 = there.sum();
        let held: Expression =
            ways.iter().map(|(_, layout, _, way)| count(layout, profile.id) * *way).sum();
        problem = problem.with(held.eq(there + *extra as f64));
    }
    problem.solve().ok().map(|found| found.eval(cost).round() as u64)
}

fn demand(extra: &[u64]) -> Demand {
    Demand::from_counts(extra.to_vec())
}

/// Boards whose layouts are few enough for a program over all of them.
fn small() -> impl Iterator<Item = &'static Packer> {
    let few = |packer: &&Packer| packer.patterns().layout_count() < 100;
    packers().iter().map(|(_, packer)| packer).filter(few)
}

fn room_is_made(worlds: &[World], extra: &[u64]) -> Result<(), TestCaseError> {
    let fleet = fleet(worlds);
    let expected = by_program(worlds, extra, 0);
    match fleet.defragment(0, &demand(extra)) {
        Err(NoRoom::Proved) => prop_assert_eq!(None, expected),
        Err(NoRoom::NotFound) => prop_assert!(false, "left open"),
        Ok(found) => {
            prop_assert_eq!((Some(found.cost), found.bound), (expected, found.cost));
            let machine = carry_out(worlds, &found.evict, &found.moves)?;
            let before = population(worlds, &node(worlds), &[]);
            prop_assert_eq!(population(worlds, &machine, &found.evict), before);
            let mut layouts: Vec<Layout> = machine
                .gpus
                .iter()
                .map(|gpu| Layout::of_gpu(&worlds[0].geometry, gpu).unwrap())
                .collect();
            let mut placed = vec![0; extra.len()];
            for Spot { gpu, part } in found.places {
                layouts[gpu] = layouts[gpu].with(&worlds[0].geometry, part).unwrap();
                let mut profiles = worlds[0].geometry.profiles.iter();
                placed[profiles.position(|p| p.id == part.profile).unwrap()] += 1;
            }
            prop_assert_eq!(&placed, extra);
        }
    }
    Ok(())
}

#[test]
fn room_for_many_is_made_as_cheaply_as_a_program_does() {
    let mut draw = Draw::new(3);
    let mut made = 0;
    for packer in small() {
        for round in 0..14 {
            let worlds = random(packer.geometry(), 2 + round % 4, 20, &mut draw);
            let profiles = packer.geometry().profiles.len();
            let extra: Vec<u64> = (0..profiles).map(|_| draw.below(5) / 3).collect();
            room_is_made(&worlds, &extra).unwrap();
            made += u32::from(by_program(&worlds, &extra, 0).is_some());
        }
    }
    assert!(made > 10, "{made}");
}

/// What lies on GPUs after a compaction, and that it was carried out.
fn is_compact(worlds: &[World], packer: &Packer) -> Result<(u64, u64, bool), TestCaseError> {
    let found = fleet(worlds).compact(0, packer);
    let after = &found.rearrangement;
    prop_assert!(found.gpus >= found.gpus_bound && after.cost >= after.bound);
    let machine = carry_out(worlds, &after.evict, &after.moves)?;
    let before = population(worlds, &node(worlds), &[]);
    prop_assert_eq!(population(worlds, &machine, &after.evict), before);
    let mut used = 0;
    for (gpu, world) in worlds.iter().enumerate() {
        let idle = |part: &PlacedProfile| {
            let evicted = after.evict.contains(&Spot { gpu, part: *part });
            world.parts.contains(&(*part, Who::Warm)) && !evicted
        };
        used += u64::from(!parts_of(&machine.gpus[gpu]).iter().all(idle));
    }
    prop_assert!(used <= found.gpus);
    let proved = found.gpus == found.gpus_bound && after.cost == after.bound;
    Ok((found.gpus, after.cost, proved))
}

#[test]
fn a_fleet_is_compacted_as_cheaply_as_a_program_does() {
    let mut draw = Draw::new(4);
    for packer in small() {
        for round in 0..10u64 {
            let held = 30 * (round % 2);
            let worlds = random(packer.geometry(), 2 + (round % 4) as usize, held, &mut draw);
            let (gpus, cost, proved) = is_compact(&worlds, packer).unwrap();
            let expected = by_program(&worlds, &vec![0; packer.geometry().profiles.len()], 1000);
            assert!(proved, "{gpus} GPUs, {cost}");
            assert_eq!(Some(gpus * 1000 + cost), expected);
        }
    }
}

/// Larger fleets of boards with eighths: everything is carried out, the number of GPUs is the least
/// where nothing is held, and the cost is near what was proved.
#[test]
fn larger_fleets_are_compacted_near_the_bound() {
    let mut draw = Draw::new(5);
    let (_, packer) = packers().iter().find(|(_, p)| p.geometry().grid.get() == 8).unwrap();
    let (mut cost, mut bound) = (0, 0);
    for gpus in [6, 12, 24] {
        for held in [0, 10] {
            let worlds = random(packer.geometry(), gpus, held, &mut draw);
            is_compact(&worlds, packer).unwrap();
            let found = fleet(&worlds).compact(0, packer);
            if held == 0 {
                assert_eq!(found.gpus, found.gpus_bound);
            }
            cost += found.rearrangement.cost;
            bound += found.rearrangement.bound;
        }
    }
    assert!(cost <= bound * 5 / 4, "{cost} against {bound}");
}
