//! The order in which instances change their places, so that each finds its new one free.
//!
//! Must never have two instances where one is admitted, at no moment in between.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use model::{GpuSnapshot, Plan, Purpose, Step};

use super::fleet::{Fleet, Spot, class_of};
use crate::steps::{PlanError, create, destroy, find, geometry};
use crate::tables::PartId;

/// One step of an ordered list of moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Relocation {
    /// The new place is free: the instance is made there, its holder goes over, the old one ends.
    MakeFirst {
        /// Where it was.
        from: Spot,
        /// Where it goes.
        to: Spot,
    },
    /// On the same GPU, where both have no room at once: it is stopped, and made anew.
    StopFirst {
        /// Where it was.
        from: Spot,
        /// Where it goes.
        to: Spot,
    },
    /// It is stopped, and waits for its place until others have moved. Only where moves go round in
    /// a circle and no GPU has a slot to spare.
    Park {
        /// Where it was.
        from: Spot,
    },
    /// One that waits is made at its new place.
    Unpark {
        /// Where it was when it was stopped.
        from: Spot,
        /// Where it goes.
        to: Spot,
    },
}

/// An instance that is to change its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Move {
    pub(crate) from: Spot,
    pub(crate) to: Spot,
}

/// Moves in an order in which each can be carried out, once what is evicted has gone. What would go
/// round in a circle is broken up by a move to a slot that is free meanwhile, or else by a wait.
pub(crate) fn in_order(fleet: &Fleet, evicted: &[Spot], moves: &[Move]) -> Vec<Relocation> {
    let mut ground = Ground { fleet, parts: BTreeMap::new() };
    for spot in evicted {
        ground.end(*spot);
    }
    let mut open: Vec<Move> = moves.to_vec();
    let mut parked: Vec<Move> = Vec::new();
    let mut lent: BTreeSet<Spot> = BTreeSet::new();
    let mut done = Vec::new();
    while !open.is_empty() || !parked.is_empty() {
        let before = open.len() + parked.len();
        parked.retain(|Move { from, to }| {
            let free = ground.admits(*to);
            if free {
                ground.make(*to);
                done.push(Relocation::Unpark { from: *from, to: *to });
            }
            !free
        });
        open.retain(|one| {
            ground.carry_out(one).is_none_or(|step| {
                done.push(step);
                false
            })
        });
        if open.len() + parked.len() < before {
            continue;
        }
        // A circle. The smallest first: it finds a slot most easily.
        let size = |one: &Move| (one.from.part.placement.size, one.from);
        open.sort_unstable_by_key(size);
        let spare = open.iter().enumerate().filter(|(_, one)| !lent.contains(&one.to));
        let spare = spare
            .map(|(index, one)| (index, ground.spare(one, &open)))
            .find_map(|(i, s)| Some((i, s?)));
        if let Some((index, slot)) = spare {
            let one = &mut open[index];
            done.push(Relocation::MakeFirst { from: one.from, to: slot });
            ground.make(slot);
            ground.end(one.from);
            lent.insert(one.to);
            one.from = slot;
        } else if open.is_empty() {
            // Never reached where all moves together lead to legal layouts.
            break;
        } else {
            let one = open.remove(0);
            done.push(Relocation::Park { from: one.from });
            ground.end(one.from);
            parked.push(one);
        }
    }
    done
}

/// What lies where in the course of the moves; GPUs that are not in it are as the fleet has them.
struct Ground<'a> {
    fleet: &'a Fleet,
    parts: BTreeMap<usize, Vec<PartId>>,
}

impl Ground<'_> {
    fn id(&self, spot: Spot) -> Option<PartId> {
        self.fleet.tables(self.fleet.board(spot.gpu)).part_id(spot.part)
    }

    fn parts_of(&self, gpu: usize) -> Vec<PartId> {
        let as_it_was = || self.fleet.gpus[gpu].residents.iter().map(|r| r.part).collect();
        self.parts.get(&gpu).cloned().unwrap_or_else(as_it_was)
    }

    fn end(&mut self, spot: Spot) {
        let mut parts = self.parts_of(spot.gpu);
        let gone = self.id(spot);
        parts.retain(|part| Some(*part) != gone);
        self.parts.insert(spot.gpu, parts);
    }

    fn make(&mut self, spot: Spot) {
        let mut parts = self.parts_of(spot.gpu);
        parts.extend(self.id(spot));
        self.parts.insert(spot.gpu, parts);
    }

    fn admits(&self, spot: Spot) -> bool {
        self.admits_without(spot, None)
    }

    fn admits_without(&self, spot: Spot, gone: Option<PartId>) -> bool {
        let tables = self.fleet.tables(self.fleet.board(spot.gpu));
        let parts = self.parts_of(spot.gpu).into_iter().filter(|part| Some(*part) != gone);
        self.id(spot).is_some_and(|part| class_of(tables, parts.chain([part])).is_some())
    }

    /// Does a move that can be done now.
    fn carry_out(&mut self, one: &Move) -> Option<Relocation> {
        let Move { from, to } = *one;
        let step = if self.admits(to) {
            Relocation::MakeFirst { from, to }
        } else if from.gpu == to.gpu && self.admits_without(to, self.id(from)) {
            Relocation::StopFirst { from, to }
        } else {
            return None;
        };
        self.end(from);
        self.make(to);
        Some(step)
    }

    /// A free slot for an instance that nothing on its way will need.
    fn spare(&self, one: &Move, open: &[Move]) -> Option<Spot> {
        let board = self.fleet.board(one.from.gpu);
        let tables = self.fleet.tables(board);
        let needed = |spot: &Spot| {
            let here = open.iter().filter(|other| other.to.gpu == spot.gpu);
            here.clone().any(|other| other.to.part.placement.overlaps(spot.part.placement))
        };
        let gpus = (0..self.fleet.len())
            .filter(|gpu| self.fleet.gpus[*gpu].board == board && self.fleet.gpus[*gpu].usable);
        let spots = gpus.flat_map(|gpu| {
            tables
                .parts_of(one.from.part.profile)
                .map(move |part| Spot { gpu, part: tables.part(part) })
        });
        spots.filter(|spot| !needed(spot)).find(|spot| self.admits(*spot))
    }
}

/// The steps of one relocation, from the snapshots of the GPU that the instance leaves and of the
/// one that it comes to. The instance is a slice with one compute instance over all of it, and
/// nobody is on it any more: of [`Relocation::MakeFirst`] the first two steps can be carried out
/// before, while its holder still works.
///
/// # Errors
/// When a snapshot does not hold what the relocation relies on, or somebody is still on it.
pub fn plan_relocation(
    relocation: &Relocation,
    leaves: &GpuSnapshot,
    comes: &GpuSnapshot,
    purpose: Purpose,
) -> Result<Plan, PlanError> {
    let (mut made, mut gone): (Vec<Step>, Vec<Step>) = (Vec::new(), Vec::new());
    let end = |spot: &Spot, gone: &mut Vec<Step>| destroy(leaves, find(leaves, spot.part)?, gone);
    let make = |spot: &Spot, made: &mut Vec<Step>| create(comes, geometry(comes)?, spot.part, made);
    let steps = match relocation {
        Relocation::MakeFirst { from, to } => {
            make(to, &mut made)?;
            end(from, &mut gone)?;
            [made, gone]
        }
        Relocation::StopFirst { from, to } => {
            end(from, &mut gone)?;
            make(to, &mut made)?;
            [gone, made]
        }
        Relocation::Park { from } => {
            end(from, &mut gone)?;
            [gone, made]
        }
        Relocation::Unpark { to, .. } => {
            make(to, &mut made)?;
            [gone, made]
        }
    };
    Ok(Plan { purpose, steps: steps.concat() })
}

#[cfg(test)]
mod tests {
    use alloc::sync::Arc;

    use model::{GpuInstanceProfileId, PlacedProfile, Placement, catalog};

    use super::super::fleet::Tie;
    use super::*;
    use crate::tables::GeometryTables;

    fn spot(gpu: usize, profile: u32, start: u8) -> Spot {
        let profile = GpuInstanceProfileId::new(profile);
        Spot { gpu, part: PlacedProfile { placement: Placement::new(start, 4), profile } }
    }

    /// Two full GPUs that exchange their right halves, and others that are empty.
    fn exchanged(others: usize) -> Vec<Relocation> {
        let geometry = Arc::new(catalog::board("a100-sxm4-40gb").unwrap().geometry());
        let mut fleet = Fleet::new(alloc::vec![Arc::new(GeometryTables::new(&geometry))]);
        for gpu in 0..2 + others {
            fleet.add(0);
            if gpu < 2 {
                assert!(fleet.put(spot(gpu, 5, 0), Tie::Held));
                assert!(fleet.put(spot(gpu, 9, 4), Tie::Movable(1)));
            }
        }
        let (one, other) = (spot(0, 9, 4), spot(1, 9, 4));
        in_order(&fleet, &[], &[Move { from: one, to: other }, Move { from: other, to: one }])
    }

    #[test]
    fn a_circle_is_broken_by_a_slot_to_spare_or_else_by_a_wait() {
        let (one, other) = (spot(0, 9, 4), spot(1, 9, 4));
        let slot = spot(2, 9, 0);
        assert_eq!(
            exchanged(1),
            [
                Relocation::MakeFirst { from: one, to: slot },
                Relocation::MakeFirst { from: other, to: one },
                Relocation::MakeFirst { from: slot, to: other },
            ]
        );
        assert_eq!(
            exchanged(0),
            [
                Relocation::Park { from: one },
                Relocation::MakeFirst { from: other, to: one },
                Relocation::Unpark { from: one, to: other },
            ]
        );
    }
}
