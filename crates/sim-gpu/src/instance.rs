//! Making, listing and destroying GPU instances.
//!
//! Must never destroy more than it was told: there is no cascade.

use alloc::vec::Vec;

use model::{
    BoardRule, EngineCounts, GpuInstanceId, GpuInstanceProfile, GpuInstanceProfileId, Placement,
    SliceMask, Timestamp,
};

use crate::caller::{Caller, Rights};
use crate::clients::{HoldKind, Target};
use crate::event::EventKind;
use crate::gpu::{Gpu, GpuInstance, InstanceRef, Virtualization};
use crate::identity::gpu_instance_id;
use crate::knobs::StaleHandles;
use crate::node::Node;
use crate::placement::default_placement;
use crate::ret::Return;

/// `NVML_GPU_INSTANCE_PROFILE_COUNT` of header 13.3.29.
const PROFILE_ENUMS: u32 = 0x12;

impl Gpu {
    /// The grid units its instances take.
    pub(crate) fn used(&self) -> SliceMask {
        self.instances
            .iter()
            .fold(SliceMask::EMPTY, |mask, instance| mask.union(instance.placement.mask()))
    }

    fn free_placements(&self, profile: &GpuInstanceProfile) -> Vec<Placement> {
        let used = self.used();
        profile.placements().filter(|at| !at.mask().intersects(used)).collect()
    }
}

/// How many more instances with these engines the GPU's engines suffice for.
fn engines_suffice_for(left: EngineCounts, each: EngineCounts) -> u32 {
    let pairs = [
        (left.decoders, each.decoders),
        (left.encoders, each.encoders),
        (left.jpeg, each.jpeg),
        (left.ofa, each.ofa),
    ];
    let fits = pairs.iter().filter_map(|(left, each)| left.checked_div(*each));
    fits.min().unwrap_or(u32::MAX)
}

impl Node {
    /// A GPU on which instances can be looked at and changed by `caller`: MIG-capable, in MIG
    /// mode, and the caller may.
    pub(crate) fn configurable(&self, gpu: usize, caller: Caller) -> Result<&Gpu, Return> {
        let found = self.working_gpu(gpu)?;
        if !self.mig_capable(gpu)? {
            return Err(Return::NotSupported);
        }
        caller.require(Rights::ConfigCapable)?;
        if found.mig_on() { Ok(found) } else { Err(Return::NotSupported) }
    }

    /// The profile with this NVML enum value.
    ///
    /// # Errors
    /// INVALID_ARGUMENT beyond the header's last value; NOT_SUPPORTED for a value the board does
    /// not have, on a GPU without MIG, and with MIG off where the knob says so.
    pub fn profile_by_enum(
        &self,
        gpu: usize,
        nvml_enum: u32,
    ) -> Result<&GpuInstanceProfile, Return> {
        let found = self.working_gpu(gpu)?;
        if nvml_enum >= PROFILE_ENUMS {
            return Err(Return::InvalidArgument);
        }
        if !self.mig_capable(gpu)? || !found.mig_on() && !self.knobs.profiles_with_mig_off {
            return Err(Return::NotSupported);
        }
        let profiles = &self.board(gpu)?.geometry.profiles;
        profiles.iter().find(|profile| profile.nvml_enum == nvml_enum).ok_or(Return::NotSupported)
    }

    /// The profile with this driver id.
    ///
    /// # Errors
    /// NOT_SUPPORTED on a GPU without MIG; INVALID_ARGUMENT if the board has no such profile.
    pub fn profile_by_id(
        &self,
        gpu: usize,
        profile: GpuInstanceProfileId,
    ) -> Result<&GpuInstanceProfile, Return> {
        self.working_gpu(gpu)?;
        if !self.mig_capable(gpu)? {
            return Err(Return::NotSupported);
        }
        self.board(gpu)?.geometry.profile(profile).ok_or(Return::InvalidArgument)
    }

    /// Every legal placement of a profile, free or not, with MIG on or off.
    ///
    /// # Errors
    /// NOT_SUPPORTED without MIG, NO_PERMISSION for plain users, INVALID_ARGUMENT for an unknown
    /// profile.
    pub fn possible_placements(
        &self,
        gpu: usize,
        caller: Caller,
        profile: GpuInstanceProfileId,
    ) -> Result<Vec<Placement>, Return> {
        let found = self.profile_by_id(gpu, profile);
        if found != Err(Return::NotSupported) {
            caller.require(Rights::ConfigCapable)?;
        }
        Ok(found?.placements().collect())
    }

    /// How many more instances of a profile fit: legal placements that overlap nothing used,
    /// capped by the engines left and the board's rules.
    ///
    /// # Errors
    /// NOT_SUPPORTED without MIG mode, NO_PERMISSION for plain users, INVALID_ARGUMENT for an
    /// unknown profile.
    pub fn remaining_capacity(
        &self,
        gpu: usize,
        caller: Caller,
        profile: GpuInstanceProfileId,
    ) -> Result<u32, Return> {
        let found = self.configurable(gpu, caller)?;
        let profile = self.profile_by_id(gpu, profile)?;
        let room = found.free_placements(profile).len() as u32;
        Ok(room.min(self.allowance(gpu, profile)?))
    }

    /// How many more instances of the profile its maximum, the engines and the rules admit.
    fn allowance(&self, gpu: usize, profile: &GpuInstanceProfile) -> Result<u32, Return> {
        let geometry = &self.board(gpu)?.geometry;
        let existing: Vec<&GpuInstanceProfile> = self
            .gpu(gpu)?
            .instances
            .iter()
            .filter_map(|instance| geometry.profile(instance.profile))
            .collect();
        let same = existing.iter().filter(|other| other.id == profile.id).count() as u32;
        let taken = existing.iter().fold(EngineCounts::default(), |sum, p| sum.plus(p.engines));
        let capacity = geometry.engine_capacity;
        let left = EngineCounts {
            copy: 0,
            decoders: capacity.decoders.saturating_sub(taken.decoders),
            encoders: capacity.encoders.saturating_sub(taken.encoders),
            jpeg: capacity.jpeg.saturating_sub(taken.jpeg),
            ofa: capacity.ofa.saturating_sub(taken.ofa),
        };
        let by_rules = geometry.rules.iter().map(|rule| match rule {
            BoardRule::OneComputeOneGraphics => {
                let kind = profile.name.attributes.graphics;
                u32::from(existing.iter().all(|p| p.name.attributes.graphics != kind))
            }
        });
        let by_count = profile.max_instances.saturating_sub(same);
        let by_engines = engines_suffice_for(left, profile.engines);
        Ok(by_rules.fold(by_count.min(by_engines), u32::min))
    }

    /// Makes a GPU instance, at `placement` or where the driver chooses.
    ///
    /// # Errors
    /// NOT_SUPPORTED without MIG mode or on a vGPU guest; NO_PERMISSION for plain users;
    /// INVALID_ARGUMENT for an unknown profile or an illegal placement; INSUFFICIENT_RESOURCES if
    /// the place is taken or nothing is free; IN_USE if it is the first instance and somebody uses
    /// the GPU.
    pub fn create_gpu_instance(
        &mut self,
        gpu: usize,
        caller: Caller,
        profile: GpuInstanceProfileId,
        placement: Option<Placement>,
        now: Timestamp,
    ) -> Result<InstanceRef, Return> {
        let found = self.configurable(gpu, caller)?;
        if found.virtualization == Virtualization::VgpuGuest {
            return Err(Return::NotSupported);
        }
        let wanted = self.profile_by_id(gpu, profile)?;
        if placement.is_some_and(|at| !wanted.allows(at)) {
            return Err(Return::InvalidArgument);
        }
        if found.instances.is_empty() && self.whole_gpu_held(gpu) {
            return Err(Return::InUse);
        }
        let mut free = found.free_placements(wanted);
        if self.allowance(gpu, wanted)? == 0 {
            free.clear();
        }
        let geometry = &self.board(gpu)?.geometry;
        let chosen = match placement {
            Some(at) => free.contains(&at).then_some(at),
            None => default_placement(
                geometry,
                found.used(),
                &free,
                self.knobs.placement,
                u64::from(self.next_generation),
            ),
        };
        let at = chosen.ok_or(Return::InsufficientResources)?;
        let id = gpu_instance_id(found.chip, geometry.grid.get(), at);
        let generation = self.take_generation();
        let made = GpuInstance { id, profile, placement: at, generation, compute: Vec::new() };
        let reference = made.reference();
        let instances = &mut self.gpu_mut(gpu)?.instances;
        let place = instances.partition_point(|other| other.id < id);
        instances.insert(place, made);
        self.record(gpu, EventKind::MigConfigChange, 0, Some(id), None, now);
        Ok(reference)
    }

    /// Whether somebody uses the GPU as a whole: it keeps the first instance from being made.
    fn whole_gpu_held(&self, gpu: usize) -> bool {
        self.contexts.iter().any(|context| context.gpu == gpu)
            || self.holders.iter().any(|holder| {
                holder.kind == HoldKind::Client
                    && holder.target == Target::Gpu
                    && holder.gpu.is_none_or(|held| held == gpu)
            })
    }

    /// Destroys a GPU instance.
    ///
    /// # Errors
    /// NOT_SUPPORTED without MIG mode; NO_PERMISSION; INVALID_ARGUMENT if it does not exist;
    /// IN_USE while it has a compute instance or anybody holds it. There is no cascade.
    pub fn destroy_gpu_instance(
        &mut self,
        gpu: usize,
        caller: Caller,
        reference: InstanceRef,
        now: Timestamp,
    ) -> Result<(), Return> {
        self.configurable(gpu, caller)?;
        let instance = self.gpu_instance(gpu, reference)?;
        let id = instance.id;
        let held = self.holders.iter().any(|holder| {
            holder.kind == HoldKind::Client
                && holder.gpu.is_none_or(|held| held == gpu)
                && holder.target.gpu_instance() == Some(id)
        });
        if !instance.compute.is_empty() || held || self.session_blocks_destroy(gpu, caller) {
            return Err(Return::InUse);
        }
        self.gpu_mut(gpu)?.instances.retain(|instance| instance.id != id);
        self.record(gpu, EventKind::MigConfigChange, 0, Some(id), None, now);
        Ok(())
    }

    pub(crate) fn session_blocks_destroy(&self, gpu: usize, caller: Caller) -> bool {
        self.knobs.sessions_block_destroy && self.held_by_session(gpu, caller)
    }

    /// The instances of one profile, ascending by id.
    ///
    /// # Errors
    /// NOT_SUPPORTED without MIG mode; NO_PERMISSION; INVALID_ARGUMENT for an unknown profile.
    pub fn gpu_instances(
        &self,
        gpu: usize,
        caller: Caller,
        profile: GpuInstanceProfileId,
    ) -> Result<Vec<InstanceRef>, Return> {
        let found = self.configurable(gpu, caller)?;
        self.profile_by_id(gpu, profile)?;
        let same = found.instances.iter().filter(|instance| instance.profile == profile);
        Ok(same.map(GpuInstance::reference).collect())
    }

    /// The instance with this id.
    ///
    /// # Errors
    /// NOT_SUPPORTED without MIG mode; NO_PERMISSION; NOT_FOUND if there is none.
    pub fn gpu_instance_by_id(
        &self,
        gpu: usize,
        caller: Caller,
        id: GpuInstanceId,
    ) -> Result<InstanceRef, Return> {
        let found = self.configurable(gpu, caller)?;
        found.instance(id).map(GpuInstance::reference).ok_or(Return::NotFound)
    }

    /// The instance a handle means.
    ///
    /// # Errors
    /// INVALID_ARGUMENT if it is gone: always when no instance has its id, and for another
    /// instance with that id unless the knob says that handles are reused.
    pub fn gpu_instance(&self, gpu: usize, reference: InstanceRef) -> Result<&GpuInstance, Return> {
        let instance = self.working_gpu(gpu)?.instance(reference.id);
        instance
            .filter(|instance| self.still(instance.generation, reference.generation))
            .ok_or(Return::InvalidArgument)
    }

    /// Whether a handle of one creation may stand for what exists now.
    pub(crate) fn still(&self, now: u32, then: u32) -> bool {
        match self.knobs.stale_handles {
            StaleHandles::Invalid => now == then,
            StaleHandles::Reuse | StaleHandles::Cached => true,
        }
    }
}
