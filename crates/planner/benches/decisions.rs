//! Prints what a placement decision costs on fleets of a hundred GPUs to a million, by each policy in
//! the same run, and what the tables of each board cost.
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

#[derive(Clone)]
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
    for policy in [Policy::FirstFit, Policy::Scar, Policy::Flp] {
        for profile in [19, 14, 9, 5, 0] {
            let want = Want::of(vec![Some(GpuInstanceProfileId::new(profile)); 8]);
            let (rooms, forecast) = (rooms(geometry), Forecast::unknown());
            let mut taken: Vec<u64> = (0..5_000)
                .map(|_| {
                    let start = Instant::now();
                    black_box(planner.choose_by(policy, black_box(&rooms), &want, &forecast));
                    start.elapsed().as_nanos() as u64
                })
                .collect();
            taken.sort_unstable();
            let (median, last) = (at(&taken, 0.5), at(&taken, 0.99));
            println!(
                "8 rooms, {policy:>11}, profile {profile:>2}: median {median:>6} ns, p99 {last:>6} ns"
            );
        }
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

/// Decisions on fleets of three sizes, by each policy on the same fleet: full, then a sixth of what
/// runs has left from anywhere.
fn fleets(tables: &Arc<GeometryTables>) {
    for gpus in [100, 10_000, 1_000_000] {
        let mut filled = Fleet::new(tables, gpus);
        (0..gpus * 3).for_each(|_| _ = filled.arrive(Policy::FirstFit));
        (0..filled.running.len() / 6).for_each(|_| filled.leave());
        let mut first = 0;
        let others = Policy::ALL.into_iter().filter(|policy| *policy != Policy::FirstFit);
        for policy in core::iter::once(Policy::FirstFit).chain(others) {
            let (mut fleet, mut turn) = (filled.clone(), policy);
            let mut taken: Vec<u64> = (0..30_000)
                .map(|_| {
                    fleet.leave();
                    let taken = fleet.arrive(turn);
                    turn = fleet.running.back().map_or(turn, |(gpu, _)| turn.after(*gpu));
                    taken
                })
                .collect();
            taken.sort_unstable();
            let (median, last) = (at(&taken, 0.5), at(&taken, 0.99));
            if policy == Policy::FirstFit {
                first = median;
            }
            println!(
                "{gpus:>9} GPUs, {:>3} groups, {policy:>11}: median {median:>6} ns, \
                 p99 {last:>6} ns, {:>5.2} of first fit",
                fleet.census.group_count(),
                median as f64 / first.max(1) as f64
            );
        }
    }
}

/// What the tables of each geometry of the catalog cost.
fn boards() {
    let mut known: Vec<Arc<Geometry>> = Vec::new();
    for board in catalog::boards() {
        let geometry = Arc::new(board.geometry());
        let same = |other: &Arc<Geometry>| {
            let starts = |g: &Geometry| -> Vec<_> {
                g.profiles.iter().map(|p| (p.size, p.starts.clone(), p.max_instances)).collect()
            };
            starts(other) == starts(&geometry)
        };
        if known.iter().any(same) {
            continue;
        }
        let start = Instant::now();
        let tables = GeometryTables::new(&geometry);
        println!(
            "tables of {:>20}: built in {:>9.3?}, {:>4} classes, {:>4} KiB",
            board.id,
            start.elapsed(),
            tables.class_count(),
            tables.bytes().div_ceil(1024)
        );
        known.push(geometry);
    }
}

fn main() {
    boards();
    let Some(board) = catalog::board("a100-sxm4-40gb") else { return };
    let geometry = Arc::new(board.geometry());
    let tables = Arc::new(GeometryTables::new(&geometry));
    from_rooms(&geometry);
    fleets(&tables);
}
