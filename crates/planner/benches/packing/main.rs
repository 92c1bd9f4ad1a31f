//! Prints what packing, openings, compaction, defragmentation and plans cost, each beside a plain way
//! to do the same in the same run.
//!
//! `cargo bench -p planner --bench packing`. Must never assert anything about time.
#![allow(clippy::print_stdout, reason = "printing the figures is all this program does")]

mod fleets;
mod packs;
mod plans;

use std::hint::black_box;
use std::time::Instant;

/// A reproducible stream of numbers.
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

fn main() {
    println!("# Packing");
    packs::print();
    println!("# Openings");
    fleets::print_openings();
    println!("# Defragmentation and compaction");
    fleets::print_rearrangements();
    println!("# Plans for one GPU");
    plans::print();
}
