//! One GPU while a plan is executed on it symbolically: the driver's rules, one method per step.
//!
//! Must never accept what the driver would refuse, nor what would take something from somebody.

use alloc::sync::Arc;
use alloc::vec::Vec;

use model::{
    ComputeInstanceId, ComputeInstanceProfile, ComputeInstanceProfileId, Geometry, GpuInstanceId,
    GpuInstanceProfileId, GpuSnapshot, Health, Layout, MigMode, MigState, PlacedProfile, Placement,
};

use crate::proof::{ExpectedCompute, ExpectedGpu, ExpectedInstance};
use crate::violation::Breach;

/// The compute capability, major number, from which on MIG mode changes without a reset: Hopper's.
/// Where the driver does not tell the capability, a reset is taken to be needed.
const RESETLESS_FROM: u32 = 9;

/// A compute instance at a moment of the execution.
struct Compute {
    expected: ExpectedCompute,
    /// A process on it; the snapshot's, since a plan starts none.
    pid: Option<u32>,
}

/// A GPU instance at a moment of the execution.
struct Instance {
    placement: Placement,
    profile: GpuInstanceProfileId,
    id: Option<GpuInstanceId>,
    compute: Vec<Compute>,
}

/// A GPU at a moment of the execution.
pub(crate) struct Board {
    mig: MigState,
    /// Whether a mode comes into force at once on this architecture.
    resetless: bool,
    /// Whether a mode was set that is in force for certain only after a reset.
    unsettled: bool,
    healthy: bool,
    pid: Option<u32>,
    geometry: Option<Arc<Geometry>>,
    instances: Vec<Instance>,
}

/// A compute instance as a step names it.
#[derive(Clone, Copy)]
pub(crate) struct NamedCompute {
    pub(crate) gpu_instance: GpuInstanceId,
    pub(crate) at: Placement,
    pub(crate) id: ComputeInstanceId,
    pub(crate) profile: ComputeInstanceProfileId,
    pub(crate) placement: Placement,
}

impl Board {
    pub(crate) fn new(gpu: &GpuSnapshot) -> Self {
        let compute = |c: &model::ComputeInstance| Compute {
            expected: ExpectedCompute {
                placement: c.placement,
                profile: c.profile,
                id: Some(c.id),
            },
            pid: c.processes.first().map(|process| process.pid),
        };
        let instances = gpu.instances.iter().map(|instance| Instance {
            placement: instance.placement,
            profile: instance.profile,
            id: Some(instance.id),
            compute: instance.compute_instances.iter().map(compute).collect(),
        });
        Self {
            mig: gpu.mig,
            resetless: gpu.compute_capability.is_some_and(|(major, _)| major >= RESETLESS_FROM),
            unsettled: false,
            healthy: gpu.health == Health::Ok,
            pid: gpu.processes.first().map(|process| process.pid),
            geometry: gpu.geometry.clone(),
            instances: instances.collect(),
        }
    }

    /// A reset is what heals a GPU, so it alone is allowed on one that asks for it.
    pub(crate) const fn healthy(&self) -> Result<(), Breach> {
        if self.healthy { Ok(()) } else { Err(Breach::Unhealthy) }
    }

    /// Nothing lies or runs on the GPU (the driver refuses mode changes and resets otherwise).
    fn idle(&self) -> Result<(), Breach> {
        if !self.instances.is_empty() {
            return Err(Breach::HasInstances(self.instances.len()));
        }
        self.pid.map_or(Ok(()), |pid| Err(Breach::HasProcesses { pid }))
    }

    /// The GPU is whole, well and nobody's.
    pub(crate) fn whole(&self) -> Result<(), Breach> {
        self.healthy()?;
        self.idle()?;
        match self.mig {
            MigState::Unsupported
            | MigState::Supported { current: MigMode::Disabled, pending: MigMode::Disabled } => {
                Ok(())
            }
            MigState::Supported { .. } if self.mig.needs_reset() => Err(Breach::ModePending),
            MigState::Supported { .. } => Err(Breach::ModeOn),
        }
    }

    /// Whether a step only takes back a wish for another mode, which disturbs nobody.
    pub(crate) fn takes_back(&self, wish: MigMode) -> bool {
        matches!(self.mig, MigState::Supported { current, .. } if current == wish)
            && !self.unsettled
    }

    /// Where an architecture needs a reset for it, an idle GPU may still change at once. So the mode
    /// is what must be read back in the end, an executor that finds it pending stops there, and
    /// nothing that needs the mode is proven before the reset.
    pub(crate) fn set_mode(&mut self, mode: MigMode) -> Result<(), Breach> {
        if self.mig == MigState::Unsupported {
            return Err(Breach::NoMig);
        }
        if !self.takes_back(mode) {
            self.idle()?;
            self.unsettled = !self.resetless;
        }
        self.mig = MigState::Supported { current: mode, pending: mode };
        Ok(())
    }

    pub(crate) fn reset(&mut self) -> Result<(), Breach> {
        self.idle()?;
        if self.healthy && !self.unsettled && !self.mig.needs_reset() {
            return Err(Breach::NeedlessReset);
        }
        if let MigState::Supported { pending, .. } = self.mig {
            self.mig = MigState::Supported { current: pending, pending };
        }
        self.unsettled = false;
        Ok(())
    }

    fn enabled(&self) -> Result<(), Breach> {
        match self.mig {
            MigState::Unsupported => Err(Breach::NoMig),
            MigState::Supported { .. } if self.mig.needs_reset() => Err(Breach::ModePending),
            MigState::Supported { .. } if !self.mig.is_enabled() => Err(Breach::ModeOff),
            MigState::Supported { .. } if self.unsettled => Err(Breach::ModePending),
            MigState::Supported { .. } => Ok(()),
        }
    }

    /// The id of the GPU instance that lies there, if it was there before the plan.
    pub(crate) fn instance_at(&self, at: Placement) -> Option<GpuInstanceId> {
        self.instances.iter().find(|instance| instance.placement == at).and_then(|i| i.id)
    }

    pub(crate) fn create_instance(
        &mut self,
        profile: GpuInstanceProfileId,
        placement: Placement,
    ) -> Result<(), Breach> {
        self.enabled()?;
        let geometry = self.geometry.as_ref().ok_or(Breach::NoMig)?;
        // The driver refuses the first GPU instance while anybody uses the GPU as a whole.
        if self.instances.is_empty()
            && let Some(pid) = self.pid
        {
            return Err(Breach::HasProcesses { pid });
        }
        let there = self
            .instances
            .iter()
            .map(|i| PlacedProfile { placement: i.placement, profile: i.profile });
        let layout = Layout::new(geometry, there).map_err(Breach::Illegal)?;
        layout.admits(geometry, PlacedProfile { placement, profile }).map_err(Breach::Illegal)?;
        self.instances.push(Instance { placement, profile, id: None, compute: Vec::new() });
        Ok(())
    }

    pub(crate) fn create_compute(
        &mut self,
        at: Placement,
        profile: ComputeInstanceProfileId,
        placement: Placement,
    ) -> Result<(), Breach> {
        self.enabled()?;
        let geometry = self.geometry.as_ref().ok_or(Breach::NoMig)?;
        let instance = self.instances.iter_mut().find(|instance| instance.placement == at);
        let instance = instance.ok_or(Breach::NoInstanceAt(at))?;
        let unknown = Breach::UnknownCompute { profile: instance.profile, compute: profile };
        let parent = geometry.profile(instance.profile).ok_or_else(|| unknown.clone())?;
        let found = parent.compute_profiles.iter().find(|compute| compute.id == profile);
        let found = found.ok_or(unknown)?;
        instance.admits(found, parent.name.slices, placement)?;
        let expected = ExpectedCompute { placement, profile, id: None };
        instance.compute.push(Compute { expected, pid: None });
        Ok(())
    }

    pub(crate) fn destroy_compute(&mut self, named: NamedCompute) -> Result<(), Breach> {
        self.enabled()?;
        let instance = self.named(named.gpu_instance, None, named.at)?;
        let position = instance.compute.iter().position(|c| c.expected.id == Some(named.id));
        let position = position.ok_or(Breach::NoCompute(named.gpu_instance, named.id))?;
        let compute = &instance.compute[position];
        let (profile, placement) = (compute.expected.profile, compute.expected.placement);
        if (profile, placement) != (named.profile, named.placement) {
            return Err(Breach::OtherCompute { compute: named.id, profile, placement });
        }
        if let Some(pid) = compute.pid {
            return Err(Breach::Busy { pid });
        }
        instance.compute.remove(position);
        Ok(())
    }

    pub(crate) fn destroy_instance(
        &mut self,
        id: GpuInstanceId,
        profile: GpuInstanceProfileId,
        placement: Placement,
    ) -> Result<(), Breach> {
        self.enabled()?;
        let instance = self.named(id, Some(profile), placement)?;
        if let Some(pid) = instance.compute.iter().find_map(|compute| compute.pid) {
            return Err(Breach::Busy { pid });
        }
        if !instance.compute.is_empty() {
            return Err(Breach::HasCompute(instance.compute.len()));
        }
        self.instances.retain(|instance| instance.id != Some(id));
        Ok(())
    }

    fn named(
        &mut self,
        id: GpuInstanceId,
        profile: Option<GpuInstanceProfileId>,
        placement: Placement,
    ) -> Result<&mut Instance, Breach> {
        let instance = self.instances.iter_mut().find(|instance| instance.id == Some(id));
        let instance = instance.ok_or(Breach::NoInstance(id))?;
        let same = profile.is_none_or(|profile| profile == instance.profile);
        if same && placement == instance.placement {
            return Ok(instance);
        }
        let (profile, placement) = (instance.profile, instance.placement);
        Err(Breach::OtherInstance { instance: id, profile, placement })
    }

    pub(crate) fn expected(self) -> ExpectedGpu {
        let mut instances: Vec<ExpectedInstance> = self
            .instances
            .into_iter()
            .map(|instance| {
                let compute = instance.compute.into_iter().map(|compute| compute.expected);
                let mut compute: Vec<ExpectedCompute> = compute.collect();
                compute.sort_unstable();
                ExpectedInstance {
                    placement: instance.placement,
                    profile: instance.profile,
                    id: instance.id,
                    compute,
                }
            })
            .collect();
        instances.sort_unstable();
        ExpectedGpu { mig: self.mig, instances }
    }
}

impl Instance {
    /// Whether a compute instance may join: a legal place, free, and not one too many.
    fn admits(
        &self,
        profile: &ComputeInstanceProfile,
        slices: u8,
        placement: Placement,
    ) -> Result<(), Breach> {
        let legal = placement.size.get() == profile.slices
            && profile.starts.contains(&placement.start)
            && placement.end() <= slices;
        if !legal {
            return Err(Breach::IllegalCompute(profile.id, placement));
        }
        let mut taken = self.compute.iter().map(|compute| compute.expected.placement);
        if let Some(other) = taken.find(|other| other.overlaps(placement)) {
            return Err(Breach::ComputeOverlap(placement, other));
        }
        let same = self.compute.iter().filter(|c| c.expected.profile == profile.id).count();
        if same as u32 >= profile.max_count {
            return Err(Breach::TooManyCompute(profile.id, profile.max_count));
        }
        Ok(())
    }
}
