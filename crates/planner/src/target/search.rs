//! The search for the best layout that meets a desire.
//!
//! Exhaustive over the placements of what is missing. Must never give up before the end.

use alloc::vec::Vec;
use core::cmp::Reverse;

use model::{GpuInstanceProfileId, PlacedProfile};

use super::{Desired, Present};
use crate::tables::{ClassId, GeometryTables, PartId};

/// A whole layout that was found, as good as [`Found::order`] says; less is better.
pub(super) struct Found {
    pub(super) target: Vec<PlacedProfile>,
    class: ClassId,
    kept: usize,
}

impl Found {
    /// For targets that meet the desire: fewest destroyed is most kept, and with the number of
    /// instances given by the desire that is fewest created too.
    fn order(&self, tables: &GeometryTables) -> (Reverse<usize>, Reverse<u32>, &[PlacedProfile]) {
        (Reverse(self.kept), Reverse(tables.worth(self.class)), &self.target)
    }
}

impl Present<'_> {
    /// The best layout that meets `desired` with `fixed` (of class `base`) in it.
    pub(super) fn search(&self, base: ClassId, desired: &Desired) -> Option<Found> {
        self.search_with(base, &self.fixed_parts(), desired)
    }

    pub(super) fn fixed_parts(&self) -> Vec<PlacedProfile> {
        self.fixed.iter().map(|(part, _)| *part).collect()
    }

    pub(super) fn search_with(
        &self,
        base: ClassId,
        fixed: &[PlacedProfile],
        desired: &Desired,
    ) -> Option<Found> {
        match desired {
            Desired::Counts(counts) => {
                let mut left = counts.clone();
                for part in fixed {
                    let count = left.get_mut(&part.profile).filter(|count| **count > 0)?;
                    *count -= 1;
                }
                let wanted: Vec<(GpuInstanceProfileId, u32)> = left.into_iter().collect();
                let mut best = None;
                let mut stack = fixed.to_vec();
                self.place(base, &wanted, 0, &mut stack, &mut best);
                best
            }
            Desired::Exact(parts) => {
                if !fixed.iter().all(|part| parts.contains(part)) {
                    return None;
                }
                let rest = parts.iter().filter(|part| !fixed.contains(part)).copied();
                let class = self.tables.extend(base, rest)?;
                Some(self.found(class, parts.iter().copied().collect()))
            }
            Desired::Room { profile, count } => self.make_room(base, fixed, *profile, *count),
        }
    }

    pub(super) fn found(&self, class: ClassId, mut target: Vec<PlacedProfile>) -> Found {
        target.sort_unstable();
        let kept = self.idle.iter().filter(|(part, _)| target.binary_search(part).is_ok()).count();
        Found { target, class, kept }
    }

    fn keep_better(&self, best: &mut Option<Found>, found: Found) {
        let better =
            best.as_ref().is_none_or(|best| found.order(self.tables) < best.order(self.tables));
        if better {
            *best = Some(found);
        }
    }

    /// Places what is wanted in every legal way, profile by profile, each set of places once.
    fn place(
        &self,
        class: ClassId,
        wanted: &[(GpuInstanceProfileId, u32)],
        from: usize,
        stack: &mut Vec<PlacedProfile>,
        best: &mut Option<Found>,
    ) {
        let Some(((profile, count), rest)) = wanted.split_first() else {
            return self.keep_better(best, self.found(class, stack.clone()));
        };
        if *count == 0 {
            return self.place(class, rest, 0, stack, best);
        }
        if self.tables.capacity(class, *profile) < *count {
            return;
        }
        let ids: Vec<PartId> = self.tables.parts_of(*profile).collect();
        for (index, id) in ids.iter().enumerate().skip(from) {
            let Some(next) = self.tables.after(class, *id) else { continue };
            stack.push(self.tables.part(*id));
            let mut remaining = alloc::vec![(*profile, *count - 1)];
            remaining.extend_from_slice(rest);
            self.place(next, &remaining, index + 1, stack, best);
            stack.pop();
        }
    }

    /// Keeps as many idle instances as leave room for `count` of `profile`.
    fn make_room(
        &self,
        base: ClassId,
        fixed: &[PlacedProfile],
        profile: GpuInstanceProfileId,
        count: u32,
    ) -> Option<Found> {
        let mut best = None;
        for keep in 0..1u32 << self.idle.len().min(16) {
            let kept = self.idle.iter().enumerate().filter(|(i, _)| keep >> i & 1 == 1);
            let kept: Vec<PlacedProfile> = kept.map(|(_, (part, _))| *part).collect();
            let Some(class) = self.tables.extend(base, kept.iter().copied()) else { continue };
            if self.tables.capacity(class, profile) >= count {
                let target = fixed.iter().copied().chain(kept).collect();
                self.keep_better(&mut best, self.found(class, target));
            }
        }
        best
    }
}
