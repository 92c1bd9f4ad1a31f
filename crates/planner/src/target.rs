//! Planning a whole GPU: from what lies on it to what is desired, with the least disruption.
//!
//! The search is exhaustive, so its answer is the best there is. Must never destroy an instance
//! that is busy or protected.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use model::{
    Geometry, GpuInstance, GpuInstanceId, GpuInstanceProfileId, GpuSnapshot, GpuUuid,
    PlacedProfile, Plan, Purpose, Step,
};

use crate::room::Planner;
use crate::steps::{self, PlanError};
use crate::tables::{ClassId, GeometryTables};

mod search;
mod shortfall;

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
}
