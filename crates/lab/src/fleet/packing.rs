//! Whether all that runs and one request more fit, however they lie.
//!
//! Must never say that a packing exists where there is none: it is `planner::pack` that says so.

use std::sync::Arc;

use model::GpuInstanceProfileId;
use planner::pack::{Demand, Packer};

use super::site::Site;
use super::work::Kind;

/// GPUs of one geometry.
#[derive(Debug)]
struct Pool {
    packer: Arc<Packer>,
    gpus: u64,
    held: Demand,
    /// The profiles of the geometry, in the order of the counts.
    profiles: Vec<GpuInstanceProfileId>,
}

/// What runs, counted by geometry.
///
/// For a fleet of one geometry the answers are exact. Where geometries are mixed, slices are laid
/// anew among the GPUs of their own geometry only, and a request of several slices goes to one of
/// them: then a yes is right, and a no may be wrong.
#[derive(Debug)]
pub(crate) struct Packing {
    pools: Vec<Pool>,
    pool_of: Vec<usize>,
}

impl Packing {
    pub(crate) fn new(site: &Site) -> Self {
        let mut pools: Vec<Pool> = Vec::new();
        let mut known: Vec<*const planner::GeometryTables> = Vec::new();
        let mut pool_of = Vec::new();
        for board in site.boards() {
            let tables = Arc::as_ptr(&board.tables);
            let found = known.iter().position(|other| std::ptr::eq(*other, tables));
            let pool = found.unwrap_or_else(|| {
                let geometry = board.geometry();
                known.push(tables);
                pools.push(Pool {
                    packer: Arc::clone(&board.packer),
                    gpus: 0,
                    held: Demand::none(geometry),
                    profiles: geometry.profiles.iter().map(|profile| profile.id).collect(),
                });
                pools.len() - 1
            });
            pools[pool].gpus += u64::from(board.gpus);
            pool_of.push(pool);
        }
        Self { pools, pool_of }
    }

    /// A board where that many more of a kind fit beside all that runs there.
    pub(crate) fn room(&self, kind: &Kind, count: u32) -> Option<usize> {
        let boards = self.pool_of.iter().enumerate();
        let mut asked: Vec<usize> = Vec::new();
        for (board, pool) in boards {
            if asked.contains(pool) {
                continue;
            }
            asked.push(*pool);
            let Some(index) = self.index(board, kind) else { continue };
            let pool = &self.pools[*pool];
            let mut demand = pool.held.clone();
            demand.add(index, u64::from(count));
            if pool.packer.fits(&demand, pool.gpus) {
                return Some(board);
            }
        }
        None
    }

    fn index(&self, board: usize, kind: &Kind) -> Option<usize> {
        let wanted = kind.wanted[board]?;
        self.profile(board, wanted)
    }

    fn profile(&self, board: usize, wanted: GpuInstanceProfileId) -> Option<usize> {
        self.pools[self.pool_of[board]].profiles.iter().position(|id| *id == wanted)
    }

    /// So many more of a profile run on a board.
    pub(crate) fn add(&mut self, board: usize, profile: GpuInstanceProfileId, count: u32) {
        if let Some(index) = self.profile(board, profile) {
            self.pools[self.pool_of[board]].held.add(index, u64::from(count));
        }
    }

    /// So many fewer.
    pub(crate) fn take(&mut self, board: usize, profile: GpuInstanceProfileId, count: u32) {
        if let Some(index) = self.profile(board, profile) {
            self.pools[self.pool_of[board]].held.take(index, u64::from(count));
        }
    }
}
