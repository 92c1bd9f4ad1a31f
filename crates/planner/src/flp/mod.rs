//! Forecast-lookahead packing (FLP-W): what a placement costs the next requests.
//!
//! The free blocks of all GPUs are counted, the next H requests of a few possible futures are packed
//! into them, large before small and each into the smallest block that holds it, and the grid units
//! of those that find no room are counted: *blocked*. A placement costs the blocked units after it,
//! averaged over the futures and added up over growing H with weight 1/H. GPUs do not matter to this,
//! only how many blocks of each kind they leave. Must never rank by anything else; ties are the
//! caller's.

mod blocks;
mod outlook;
#[cfg(test)]
mod tests;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::RefCell;

pub(crate) use blocks::Blocks;
pub(crate) use outlook::Outlook;

use crate::scar::Pool;
use crate::tables::{ClassId, GeometryTables, PartId};

use blocks::{Served, Source};

/// The costs of one decision; each different change of the free blocks is packed once.
#[derive(Debug)]
pub(crate) struct Lookahead {
    boards: Vec<Board>,
}

#[derive(Debug)]
struct Board {
    outlook: Arc<Outlook>,
    /// Free blocks of all GPUs, by kind.
    free: Vec<u32>,
    /// The horizons at which placements can differ: at shorter ones nothing is blocked, at longer
    /// ones everything is full.
    from: usize,
    to: usize,
    /// The weights of the longer ones together.
    rest: f64,
    /// What is blocked before the placement; only looked at where several boards compete.
    before: f64,
    /// By change, what it costs.
    known: RefCell<Vec<Option<f64>>>,
}

impl Lookahead {
    /// For fleets counted in pools, one per board.
    pub(crate) fn new(pools: &[Pool], tables: &[&GeometryTables]) -> Self {
        let boards = pools.iter().zip(tables).map(|(pool, tables)| Board::new(pool, tables));
        let mut boards: Vec<Board> = boards.collect();
        if boards.len() > 1 {
            for (board, tables) in boards.iter_mut().zip(tables) {
                board.before = board.blocked(tables.blocks(), &board.free);
            }
        }
        Self { boards }
    }

    /// The cost of adding a part to a class on a board, in shares of a GPU's grid.
    pub(crate) fn cost(
        &self,
        board: usize,
        tables: &GeometryTables,
        from: ClassId,
        part: PartId,
    ) -> f64 {
        self.boards[board].cost(tables, from, part)
    }
}

impl Board {
    fn new(pool: &Pool, tables: &GeometryTables) -> Self {
        let (free, outlook) = (pool.blocks().to_vec(), pool.outlook(tables));
        let blocks = tables.blocks();
        let longest = pool.longest(tables);
        let horizons = outlook.horizons().partition_point(|horizon| *horizon <= longest);
        // Any placement takes one block and leaves smaller ones.
        let least: Vec<u32> = free.iter().map(|count| count.saturating_sub(1)).collect();
        let mut room = Vec::new();
        let plenty = |horizon: usize| {
            let mut futures = outlook.futures(horizon);
            futures.all(|demand| unserved(&blocks.served, &least, demand, &mut room) == 0)
        };
        let from = first(horizons, plenty);
        let full =
            |horizon: usize| outlook.futures(horizon).all(|demand| blocks.fill(&free, demand));
        let to = first(horizons, |horizon| !full(horizon)).max(from);
        let rest = outlook.horizons()[to..horizons].iter().map(|h| weight(*h)).sum();
        let known = RefCell::new(alloc::vec![None; tables.blocks().changes.each().len()]);
        Self { outlook, free, from, to, rest, before: 0.0, known }
    }

    fn cost(&self, tables: &GeometryTables, class: ClassId, part: PartId) -> f64 {
        let blocks = tables.blocks();
        let change = blocks.changes.of(class, part);
        let known = self.known.borrow()[change];
        known.unwrap_or_else(|| {
            let grid = f64::from(tables.geometry().grid.get());
            let cost = self.packed(blocks, &blocks.changes.each()[change]) / grid;
            self.known.borrow_mut()[change] = Some(cost);
            cost
        })
    }

    fn packed(&self, blocks: &Blocks, change: &[i32]) -> f64 {
        let after = self.free.iter().zip(change);
        let after: Vec<u32> = after.map(|(free, more)| free.saturating_add_signed(*more)).collect();
        let full = self.rest * blocks.lost_when_full(change) as f64;
        self.blocked(blocks, &after) - self.before + full
    }

    /// The weighted mean of what is blocked, over the horizons that matter.
    fn blocked(&self, blocks: &Blocks, free: &[u32]) -> f64 {
        let (mut room, mut sum) = (Vec::new(), 0.0);
        for horizon in self.from..self.to {
            let futures = self.outlook.futures(horizon);
            let blocked: u64 =
                futures.map(|demand| unserved(&blocks.served, free, demand, &mut room)).sum();
            sum += weight(self.outlook.horizons()[horizon]) * blocked as f64;
        }
        sum / outlook::FUTURES as f64
    }
}

/// The first of `0..count` of which `skip` does not hold; `skip` holds of a beginning.
fn first(count: usize, mut skip: impl FnMut(usize) -> bool) -> usize {
    let (mut from, mut to) = (0, count);
    while from < to {
        let middle = from.midpoint(to);
        if skip(middle) {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    from
}

/// What blocked units weigh after so many requests.
fn weight(horizon: u32) -> f64 {
    1.0 / f64::from(horizon)
}

/// Packs a demand (by served profile) into free blocks (by kind) and counts the grid units that find
/// no room. `room` is scratch.
fn unserved(served: &[Served], free: &[u32], demand: &[u32], room: &mut Vec<u32>) -> u64 {
    room.clear();
    room.extend_from_slice(free);
    let mut sum = 0;
    for (served, wanted) in served.iter().zip(demand) {
        let mut wanted = *wanted;
        for source in &served.from {
            if wanted == 0 {
                break;
            }
            wanted -= source.take(wanted, room);
        }
        sum += u64::from(served.weight) * u64::from(wanted);
    }
    sum
}

impl Source {
    /// Places up to `wanted` instances; how many it placed.
    fn take(&self, wanted: u32, room: &mut [u32]) -> u32 {
        let there = room[self.kind];
        if there == 0 {
            return 0;
        }
        let whole = match self.holds {
            1 => wanted,
            2 => wanted / 2,
            3 => wanted / 3,
            4 => wanted / 4,
            more => wanted / more,
        };
        let filled = there.min(whole);
        let mut placed = filled * self.holds;
        room[self.kind] -= filled;
        for (kind, more) in &self.full {
            room[*kind] += more * filled;
        }
        // One more block, for the last few.
        if filled < there && placed < wanted {
            room[self.kind] -= 1;
            for (kind, more) in &self.left[(wanted - placed) as usize] {
                room[*kind] += more;
            }
            placed = wanted;
        }
        placed
    }
}
