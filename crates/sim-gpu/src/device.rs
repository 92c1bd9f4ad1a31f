//! MIG devices: compute instances as NVML shows them, with index, UUID, name and attributes.
//!
//! Must never store an index: it shifts when an instance with a lower id appears.

use alloc::string::String;
use alloc::vec::Vec;

use model::{EngineCounts, MemoryMib, MigUuid, ProfileName};

use crate::gpu::{ComputeInstance, ComputeRef, Gpu, GpuInstance};
use crate::identity::{self, mig_uuid};
use crate::node::Node;
use crate::ret::Return;

/// A MIG device as NVML describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigDevice {
    /// Index of its GPU.
    pub gpu: usize,
    /// Its index on that GPU, now.
    pub index: usize,
    /// Which compute instance it is.
    pub reference: ComputeRef,
    /// Its UUID.
    pub uuid: MigUuid,
    /// Its name: `NVIDIA A100-SXM4-40GB MIG 1c.2g.10gb`.
    pub name: String,
    /// Its profile's name, with the `c` part if it is a part of its GPU instance.
    pub profile: ProfileName,
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Engines of its GPU instance, which its compute instances share.
    pub engines: EngineCounts,
    /// Compute slices of its GPU instance.
    pub gpu_instance_slices: u8,
    /// Its own compute slices.
    pub compute_instance_slices: u8,
    /// Memory of its GPU instance.
    pub memory: MemoryMib,
}

impl Node {
    /// The MIG devices of a GPU in NVML's order: by GPU instance id, then compute instance id. The
    /// position in the list is the index; it has no gaps. Empty with MIG off.
    ///
    /// # Errors
    /// INVALID_ARGUMENT, GPU_IS_LOST, RESET_REQUIRED as for any call on the GPU.
    pub fn mig_devices(&self, gpu: usize) -> Result<Vec<ComputeRef>, Return> {
        Ok(pairs(self.working_gpu(gpu)?)
            .map(|(instance, compute)| instance.compute_reference(compute))
            .collect())
    }

    /// The MIG device with this index.
    ///
    /// # Errors
    /// NOT_SUPPORTED without MIG; NOT_FOUND beyond the last one.
    pub fn mig_device_by_index(&self, gpu: usize, index: usize) -> Result<ComputeRef, Return> {
        let found = self.working_gpu(gpu)?;
        if !self.mig_capable(gpu)? {
            return Err(Return::NotSupported);
        }
        let device = pairs(found).nth(index);
        device
            .map(|(instance, compute)| instance.compute_reference(compute))
            .ok_or(Return::NotFound)
    }

    /// The most MIG devices the GPU can have; 0 without MIG or with MIG off. Not how many exist.
    ///
    /// # Errors
    /// INVALID_ARGUMENT, GPU_IS_LOST, RESET_REQUIRED as for any call on the GPU.
    pub fn max_mig_devices(&self, gpu: usize) -> Result<u32, Return> {
        if !self.working_gpu(gpu)?.mig_on() || !self.mig_capable(gpu)? {
            return Ok(0);
        }
        let profiles = &self.board(gpu)?.geometry.profiles;
        Ok(profiles.iter().map(|profile| profile.max_instances).max().unwrap_or(0))
    }

    /// The UUID of a MIG device.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a dead handle.
    pub fn mig_uuid(&self, gpu: usize, reference: ComputeRef) -> Result<MigUuid, Return> {
        let (instance, compute) = self.compute_instance(gpu, reference)?;
        Ok(mig_uuid(&self.gpu(gpu)?.uuid, instance.id, compute.id))
    }

    /// The MIG device with this UUID, in the form `MIG-<uuid>` or the old
    /// `MIG-GPU-<uuid>/<gi>/<ci>`.
    pub fn mig_device_by_uuid(&self, uuid: &str) -> Option<(usize, ComputeRef)> {
        let rest = uuid.strip_prefix("MIG-")?;
        let bytes = identity::parse(rest);
        let gpus = self.gpus.iter().enumerate();
        gpus.flat_map(|(index, gpu)| pairs(gpu).map(move |(gi, ci)| (index, gpu, gi, ci)))
            .find(|(_, gpu, instance, compute)| {
                match (bytes, rest.strip_prefix(gpu.uuid.as_str())) {
                    (Some(bytes), _) => {
                        bytes == identity::mig_bytes(&gpu.uuid, instance.id, compute.id)
                    }
                    (None, Some(tail)) => tail == alloc::format!("/{}/{}", instance.id, compute.id),
                    (None, None) => false,
                }
            })
            .map(|(index, _, instance, compute)| (index, instance.compute_reference(compute)))
    }

    /// Everything NVML tells of a MIG device.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a dead handle.
    pub fn mig_device(&self, gpu: usize, reference: ComputeRef) -> Result<MigDevice, Return> {
        let (instance, compute) = self.compute_instance(gpu, reference)?;
        let board = self.board(gpu)?;
        let profile = board.geometry.profile(instance.profile).ok_or(Return::Unknown)?;
        let part = profile.compute_profiles.iter().find(|known| known.id == compute.profile);
        let part = part.ok_or(Return::Unknown)?;
        let found = self.gpu(gpu)?;
        let index = pairs(found)
            .position(|(gi, ci)| (gi.id, ci.id) == (instance.id, compute.id))
            .ok_or(Return::NotFound)?;
        let is_part = part.slices < profile.name.slices;
        let name = ProfileName { compute: is_part.then_some(part.slices), ..profile.name };
        Ok(MigDevice {
            gpu,
            index,
            reference: instance.compute_reference(compute),
            uuid: mig_uuid(&found.uuid, instance.id, compute.id),
            name: alloc::format!("{} MIG {name}", board.name),
            profile: name,
            multiprocessors: part.multiprocessors,
            engines: profile.engines,
            gpu_instance_slices: profile.name.slices,
            compute_instance_slices: part.slices,
            memory: profile.memory,
        })
    }
}

fn pairs(gpu: &Gpu) -> impl Iterator<Item = (&GpuInstance, &ComputeInstance)> {
    gpu.instances
        .iter()
        .flat_map(|instance| instance.compute.iter().map(move |compute| (instance, compute)))
}
