//! What needs no search: the whole GPU, MIG mode alone, and changes by hand.
//!
//! Must never touch an instance that was not named.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use model::{ComputeInstanceId, DesiredCompute, GpuInstanceId, MigMode, MigState};

use super::compute::{self, Fit, Lying};
use super::impossible::{Best, Impossible, Obstacle};
use super::mode::mode_steps;
use super::present::Present;
use super::wanted;
use super::write::{Decided, Settled};
use crate::tables::{ClassId, GeometryTables};

impl Present<'_> {
    pub(super) fn whole(&self) -> Result<Settled, Impossible> {
        if self.gpu.mig == MigState::Unsupported {
            return Ok(Settled::Free(Decided::as_it_is(self)));
        }
        let mode = mode_steps(self.gpu, MigMode::Disabled, self.rules)?;
        let against = self.all_held();
        if !mode.changes() || against.is_empty() {
            return Ok(Settled::Free(Decided { mode, ..Decided::cleared(self) }));
        }
        let mut now = Decided::as_it_is(self);
        for (one, fit) in self.there.iter().zip(&mut now.there) {
            if !one.is_held() {
                *fit = None;
                now.mode.first.clone_from(&mode.first);
            }
        }
        Ok(Settled::blocked(now, against))
    }

    pub(super) fn sliced(&self) -> Result<Settled, Impossible> {
        let mode = mode_steps(self.gpu, MigMode::Enabled, self.rules)?;
        let against = self.all_held();
        let decided = Decided::as_it_is(self);
        if mode.changes() && !against.is_empty() {
            return Ok(Settled::blocked(decided, against));
        }
        Ok(Settled::Free(Decided { mode, ..decided }))
    }

    pub(super) fn without(
        &self,
        instances: &[GpuInstanceId],
        computes: &[(GpuInstanceId, ComputeInstanceId)],
    ) -> Result<Settled, Impossible> {
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
            } else if let Some(fit) = &mut decided.there[there] {
                fit.kept[position] = false;
            }
        }
        for id in instances {
            let there = self.find(*id)?;
            if self.there[there].is_held() {
                against.push(there);
            } else {
                decided.there[there] = None;
            }
        }
        against.sort_unstable();
        against.dedup();
        if against.is_empty() {
            return Ok(Settled::Free(decided));
        }
        let against = against.into_iter().map(|index| self.blocker(index)).collect();
        Ok(Settled::blocked(decided, against))
    }

    /// Adds compute instances to GPU instances that are there.
    pub(super) fn join(
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
            return Err(self.blocked_by(self.blocker(there)));
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
    pub(super) fn class(&self, tables: &GeometryTables) -> Result<ClassId, Impossible> {
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
    pub(super) fn refuse_off(&self) -> Result<(), Impossible> {
        match self.gpu.mig {
            MigState::Unsupported => Err(Impossible::NoMig(self.gpu.uuid.clone())),
            MigState::Supported { .. } if self.gpu.mig.is_enabled() => Ok(()),
            MigState::Supported { .. } => Err(Impossible::ModeOff(self.gpu.uuid.clone())),
        }
    }

    /// The driver refuses the first GPU instance while anybody uses the GPU as a whole.
    fn in_the_way_of_the_first(&self, decided: &Decided) -> Option<Obstacle> {
        let first = decided.there.iter().all(Option::is_none) && !decided.coming.is_empty();
        self.whole_blocker().filter(|_| first)
    }

    pub(super) fn refuse_first(&self, decided: &Decided) -> Result<(), Impossible> {
        match self.in_the_way_of_the_first(decided) {
            Some(obstacle) => Err(self.blocked_by(obstacle)),
            None => Ok(()),
        }
    }

    /// The same for whoever can wait: what must go goes.
    pub(super) fn after_the_first(&self, decided: Decided) -> Settled {
        match self.in_the_way_of_the_first(&decided) {
            Some(obstacle) => {
                let now = Decided { coming: Vec::new(), ..decided };
                Settled::blocked(now, alloc::vec![obstacle])
            }
            None => Settled::Free(decided),
        }
    }

    fn blocked_by(&self, obstacle: Obstacle) -> Impossible {
        Impossible::Blocked {
            gpu: self.gpu.uuid.clone(),
            blockers: alloc::vec![obstacle],
            best: Best::default(),
        }
    }
}
