//! Planning one GPU, by hand or by file: from what lies on it to what is desired, with the least
//! disruption, at the level of GPU instances and of the compute instances in them.
//!
//! The search is exhaustive, so its answer is the best there is. Must never take anything from a
//! process or from whoever holds an instance, and never leave a placement open.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use model::{
    ComputeInstanceId, DesiredCompute, DesiredGpu, DesiredInstance, GpuInstanceId, GpuSnapshot,
    MigMode, MigState, Plan, Purpose,
};

use self::compute::{Fit, Lying};
use self::mode::mode_steps;
use self::present::{Present, There};
use self::search::{Found, Search};
use self::shortfall::Shortfall;
use self::wanted::Wanted;
use self::write::{Coming, Decided};
use crate::room::Planner;
use crate::tables::{ClassId, GeometryTables, PartId};

mod compute;
mod impossible;
mod mode;
mod present;
mod report;
mod search;
mod shortfall;
mod wanted;
mod write;

pub use impossible::{Best, Impossible, Missing, Obstacle};
pub use report::{
    Calls, ComputeReport, Fate, GpuReport, Held, InstanceReport, ModeReport, Reset, Why,
};

/// What a plan may do beside instances, and what will be out of its way when it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Whether MIG mode may be changed.
    pub mode: bool,
    /// Whether the GPU may be reset where a mode comes into force with a reset only.
    pub reset: bool,
    /// Processes that will be gone before the first step: those of units that are stopped for it.
    pub leaving: BTreeSet<u32>,
}

impl Default for Rules {
    /// Everything is allowed, and nobody leaves.
    fn default() -> Self {
        Self { mode: true, reset: true, leaving: BTreeSet::new() }
    }
}

impl Planner {
    /// The plan that brings one GPU to what is desired. Of all legal layouts that meet it and leave
    /// alone what is busy or in `protected`, it is the one that destroys the fewest GPU instances,
    /// then the fewest compute instances in those that stay, then creates the fewest of each, and
    /// then leaves the most room for what may come.
    ///
    /// # Errors
    /// [`Impossible`], with what is in the way, who that is, and the best that can be met.
    pub fn plan_gpu(
        &self,
        gpu: &GpuSnapshot,
        protected: &BTreeMap<GpuInstanceId, Why>,
        desired: &DesiredGpu,
        rules: &Rules,
        purpose: Purpose,
    ) -> Result<(Plan, GpuReport), Impossible> {
        let present = Present::of(gpu, protected, rules)?;
        let decided = match desired {
            DesiredGpu::Whole => present.whole()?,
            DesiredGpu::Sliced => present.sliced()?,
            DesiredGpu::Exactly(instances) => self.exactly(&present, instances)?,
            DesiredGpu::Beside { instances, computes } => {
                self.beside(&present, instances, computes)?
            }
            DesiredGpu::Without { instances, computes } => present.without(instances, computes)?,
        };
        Ok(decided.write(&present, purpose))
    }

    /// The plan that leads back from what stands on a GPU now to what it was `before`: every
    /// instance at its place, and the mode that was in force. It also finishes what was begun, as a
    /// mode that is pending.
    ///
    /// # Errors
    /// As [`Self::plan_gpu`].
    pub fn plan_back(
        &self,
        now: &GpuSnapshot,
        before: &GpuSnapshot,
        protected: &BTreeMap<GpuInstanceId, Why>,
        rules: &Rules,
        purpose: Purpose,
    ) -> Result<(Plan, GpuReport), Impossible> {
        self.plan_gpu(now, protected, &DesiredGpu::as_it_is(before), rules, purpose)
    }

    fn exactly(
        &self,
        present: &Present<'_>,
        instances: &[DesiredInstance],
    ) -> Result<Decided, Impossible> {
        let mode = mode_steps(present.gpu, MigMode::Enabled, present.rules)?;
        if mode.changes() {
            present.refuse_held()?;
        }
        let tables = self.tables_of_gpu(present)?;
        let wanted = Wanted::of(present, &tables, instances)?;
        let shortfall = Shortfall { tables: &tables, present, wanted: &wanted };
        let Some((found, search)) = Search::new(&tables, present, &wanted).best(tables.empty())
        else {
            let search = Search::new(&tables, present, &wanted);
            return Err(shortfall.refusal(&search, Vec::new()));
        };
        let (decided, against) = decide(present, &tables, &wanted, &search, &found);
        if !against.is_empty() {
            let blockers = against.into_iter().map(|index| present.blocker(index)).collect();
            return Err(shortfall.refusal(&search, blockers));
        }
        present.refuse_first(&decided)?;
        Ok(Decided { mode, ..decided })
    }

    fn beside(
        &self,
        present: &Present<'_>,
        instances: &[DesiredInstance],
        computes: &[(GpuInstanceId, DesiredCompute)],
    ) -> Result<Decided, Impossible> {
        present.refuse_off()?;
        let mut decided = Decided::as_it_is(present);
        present.join(computes, &mut decided)?;
        if !instances.is_empty() {
            let tables = self.tables_of_gpu(present)?;
            let wanted = Wanted::of(present, &tables, instances)?;
            let base = present.class(&tables)?;
            let Some((found, search)) = Search::among(&tables, &[], &wanted).best(base) else {
                let shortfall = Shortfall { tables: &tables, present, wanted: &wanted };
                return Err(shortfall.no_room());
            };
            decided.coming = coming(&tables, &wanted, &search, &found);
        }
        present.refuse_first(&decided)?;
        Ok(decided)
    }

    fn tables_of_gpu(&self, present: &Present<'_>) -> Result<Arc<GeometryTables>, Impossible> {
        let missing = || Impossible::NoGeometry(present.gpu.uuid.clone());
        Ok(self.tables(present.gpu.geometry.as_ref().ok_or_else(missing)?))
    }
}

/// What becomes of everything in the layout that was found, and which of those that are held would
/// have to end for it.
fn decide(
    present: &Present<'_>,
    tables: &GeometryTables,
    wanted: &Wanted<'_>,
    search: &Search<'_>,
    found: &Found,
) -> (Decided, Vec<usize>) {
    let mut decided = Decided::cleared(present);
    let mut against = Vec::new();
    for (index, group) in wanted.groups.iter().enumerate() {
        for (there, kind) in search.assignment(group, index, &found.target).kept {
            let Some(found) = search.matching(there, kind) else { continue };
            decided.there[there] = Some(found.fit.clone());
            if found.against {
                against.push(there);
            }
        }
    }
    let gone = |index: &usize| decided.there[*index].is_none() && present.there[*index].is_held();
    against.extend((0..present.there.len()).filter(gone));
    against.sort_unstable();
    decided.coming = coming(tables, wanted, search, found);
    (decided, against)
}

/// The GPU instances that come, by placement.
fn coming(
    tables: &GeometryTables,
    wanted: &Wanted<'_>,
    search: &Search<'_>,
    found: &Found,
) -> Vec<Coming> {
    let groups = wanted.groups.iter().enumerate();
    let made =
        groups.flat_map(|(index, group)| search.assignment(group, index, &found.target).made);
    let mut made: Vec<(PartId, usize)> = made.collect();
    made.sort_unstable();
    let coming = made.into_iter().map(|(part, kind)| Coming {
        part: tables.part(part),
        computes: wanted.kinds[kind].fresh.made.clone(),
    });
    coming.collect()
}

impl Present<'_> {
    fn whole(&self) -> Result<Decided, Impossible> {
        if self.gpu.mig == MigState::Unsupported {
            return Ok(Decided::as_it_is(self));
        }
        let mode = mode_steps(self.gpu, MigMode::Disabled, self.rules)?;
        if mode.changes() {
            self.refuse_held()?;
        }
        Ok(Decided { mode, ..Decided::cleared(self) })
    }

    fn sliced(&self) -> Result<Decided, Impossible> {
        let mode = mode_steps(self.gpu, MigMode::Enabled, self.rules)?;
        if mode.changes() {
            self.refuse_held()?;
        }
        Ok(Decided { mode, ..Decided::as_it_is(self) })
    }

    fn without(
        &self,
        instances: &[GpuInstanceId],
        computes: &[(GpuInstanceId, ComputeInstanceId)],
    ) -> Result<Decided, Impossible> {
        self.refuse_off()?;
        let mut decided = Decided::as_it_is(self);
        let mut against = Vec::new();
        for (id, compute) in computes {
            let there = self.find(*id)?;
            let one = &self.there[there];
            let position = one.instance.compute_instances.iter().position(|c| c.id == *compute);
            let missing = || Impossible::NoCompute {
                gpu: self.gpu.uuid.clone(),
                instance: *id,
                compute: *compute,
            };
            let position = position.ok_or_else(missing)?;
            if one.lying[position].stays {
                against.push(there);
            }
            if let Some(fit) = &mut decided.there[there] {
                fit.kept[position] = false;
            }
        }
        for id in instances {
            let there = self.find(*id)?;
            decided.there[there] = None;
            if self.there[there].is_held() {
                against.push(there);
            }
        }
        against.sort_unstable();
        against.dedup();
        if against.is_empty() {
            return Ok(decided);
        }
        let blockers = against.into_iter().map(|index| self.blocker(index)).collect();
        Err(Impossible::Blocked { gpu: self.gpu.uuid.clone(), blockers, best: Best::default() })
    }

    /// Adds compute instances to GPU instances that are there.
    fn join(
        &self,
        computes: &[(GpuInstanceId, DesiredCompute)],
        decided: &mut Decided,
    ) -> Result<(), Impossible> {
        let mut joining: BTreeMap<usize, Vec<DesiredCompute>> = BTreeMap::new();
        for (id, compute) in computes {
            joining.entry(self.find(*id)?).or_default().push(*compute);
        }
        for (there, joining) in joining {
            decided.there[there] = Some(self.joined(there, &joining)?);
        }
        Ok(())
    }

    fn joined(&self, there: usize, joining: &[DesiredCompute]) -> Result<Fit, Impossible> {
        let one = &self.there[there];
        let gpu = || self.gpu.uuid.clone();
        // Whoever has a whole GPU instance shares it with nobody.
        if one.held.by.is_some() {
            let blockers = alloc::vec![self.blocker(there)];
            return Err(Impossible::Blocked { gpu: gpu(), blockers, best: Best::default() });
        }
        let unknown = || Impossible::Unknown { gpu: gpu(), profile: one.instance.profile };
        let profile = self.geometry()?.profile(one.instance.profile).ok_or_else(unknown)?;
        let joining = wanted::normal(self, profile, joining)?;
        let lying: Vec<Lying> = one.lying.iter().map(|l| Lying { stays: true, ..*l }).collect();
        let there = lying.iter().map(|lying| DesiredCompute {
            profile: lying.place.profile,
            placement: Some(lying.place.placement),
        });
        let all: Vec<DesiredCompute> = there.chain(joining.iter().copied()).collect();
        compute::fit(profile, &lying, &all).ok_or_else(|| Impossible::NoComputeRoom {
            gpu: gpu(),
            instance: one.instance.id,
            name: alloc::format!("{}", profile.name),
            computes: wanted::names(self, profile, &joining),
        })
    }

    /// The class of everything that is there.
    fn class(&self, tables: &GeometryTables) -> Result<ClassId, Impossible> {
        let mut class = tables.empty();
        for one in &self.there {
            let illegal = || Impossible::Illegal {
                gpu: self.gpu.uuid.clone(),
                name: self.name(one.instance.profile),
                placement: one.instance.placement,
            };
            class = tables.extend(class, [one.part()]).ok_or_else(illegal)?;
        }
        Ok(class)
    }

    /// By hand, beside or without: MIG mode is not changed for it.
    fn refuse_off(&self) -> Result<(), Impossible> {
        match self.gpu.mig {
            MigState::Unsupported => Err(Impossible::NoMig(self.gpu.uuid.clone())),
            MigState::Supported { .. } if self.gpu.mig.is_enabled() => Ok(()),
            MigState::Supported { .. } => Err(Impossible::ModeOff(self.gpu.uuid.clone())),
        }
    }

    /// Before a change of the mode in force, nothing may be held.
    fn refuse_held(&self) -> Result<(), Impossible> {
        let blockers = self.all_held();
        if blockers.is_empty() {
            return Ok(());
        }
        Err(Impossible::Blocked { gpu: self.gpu.uuid.clone(), blockers, best: Best::default() })
    }

    /// The driver refuses the first GPU instance while anybody uses the GPU as a whole.
    fn refuse_first(&self, decided: &Decided) -> Result<(), Impossible> {
        let first = decided.there.iter().all(Option::is_none) && !decided.coming.is_empty();
        match self.whole_blocker().filter(|_| first) {
            Some(blocker) => Err(Impossible::Blocked {
                gpu: self.gpu.uuid.clone(),
                blockers: alloc::vec![blocker],
                best: Best::default(),
            }),
            None => Ok(()),
        }
    }
}
