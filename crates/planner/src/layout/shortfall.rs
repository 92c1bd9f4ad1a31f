//! Why a desire cannot be met, and how much of it can.
//!
//! Must never suggest the end of more instances than it takes.

use alloc::vec::Vec;

use model::PlacedProfile;

use super::impossible::{Best, Impossible, Missing};
use super::present::{Present, There};
use super::search::Search;
use super::wanted::Wanted;
use crate::tables::{ClassId, GeometryTables, PartId};

/// A desire that cannot be met on one GPU.
pub(super) struct Shortfall<'a> {
    pub(super) tables: &'a GeometryTables,
    pub(super) present: &'a Present<'a>,
    pub(super) wanted: &'a Wanted<'a>,
}

impl Shortfall<'_> {
    /// The refusal where not even the empty GPU can hold it.
    pub(super) fn too_much(&self, search: &Search<'_>) -> Impossible {
        Impossible::TooMuch { gpu: self.present.gpu.uuid.clone(), best: self.beside_held(search) }
    }

    /// The most of the desire that fits beside what is held; what is held and wanted counts.
    pub(super) fn beside_held(&self, search: &Search<'_>) -> Best {
        let there = &self.present.there;
        let held: Vec<usize> = (0..there.len()).filter(|index| there[*index].is_held()).collect();
        let mut left = Left::of(self.wanted);
        left.take(self, search, &held);
        let parts: Vec<PlacedProfile> = held.iter().map(|index| there[*index].part()).collect();
        self.most(left, parts)
    }

    /// The most of the desire that fits beside everything that is there.
    fn beside_all(&self) -> Best {
        let parts: Vec<PlacedProfile> = self.present.there.iter().map(There::part).collect();
        self.most(Left::of(self.wanted), parts)
    }

    fn most(&self, left: Left, fixed: Vec<PlacedProfile>) -> Best {
        let base = self.tables.class_of(fixed.iter().copied());
        let mut most = Most { of: self, left, stack: Vec::new(), best: None };
        if let Some(base) = base {
            let choices = most.left.choices(self.wanted);
            most.go(&choices, base, 0, 0);
        }
        let (added, left) = match most.best {
            Some((_, added, left)) => (added, left),
            None => (Vec::new(), most.left),
        };
        let added = added.into_iter().map(|part| self.tables.part(part));
        let mut target: Vec<PlacedProfile> = fixed.into_iter().chain(added).collect();
        target.sort_unstable();
        let missing = self.wanted.groups.iter().zip(&left.groups).map(|(group, left)| Missing {
            profile: group.profile,
            name: self.present.name(group.profile),
            count: left.free + left.pinned.len() as u32,
        });
        Best { target, missing: missing.filter(|missing| missing.count > 0).collect() }
    }

    /// Why what is wanted does not fit beside everything that is there, none of which may go.
    pub(super) fn no_room(&self) -> Impossible {
        let gpu = self.present.gpu.uuid.clone();
        let best = self.beside_all();
        match self.fewest_gone() {
            Some(gone) => {
                let in_the_way = gone.into_iter().map(|index| self.present.blocker(index));
                Impossible::NoRoom { gpu, in_the_way: in_the_way.collect(), best }
            }
            None => Impossible::TooMuch { gpu, best },
        }
    }

    /// The fewest without which it would fit; of equals those with the fewest held.
    fn fewest_gone(&self) -> Option<Vec<usize>> {
        let there = &self.present.there;
        let count = there.len().min(16);
        let held = (0..count).filter(|index| there[*index].is_held());
        let held = held.fold(0u32, |bits, index| bits | 1 << index);
        let mut sets: Vec<u32> = (1..1u32 << count).collect();
        sets.sort_by_key(|set| (set.count_ones(), (set & held).count_ones(), *set));
        let fits = |gone: &u32| {
            let stays = there.iter().enumerate().filter(|(index, _)| gone >> index & 1 == 0);
            let class = self.tables.class_of(stays.map(|(_, one)| one.part()));
            class.is_some_and(|class| {
                Search::among(self.tables, &[], self.wanted).best(class).is_some()
            })
        };
        let gone = sets.into_iter().find(fits)?;
        Some((0..count).filter(|index| gone >> index & 1 == 1).collect())
    }
}

/// What of a group is not placed yet.
#[derive(Debug, Clone)]
struct LeftOfGroup {
    free: u32,
    pinned: Vec<PartId>,
}

/// What is not placed yet, group by group.
#[derive(Debug, Clone)]
struct Left {
    groups: Vec<LeftOfGroup>,
}

impl Left {
    fn of(wanted: &Wanted<'_>) -> Self {
        let groups = wanted.groups.iter().map(|group| LeftOfGroup {
            free: group.free_count(),
            pinned: group.pinned.iter().map(|(part, _)| *part).collect(),
        });
        Self { groups: groups.collect() }
    }

    /// Takes away what is held and wanted as it is.
    fn take(&mut self, of: &Shortfall<'_>, search: &Search<'_>, held: &[usize]) {
        for (group, left) in of.wanted.groups.iter().zip(&mut self.groups) {
            let meets = |index: usize, kind: usize| {
                search.matching(index, kind).is_some_and(|found| !found.against)
            };
            let part = |index: usize| of.tables.part_id(of.present.there[index].part());
            let pin =
                |index: usize| group.pinned.iter().find(|(pinned, _)| part(index) == Some(*pinned));
            let of_group: Vec<usize> = held
                .iter()
                .copied()
                .filter(|index| of.present.there[*index].instance.profile == group.profile)
                .collect();
            let mut open = Vec::new();
            for index in of_group {
                match pin(index) {
                    Some((pinned, kind)) if meets(index, *kind) => {
                        left.pinned.retain(|part| part != pinned);
                    }
                    Some(_) => {}
                    None => open.push(index),
                }
            }
            left.free -= most_met(&open, &group.free, &meets);
        }
    }

    /// Every part that may be added, with its group.
    fn choices(&self, wanted: &Wanted<'_>) -> Vec<(usize, PartId)> {
        let groups = wanted.groups.iter().zip(&self.groups).enumerate();
        let choices = groups.flat_map(|(index, (group, left))| {
            let may = |part: &&PartId| {
                let pinned = group.pinned.iter().any(|(pinned, _)| pinned == *part);
                if pinned { left.pinned.contains(part) } else { left.free > 0 }
            };
            group.parts.iter().filter(may).map(move |part| (index, *part))
        });
        choices.collect()
    }
}

/// How many of `open` can be made into free kinds as they are, at most.
fn most_met(open: &[usize], free: &[(usize, u32)], meets: &impl Fn(usize, usize) -> bool) -> u32 {
    let Some((first, rest)) = open.split_first() else { return 0 };
    let mut most = most_met(rest, free, meets);
    for (position, (kind, count)) in free.iter().enumerate() {
        if *count > 0 && meets(*first, *kind) {
            let mut less = free.to_vec();
            less[position].1 -= 1;
            most = most.max(1 + most_met(rest, &less, meets));
        }
    }
    most
}

/// The search for the most that fits.
struct Most<'s, 'a> {
    of: &'s Shortfall<'a>,
    left: Left,
    stack: Vec<PartId>,
    best: Option<((u32, usize), Vec<PartId>, Left)>,
}

impl Most<'_, '_> {
    fn go(&mut self, choices: &[(usize, PartId)], class: ClassId, from: usize, units: u32) {
        let value = (units, self.stack.len());
        if self.best.as_ref().is_none_or(|(best, ..)| value > *best) {
            self.best = Some((value, self.stack.clone(), self.left.clone()));
        }
        for (index, (group, part)) in choices.iter().enumerate().skip(from) {
            let Some(next) = self.of.tables.after(class, *part) else { continue };
            let pinned = self.left.groups[*group].pinned.iter().position(|other| other == part);
            let left = &mut self.left.groups[*group];
            match pinned {
                Some(position) => {
                    left.pinned.remove(position);
                }
                None if left.free > 0 => left.free -= 1,
                None => continue,
            }
            self.stack.push(*part);
            let size = u32::from(self.of.tables.part(*part).placement.size.get());
            self.go(choices, next, index + 1, units + size);
            self.stack.pop();
            let left = &mut self.left.groups[*group];
            match pinned {
                Some(position) => left.pinned.insert(position, *part),
                None => left.free += 1,
            }
        }
    }
}
