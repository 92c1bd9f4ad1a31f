//! Making and destroying compute instances.
//!
//! Must never let two compute instances share a compute slice of their GPU instance.

use alloc::vec::Vec;

use model::{
    ComputeInstanceId, ComputeInstanceProfile, ComputeInstanceProfileId, GpuInstanceId, Placement,
    SliceMask, Timestamp,
};

use crate::caller::Caller;
use crate::clients::{HoldKind, Target};
use crate::event::EventKind;
use crate::gpu::{ComputeInstance, ComputeRef, GpuInstance, InstanceRef};
use crate::node::Node;
use crate::ret::Return;

/// A compute instance to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ComputeInstanceRequest {
    /// In which GPU instance.
    pub instance: InstanceRef,
    /// With which profile.
    pub profile: ComputeInstanceProfileId,
    /// Where; `None` = the lowest free start.
    pub placement: Option<Placement>,
}

/// `NVML_COMPUTE_INSTANCE_PROFILE_COUNT` of header 13.3.29.
const PROFILE_ENUMS: u32 = 9;

/// The most compute instances in one GPU instance: capability minors leave eight slots.
const SLOTS: u32 = 8;

impl GpuInstance {
    fn used(&self) -> SliceMask {
        self.compute
            .iter()
            .fold(SliceMask::EMPTY, |mask, compute| mask.union(compute.placement.mask()))
    }
}

fn placements(profile: &ComputeInstanceProfile) -> impl Iterator<Item = Placement> + '_ {
    profile.starts.iter().map(|start| Placement::new(start.get(), profile.slices))
}

/// How many compute instances of the profile still fit beside `used`: starts taken from the lowest
/// up, which is the most for runs of equal length.
fn room(profile: &ComputeInstanceProfile, used: SliceMask) -> u32 {
    let mut taken = used;
    let mut count = 0;
    for at in placements(profile) {
        if !at.mask().intersects(taken) {
            taken = taken.union(at.mask());
            count += 1;
        }
    }
    count
}

impl Node {
    /// The compute instance profile with this NVML enum value in a GPU instance.
    ///
    /// # Errors
    /// INVALID_ARGUMENT beyond the header's last value or for a dead handle; NOT_SUPPORTED for a
    /// value the GPU instance does not have.
    pub fn compute_profile_by_enum(
        &self,
        gpu: usize,
        instance: InstanceRef,
        nvml_enum: u32,
    ) -> Result<&ComputeInstanceProfile, Return> {
        let profiles = self.compute_profiles(gpu, instance)?;
        if nvml_enum >= PROFILE_ENUMS {
            return Err(Return::InvalidArgument);
        }
        profiles.iter().find(|profile| profile.nvml_enum == nvml_enum).ok_or(Return::NotSupported)
    }

    /// The compute instance profile with this driver id in a GPU instance.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a dead handle; NOT_SUPPORTED if the GPU instance does not have it.
    pub fn compute_profile_by_id(
        &self,
        gpu: usize,
        instance: InstanceRef,
        profile: ComputeInstanceProfileId,
    ) -> Result<&ComputeInstanceProfile, Return> {
        let profiles = self.compute_profiles(gpu, instance)?;
        profiles.iter().find(|known| known.id == profile).ok_or(Return::NotSupported)
    }

    fn compute_profiles(
        &self,
        gpu: usize,
        instance: InstanceRef,
    ) -> Result<&[ComputeInstanceProfile], Return> {
        let profile = self.gpu_instance(gpu, instance)?.profile;
        Ok(&self.profile_by_id(gpu, profile)?.compute_profiles)
    }

    /// Every legal placement of a profile in a GPU instance, free or not.
    ///
    /// # Errors
    /// NO_PERMISSION for plain users, else as [`Self::compute_profile_by_id`].
    pub fn compute_possible_placements(
        &self,
        gpu: usize,
        caller: Caller,
        instance: InstanceRef,
        profile: ComputeInstanceProfileId,
    ) -> Result<Vec<Placement>, Return> {
        self.configurable(gpu, caller)?;
        Ok(placements(self.compute_profile_by_id(gpu, instance, profile)?).collect())
    }

    /// How many more compute instances of a profile fit.
    ///
    /// # Errors
    /// As [`Self::compute_possible_placements`].
    pub fn compute_remaining_capacity(
        &self,
        gpu: usize,
        caller: Caller,
        instance: InstanceRef,
        profile: ComputeInstanceProfileId,
    ) -> Result<u32, Return> {
        self.configurable(gpu, caller)?;
        let used = self.gpu_instance(gpu, instance)?.used();
        Ok(room(self.compute_profile_by_id(gpu, instance, profile)?, used))
    }

    /// Makes a compute instance. Its id is the first free slot.
    ///
    /// # Errors
    /// NOT_SUPPORTED without MIG mode or if the GPU instance does not have the profile;
    /// NO_PERMISSION; INVALID_ARGUMENT for a dead handle or an illegal placement; IN_USE if the
    /// asked place is taken; INSUFFICIENT_RESOURCES if nothing is free.
    pub fn create_compute_instance(
        &mut self,
        gpu: usize,
        caller: Caller,
        request: ComputeInstanceRequest,
        now: Timestamp,
    ) -> Result<ComputeRef, Return> {
        self.configurable(gpu, caller)?;
        let instance = self.gpu_instance(gpu, request.instance)?;
        let profile = self.compute_profile_by_id(gpu, request.instance, request.profile)?;
        let used = instance.used();
        let free = |at: &Placement| !at.mask().intersects(used);
        let placement = match request.placement {
            Some(at) if !placements(profile).any(|legal| legal == at) => {
                return Err(Return::InvalidArgument);
            }
            Some(at) if !free(&at) => return Err(Return::InUse),
            Some(at) => at,
            None => placements(profile).find(free).ok_or(Return::InsufficientResources)?,
        };
        let slot = (0..SLOTS)
            .map(ComputeInstanceId::new)
            .find(|slot| instance.compute.iter().all(|compute| compute.id != *slot))
            .ok_or(Return::InsufficientResources)?;
        let gi = instance.id;
        let generation = self.take_generation();
        let made = ComputeInstance { id: slot, profile: request.profile, placement, generation };
        let instances = &mut self.gpu_mut(gpu)?.instances;
        let instance = instances
            .iter_mut()
            .find(|instance| instance.id == gi)
            .ok_or(Return::InvalidArgument)?;
        let reference = instance.compute_reference(&made);
        let place = instance.compute.partition_point(|other| other.id < slot);
        instance.compute.insert(place, made);
        self.record(gpu, EventKind::MigConfigChange, 0, Some(gi), Some(slot), now);
        Ok(reference)
    }

    /// Destroys a compute instance.
    ///
    /// # Errors
    /// NOT_SUPPORTED without MIG mode; NO_PERMISSION; INVALID_ARGUMENT if it does not exist;
    /// IN_USE while a process or a holder is on it.
    pub fn destroy_compute_instance(
        &mut self,
        gpu: usize,
        caller: Caller,
        reference: ComputeRef,
        now: Timestamp,
    ) -> Result<(), Return> {
        self.configurable(gpu, caller)?;
        let (instance, compute) = self.compute_instance(gpu, reference)?;
        let (gi, ci) = (instance.id, compute.id);
        if self.held_compute_instance(gpu, gi, ci) || self.session_blocks_destroy(gpu, caller) {
            return Err(Return::InUse);
        }
        for instance in &mut self.gpu_mut(gpu)?.instances {
            if instance.id == gi {
                instance.compute.retain(|compute| compute.id != ci);
            }
        }
        self.record(gpu, EventKind::MigConfigChange, 0, Some(gi), Some(ci), now);
        Ok(())
    }

    fn held_compute_instance(&self, gpu: usize, gi: GpuInstanceId, ci: ComputeInstanceId) -> bool {
        let target = Target::Compute(gi, ci);
        self.contexts.iter().any(|context| context.gpu == gpu && context.target == target)
            || self.holders.iter().any(|holder| {
                holder.kind == HoldKind::Client
                    && holder.gpu.is_none_or(|held| held == gpu)
                    && holder.target == target
            })
    }

    /// The compute instances of one profile in a GPU instance, ascending by id.
    ///
    /// # Errors
    /// As [`Self::compute_possible_placements`].
    pub fn compute_instances(
        &self,
        gpu: usize,
        caller: Caller,
        instance: InstanceRef,
        profile: ComputeInstanceProfileId,
    ) -> Result<Vec<ComputeRef>, Return> {
        self.configurable(gpu, caller)?;
        self.compute_profile_by_id(gpu, instance, profile)?;
        let found = self.gpu_instance(gpu, instance)?;
        let same = found.compute.iter().filter(|compute| compute.profile == profile);
        Ok(same.map(|compute| found.compute_reference(compute)).collect())
    }

    /// The compute instance with this id in a GPU instance.
    ///
    /// # Errors
    /// NOT_SUPPORTED without MIG mode; NO_PERMISSION; INVALID_ARGUMENT for a dead handle; NOT_FOUND
    /// if there is none.
    pub fn compute_instance_by_id(
        &self,
        gpu: usize,
        caller: Caller,
        instance: InstanceRef,
        id: ComputeInstanceId,
    ) -> Result<ComputeRef, Return> {
        self.configurable(gpu, caller)?;
        let found = self.gpu_instance(gpu, instance)?;
        let compute = found.compute.iter().find(|compute| compute.id == id);
        compute.map(|compute| found.compute_reference(compute)).ok_or(Return::NotFound)
    }

    /// The compute instance a handle means, with its GPU instance.
    ///
    /// # Errors
    /// INVALID_ARGUMENT if it is gone; see [`Self::gpu_instance`].
    pub fn compute_instance(
        &self,
        gpu: usize,
        reference: ComputeRef,
    ) -> Result<(&GpuInstance, &ComputeInstance), Return> {
        let instance = self.gpu_instance(gpu, reference.instance)?;
        let compute = instance.compute.iter().find(|compute| {
            compute.id == reference.id && self.still(compute.generation, reference.generation)
        });
        compute.map(|compute| (instance, compute)).ok_or(Return::InvalidArgument)
    }
}
