//! What lies on a GPU now, and who holds it.
//!
//! Must never count as idle what a process is on or what records hold.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use model::{
    ComputeInstance, ComputeInstanceProfileId, Geometry, GpuInstance, GpuInstanceId,
    GpuInstanceProfileId, GpuProcess, GpuSnapshot, Health, PlacedProfile,
};

use super::Rules;
use super::compute::{Lying, PlacedCompute, compute_profile};
use super::impossible::{Impossible, Obstacle};
use super::report::{Held, Why};

/// A GPU instance that is there.
#[derive(Debug)]
pub(super) struct There<'a> {
    pub(super) instance: &'a GpuInstance,
    /// Who keeps it from being touched.
    pub(super) held: Held,
    /// Its compute instances, in the order of the snapshot.
    pub(super) lying: Vec<Lying>,
}

impl There<'_> {
    pub(super) const fn part(&self) -> PlacedProfile {
        PlacedProfile { placement: self.instance.placement, profile: self.instance.profile }
    }

    pub(super) const fn is_held(&self) -> bool {
        !self.held.is_nobody()
    }
}

/// A GPU as it is.
#[derive(Debug)]
pub(super) struct Present<'a> {
    pub(super) gpu: &'a GpuSnapshot,
    pub(super) rules: &'a Rules,
    /// Its GPU instances, ascending by id.
    pub(super) there: Vec<There<'a>>,
    /// Processes on the GPU as a whole that do not leave, ascending.
    pub(super) pids: Vec<u32>,
}

impl<'a> Present<'a> {
    pub(super) fn of(
        gpu: &'a GpuSnapshot,
        protected: &BTreeMap<GpuInstanceId, Why>,
        rules: &'a Rules,
    ) -> Result<Self, Impossible> {
        if gpu.health != Health::Ok {
            let (uuid, health) = (gpu.uuid.clone(), gpu.health.clone());
            return Err(Impossible::Unhealthy { gpu: uuid, health });
        }
        let there = |instance: &'a GpuInstance| {
            let by = protected.get(&instance.id).cloned();
            let lying = instance.compute_instances.iter().map(|compute| Lying {
                place: PlacedCompute { placement: compute.placement, profile: compute.profile },
                stays: by.is_some() || !staying(&compute.processes, rules).is_empty(),
            });
            let lying = lying.collect();
            let all = instance.compute_instances.iter().flat_map(|c| &c.processes);
            There { instance, held: Held { pids: staying(all, rules), by }, lying }
        };
        let mut there: Vec<There<'a>> = gpu.instances.iter().map(there).collect();
        there.sort_by_key(|one| one.instance.id);
        Ok(Self { gpu, rules, there, pids: staying(&gpu.processes, rules) })
    }

    pub(super) fn geometry(&self) -> Result<&'a Geometry, Impossible> {
        let missing = || Impossible::NoGeometry(self.gpu.uuid.clone());
        self.gpu.geometry.as_deref().ok_or_else(missing)
    }

    pub(super) fn find(&self, id: GpuInstanceId) -> Result<usize, Impossible> {
        let found = self.there.iter().position(|one| one.instance.id == id);
        let gpu = || self.gpu.uuid.clone();
        found.ok_or_else(|| Impossible::NoInstance { gpu: gpu(), instance: id })
    }

    /// One of those that are there as something in the way.
    pub(super) fn blocker(&self, index: usize) -> Obstacle {
        let one = &self.there[index];
        Obstacle {
            instance: Some(one.instance.id),
            name: self.name(one.instance.profile),
            placement: Some(one.instance.placement),
            held: one.held.clone(),
        }
    }

    /// The processes on the GPU as a whole as something in the way.
    pub(super) fn whole_blocker(&self) -> Option<Obstacle> {
        if self.pids.is_empty() {
            return None;
        }
        let held = Held { pids: self.pids.clone(), by: None };
        Some(Obstacle { instance: None, name: String::new(), placement: None, held })
    }

    /// Everything that is held, the GPU as a whole included.
    pub(super) fn all_held(&self) -> Vec<Obstacle> {
        let held = (0..self.there.len()).filter(|index| self.there[*index].is_held());
        held.map(|index| self.blocker(index)).chain(self.whole_blocker()).collect()
    }

    pub(super) fn name(&self, profile: GpuInstanceProfileId) -> String {
        let found = self.gpu.geometry.as_deref().and_then(|geometry| geometry.profile(profile));
        found.map_or_else(|| alloc::format!("profile {profile}"), |p| alloc::format!("{}", p.name))
    }

    /// The name of the MIG device of a compute instance.
    pub(super) fn compute_name(
        &self,
        profile: GpuInstanceProfileId,
        compute: ComputeInstanceProfileId,
    ) -> String {
        let geometry = self.gpu.geometry.as_deref();
        let profile = geometry.and_then(|geometry| geometry.profile(profile));
        let name = profile.and_then(|profile| {
            let compute = compute_profile(profile, compute)?;
            Some(alloc::format!("{}", profile.device_name(compute)))
        });
        name.unwrap_or_else(|| alloc::format!("profile {compute}"))
    }

    /// The processes on a compute instance, ascending.
    pub(super) fn pids(compute: &ComputeInstance) -> Vec<u32> {
        sorted(compute.processes.iter().map(|process| process.pid))
    }
}

fn staying<'p>(processes: impl IntoIterator<Item = &'p GpuProcess>, rules: &Rules) -> Vec<u32> {
    sorted(processes.into_iter().map(|p| p.pid).filter(|pid| !rules.leaving.contains(pid)))
}

fn sorted(pids: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut pids: Vec<u32> = pids.collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}
