//! Room for many requests at once: who lies where is laid out anew, as cheaply as can be proved.
//!
//! Must never move what is held, and must never claim more than it proved: each answer carries a
//! lower bound beside its cost.

mod columns;
mod cover;
mod improve;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::open::{Fleet, Move, Pending, Relocation, Spot, Tie, in_order};
use crate::pack::Demand;
use crate::tables::PartId;
use cover::{Cover, Solved};
use improve::Standing;

pub(crate) use columns::{Group, groups};
pub(crate) use cover::TOGETHER;

/// Instances that change their places so that something is gained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rearrangement {
    /// What the moves cost together.
    pub cost: u64,
    /// No other set of moves that gains as much costs less than this.
    pub bound: u64,
    /// Idle instances that go first, sorted.
    pub evict: Vec<Spot>,
    /// The moves, in an order in which each finds its place free.
    pub moves: Vec<Relocation>,
    /// Where there is room then for what was asked for, one place for each, sorted.
    pub places: Vec<Spot>,
}

/// Why there is no rearrangement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// Nothing that may be moved makes the room. Wait, or let more be moved.
    #[error("no rearrangement of what may be moved makes the room")]
    Proved,
    /// None was found, and that there is none was not proved. Ask for less at once.
    #[error("no rearrangement was found that makes the room, though there may be one")]
    NotFound,
}

/// Places found, not yet in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Way {
    pub(crate) cost: u64,
    pub(crate) moves: Vec<Move>,
    pub(crate) places: Vec<Spot>,
}

/// Moves of others for one instance, when places are looked for one after the other.
const MOVES_EACH: usize = 2;
/// How often a place is looked for, for one instance.
const LOOKS_EACH: usize = 20_000;

impl Fleet {
    /// Makes room on the GPUs of a board for all of `extra` at once, at the least cost in moves that
    /// is found, with as many moves as it takes. On small fleets, and wherever the bounds meet, that
    /// is the least there is: [`Rearrangement::bound`] tells.
    ///
    /// # Errors
    /// [`NoRoom`] when there is no way, or none is found.
    pub fn defragment(&self, board: usize, extra: &Demand) -> Result<Rearrangement, NoRoom> {
        let greedy = self.one_by_one(board, extra);
        let groups = groups(self, board);
        let profiles = self.tables(board).geometry().profiles.len();
        let mut required: Vec<i64> = (0..profiles)
            .map(|profile| i64::try_from(extra.count(profile)).unwrap_or(i64::MAX / 4))
            .collect();
        required.push(0);
        if extra.counts().iter().skip(profiles).any(|count| *count > 0) {
            return Err(NoRoom::Proved);
        }
        let known = greedy.as_ref().map(|way| way.cost);
        let (way, bound) = self.covered(board, &groups, &required, greedy, known);
        match way {
            Some(way) => Ok(self.rearranged(way, bound.unwrap_or(0))),
            None if bound.is_none() => Err(NoRoom::Proved),
            None => Err(NoRoom::NotFound),
        }
    }

    /// The better of what is known and what the program finds, with what was proved of it: `None`
    /// where nothing exists at all.
    pub(crate) fn covered(
        &self,
        board: usize,
        groups: &[Group],
        required: &[i64],
        greedy: Option<Way>,
        known: Option<u64>,
    ) -> (Option<Way>, Option<u64>) {
        let whole = groups.iter().map(|group| (group.columns.as_slice(), group.gpus.len()));
        let cover = Cover { groups: whole.collect(), required: required.to_vec() };
        let Solved { chosen, bound, prices } = cover.solve(known);
        let chosen = chosen.or_else(|| {
            bound?;
            let mut standing = Standing::new(self, groups, required, greedy.as_ref()?)?;
            standing.cheapen(&prices).then(|| standing.chosen())
        });
        let found = chosen.and_then(|(_, chosen)| self.chosen(board, groups, &chosen, required));
        match (found, bound) {
            (Some(way), bound) => {
                let cost = way.cost;
                (Some(way), Some(bound.unwrap_or(cost).min(cost)))
            }
            (None, Some(bound)) => (greedy, Some(bound)),
            (None, None) => (greedy, known),
        }
    }

    /// A way that leaves as many GPUs empty as is required, or as are found, from one that leaves
    /// fewer.
    pub(crate) fn emptier(
        &self,
        board: usize,
        groups: &[Group],
        way: &Way,
        required: &[i64],
    ) -> Option<Way> {
        let whole = groups.iter().map(|group| (group.columns.as_slice(), group.gpus.len()));
        let cover = Cover { groups: whole.collect(), required: required.to_vec() };
        let prices = cover.solve(Some(way.cost.saturating_mul(2).saturating_add(1))).prices;
        let mut standing = Standing::new(self, groups, required, way)?;
        standing.empty(&prices);
        self.chosen(board, groups, &standing.chosen().1, required)
    }

    /// Places for all, the largest first, each with a few moves of others where it finds none.
    fn one_by_one(&self, board: usize, extra: &Demand) -> Option<Way> {
        let tables = self.tables(board);
        let size = |profile: &usize| tables.geometry().profiles.get(*profile).map(|p| p.size);
        let mut wanted: Vec<usize> = (0..extra.counts().len()).collect();
        wanted.sort_unstable_by_key(|profile| (core::cmp::Reverse(size(profile)), *profile));
        let mut work = Work::new(self);
        let mut places = Vec::new();
        for profile in wanted {
            for _ in 0..extra.count(profile) {
                tables.geometry().profiles.get(profile)?;
                let pending = Pending { board, profile, from: None };
                places.extend(work.settle(&[pending], MOVES_EACH, LOOKS_EACH)?);
            }
        }
        Some(work.way(places))
    }

    /// The moves that make these choices.
    fn chosen(
        &self,
        board: usize,
        groups: &[Group],
        chosen: &[Vec<usize>],
        required: &[i64],
    ) -> Option<Way> {
        let tables = self.tables(board);
        let profiles = tables.geometry().profiles.len();
        let mut leavers: Vec<Vec<Spot>> = alloc::vec![Vec::new(); profiles];
        let mut slots: Vec<BTreeSet<Spot>> = alloc::vec![BTreeSet::new(); profiles];
        let mut cost = 0u64;
        for (group, columns) in groups.iter().zip(chosen) {
            for (gpu, column) in group.gpus.iter().zip(columns) {
                let column = group.columns.get(*column)?;
                cost = cost.saturating_add(column.cost);
                let spot = |part: &PartId| (tables.profile_index(*part), self.spot(*gpu, *part));
                column.leaves.iter().map(spot).for_each(|(p, spot)| leavers[p].push(spot));
                column.comes.iter().map(spot).for_each(|(p, spot)| {
                    slots[p].insert(spot);
                });
            }
        }
        let mut way = Way { cost, ..Way::default() };
        for (profile, leavers) in leavers.into_iter().enumerate() {
            for from in leavers {
                let to = slots[profile].pop_first()?;
                way.moves.push(Move { from, to });
            }
            for _ in 0..required.get(profile).copied().unwrap_or(0) {
                way.places.push(slots[profile].pop_first()?);
            }
        }
        Some(way)
    }

    /// A way in order.
    pub(crate) fn rearranged(&self, way: Way, bound: u64) -> Rearrangement {
        let Way { cost, moves, mut places } = way;
        places.sort_unstable();
        // Every way is legal as a whole, so that what is in its way can be told.
        let evict = self.evicted(&moves, &places).unwrap_or_default();
        let moves = in_order(self, &evict, &moves);
        Rearrangement { cost, bound: bound.min(cost), evict, moves, places }
    }
}

/// A fleet on which instances are moved one after the other, and where each was at first.
pub(crate) struct Work<'a> {
    before: &'a Fleet,
    pub(crate) fleet: Fleet,
    origin: BTreeMap<Spot, Spot>,
}

impl<'a> Work<'a> {
    pub(crate) fn new(before: &'a Fleet) -> Self {
        let mut fleet = before.clone();
        for gpu in 0..fleet.len() {
            let idle: Vec<_> = fleet.on(gpu).filter(|(_, tie)| *tie == Tie::Idle).collect();
            for (part, _) in idle {
                fleet.take(Spot { gpu, part });
            }
        }
        Self { before, fleet, origin: BTreeMap::new() }
    }

    /// Settles these, and moves what has to move for it; the places of those that come from nowhere,
    /// which are held there. `None`, and nothing changes, where no way is found.
    pub(crate) fn settle(
        &mut self,
        pending: &[Pending],
        most: usize,
        looks: usize,
    ) -> Option<Vec<Spot>> {
        let found = self.fleet.settle(pending, most, looks)?;
        let (mut coming, mut places, mut leaving) = (Vec::new(), Vec::new(), Vec::new());
        for (pending, gpu, part) in &found.placed {
            let to = self.fleet.spot(*gpu, *part);
            let Some((from, old)) = pending.from else {
                coming.push((to, Tie::Held, None));
                places.push(to);
                continue;
            };
            let from = self.fleet.spot(from, old);
            let tie = self.fleet.on(from.gpu).find(|(part, _)| *part == from.part);
            let first = self.origin.get(&from).copied().unwrap_or(from);
            coming.push((to, tie.map_or(Tie::Held, |(_, tie)| tie), Some(first)));
            leaving.push(from);
        }
        for spot in &leaving {
            self.fleet.take(*spot);
            self.origin.remove(spot);
        }
        for (spot, tie, first) in coming {
            self.fleet.put(spot, tie);
            if let Some(first) = first {
                self.origin.insert(spot, first);
            }
        }
        Some(places)
    }

    /// What became of it all.
    pub(crate) fn way(&self, places: Vec<Spot>) -> Way {
        let away = self.origin.iter().filter(|(now, first)| now != first);
        let moves: Vec<Move> = away.map(|(now, first)| Move { from: *first, to: *now }).collect();
        let price = |one: &Move| self.before.price(one.from);
        let cost = moves.iter().fold(0u64, |sum, one| sum.saturating_add(price(one)));
        Way { cost, moves, places }
    }
}
