//! Why a desire cannot be met, and how much of it can.
//!
//! Must never suggest the end of more instances than it takes.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use model::{GpuInstanceId, GpuInstanceProfileId, PlacedProfile};

use super::{Best, Desired, Impossible, Present};
use crate::tables::{ClassId, GeometryTables, PartId};

impl Present<'_> {
    pub(super) fn impossible(&self, desired: &Desired) -> Impossible {
        let gpu = self.gpu.uuid.clone();
        let best = self.best(desired);
        match self.blockers(desired) {
            Some(blockers) => Impossible::Blocked { gpu, blockers, best },
            None => Impossible::TooMuch { gpu, best },
        }
    }

    /// The smallest set of fixed instances without which the desire can be met. They may be part
    /// of the target all the same: without them means that they may be destroyed.
    fn blockers(&self, desired: &Desired) -> Option<Vec<GpuInstanceId>> {
        let count = self.fixed.len().min(16);
        let mut sets: Vec<u32> = (1..1u32 << count).collect();
        sets.sort_by_key(|set| (set.count_ones(), *set));
        let gone = sets.into_iter().find(|gone| {
            let stays = self.fixed.iter().enumerate().filter(|(i, _)| gone >> i & 1 == 0);
            let stays: Vec<PlacedProfile> = stays.map(|(_, (part, _))| *part).collect();
            let class = self.tables.class_of(stays.iter().copied());
            class.is_some_and(|class| self.search_with(class, &stays, desired).is_some())
        })?;
        let ids = self.fixed.iter().enumerate().filter(|(i, _)| gone >> i & 1 == 1);
        let mut ids: Vec<GpuInstanceId> = ids.map(|(_, (_, instance))| instance.id).collect();
        ids.sort_unstable();
        Some(ids)
    }

    /// The most of the desire that fits beside what is fixed.
    fn best(&self, desired: &Desired) -> Best {
        let mut missing = match desired {
            Desired::Counts(counts) => counts.clone(),
            Desired::Room { profile, count } => BTreeMap::from([(*profile, *count)]),
            Desired::Exact(parts) => parts.iter().fold(BTreeMap::new(), |mut counts, part| {
                *counts.entry(part.profile).or_insert(0) += 1;
                counts
            }),
        };
        let fixed = self.fixed_parts();
        for part in &fixed {
            let asked = match desired {
                Desired::Counts(_) => true,
                Desired::Exact(parts) => parts.contains(part),
                Desired::Room { .. } => false,
            };
            if let Some(count) = missing.get_mut(&part.profile).filter(|_| asked) {
                *count = count.saturating_sub(1);
            }
        }
        let added = self.most(desired, &missing);
        for part in &added {
            if let Some(count) = missing.get_mut(&part.profile) {
                *count = count.saturating_sub(1);
            }
        }
        missing.retain(|_, count| *count > 0);
        let stays: Vec<PlacedProfile> =
            if matches!(desired, Desired::Room { .. }) { fixed } else { [fixed, added].concat() };
        Best { target: self.found(self.class, stays).target, missing }
    }

    /// The parts that can be added to what is fixed: the most units of what is missing, then the
    /// most instances.
    fn most(
        &self,
        desired: &Desired,
        missing: &BTreeMap<GpuInstanceProfileId, u32>,
    ) -> Vec<PlacedProfile> {
        let may = |part: &PlacedProfile| match desired {
            Desired::Exact(parts) => parts.contains(part),
            Desired::Counts(_) | Desired::Room { .. } => true,
        };
        let ids: Vec<PartId> = missing
            .keys()
            .flat_map(|profile| self.tables.parts_of(*profile))
            .filter(|id| may(&self.tables.part(*id)))
            .collect();
        let mut search =
            Most { tables: self.tables, ids, left: missing.clone(), stack: Vec::new(), best: None };
        search.go(self.class, 0, 0);
        search.best.map(|(_, parts)| parts).unwrap_or_default()
    }
}

/// The search for the most that fits.
struct Most<'a> {
    tables: &'a GeometryTables,
    ids: Vec<PartId>,
    left: BTreeMap<GpuInstanceProfileId, u32>,
    stack: Vec<PlacedProfile>,
    best: Option<((u32, usize), Vec<PlacedProfile>)>,
}

impl Most<'_> {
    fn go(&mut self, class: ClassId, from: usize, units: u32) {
        let value = (units, self.stack.len());
        if self.best.as_ref().is_none_or(|(best, _)| value > *best) {
            self.best = Some((value, self.stack.clone()));
        }
        for index in from..self.ids.len() {
            let id = self.ids[index];
            let part = self.tables.part(id);
            let Some(next) = self.tables.after(class, id) else { continue };
            let left = self.left.get(&part.profile).copied().unwrap_or(0);
            if left == 0 {
                continue;
            }
            self.left.insert(part.profile, left - 1);
            self.stack.push(part);
            self.go(next, index + 1, units + u32::from(part.placement.size.get()));
            self.stack.pop();
            self.left.insert(part.profile, left);
        }
    }
}
