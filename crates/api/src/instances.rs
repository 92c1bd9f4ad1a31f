//! The shapes of GPU instances and compute instances in full, and of what boards offer.
//!
//! Must never leave out a GPU instance because it has no compute instance.

use model::{LeaseId, MigUuid};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::v1::{InstanceUse, MigView, ProcessView};

/// A GPU with everything on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GpuInstancesView {
    /// NVML index.
    pub index: u32,
    /// UUID.
    pub uuid: String,
    /// Product name.
    pub name: String,
    /// The N of `/dev/nvidiaN`.
    pub minor: u32,
    /// MIG mode.
    pub mig: MigView,
    /// `ok`, or what is wrong in words.
    pub health: String,
    /// Its GPU instances, by where they lie.
    pub instances: Vec<WholeInstanceView>,
}

/// A GPU instance in full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WholeInstanceView {
    /// Its id.
    pub id: u32,
    /// Its name as `nvidia-smi mig -lgi` prints it (`MIG 3g.20gb`).
    pub name: String,
    /// The driver's id of its profile.
    pub profile_id: u32,
    /// First unit on the placement grid; absent where the driver hides it from this user.
    pub start: Option<u8>,
    /// Units on the grid.
    pub size: u8,
    /// Usable memory.
    pub memory_mib: u64,
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Its engines, which its compute instances share.
    pub engines: EnginesView,
    /// What it is for; absent where no daemon was asked.
    pub used: Option<InstanceUse>,
    /// Its lease.
    #[schema(value_type = Option<String>)]
    pub lease: Option<LeaseId>,
    /// The lease's name.
    pub lease_name: Option<String>,
    /// Whom the lease is charged to.
    pub tenant: Option<String>,
    /// Its capability node.
    pub node: CapabilityView,
    /// Its compute instances; without one nobody can use it.
    pub compute_instances: Vec<ComputePartView>,
}

/// A compute instance in full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ComputePartView {
    /// Its id.
    pub id: u32,
    /// Its name as `nvidia-smi mig -lci` prints it (`MIG 1c.3g.20gb`, `MIG 3g.20gb`).
    pub name: String,
    /// The driver's id of its profile.
    pub profile_id: u32,
    /// First compute slice of its GPU instance; absent where the driver hides it from this user.
    pub start: Option<u8>,
    /// Compute slices.
    pub size: u8,
    /// Streaming multiprocessors.
    pub multiprocessors: Option<u32>,
    /// UUID of the MIG device.
    #[schema(value_type = Option<String>)]
    pub uuid: Option<MigUuid>,
    /// Its capability node.
    pub node: CapabilityView,
    /// Processes on it.
    pub processes: Vec<ProcessView>,
}

/// Engines of an instance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnginesView {
    /// Copy engines.
    pub copy: u32,
    /// Decoders.
    pub decoders: u32,
    /// Encoders.
    pub encoders: u32,
    /// JPEG engines.
    pub jpeg: u32,
    /// Optical flow engines.
    pub ofa: u32,
}

/// The node that lets a program use an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CapabilityView {
    /// Where it is (`/dev/nvidia-caps/nvidia-cap21`).
    pub path: String,
    /// Its owner; absent if there is no node.
    pub owner: Option<String>,
    /// Its permission bits in octal (`0444`).
    pub mode: Option<String>,
}

/// GPUs that are alike, and what they can be cut into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BoardView {
    /// NVML indices.
    pub gpus: Vec<u32>,
    /// Product name.
    pub name: String,
    /// Units of the placement grid; zero without MIG.
    pub grid: u8,
    /// GPU instance profiles, by size.
    pub profiles: Vec<BoardProfileView>,
}

/// A GPU instance profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BoardProfileView {
    /// Its name (`3g.20gb`).
    pub name: String,
    /// The driver's id.
    pub id: u32,
    /// How many more the driver would make now; absent with MIG off.
    pub free: Option<u32>,
    /// How many fit on an empty GPU.
    pub total: u32,
    /// Usable memory.
    pub memory_mib: u64,
    /// Whether peer-to-peer works inside.
    pub p2p: bool,
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Decoders.
    pub decoders: u32,
    /// Encoders.
    pub encoders: u32,
    /// Copy engines.
    pub copy_engines: u32,
    /// JPEG engines.
    pub jpeg: u32,
    /// Optical flow engines.
    pub ofa: u32,
    /// Units on the grid.
    pub size: u8,
    /// Where it may begin.
    pub starts: Vec<u8>,
    /// Its compute instance profiles, by size.
    pub compute: Vec<ComputeProfileView>,
}

/// A compute instance profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ComputeProfileView {
    /// Its name (`1c.3g.20gb`; `3g.20gb` for the whole).
    pub name: String,
    /// The driver's id, inside the GPU instance.
    pub id: u32,
    /// How many fit into an empty GPU instance.
    pub total: u32,
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Compute slices.
    pub size: u8,
    /// Where it may begin, in compute slices of the GPU instance.
    pub starts: Vec<u8>,
    /// Whether it takes the whole GPU instance.
    pub whole: bool,
}

/// A GPU in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GpuRowView {
    /// NVML index.
    pub index: u32,
    /// Product name.
    pub name: String,
    /// UUID.
    pub uuid: String,
    /// PCI address.
    pub pci: String,
    /// Total memory.
    pub memory_mib: u64,
    /// MIG mode.
    pub mig: MigView,
    /// How many GPU instances it has.
    pub slices: usize,
    /// `ok`, or what is wrong in words.
    pub health: String,
    /// Why it is out of use, in words; absent if it is in use.
    pub out_of_use: Option<String>,
    /// Version of the driver.
    pub driver_version: String,
    /// CUDA version of the driver.
    pub cuda_version: Option<String>,
    /// The N of `/dev/nvidiaN`; absent where the machine is another one.
    pub minor: Option<u32>,
    /// CUDA compute capability (`8.0`).
    pub compute_capability: Option<String>,
    /// Serial number of the board.
    pub serial: Option<String>,
    /// Whether persistence mode is on.
    pub persistence: Option<bool>,
    /// Whether a change of MIG mode takes effect only after a reset.
    pub mode_change_needs_reset: Option<bool>,
}
