//! Prints what a placement decision costs on fleets of a hundred GPUs to a million, by each policy in
//! the same run.
//!
//! `cargo bench -p planner --bench decisions`. Must never assert anything about time.
#![allow(clippy::print_stdout, reason = "printing the figures is all this program does")]

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use model::{Geometry, GpuInstanceProfileId, GpuUuid, PlacedProfile, Placement, catalog};
use planner::{
    Census, ClassId, Forecast, GeometryTables, Hold, Occupant, Planner, Policy, Room, Want,
};

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
    fn arrive(&mut self, policy: Policy) -> u64 {
        let profile = GpuInstanceProfileId::new(MIX[self.random() % MIX.len()]);
        let start = Instant::now();
        let choice = self.census.choose(policy, &[Some(profile)]);
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

/// A machine of eight GPUs with held and warm slices, decided from its rooms, as the broker does.
fn from_rooms(geometry: &Arc<Geometry>) {
    let planner = Planner::for_rooms(&rooms(geometry));
    for profile in [19, 14, 9, 5, 0] {
        let want = Want::of(vec![Some(GpuInstanceProfileId::new(profile)); 8]);
        let (rooms, forecast) = (rooms(geometry), Forecast::unknown());
        let mut taken: Vec<u64> = (0..20_000)
            .map(|_| {
                let start = Instant::now();
                black_box(planner.choose(black_box(&rooms), &want, &forecast));
                start.elapsed().as_nanos() as u64
            })
            .collect();
        taken.sort_unstable();
        println!(
            "8 rooms, profile {profile:>2}: median {} ns, p99 {} ns",
            taken[10_000], taken[19_800]
        );
    }
}

fn rooms(geometry: &Arc<Geometry>) -> Vec<Room> {
    let room = |index: usize| {
        let parts = [(19, 6, 1), (14, 4, 2), (19, 0, 1), (19, 1, 1), (14, 2, 2)];
        let occupants =
            parts.into_iter().take(index % 6).enumerate().map(|(i, (id, start, size))| {
                let profile = GpuInstanceProfileId::new(id);
                let part = PlacedProfile { placement: Placement::new(start, size), profile };
                Occupant { part, hold: if i % 2 == 0 { Hold::Held } else { Hold::Warm } }
            });
        let gpu = GpuUuid::new(format!("GPU-{index}"));
        let occupants = occupants.collect();
        Room { gpu, geometry: Arc::clone(geometry), occupants, usable: true, promised: Vec::new() }
    };
    (0..8).map(room).collect()
}

/// The value at a share of all, ascending.
fn at(taken: &[u64], share: f64) -> u64 {
    let index = (taken.len() as f64 * share) as usize;
    taken.get(index.min(taken.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// Decisions on fleets of three sizes, by each policy.
fn fleets(tables: &Arc<GeometryTables>) {
    for gpus in [100, 10_000, 1_000_000] {
        let mut baseline = 0;
        for policy in [Policy::FirstFit, Policy::BestFit, Policy::Scar] {
            let mut fleet = Fleet::new(tables, gpus);
            for _ in 0..gpus * 3 {
                fleet.arrive(policy);
            }
            let decide = |_| {
                fleet.leave();
                fleet.arrive(policy)
            };
            let mut taken: Vec<u64> = (0..100_000).map(decide).collect();
            taken.sort_unstable();
            let (median, last) = (at(&taken, 0.5), at(&taken, 0.99));
            if policy == Policy::FirstFit {
                baseline = median;
            }
            println!(
                "{gpus:>9} GPUs, {:>3} groups, {policy:>9?}: median {median:>6} ns, p99 {last:>6} ns, \
                 {:.2} of first fit",
                fleet.census.group_count(),
                median as f64 / baseline.max(1) as f64
            );
        }
    }
}

fn main() {
    let Some(board) = catalog::board("a100-sxm4-40gb") else { return };
    let geometry = Arc::new(board.geometry());
    let start = Instant::now();
    let tables = Arc::new(GeometryTables::new(&geometry));
    println!("tables of {}: {:?}, {} classes", board.id, start.elapsed(), tables.class_count());
    from_rooms(&geometry);
    fleets(&tables);
}
