//! Planning a whole GPU: from what lies on it to what is desired, with the least disruption.
//!
//! The search is exhaustive, so its answer is the best there is. Must never destroy an instance
//! that is busy or protected.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Reverse;

use model::{
    Geometry, GpuInstance, GpuInstanceId, GpuInstanceProfileId, GpuSnapshot, GpuUuid,
    PlacedProfile, Plan, Purpose, Step,
};

use crate::room::Planner;
use crate::steps::{self, PlanError};
use crate::tables::{ClassId, GeometryTables, PartId};

/// What a GPU shall hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Desired {
    /// Exactly so many instances of each profile and no others, wherever they lie.
    Counts(BTreeMap<GpuInstanceProfileId, u32>),
    /// Exactly these instances.
    Exact(BTreeSet<PlacedProfile>),
    /// Room for so many more instances of one profile beside what stays; nothing is created.
    Room {
        /// The profile there shall be room for.
        profile: GpuInstanceProfileId,
        /// For how many at once.
        count: u32,
    },
}

/// What a plan does to a GPU.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// What lies on the GPU afterwards, sorted.
    pub target: Vec<PlacedProfile>,
    /// Instances that stay, ascending.
    pub kept: Vec<GpuInstanceId>,
    /// Those of them that could not have been destroyed: busy or protected.
    pub untouchable: Vec<GpuInstanceId>,
    /// Instances that go, ascending.
    pub destroyed: Vec<GpuInstanceId>,
    /// Instances that are made, sorted.
    pub created: Vec<PlacedProfile>,
}

/// Why a desire cannot be met.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Impossible {
    /// A step cannot be written down.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// MIG mode is not in force.
    #[error("MIG mode is not in force on {0}")]
    ModeOff(GpuUuid),
    /// A placed profile of the desire is not legal on this board.
    #[error("profile {} may not lie at {} on {gpu}", part.profile, part.placement)]
    IllegalPart {
        /// On which GPU.
        gpu: GpuUuid,
        /// The part.
        part: PlacedProfile,
    },
    /// Not even the empty GPU can hold it.
    #[error("{gpu} cannot hold that even when it is empty")]
    TooMuch {
        /// On which GPU.
        gpu: GpuUuid,
        /// The best that can be met beside what is busy or protected.
        best: Best,
    },
    /// Busy or protected instances are in the way.
    #[error("{}", blocked_sentence(gpu, blockers))]
    Blocked {
        /// On which GPU.
        gpu: GpuUuid,
        /// The smallest set of instances whose end would make it possible, ascending.
        blockers: Vec<GpuInstanceId>,
        /// The best that can be met beside them.
        best: Best,
    },
}

/// The most of a desire that can be met: the most grid units, then the most instances.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Best {
    /// What would lie on the GPU, what cannot go included; sorted.
    pub target: Vec<PlacedProfile>,
    /// What of the desire would be missing.
    pub missing: BTreeMap<GpuInstanceProfileId, u32>,
}

fn blocked_sentence(gpu: &GpuUuid, blockers: &[GpuInstanceId]) -> String {
    let ids: Vec<String> = blockers.iter().map(|id| alloc::format!("{id}")).collect();
    alloc::format!("GPU instance {} on {gpu} is in use and in the way", ids.join(", "))
}

/// What lies on a GPU, sorted out.
struct Present<'a> {
    gpu: &'a GpuSnapshot,
    tables: &'a GeometryTables,
    /// Busy or protected, sorted by part.
    fixed: Vec<(PlacedProfile, &'a GpuInstance)>,
    /// Everything else, sorted by part.
    idle: Vec<(PlacedProfile, &'a GpuInstance)>,
    /// The class of the fixed ones.
    class: ClassId,
}

/// A whole layout that was found, as good as [`Found::order`] says; less is better.
struct Found {
    target: Vec<PlacedProfile>,
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

impl Planner {
    /// The plan that brings one GPU to what is desired: of all legal layouts that meet it and keep
    /// whatever is busy or in `protected`, the one that destroys the fewest instances, creates the
    /// fewest and leaves the most room for what may come.
    ///
    /// # Errors
    /// [`Impossible`], with what blocks and the best that can be met.
    pub fn plan_target(
        &self,
        gpu: &GpuSnapshot,
        protected: &BTreeSet<GpuInstanceId>,
        desired: &Desired,
        purpose: Purpose,
    ) -> Result<(Plan, Report), Impossible> {
        let Some(geometry) = &gpu.geometry else {
            return Err(PlanError::NoGeometry(gpu.uuid.clone()).into());
        };
        if !gpu.mig.is_enabled() {
            return Err(Impossible::ModeOff(gpu.uuid.clone()));
        }
        let tables = self.tables(geometry);
        let present = Present::of(gpu, &tables, protected)?;
        present.refuse_unknown(desired)?;
        match present.search(present.class, desired) {
            Some(found) => present.write(geometry, &found.target, purpose),
            None => Err(present.impossible(desired)),
        }
    }
}

impl<'a> Present<'a> {
    fn of(
        gpu: &'a GpuSnapshot,
        tables: &'a GeometryTables,
        protected: &BTreeSet<GpuInstanceId>,
    ) -> Result<Self, Impossible> {
        let part = |i: &GpuInstance| PlacedProfile { placement: i.placement, profile: i.profile };
        let mut all: Vec<(PlacedProfile, &GpuInstance)> =
            gpu.instances.iter().map(|instance| (part(instance), instance)).collect();
        all.sort_unstable_by_key(|(part, _)| *part);
        let (fixed, idle): (Vec<_>, Vec<_>) = all
            .into_iter()
            .partition(|(_, instance)| instance.is_busy() || protected.contains(&instance.id));
        let mut class = tables.empty();
        for (part, _) in &fixed {
            let illegal = || Impossible::IllegalPart { gpu: gpu.uuid.clone(), part: *part };
            class = tables.extend(class, [*part]).ok_or_else(illegal)?;
        }
        Ok(Self { gpu, tables, fixed, idle, class })
    }

    /// Refuses what the board does not know at all, so that later refusals are about room.
    fn refuse_unknown(&self, desired: &Desired) -> Result<(), Impossible> {
        let known = |profile: GpuInstanceProfileId| {
            let error = PlanError::UnknownProfile { gpu: self.gpu.uuid.clone(), profile };
            let found = self.tables.geometry().profile(profile);
            found.map_or(Err(Impossible::Plan(error)), |_| Ok(()))
        };
        match desired {
            Desired::Counts(counts) => counts.keys().try_for_each(|profile| known(*profile)),
            Desired::Room { profile, .. } => known(*profile),
            Desired::Exact(parts) => parts.iter().try_for_each(|part| {
                let gpu = self.gpu.uuid.clone();
                let illegal = Impossible::IllegalPart { gpu, part: *part };
                self.tables.part_id(*part).map_or(Err(illegal), |_| Ok(()))
            }),
        }
    }

    /// The best layout that meets `desired` with `fixed` (of class `base`) in it.
    fn search(&self, base: ClassId, desired: &Desired) -> Option<Found> {
        self.search_with(base, &self.fixed_parts(), desired)
    }

    fn fixed_parts(&self) -> Vec<PlacedProfile> {
        self.fixed.iter().map(|(part, _)| *part).collect()
    }

    fn search_with(
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

    fn found(&self, class: ClassId, mut target: Vec<PlacedProfile>) -> Found {
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

    /// Writes the plan that leads from what is there to `target`.
    fn write(
        &self,
        geometry: &Geometry,
        target: &[PlacedProfile],
        purpose: Purpose,
    ) -> Result<(Plan, Report), Impossible> {
        let mut report = Report { target: target.to_vec(), ..Report::default() };
        let (mut steps, mut whole) = (Vec::new(), Vec::<Step>::new());
        for (_, instance) in &self.fixed {
            report.kept.push(instance.id);
            report.untouchable.push(instance.id);
        }
        for (part, instance) in &self.idle {
            if target.contains(part) {
                report.kept.push(instance.id);
                if instance.compute_instances.is_empty() {
                    whole.push(steps::whole_compute(self.gpu, geometry, *part)?);
                }
            } else {
                report.destroyed.push(instance.id);
                steps::destroy(self.gpu, instance, &mut steps)?;
            }
        }
        steps.extend(whole);
        let there = |part: &PlacedProfile| {
            self.fixed.iter().chain(&self.idle).any(|(other, _)| other == part)
        };
        for part in target.iter().filter(|part| !there(part)) {
            report.created.push(*part);
            steps::create(self.gpu, geometry, *part, &mut steps)?;
        }
        report.kept.sort_unstable();
        report.untouchable.sort_unstable();
        report.destroyed.sort_unstable();
        Ok((Plan { purpose, steps }, report))
    }

    fn impossible(&self, desired: &Desired) -> Impossible {
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
