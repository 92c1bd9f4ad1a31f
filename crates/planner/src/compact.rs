//! The fewest GPUs that everything fits on, and the cheapest moves that get it there.
//!
//! Must never move what is held, nor fill a GPU that was empty as long as another will do.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use model::Layout;

use crate::defrag::{Rearrangement, TOGETHER, Way, Work};
use crate::open::{Fleet, Move, Pending, Spot, Tie};
use crate::pack::{Demand, Packer};

/// Everything of a board on few GPUs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compaction {
    /// GPUs that then hold instances, idle ones not counted.
    pub gpus: u64,
    /// No rearrangement needs fewer GPUs than this.
    pub gpus_bound: u64,
    /// The moves; [`Rearrangement::bound`] is of those to as many GPUs.
    pub rearrangement: Rearrangement,
}

/// Moves of others while one GPU is emptied.
const MOVES_EACH: usize = 2;
/// How often a place is looked for while one GPU is emptied.
const LOOKS_EACH: usize = 400;
/// GPUs in a row that cannot be emptied before no further one is tried. Policy: what is dearer to
/// empty is fuller, and so harder to place.
const TRIES: usize = 24;

/// Numbers of GPUs of which it is left open whether they suffice, before the search is given up.
const UNDECIDED: u32 = 3;

impl Fleet {
    /// Brings everything on the usable GPUs of a board to as few of them as is found, at the least
    /// cost that is found; idle instances go where they are in the way. Where nothing is held the
    /// number of GPUs is always the least there is; else [`Compaction::gpus_bound`] tells how few
    /// it might be. `packer` packs the board's geometry.
    pub fn compact(&self, board: usize, packer: &Packer) -> Compaction {
        let used = self.used(board);
        let (mut demand, mut holding) = (Demand::none(packer.geometry()), 0);
        for gpu in &used {
            self.gpus[*gpu].staying().for_each(|resident| {
                demand.add(self.tables(board).profile_index(resident.part), 1);
            });
            holding += u64::from(self.on(*gpu).any(|(_, tie)| tie == Tie::Held));
        }
        let least = packer.min_gpus(&demand).unwrap_or(0).max(holding);
        let groups = crate::defrag::groups(self, board);
        let all: u64 = groups.iter().map(|group| group.gpus.len() as u64).sum();
        let profiles = packer.geometry().profiles.len();
        let required = |gpus: u64| {
            let mut required = alloc::vec![0i64; profiles];
            required.push(i64::try_from(all.saturating_sub(gpus)).unwrap_or(i64::MAX / 4));
            required
        };
        let mut best = self.emptied(board, &used);
        if best.0 > least
            && let Some(way) = self.emptier(board, &groups, &best.1, &required(least))
        {
            best = (self.left(&used, &way), way);
        }
        if best.0 > least && holding == 0 {
            let anew = self.anew(board, &used, packer, &demand).map(|way| (least, way));
            best = anew.unwrap_or(best);
        }
        let mut least = least;
        if all <= TOGETHER as u64 {
            let covered = |gpus| self.covered(board, &groups, &required(gpus), None, None);
            least = decide(least, &mut best, covered);
        }
        let (gpus, way) = best;
        let known = Some(way.cost);
        let (way, bound) = self.covered(board, &groups, &required(gpus), Some(way), known);
        let rearrangement = self.rearranged(way.unwrap_or_default(), bound.unwrap_or(0));
        Compaction { gpus, gpus_bound: least, rearrangement }
    }

    /// The usable GPUs of a board that hold instances.
    fn used(&self, board: usize) -> Vec<usize> {
        let holds = |gpu: &usize| {
            let there = &self.gpus[*gpu];
            there.board == board && there.usable && there.staying().next().is_some()
        };
        (0..self.len()).filter(holds).collect()
    }

    /// How many GPUs hold instances after these moves.
    fn left(&self, used: &[usize], way: &Way) -> u64 {
        let holds = |gpu: &usize| {
            let gone = way.moves.iter().filter(|one| one.from.gpu == *gpu).count();
            let come = way.moves.iter().filter(|one| one.to.gpu == *gpu).count();
            self.gpus[*gpu].staying().count() + come > gone
        };
        let mut all: Vec<usize> = used.to_vec();
        all.extend(way.moves.iter().map(|one| one.to.gpu));
        all.sort_unstable();
        all.dedup();
        all.into_iter().filter(holds).count() as u64
    }

    /// Empties GPU after GPU, the cheapest first, onto the others.
    fn emptied(&self, board: usize, used: &[usize]) -> (u64, Way) {
        let mut work = Work::new(self);
        for gpu in 0..self.len() {
            if !used.contains(&gpu) && self.board(gpu) == board {
                work.fleet.set_usable(gpu, false);
            }
        }
        let price = |gpu: &usize| {
            let prices = self.on(*gpu).map(|(_, tie)| match tie {
                Tie::Movable(price) => Some(price),
                Tie::Idle => Some(0),
                Tie::Held => None,
            });
            let sum = prices.sum::<Option<u64>>()?;
            Some((sum, *gpu))
        };
        let mut order: Vec<(u64, usize)> = used.iter().filter_map(price).collect();
        order.sort_unstable();
        let (mut left, mut failed) = (used.len() as u64, 0);
        for (_, gpu) in order {
            if failed == TRIES {
                break;
            }
            let tables = self.tables(board);
            let mut pending: Vec<Pending> = work.fleet.gpus[gpu]
                .staying()
                .map(|resident| Pending {
                    board,
                    profile: tables.profile_index(resident.part),
                    from: Some((gpu, resident.part)),
                })
                .collect();
            let size = |pending: &Pending| tables.geometry().profiles[pending.profile].size;
            pending.sort_by_key(|pending| core::cmp::Reverse(size(pending)));
            work.fleet.set_usable(gpu, false);
            if work.settle(&pending, MOVES_EACH, LOOKS_EACH).is_some() {
                (left, failed) = (left - 1, 0);
            } else {
                work.fleet.set_usable(gpu, true);
                failed += 1;
            }
        }
        (left, work.way(Vec::new()))
    }

    /// Lays everything out anew on the fewest GPUs, each layout where most of it lies already.
    fn anew(&self, board: usize, used: &[usize], packer: &Packer, demand: &Demand) -> Option<Way> {
        let tables = self.tables(board);
        let mut targets = packer.witness(demand, used.len() as u64)?;
        let kept = |gpu: usize, layout: &Layout| -> u64 {
            let there = self.on(gpu).filter(|(part, _)| layout.placed().contains(part));
            there.map(|(_, tie)| if let Tie::Movable(price) = tie { price + 1 } else { 0 }).sum()
        };
        let mut pairs: Vec<(core::cmp::Reverse<u64>, usize, usize)> = Vec::new();
        for gpu in used {
            let layouts = targets.iter().enumerate();
            pairs.extend(
                layouts.map(|(t, (_, layout))| (core::cmp::Reverse(kept(*gpu, layout)), *gpu, t)),
            );
        }
        pairs.sort_unstable();
        let mut layout_of: BTreeMap<usize, Layout> = BTreeMap::new();
        for (_, gpu, target) in pairs {
            let (left, layout) = &mut targets[target];
            if *left > 0 && !layout_of.contains_key(&gpu) {
                *left -= 1;
                layout_of.insert(gpu, layout.clone());
            }
        }
        let mut way = Way::default();
        let mut slots: BTreeMap<model::GpuInstanceProfileId, Vec<Spot>> = BTreeMap::new();
        for (gpu, layout) in &layout_of {
            let there: Vec<_> = self.gpus[*gpu].staying().map(|r| tables.part(r.part)).collect();
            for part in layout.placed().iter().filter(|part| !there.contains(part)) {
                slots.entry(part.profile).or_default().push(Spot { gpu: *gpu, part: *part });
            }
        }
        for gpu in used {
            let kept = layout_of.get(gpu).map_or(&[][..], Layout::placed);
            for (part, tie) in self.on(*gpu).filter(|(part, _)| !kept.contains(part)) {
                if let Tie::Movable(price) = tie {
                    let to = slots.get_mut(&part.profile)?.pop()?;
                    way.moves.push(Move { from: Spot { gpu: *gpu, part }, to });
                    way.cost = way.cost.saturating_add(price);
                }
            }
        }
        Some(way)
    }
}

/// Tries every number of GPUs from `least` up to what is known; how many are needed for sure.
fn decide(
    mut least: u64,
    best: &mut (u64, Way),
    covered: impl Fn(u64) -> (Option<Way>, Option<u64>),
) -> u64 {
    let (first, mut open) = (least, 0);
    for gpus in first..best.0 {
        match covered(gpus) {
            (Some(way), _) => {
                *best = (gpus, way);
                break;
            }
            (None, None) if least == gpus => least = gpus + 1,
            (None, _) => open += 1,
        }
        if open == UNDECIDED {
            break;
        }
    }
    least
}
