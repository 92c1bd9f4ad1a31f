//! The search for the best layout that meets a desire.
//!
//! Exhaustive over the placements of what is wanted; a branch is left only when it cannot become
//! better than the best so far. Must never give up before the end.

use alloc::vec::Vec;
use core::cmp::Reverse;

use super::compute::{Fit, Lying, fit};
use super::present::{Present, There};
use super::wanted::{Group, Kind, Wanted};
use crate::tables::{ClassId, GeometryTables, PartId};

/// What a layout costs; less is better. In this order: held instances that would have to end, GPU
/// instances destroyed, compute instances destroyed in those that stay, GPU instances created,
/// compute instances created. Twelve bits each: there are never a thousand of any.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cost(u64);

impl Cost {
    const BITS: u32 = 12;

    /// A GPU instance that goes.
    fn gone(held: bool) -> Self {
        Self(u64::from(held) << (4 * Self::BITS) | 1 << (3 * Self::BITS))
    }

    /// A GPU instance that stays, with what becomes of its compute instances.
    fn kept(held: bool, fit: &Fit) -> Self {
        let destroyed = (fit.destroyed() as u64) << (2 * Self::BITS);
        Self(u64::from(held) << (4 * Self::BITS) | destroyed | fit.made.len() as u64)
    }

    /// A GPU instance that comes.
    fn made(fit: &Fit) -> Self {
        Self(1 << Self::BITS | fit.made.len() as u64)
    }

    const fn plus(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The same so many times.
    const fn times(self, count: u32) -> Self {
        Self(self.0 * count as u64)
    }
}

/// A GPU instance that is there, made into one of a kind.
#[derive(Debug)]
pub(super) struct Match {
    cost: Cost,
    /// Whether somebody who holds it or a part of it would have to end first.
    pub(super) against: bool,
    pub(super) fit: Fit,
}

/// A whole layout that was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) cost: Cost,
    worth: u32,
    /// Sorted, and so by placement.
    pub(super) target: Vec<PartId>,
}

impl Found {
    fn order(&self) -> (Cost, Reverse<u32>, &[PartId]) {
        (self.cost, Reverse(self.worth), &self.target)
    }
}

/// The search over all layouts that hold what is wanted.
#[derive(Debug)]
pub(super) struct Search<'a> {
    tables: &'a GeometryTables,
    there: &'a [There<'a>],
    wanted: &'a Wanted<'a>,
    /// The part of each that is there; `None` for one that the geometry does not know.
    parts: Vec<Option<PartId>>,
    /// `matches[there * kinds + kind]`.
    matches: Vec<Option<Match>>,
    /// For each group, what became of each set of those that stay.
    memo: Vec<Vec<(u32, Cost)>>,
    stack: Vec<PartId>,
    best: Option<Found>,
}

/// Which kind each GPU instance of one profile becomes.
#[derive(Debug, Default)]
pub(super) struct Assignment {
    /// Of those that stay, by index.
    pub(super) kept: Vec<(usize, usize)>,
    /// Of those that come.
    pub(super) made: Vec<(PartId, usize)>,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        tables: &'a GeometryTables,
        present: &'a Present<'a>,
        wanted: &'a Wanted<'a>,
    ) -> Self {
        Self::among(tables, &present.there, wanted)
    }

    /// The same where only some of those that are there bear on it.
    pub(super) fn among(
        tables: &'a GeometryTables,
        there: &'a [There<'a>],
        wanted: &'a Wanted<'a>,
    ) -> Self {
        let parts: Vec<Option<PartId>> =
            there.iter().map(|one| tables.part_id(one.part())).collect();
        let mut matches = Vec::with_capacity(there.len() * wanted.kinds.len());
        for (one, part) in there.iter().zip(&parts) {
            matches.extend(wanted.kinds.iter().map(|kind| matched(one, *part, kind)));
        }
        let memo = wanted.groups.iter().map(|_| Vec::new()).collect();
        let stack = Vec::with_capacity(wanted.len());
        Self { tables, there, wanted, parts, matches, memo, stack, best: None }
    }

    /// The best layout with what is wanted beside a layout of class `base`; `None` when there is
    /// none at all.
    pub(super) fn best(&mut self, base: ClassId) -> Option<Found> {
        let mut class = base;
        self.stack.clear();
        for group in &self.wanted.groups {
            for (part, _) in &group.pinned {
                class = self.tables.after(class, *part)?;
                self.stack.push(*part);
            }
        }
        let of_a_group = |one: &There<'_>| {
            self.wanted.groups.iter().any(|group| group.profile == one.instance.profile)
        };
        let gone = self.there.iter().filter(|one| !of_a_group(one));
        let cost = gone.fold(Cost::default(), |sum, one| sum.plus(Cost::gone(one.is_held())));
        self.place(0, 0, None, class, cost);
        self.best.take()
    }

    pub(super) fn matching(&self, there: usize, kind: usize) -> Option<&Match> {
        self.matches[there * self.wanted.kinds.len() + kind].as_ref()
    }

    /// Places the free ones of a group in every legal way, each set of places once; `done` of them
    /// are placed, the last at index `last` of the group's parts.
    fn place(&mut self, group: usize, done: u32, last: Option<usize>, class: ClassId, cost: Cost) {
        let wanted = self.wanted;
        let Some(of) = wanted.groups.get(group) else { return self.keep_better(class, cost) };
        let left = of.free_count() - done;
        if left == 0 {
            let cost = cost.plus(self.cost_of(group));
            if self.best.as_ref().is_none_or(|best| cost <= best.cost) {
                self.place(group + 1, 0, None, class, cost);
            }
            return;
        }
        if self.tables.capacity(class, of.profile) < left {
            return;
        }
        for (index, part) in of.parts.iter().enumerate().skip(last.map_or(0, |last| last + 1)) {
            if let Some(next) = self.tables.after(class, *part) {
                self.stack.push(*part);
                self.place(group, done + 1, Some(index), next, cost);
                self.stack.pop();
            }
        }
    }

    fn keep_better(&mut self, class: ClassId, cost: Cost) {
        let worth = self.tables.worth(class);
        let no_worse = |best: &Found| (cost, Reverse(worth)) <= (best.cost, Reverse(best.worth));
        if !self.best.as_ref().is_none_or(no_worse) {
            return;
        }
        let mut target = self.stack.clone();
        target.sort_unstable();
        let found = Found { cost, worth, target };
        if self.best.as_ref().is_none_or(|best| found.order() < best.order()) {
            self.best = Some(found);
        }
    }

    /// What the instances of a group cost, all of whose places are on the stack.
    fn cost_of(&mut self, group: usize) -> Cost {
        let kept = self.kept(group, &self.stack);
        if let Some((_, cost)) = self.memo[group].iter().find(|(known, _)| *known == kept) {
            return *cost;
        }
        let (cost, _) = self.assign(group, kept);
        let profile = self.wanted.groups[group].profile;
        let of_group = self.there.iter().enumerate();
        let of_group = of_group.filter(|(_, one)| one.instance.profile == profile);
        let gone = of_group.filter(|(index, _)| kept >> index & 1 == 0);
        let cost = gone.fold(cost, |sum, (_, one)| sum.plus(Cost::gone(one.is_held())));
        self.memo[group].push((kept, cost));
        cost
    }

    /// Those of a group that stay when its places are `target`, as bits.
    fn kept(&self, group: usize, target: &[PartId]) -> u32 {
        let profile = self.wanted.groups[group].profile;
        let stays = |index: &usize| {
            self.there[*index].instance.profile == profile
                && self.parts[*index].is_some_and(|part| target.contains(&part))
        };
        (0..self.there.len()).filter(stays).fold(0, |bits, index| bits | 1 << index)
    }

    /// The cheapest way to make those of a group that stay into what is wanted of it: kind by kind
    /// for each of `kept`; of equals the lowest kinds first.
    fn assign(&self, group: usize, kept: u32) -> (Cost, Vec<(usize, usize)>) {
        let of = &self.wanted.groups[group];
        let (mut sum, mut fixed, mut open) = (Cost::default(), Vec::new(), Vec::new());
        let pin =
            |index: usize| of.pinned.iter().find(|(part, _)| self.parts[index] == Some(*part));
        for index in (0..self.there.len()).filter(|index| kept >> index & 1 == 1) {
            match pin(index) {
                Some((_, kind)) => fixed.push((index, *kind)),
                None => open.push(index),
            }
        }
        let cost = |(index, kind): &(usize, usize)| self.matching(*index, *kind).map(|m| m.cost);
        sum = fixed.iter().filter_map(cost).fold(sum, Cost::plus);
        let fresh =
            |part: &PartId| !fixed.iter().any(|(index, _)| self.parts[*index] == Some(*part));
        let fresh = of.pinned.iter().filter(|(part, _)| fresh(part));
        sum = fresh.fold(sum, |sum, (_, kind)| sum.plus(self.made(*kind)));
        let mut choice = Choice {
            search: self,
            open: &open,
            left: of.free.clone(),
            stack: Vec::new(),
            best: None,
        };
        choice.go(sum);
        let (sum, chosen) = choice.best.unwrap_or_default();
        fixed.extend(chosen);
        (sum, fixed)
    }

    fn made(&self, kind: usize) -> Cost {
        Cost::made(&self.wanted.kinds[kind].fresh)
    }

    /// Which kind each instance of a group becomes in a target.
    pub(super) fn assignment(&self, group: &Group, index: usize, target: &[PartId]) -> Assignment {
        let (_, kept) = self.assign(index, self.kept(index, target));
        let taken = |part: &PartId| kept.iter().any(|(index, _)| self.parts[*index] == Some(*part));
        let mut left = group.free.clone();
        for (_, kind) in &kept {
            if let Some((_, count)) = left.iter_mut().find(|(free, _)| free == kind) {
                *count -= 1;
            }
        }
        let mut left = left.into_iter().flat_map(|(kind, count)| (0..count).map(move |_| kind));
        let pin = |part: &PartId| group.pinned.iter().find(|(pinned, _)| pinned == part);
        let new = target.iter().filter(|part| group.parts.contains(part) && !taken(part));
        let made = new
            .filter_map(|part| {
                let kind = pin(part).map(|(_, kind)| *kind).or_else(|| left.next())?;
                Some((*part, kind))
            })
            .collect();
        Assignment { kept, made }
    }
}

/// Whether and how a GPU instance that is there becomes one of a kind.
fn matched(one: &There<'_>, part: Option<PartId>, kind: &Kind<'_>) -> Option<Match> {
    let there = part.is_some() && kind.profile.id == one.instance.profile;
    if !there || kind.part.is_some_and(|pinned| Some(pinned) != part) {
        return None;
    }
    // Whoever has a whole GPU instance shares it with nobody, so nothing joins it either.
    let allowed = |fit: &Fit| one.held.by.is_none() || fit.made.is_empty();
    if let Some(fit) = fit(kind.profile, &one.lying, &kind.computes).filter(allowed) {
        return Some(Match { cost: Cost::kept(false, &fit), against: false, fit });
    }
    let idle: Vec<Lying> = one.lying.iter().map(|l| Lying { stays: false, ..*l }).collect();
    let fit = fit(kind.profile, &idle, &kind.computes)?;
    Some(Match { cost: Cost::kept(true, &fit), against: true, fit })
}

/// The search for the cheapest kinds.
struct Choice<'s, 'a> {
    search: &'s Search<'a>,
    open: &'s [usize],
    left: Vec<(usize, u32)>,
    stack: Vec<(usize, usize)>,
    best: Option<(Cost, Vec<(usize, usize)>)>,
}

impl Choice<'_, '_> {
    fn go(&mut self, cost: Cost) {
        if self.best.as_ref().is_some_and(|(best, _)| cost >= *best) {
            return;
        }
        let Some(index) = self.open.get(self.stack.len()).copied() else {
            let new = self.left.iter();
            let cost = new
                .fold(cost, |sum, (kind, count)| sum.plus(self.search.made(*kind).times(*count)));
            if self.best.as_ref().is_none_or(|(best, _)| cost < *best) {
                self.best = Some((cost, self.stack.clone()));
            }
            return;
        };
        for choice in 0..self.left.len() {
            let (kind, count) = self.left[choice];
            let Some(found) = self.search.matching(index, kind).filter(|_| count > 0) else {
                continue;
            };
            let next = cost.plus(found.cost);
            self.left[choice].1 -= 1;
            self.stack.push((index, kind));
            self.go(next);
            self.stack.pop();
            self.left[choice].1 += 1;
        }
    }
}
