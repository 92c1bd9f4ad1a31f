//! Prints what packing, openings, compaction and plans cost, each beside a plain way to do the same.
//!
//! `cargo bench -p planner --bench packing`. Must never assert anything about time.
#![allow(clippy::print_stdout, reason = "printing the figures is all this program does")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use model::{GpuInstanceProfileId, catalog};
use planner::pack::{Demand, Packer};
use planner::{Fleet, GeometryTables, Spot, Tie};

/// Requests drawn like the small jobs of a shared machine: profile ids of A100, by share.
const MIX: [u32; 10] = [19, 19, 19, 14, 14, 14, 9, 9, 5, 0];

struct Draw(u64);

impl Draw {
    fn below(&mut self, most: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % most.max(1)
    }
}

/// Nanoseconds of each of `times` runs, ascending.
fn taken<T>(times: usize, mut run: impl FnMut() -> T) -> Vec<u64> {
    let mut taken: Vec<u64> = (0..times)
        .map(|_| {
            let start = Instant::now();
            black_box(run());
            start.elapsed().as_nanos() as u64
        })
        .collect();
    taken.sort_unstable();
    taken
}

/// The value at a share of all, ascending.
fn at(taken: &[u64], share: f64) -> u64 {
    let index = (taken.len() as f64 * share) as usize;
    taken.get(index.min(taken.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// A fleet under load: small jobs come and go by first fit, `load` percent of the requests stay.
fn loaded(tables: &Arc<GeometryTables>, gpus: usize, movable: usize) -> Fleet {
    let mut draw = Draw(7);
    let mut fleet = Fleet::new(vec![Arc::clone(tables)]);
    (0..gpus).for_each(|_| {
        fleet.add(0);
    });
    let mut running: Vec<Spot> = Vec::new();
    for _ in 0..gpus * 30 {
        let profile = GpuInstanceProfileId::new(MIX[draw.below(MIX.len())]);
        let price = 1 + draw.below(4) as u64;
        let tie = if draw.below(100) < movable { Tie::Movable(price) } else { Tie::Held };
        let found = fleet.opening(&[Some(profile)], 0);
        if let Some(found) = found {
            fleet.put(found.place, tie);
            running.push(found.place);
        } else {
            let index = draw.below(running.len());
            let spot = running.swap_remove(index);
            fleet.take(spot);
        }
    }
    fleet
}

fn openings(tables: &Arc<GeometryTables>) {
    for gpus in [8, 100, 1000] {
        for movable in [100, 30] {
            let fleet = loaded(tables, gpus, movable);
            for most in [1, 2] {
                for (name, id) in [("1g", 19), ("2g", 14), ("3g", 9), ("4g", 5), ("7g", 0)] {
                    let wanted = [Some(GpuInstanceProfileId::new(id))];
                    let found = fleet.opening(&wanted, most).map(|f| (f.cost, f.moves.len()));
                    let taken = taken(200, || fleet.opening(&wanted, most));
                    println!(
                        "opening {name} on {gpus:>4} GPUs, {movable:>3} % movable, at most {most} moves: \
                         median {:>7} ns, p99 {:>7} ns, {found:?}",
                        at(&taken, 0.5),
                        at(&taken, 0.99)
                    );
                }
            }
        }
    }
}

fn main() {
    let Some(board) = catalog::board("a100-sxm4-40gb") else { return };
    let geometry = Arc::new(board.geometry());
    let tables = Arc::new(GeometryTables::new(&geometry));
    let start = Instant::now();
    let packer = Packer::new(&geometry);
    println!("packer {:?}", start.elapsed());
    black_box((packer.is_closed(), Demand::none(&geometry)));
    openings(&tables);
}
