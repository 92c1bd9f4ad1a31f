//! The cheapest choice of one column for each GPU that brings everybody somewhere: an integer
//! program over groups of GPUs that look alike, solved between two bounds that meet.
//!
//! Must never call a cost proved that is not: the lower bound is computed in whole numbers.
//!
//! The few rows that join the GPUs (one for each profile, one for GPUs left empty) are priced
//! instead of enforced, which leaves a choice for each group by itself; whatever the prices, what
//! that costs is a lower bound (Lagrange). The prices are raised where there is too little until the
//! bound stops rising. Then every GPU keeps only the columns that could still be part of something
//! cheaper than the best that is known, and these are searched.

use alloc::vec::Vec;

use super::columns::Column;

/// Prices are whole multiples of one part in this many of a unit of cost.
const SCALE: i64 = 1 << 10;
/// Columns that are priced in all steps of the prices together. Policy: a second at most.
const PRICED: usize = 60_000_000;
/// Steps of the prices at least, and at most.
const STEPS: (usize, usize) = (300, 3_000);
/// Steps of the search. Policy: a tenth of a second.
const NODES: usize = 200_000;
/// GPUs up to which all of them are searched together; beyond, the search never came to an end.
pub(crate) const TOGETHER: usize = 48;
/// Neither costs nor prices are larger in these sums, so that they never overflow; a cost that is cut
/// makes the bound lower, not wrong.
const MOST: i64 = 1 << 40;

/// What is to be chosen.
#[derive(Debug)]
pub(super) struct Cover<'a> {
    /// What can become of GPUs that look alike, and how many they are.
    pub(super) groups: Vec<(&'a [Column], usize)>,
    /// What the columns' `net` must add up to at least.
    pub(super) required: Vec<i64>,
}

/// A choice of columns with its cost: for each group those of its GPUs.
pub(super) type Chosen = (u64, Vec<Vec<usize>>);

/// What was found out.
#[derive(Debug)]
pub(super) struct Solved {
    /// Something cheaper than what was known, if it was found.
    pub(super) chosen: Option<Chosen>,
    /// Nothing costs less than this; `None` where nothing cheaper than what was known exists at all.
    pub(super) bound: Option<u64>,
    /// What one more of each row is worth, in scaled units.
    pub(super) prices: Vec<i64>,
}

impl Cover<'_> {
    /// The cheapest choice, if it costs less than `known`.
    pub(super) fn solve(&self, known: Option<u64>) -> Solved {
        let (prices, bound) = self.prices(known);
        let floor = u64::try_from(bound.max(0).div_euclid(i128::from(SCALE))).unwrap_or(u64::MAX);
        let floor = floor + u64::from(bound > 0 && bound.rem_euclid(i128::from(SCALE)) != 0);
        if known.is_some_and(|known| known <= floor) {
            return Solved { chosen: None, bound: None, prices };
        }
        if self.groups.iter().map(|(_, gpus)| gpus).sum::<usize>() > TOGETHER {
            return Solved { chosen: None, bound: Some(floor), prices };
        }
        let (chosen, complete) = self.search(&prices, known, NODES);
        let cost = chosen.as_ref().map(|(cost, _)| *cost);
        Solved { chosen, bound: if complete { cost } else { Some(floor) }, prices }
    }

    /// Searches for something cheaper than `known` for so many steps, and whether that was enough to
    /// find the cheapest.
    pub(super) fn search(
        &self,
        prices: &[i64],
        known: Option<u64>,
        nodes: usize,
    ) -> (Option<Chosen>, bool) {
        let mut search = Search::new(self, prices, known, nodes);
        search.go(0);
        (search.best, search.left > 0)
    }

    /// What a column costs at these prices, in scaled units.
    pub(super) fn reduced(column: &Column, prices: &[i64]) -> i64 {
        let worth: i64 = column.net.iter().zip(prices).map(|(net, price)| net * price).sum();
        i64::try_from(column.cost).unwrap_or(MOST).min(MOST) * SCALE - worth
    }

    /// The cheapest column of each group at these prices, and the bound that they give.
    fn relaxed(&self, prices: &[i64]) -> (Vec<usize>, i128) {
        let cheapest = |(columns, _): &(&[Column], usize)| {
            let columns = columns.iter().map(|column| Self::reduced(column, prices)).zip(0..);
            columns.min().unwrap_or((0, 0))
        };
        let each: Vec<(i64, usize)> = self.groups.iter().map(cheapest).collect();
        let required: i128 =
            self.required.iter().zip(prices).map(|(r, p)| i128::from(*r) * i128::from(*p)).sum();
        let groups = each.iter().zip(&self.groups);
        let sum: i128 =
            groups.map(|((cost, _), (_, gpus))| i128::from(*cost) * *gpus as i128).sum();
        (each.into_iter().map(|(_, column)| column).collect(), required + sum)
    }

    /// The best prices found, and the bound that they give, in scaled units.
    fn prices(&self, known: Option<u64>) -> (Vec<i64>, i128) {
        let mut prices: Vec<f64> = alloc::vec![0.0; self.required.len()];
        let mut best = (alloc::vec![0i64; prices.len()], i128::MIN);
        let (mut pace, mut since) = (1.0f64, 0);
        let mut course: Vec<f64> = alloc::vec![0.0; prices.len()];
        let columns: usize = self.groups.iter().map(|(columns, _)| columns.len()).sum();
        for _ in 0..(PRICED / columns.max(1)).clamp(STEPS.0, STEPS.1) {
            let whole: Vec<i64> = prices.iter().map(|price| (*price as i64).min(MOST)).collect();
            let (chosen, bound) = self.relaxed(&whole);
            since += 1;
            if bound > best.1 {
                best = (whole, bound);
                since = 0;
            } else if since >= 30 {
                (pace, since) = (pace / 2.0, 0);
                prices = best.0.iter().map(|price| *price as f64).collect();
                course.fill(0.0);
                continue;
            }
            let short = self.missing(&chosen);
            steer(&mut course, &short);
            let square: f64 = course.iter().map(|way| way * way).sum();
            let goal = known.map_or(best.1.max(1) * 5 / 4 + i128::from(SCALE), |known| {
                i128::from(known) * i128::from(SCALE)
            });
            let gap = (goal - bound).max(i128::from(SCALE / 8)) as f64;
            if square == 0.0 || pace < 1e-4 {
                break;
            }
            for (price, way) in prices.iter_mut().zip(&course) {
                *price = (*price + pace * gap / square * way).max(0.0);
            }
        }
        best
    }

    /// By row, what is missing with these columns; negative where there is more than enough.
    fn missing(&self, chosen: &[usize]) -> Vec<i64> {
        let mut short = self.required.clone();
        for ((columns, gpus), column) in self.groups.iter().zip(chosen) {
            for (short, net) in short.iter_mut().zip(&columns[*column].net) {
                *short -= net * i64::try_from(*gpus).unwrap_or(i64::MAX);
            }
        }
        short
    }
}

/// Turns the course of the prices to where there is too little, without going back on itself
/// (Camerini, Fratta and Maffioli 1975).
fn steer(course: &mut [f64], short: &[i64]) {
    let against: f64 = course.iter().zip(short).map(|(way, short)| way * *short as f64).sum();
    let square: f64 = course.iter().map(|way| way * way).sum();
    let keep = if against < 0.0 { -1.5 * against / square } else { 0.0 };
    for (way, short) in course.iter_mut().zip(short) {
        *way = *way * keep + *short as f64;
    }
}

/// The search over the columns that are left.
struct Search<'a> {
    cover: &'a Cover<'a>,
    /// Of each GPU, in order of the groups, its group.
    group_of: Vec<usize>,
    /// By group, columns with what they cost beyond the cheapest, ascending.
    ways: Vec<Vec<(i64, usize)>>,
    /// For each GPU, by row, the most that it and those after it can give.
    most: Vec<Vec<i64>>,
    /// By how much what is chosen may cost more than the bound, in scaled units.
    slack: i128,
    stack: Vec<usize>,
    /// By row, what is missing.
    short: Vec<i64>,
    cost: u64,
    best: Option<Chosen>,
    left: usize,
    floor: i128,
}

impl<'a> Search<'a> {
    fn new(cover: &'a Cover<'a>, prices: &[i64], known: Option<u64>, nodes: usize) -> Self {
        let (_, floor) = cover.relaxed(prices);
        let slack = known
            .map_or(i128::MAX / 4, |known| (i128::from(known) - 1) * i128::from(SCALE) - floor);
        let ways = |(columns, _): &(&[Column], usize)| {
            let all = columns.iter().map(|column| Cover::reduced(column, prices)).zip(0..);
            let mut all: Vec<(i64, usize)> = all.collect();
            all.sort_unstable();
            let least = all.first().map_or(0, |(cost, _)| *cost);
            let all = all.into_iter().map(|(cost, column)| (cost - least, column));
            all.filter(|(beyond, _)| i128::from(*beyond) <= slack).collect::<Vec<_>>()
        };
        let ways: Vec<Vec<(i64, usize)>> = cover.groups.iter().map(ways).collect();
        let groups = cover.groups.iter().enumerate();
        let group_of: Vec<usize> =
            groups.flat_map(|(index, (_, gpus))| core::iter::repeat_n(index, *gpus)).collect();
        let mut most = alloc::vec![alloc::vec![0i64; cover.required.len()]];
        for group in group_of.iter().rev() {
            let rest = most.last().cloned().unwrap_or_default();
            let of = |row: usize| {
                let nets = ways[*group].iter().map(|(_, c)| cover.groups[*group].0[*c].net[row]);
                nets.max().unwrap_or(i64::MIN / 4)
            };
            most.push(rest.iter().enumerate().map(|(row, rest)| rest + of(row)).collect());
        }
        most.reverse();
        let short = cover.required.clone();
        let (stack, best, left, cost) = (Vec::new(), None, nodes, 0);
        Self { cover, group_of, ways, most, slack, stack, short, cost, best, left, floor }
    }

    /// Chooses for GPU number `index` and those after it; `self.slack` is what is left to spend.
    fn go(&mut self, index: usize) {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 || self.short.iter().zip(&self.most[index]).any(|(s, most)| s > most) {
            return;
        }
        let Some(group) = self.group_of.get(index).copied() else {
            return self.keep();
        };
        // Of GPUs that look alike the later never takes an earlier way: each choice comes once.
        let same = index > 0 && self.group_of[index - 1] == group;
        let from = if same { self.stack.last().copied().unwrap_or(0) } else { 0 };
        for way in from..self.ways[group].len() {
            let (beyond, column) = self.ways[group][way];
            let beyond = i128::from(beyond);
            if beyond > self.slack {
                return;
            }
            let chosen = &self.cover.groups[group].0[column];
            self.short.iter_mut().zip(&chosen.net).for_each(|(short, net)| *short -= net);
            self.cost += chosen.cost;
            self.slack -= beyond;
            self.stack.push(way);
            self.go(index + 1);
            self.stack.pop();
            self.slack += beyond;
            let chosen = &self.cover.groups[group].0[column];
            self.cost -= chosen.cost;
            self.short.iter_mut().zip(&chosen.net).for_each(|(short, net)| *short += net);
        }
    }

    /// A choice is complete: from here on only cheaper ones count.
    fn keep(&mut self) {
        if self.best.as_ref().is_some_and(|(cost, _)| *cost <= self.cost) {
            return;
        }
        let mut chosen: Vec<Vec<usize>> = self.cover.groups.iter().map(|_| Vec::new()).collect();
        for (group, way) in self.group_of.iter().zip(&self.stack) {
            chosen[*group].push(self.ways[*group][*way].1);
        }
        self.best = Some((self.cost, chosen));
        // What was spent on the way here comes back as the search does.
        let spent: i128 = self
            .group_of
            .iter()
            .zip(&self.stack)
            .map(|(group, way)| i128::from(self.ways[*group][*way].0))
            .sum();
        self.slack = (i128::from(self.cost) - 1) * i128::from(SCALE) - self.floor - spent;
    }
}
