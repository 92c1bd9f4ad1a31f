//! The places on one GPU that a few residents are in the way of.
//!
//! Must never propose that a resident goes which could stay: no proper part of a set would do.

use super::fleet::{Fleet, Tie, class_of};
use crate::tables::{ClassId, GeometryTables, PartId};
use alloc::vec::Vec;

/// A place that is free once some residents are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    pub(super) cost: u64,
    pub(super) moves: u32,
    /// What the GPU is worth less with the new instance, without those that went.
    pub(super) loss: u32,
    pub(super) gpu: usize,
    pub(super) part: PartId,
    /// Indices of the residents that go, as bits.
    pub(super) gone: u32,
    /// The class of what stays and the new instance.
    pub(super) class: ClassId,
    /// Profiles of those that go, as bits, that have no room in the fleet as it is nor on this GPU.
    pub(super) needs: u32,
}

/// A GPU as a search has changed it.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) gpu: usize,
    /// Indices of the residents that are gone, as bits.
    pub(super) gone: u32,
    /// What came, and stays.
    pub(super) come: &'a [PartId],
}

/// The profiles of which a layout of this class admits one more, as bits by index.
pub(super) fn profiles_with_room(tables: &GeometryTables, class: ClassId) -> u32 {
    let rooms = tables.capacities(class).iter().take(32).enumerate();
    rooms.filter(|(_, room)| **room > 0).fold(0, |bits, (profile, _)| bits | 1 << profile)
}

/// Appends every place for a profile that at most `most` movable residents are in the way of.
pub(super) fn candidates(
    fleet: &Fleet,
    view: &View<'_>,
    profile: usize,
    most: u32,
    into: &mut Vec<Candidate>,
) {
    let board = fleet.board(view.gpu);
    let tables = fleet.tables(board);
    let id = tables.geometry().profiles[profile].id;
    let look = Look::new(fleet, tables, view);
    for part in tables.parts_of(id) {
        let Some(gone) = look.overlapping(part).filter(|gone| gone.count_ones() <= most) else {
            continue;
        };
        look.minimal(part, gone, most, &mut |gone, rest, class| {
            let loss = tables.worth(rest).saturating_sub(tables.worth(class));
            let cost = look.price(gone);
            let needs = look.needs(fleet, board, class, gone);
            let moves = gone.count_ones();
            into.push(Candidate { cost, moves, loss, gpu: view.gpu, part, gone, class, needs });
        });
    }
}

struct Look<'a> {
    tables: &'a GeometryTables,
    view: &'a View<'a>,
    /// Of those that are there and not idle: index, part and what keeps it.
    there: Vec<(u32, PartId, Tie)>,
}

impl<'a> Look<'a> {
    fn new(fleet: &Fleet, tables: &'a GeometryTables, view: &'a View<'a>) -> Self {
        // No board has more than 15 GPU instances; beyond 32 they count as held.
        let residents = (0u32..).zip(&fleet.gpus[view.gpu].residents);
        let stays = |(index, resident): &(u32, &super::fleet::Resident)| {
            resident.tie != Tie::Idle && (*index >= 32 || view.gone >> index & 1 == 0)
        };
        let there = residents.filter(stays).map(|(index, resident)| {
            let tie = if index < 32 { resident.tie } else { Tie::Held };
            (index, resident.part, tie)
        });
        Self { tables, view, there: there.collect() }
    }

    /// The residents that overlap a part; `None` where something does that stays.
    fn overlapping(&self, part: PartId) -> Option<u32> {
        let mask = |part| self.tables.part(part).placement.mask();
        let wanted = mask(part);
        if self.view.come.iter().any(|come| mask(*come).intersects(wanted)) {
            return None;
        }
        let mut all = self.there.iter().filter(|(_, part, _)| mask(*part).intersects(wanted));
        all.try_fold(0, |bits, (index, _, tie)| match tie {
            Tie::Movable(_) => Some(bits | 1 << index),
            Tie::Held | Tie::Idle => None,
        })
    }

    /// Calls back with each smallest set, `gone` included, whose end lets a part in: with it, the
    /// class of the rest, and the class with the part. More than what overlaps has to go only where
    /// engines, maxima or a rule of the board forbid the rest.
    fn minimal(
        &self,
        part: PartId,
        gone: u32,
        most: u32,
        found: &mut dyn FnMut(u32, ClassId, ClassId),
    ) {
        let class = |gone: u32| {
            let staying = self.there.iter().filter(|(index, _, _)| gone >> index & 1 == 0);
            let parts = staying.map(|(_, part, _)| *part).chain(self.view.come.iter().copied());
            let rest = class_of(self.tables, parts)?;
            Some((rest, self.tables.after(rest, part)?))
        };
        if let Some((rest, with)) = class(gone) {
            return found(gone, rest, with);
        }
        let others = self
            .there
            .iter()
            .filter(|(index, _, tie)| matches!(tie, Tie::Movable(_)) && gone >> index & 1 == 0);
        let others: Vec<u32> = others.map(|(index, _, _)| 1 << index).collect();
        let mut known: Vec<u32> = Vec::new();
        for more in 1..=most.saturating_sub(gone.count_ones()) {
            for set in sets(&others, more) {
                if known.iter().any(|smaller| smaller & set == *smaller) {
                    continue;
                }
                if let Some((rest, with)) = class(gone | set) {
                    known.push(set);
                    found(gone | set, rest, with);
                }
            }
        }
    }

    fn price(&self, gone: u32) -> u64 {
        let going = self.there.iter().filter(|(index, _, _)| gone >> index & 1 == 1);
        going.fold(0u64, |sum, (_, _, tie)| match tie {
            Tie::Movable(price) => sum.saturating_add(*price),
            Tie::Held | Tie::Idle => sum,
        })
    }

    fn needs(&self, fleet: &Fleet, board: usize, class: ClassId, gone: u32) -> u32 {
        let going = self.there.iter().filter(|(index, _, _)| gone >> index & 1 == 1);
        let profiles = going.map(|(_, part, _)| self.tables.profile_index(*part));
        let homeless = profiles.filter(|profile| {
            fleet.hosts(board, *profile) == 0 && self.tables.capacities(class)[*profile] == 0
        });
        homeless.fold(0, |bits, profile| bits | 1u32.checked_shl(profile as u32).unwrap_or(0))
    }
}

/// Every union of `count` of these bits.
fn sets(bits: &[u32], count: u32) -> Vec<u32> {
    if count == 0 {
        return alloc::vec![0];
    }
    let mut all = Vec::new();
    for (index, bit) in bits.iter().enumerate() {
        all.extend(sets(&bits[index + 1..], count - 1).into_iter().map(|rest| rest | bit));
    }
    all
}
