//! MIG devices: compute instances as NVML shows them, with index, UUID, name and attributes.
//!
//! Must never store an index: it shifts when an instance with a lower id appears.

use alloc::string::String;
use alloc::vec::Vec;

use model::{EngineCounts, MemoryMib, MigUuid, ProfileName};

use crate::gpu::{ComputeInstance, ComputeRef, Gpu, GpuInstance, InstanceRef};
use crate::identity::mig_uuid;
use crate::knobs::StaleHandles;
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
