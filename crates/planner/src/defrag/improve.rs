//! Making a choice for a large fleet better, a few GPUs at a time: all others stay as they are, and
//! for the few the best is searched.
//!
//! Must never make anything worse: a step is taken only when it gains.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::Way;
use super::columns::{Column, Group};
use super::cover::{Chosen, Cover};
use crate::open::Fleet;

/// GPUs that are laid out anew at a time. Policy: with eight a search nearly always ends.
const FEW: usize = 8;
/// Steps of one search.
const NODES: usize = 4_000;
/// Searches in a row that gain nothing before it is given up, for each GPU.
const ROUNDS: usize = 1;
/// Searches at most.
const MOST_ROUNDS: usize = 3_000;

/// A column for each GPU.
pub(super) struct Standing<'a> {
    groups: &'a [Group],
    /// By GPU, in the order of the groups: its group and its column.
    at: Vec<(usize, usize)>,
    required: Vec<i64>,
    /// By row, what all columns give together.
    given: Vec<i64>,
}

impl<'a> Standing<'a> {
    /// What a way makes of each GPU. `None` if it is not made of columns.
    pub(super) fn new(
        fleet: &Fleet,
        groups: &'a [Group],
        required: &[i64],
        way: &Way,
    ) -> Option<Self> {
        let mut nets: BTreeMap<usize, (u64, Vec<i64>)> = BTreeMap::new();
        let rows = required.len();
        let none = || (0, alloc::vec![0i64; rows]);
        let leaving = way.moves.iter().map(|one| (one.from, -1));
        let coming = way.moves.iter().map(|one| &one.to).chain(&way.places).map(|spot| (*spot, 1));
        for (spot, change) in leaving.chain(coming) {
            let tables = fleet.tables(fleet.board(spot.gpu));
            let (cost, net) = nets.entry(spot.gpu).or_insert_with(none);
            net[tables.profile_index(tables.part_id(spot.part)?)] += change;
            if change < 0 {
                *cost += fleet.price(spot);
            }
        }
        let mut at = Vec::new();
        for (index, group) in groups.iter().enumerate() {
            for gpu in &group.gpus {
                let (cost, mut net) = nets.remove(gpu).unwrap_or_else(none);
                let left = fleet.gpus[*gpu].staying().count() as u64;
                let change: i64 = net.iter().sum();
                net[rows - 1] = i64::from(left.checked_add_signed(change) == Some(0));
                let does = |column: &Column| {
                    column.cost <= cost && column.net.iter().zip(&net).all(|(a, b)| a >= b)
                };
                at.push((index, group.columns.iter().position(does)?));
            }
        }
        let mut standing =
            Self { groups, at, required: required.to_vec(), given: alloc::vec![0; rows] };
        for gpu in 0..standing.at.len() {
            standing.give(gpu, 1);
        }
        Some(standing)
    }

    fn column(&self, gpu: usize) -> &'a Column {
        let (group, column) = self.at[gpu];
        &self.groups[group].columns[column]
    }

    fn give(&mut self, gpu: usize, times: i64) {
        let column = self.column(gpu);
        self.given.iter_mut().zip(&column.net).for_each(|(given, net)| *given += net * times);
    }

    /// Its cost, and for each group the columns of its GPUs.
    pub(super) fn chosen(&self) -> Chosen {
        let mut chosen: Vec<Vec<usize>> = self.groups.iter().map(|_| Vec::new()).collect();
        for (group, column) in &self.at {
            chosen[*group].push(*column);
        }
        let cost = |gpu| self.column(gpu).cost;
        ((0..self.at.len()).map(cost).fold(0, u64::saturating_add), chosen)
    }

    /// Makes it cheaper; whether it has become so.
    pub(super) fn cheapen(&mut self, prices: &[i64]) -> bool {
        self.rounds(prices, |standing, few| {
            let known = few.iter().map(|gpu| standing.column(*gpu).cost).sum();
            (standing.needed(few), Some(known))
        })
    }

    /// Leaves more GPUs empty, until those are as many as required.
    pub(super) fn empty(&mut self, prices: &[i64]) {
        let last = self.required.len() - 1;
        let goal = self.required[last];
        self.rounds(prices, |standing, few| {
            let mut needed = standing.needed(few);
            let empty: i64 = few.iter().map(|gpu| standing.column(*gpu).net[last]).sum();
            needed[last] = if standing.given[last] < goal { empty + 1 } else { i64::MAX / 4 };
            (needed, None)
        });
    }

    /// What a few GPUs must give so that all together give what is required.
    fn needed(&self, few: &[usize]) -> Vec<i64> {
        let of = |row: usize| {
            let here: i64 = few.iter().map(|gpu| self.column(*gpu).net[row]).sum();
            self.required[row] - (self.given[row] - here)
        };
        (0..self.required.len()).map(of).collect()
    }

    /// Searches among a few GPUs at a time, those first that cost most beyond what the prices say,
    /// until nothing is gained any more; whether anything was.
    fn rounds(
        &mut self,
        prices: &[i64],
        task: impl Fn(&Self, &[usize]) -> (Vec<i64>, Option<u64>),
    ) -> bool {
        let (mut gained, mut idle, mut turn) = (false, 0, 0usize);
        let mut order = self.order(prices);
        for _ in 0..MOST_ROUNDS {
            if order.is_empty() || idle > ROUNDS * self.at.len() + FEW {
                break;
            }
            let few = few(&order, turn);
            turn += 1;
            let (required, known) = task(self, &few);
            let groups: Vec<(&[Column], usize)> = few
                .iter()
                .map(|gpu| (self.groups[self.at[*gpu].0].columns.as_slice(), 1))
                .collect();
            let (found, _) = Cover { groups, required }.search(prices, known, NODES);
            let Some((_, columns)) = found else {
                idle += 1;
                continue;
            };
            for (gpu, column) in few.iter().zip(columns.iter().flatten()) {
                self.give(*gpu, -1);
                self.at[*gpu].1 = *column;
                self.give(*gpu, 1);
            }
            (gained, idle) = (true, 0);
            if turn % 16 == 0 {
                order = self.order(prices);
            }
        }
        gained
    }

    /// The GPUs, those that cost most beyond the cheapest at these prices first.
    fn order(&self, prices: &[i64]) -> Vec<usize> {
        let least = |group: &Group| {
            group.columns.iter().map(|column| Cover::reduced(column, prices)).min().unwrap_or(0)
        };
        let least: Vec<i64> = self.groups.iter().map(least).collect();
        let beyond =
            |gpu: &usize| least[self.at[*gpu].0] - Cover::reduced(self.column(*gpu), prices);
        let mut order: Vec<usize> = (0..self.at.len()).collect();
        order.sort_by_key(|gpu| (beyond(gpu), *gpu));
        order
    }
}

/// Half of them from the front of the order, each turn further on, half from all over it.
fn few(order: &[usize], turn: usize) -> Vec<usize> {
    let all = order.len();
    let front = (0..FEW / 2).map(|i| (turn * FEW / 2 + i) % all.min(64.max(all / 4)));
    let stride = 1 + (turn * 7919) % all;
    let rest = (0..FEW / 2).map(|i| (turn * 31 + (i + 1) * stride) % all);
    let mut few: Vec<usize> = front.chain(rest).map(|index| order[index]).collect();
    few.sort_unstable();
    few.dedup();
    few
}
