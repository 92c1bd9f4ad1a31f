//! Openings, defragmentation and compaction of loaded fleets of A100, beside the plain way.
//!
//! Must never compare on different fleets: both work on the same one.

use std::sync::Arc;
use std::time::Instant;

use model::{GpuInstanceProfileId, catalog};
use planner::pack::{Demand, Packer};
use planner::{Fleet, GeometryTables, Spot, Tie};

use crate::{Draw, at, taken};

/// Requests drawn like the small jobs of a shared machine: profile ids of A100, by share.
const MIX: [u32; 10] = [19, 19, 19, 14, 14, 14, 9, 9, 5, 0];

fn tables() -> Option<Arc<GeometryTables>> {
    let geometry = Arc::new(catalog::board("a100-sxm4-40gb")?.geometry());
    Some(Arc::new(GeometryTables::new(&geometry)))
}

/// A fleet under load: jobs come as long as they find a place, then one leaves for each that came,
/// and in the end `leave` of a hundred have left.
fn loaded(tables: &Arc<GeometryTables>, gpus: usize, movable: usize, leave: usize) -> Fleet {
    let mut draw = Draw(7);
    let mut fleet = Fleet::new(vec![Arc::clone(tables)]);
    for _ in 0..gpus {
        fleet.add(0);
    }
    let mut running: Vec<Spot> = Vec::new();
    for _ in 0..gpus * 30 {
        let profile = GpuInstanceProfileId::new(MIX[draw.below(MIX.len())]);
        let price = 1 + draw.below(4) as u64;
        let tie = if draw.below(100) < movable { Tie::Movable(price) } else { Tie::Held };
        if let Some(found) = fleet.opening(&[Some(profile)], 0) {
            fleet.put(found.place, tie);
            running.push(found.place);
        } else if !running.is_empty() {
            let gone = running.swap_remove(draw.below(running.len()));
            fleet.take(gone);
        }
    }
    for _ in 0..running.len() * leave / 100 {
        let gone = running.swap_remove(draw.below(running.len()));
        fleet.take(gone);
    }
    fleet
}

/// The cheapest single move by trying each instance: out with it, in with the request, and a place
/// for the one that left.
fn plain_opening(fleet: &Fleet, profile: GpuInstanceProfileId) -> Option<u64> {
    let mut best = None;
    for gpu in 0..fleet.len() {
        for (part, tie) in fleet.on(gpu) {
            let Tie::Movable(price) = tie else { continue };
            if best.is_some_and(|best| best <= price) {
                continue;
            }
            let mut then = fleet.clone();
            then.take(Spot { gpu, part });
            let Some(found) = then.opening(&[Some(profile)], 0) else { continue };
            then.put(found.place, Tie::Held);
            if then.opening(&[Some(part.profile)], 0).is_some() {
                best = Some(price);
            }
        }
    }
    best
}

pub(crate) fn print_openings() {
    let Some(tables) = tables() else { return };
    for gpus in [8, 100, 1000] {
        for movable in [100, 30] {
            let fleet = loaded(&tables, gpus, movable, 0);
            for (name, id) in [("2g", 14), ("3g", 9), ("4g", 5), ("7g", 0)] {
                let wanted = [Some(GpuInstanceProfileId::new(id))];
                if fleet.opening(&wanted, 0).is_some() {
                    continue;
                }
                let cost = |most| fleet.opening(&wanted, most).map(|found| found.cost);
                let one = taken(300, || fleet.opening(&wanted, 1));
                let two = taken(300, || fleet.opening(&wanted, 2));
                let start = Instant::now();
                let plain = plain_opening(&fleet, GpuInstanceProfileId::new(id));
                let plain_taken = start.elapsed().as_nanos() as u64;
                println!(
                    "{name} on {gpus:>4} GPUs, {movable:>3} % movable: one move {:>7.1} us (p90 {:>7.1}), \
                     cost {:?}; two {:>7.1} us (p90 {:>7.1}), cost {:?}; each instance tried {:.0} us \
                     ({:.0} times), cost {plain:?}",
                    at(&one, 0.5) as f64 / 1e3,
                    at(&one, 0.9) as f64 / 1e3,
                    cost(1),
                    at(&two, 0.5) as f64 / 1e3,
                    at(&two, 0.9) as f64 / 1e3,
                    cost(2),
                    plain_taken as f64 / 1e3,
                    plain_taken as f64 / at(&one, 0.5).max(1) as f64,
                );
            }
        }
    }
}

/// Empties GPU after GPU, the cheapest first, each instance to the first place that is free on
/// another one that is in use; GPUs left and the price.
fn plain_compaction(fleet: &Fleet) -> (usize, u64) {
    let mut now = fleet.clone();
    let price = |tie: Tie| if let Tie::Movable(price) = tie { Some(price) } else { None };
    let load =
        |fleet: &Fleet, gpu: usize| fleet.on(gpu).map(|(_, tie)| price(tie)).sum::<Option<u64>>();
    let used: Vec<usize> = (0..fleet.len()).filter(|gpu| fleet.on(*gpu).next().is_some()).collect();
    for gpu in (0..fleet.len()).filter(|gpu| !used.contains(gpu)) {
        now.set_usable(gpu, false);
    }
    let mut order: Vec<(u64, usize)> =
        used.iter().filter_map(|gpu| Some((load(fleet, *gpu)?, *gpu))).collect();
    order.sort_unstable();
    let (mut left, mut paid) = (used.len(), 0);
    for (cost, gpu) in order {
        let mut then = now.clone();
        then.set_usable(gpu, false);
        let all = now.on(gpu).collect::<Vec<_>>().into_iter().all(|(part, tie)| {
            let found = then.opening(&[Some(part.profile)], 0);
            found.is_some_and(|found| then.take(Spot { gpu, part }) && then.put(found.place, tie))
        });
        if all {
            (now, left, paid) = (then, left - 1, paid + cost);
        }
    }
    (left, paid)
}

pub(crate) fn print_rearrangements() {
    let Some(tables) = tables() else { return };
    let packer = Packer::new(tables.geometry());
    for gpus in [8, 100, 1000] {
        for movable in [100, 80] {
            let fleet = loaded(&tables, gpus, movable, 40);
            let used = (0..gpus).filter(|gpu| fleet.on(*gpu).next().is_some()).count();
            let start = Instant::now();
            let found = fleet.compact(0, &packer);
            let time = start.elapsed();
            let start = Instant::now();
            let (plain, paid) = plain_compaction(&fleet);
            println!(
                "compaction of {gpus:>4} GPUs ({used} used), {movable:>3} % movable: {} GPUs (at least {}), \
                 cost {} (at least {}) in {:.1} ms; plain {plain} GPUs, cost {paid} in {:.1} ms",
                found.gpus,
                found.gpus_bound,
                found.rearrangement.cost,
                found.rearrangement.bound,
                time.as_secs_f64() * 1e3,
                start.elapsed().as_secs_f64() * 1e3,
            );
            let seven = gpus / 8;
            let extra =
                Demand::of(tables.geometry(), [(GpuInstanceProfileId::new(0), seven as u64)]);
            let Some(extra) = extra else { continue };
            let start = Instant::now();
            let found = fleet.defragment(0, &extra);
            let time = start.elapsed();
            let outcome = match &found {
                Ok(found) => format!("cost {} (at least {})", found.cost, found.bound),
                Err(error) => format!("{error:?}"),
            };
            let start = Instant::now();
            let plain = one_by_one(&fleet, seven);
            println!(
                "room for {seven} 7g on the same: {outcome} in {:.1} ms; one after the other {plain:?} \
                 in {:.1} ms",
                time.as_secs_f64() * 1e3,
                start.elapsed().as_secs_f64() * 1e3,
            );
        }
    }
}

/// The price of openings with at most two moves each, one after the other.
fn one_by_one(fleet: &Fleet, count: usize) -> Option<u64> {
    use planner::Relocation;
    let mut now = fleet.clone();
    let mut paid = 0;
    for _ in 0..count {
        let found = now.opening(&[Some(GpuInstanceProfileId::new(0))], 2)?;
        paid += found.cost;
        for step in found.moves {
            if let Relocation::MakeFirst { from, to } | Relocation::StopFirst { from, to } = step {
                now.take(from);
                now.put(to, Tie::Held);
            }
        }
        now.put(found.place, Tie::Held);
    }
    Some(paid)
}
