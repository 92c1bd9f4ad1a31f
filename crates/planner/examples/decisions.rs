//! Prints what a placement decision costs, on a fleet of a hundred GPUs and of a million.
//!
//! Run it optimised: `cargo run --release -p planner --example decisions`. Asserts nothing about
//! time.
#![allow(clippy::print_stdout, reason = "printing the figures is all this program does")]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use model::{GpuInstanceProfileId, PlacedProfile, catalog};
use planner::{Census, ClassId, Forecast, GeometryTables, Policy};

/// Requests drawn like the small jobs of a shared machine: profile ids of A100, by share.
const MIX: [u32; 10] = [19, 19, 19, 14, 14, 14, 9, 9, 5, 0];

struct Fleet {
    tables: Arc<GeometryTables>,
    census: Census,
    parts: Vec<Vec<PlacedProfile>>,
    running: VecDeque<(usize, PlacedProfile)>,
    seed: u64,
}

impl Fleet {
    fn new(tables: &Arc<GeometryTables>, gpus: usize) -> Self {
        let mut census = Census::new(vec![Arc::clone(tables)], &Forecast::unknown());
        for gpu in 0..gpus {
            census.add(gpu, 0, tables.empty());
        }
        let parts = vec![Vec::new(); gpus];
        let (tables, running) = (Arc::clone(tables), VecDeque::new());
        Self { tables, census, parts, running, seed: 1 }
    }

    fn random(&mut self) -> usize {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.seed >> 33) as usize
    }

    fn class(&self, gpu: usize) -> ClassId {
        let class = self.tables.class_of(self.parts[gpu].iter().copied());
        class.unwrap_or(self.tables.empty())
    }

    fn change(&mut self, gpu: usize, change: impl FnOnce(&mut Vec<PlacedProfile>)) {
        self.census.remove(gpu, 0, self.class(gpu));
        change(&mut self.parts[gpu]);
        self.census.add(gpu, 0, self.class(gpu));
    }

    fn leave(&mut self) {
        let index = self.random() % self.running.len().max(1);
        if let Some((gpu, part)) = self.running.swap_remove_back(index) {
            self.change(gpu, |parts| parts.retain(|other| *other != part));
        }
    }

    /// One request; the nanoseconds its decision took.
    fn arrive(&mut self) -> u64 {
        let profile = GpuInstanceProfileId::new(MIX[self.random() % MIX.len()]);
        let start = Instant::now();
        let choice = self.census.choose(Policy::Scar, &[Some(profile)]);
        let taken = start.elapsed().as_nanos() as u64;
        if let Some(choice) = choice {
            self.change(choice.gpu, |parts| parts.push(choice.part));
            self.running.push_back((choice.gpu, choice.part));
        } else {
            self.leave();
        }
        taken
    }
}

fn main() {
    let Some(board) = catalog::board("a100-sxm4-40gb") else { return };
    let geometry = Arc::new(board.geometry());
    let start = Instant::now();
    let tables = Arc::new(GeometryTables::new(&geometry));
    println!("tables of {}: {:?}, {} classes", board.id, start.elapsed(), tables.class_count());
    for gpus in [100, 10_000, 1_000_000] {
        let mut fleet = Fleet::new(&tables, gpus);
        for _ in 0..gpus * 3 {
            fleet.arrive();
        }
        let mut taken: Vec<u64> = (0..100_000)
            .map(|_| {
                fleet.leave();
                fleet.arrive()
            })
            .collect();
        taken.sort_unstable();
        let at = |share: f64| taken[(taken.len() as f64 * share) as usize];
        let mean = taken.iter().sum::<u64>() / taken.len() as u64;
        println!(
            "{gpus:>9} GPUs, {:>3} groups: mean {mean} ns, median {} ns, p99 {} ns",
            fleet.census.group_count(),
            at(0.5),
            at(0.99)
        );
    }
}
