//! What a machine's driver reports at one moment.
//!
//! Must never contain what records say: a snapshot is the driver's truth, leases are ours.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::geometry::Geometry;
use crate::ids::{
    ComputeInstanceId, ComputeInstanceProfileId, GpuIndex, GpuInstanceId, GpuInstanceProfileId,
    GpuMinor, GpuUuid, MigUuid, PciAddress,
};
use crate::placement::{Placement, SliceMask};
use crate::units::{MemoryMib, Timestamp};

/// Whether a GPU is cut into slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MigMode {
    /// One whole GPU.
    Disabled,
    /// Cut into instances.
    Enabled,
}

/// What NVML says about MIG on a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MigState {
    /// The GPU cannot do MIG.
    Unsupported,
    /// The mode now, and the mode after the next reset. They differ when a reset is due.
    Supported {
        /// The mode in force.
        current: MigMode,
        /// The mode after the next reset.
        pending: MigMode,
    },
}

impl MigState {
    /// Whether instances can be made and destroyed now.
    pub const fn is_enabled(self) -> bool {
        matches!(self, Self::Supported { current: MigMode::Enabled, pending: MigMode::Enabled })
    }

    /// Whether a reset is due before the wished mode is in force.
    pub fn needs_reset(self) -> bool {
        matches!(self, Self::Supported { current, pending } if current != pending)
    }
}

/// Whether a GPU can be trusted with work.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Nothing known against it.
    Ok,
    /// The driver no longer reaches it (`GPU_IS_LOST`).
    Lost,
    /// It must be reset before it works again.
    ResetRequired,
    /// It answered with something else that makes it unusable; the driver's words.
    Failing(String),
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Lost => "lost: the driver no longer reaches it",
            Self::ResetRequired => "must be reset",
            Self::Failing(words) => words,
        })
    }
}

/// A process the driver reports on a device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GpuProcess {
    /// Its pid as the driver gives it.
    pub pid: u32,
    /// Memory it uses, if the driver knows.
    pub memory: Option<MemoryMib>,
}

/// A compute instance, and with it a MIG device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComputeInstance {
    /// Id inside the GPU instance.
    pub id: ComputeInstanceId,
    /// Its profile.
    pub profile: ComputeInstanceProfileId,
    /// Where it lies, in compute slices of its GPU instance.
    pub placement: Placement,
    /// UUID of the MIG device; `None` if the driver did not tell.
    pub uuid: Option<MigUuid>,
    /// Processes on it.
    pub processes: Vec<GpuProcess>,
}

/// A GPU instance; it may have no compute instance, and then no MIG device either.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuInstance {
    /// Id on the GPU.
    pub id: GpuInstanceId,
    /// Its profile.
    pub profile: GpuInstanceProfileId,
    /// Where it lies on the board's grid.
    pub placement: Placement,
    /// Its compute instances, ascending by id.
    pub compute_instances: Vec<ComputeInstance>,
}

impl GpuInstance {
    /// Whether the driver reports a process on any of its compute instances.
    pub fn is_busy(&self) -> bool {
        self.compute_instances.iter().any(|compute| !compute.processes.is_empty())
    }
}

/// One GPU at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuSnapshot {
    /// Its identity.
    pub uuid: GpuUuid,
    /// Its NVML index at that moment.
    pub index: GpuIndex,
    /// The N of `/dev/nvidiaN`.
    pub minor: GpuMinor,
    /// Where it sits.
    pub pci: PciAddress,
    /// Product name.
    pub name: String,
    /// Packed PCI device and vendor id (`0x20B010DE`).
    pub pci_device_id: u32,
    /// Packed PCI subsystem device and vendor id (`0x134F10DE`); `None` where the driver does not
    /// tell. It tells boards apart that share a device id.
    #[serde(default)]
    pub pci_subsystem_id: Option<u32>,
    /// Total memory.
    pub memory: MemoryMib,
    /// CUDA compute capability, major and minor; `None` where the driver does not tell.
    pub compute_capability: Option<(u32, u32)>,
    /// MIG mode.
    pub mig: MigState,
    /// Its legal shapes; `None` where the GPU cannot do MIG.
    pub geometry: Option<Arc<Geometry>>,
    /// Its GPU instances, ascending by id.
    pub instances: Vec<GpuInstance>,
    /// Processes on the GPU while it is whole.
    pub processes: Vec<GpuProcess>,
    /// Whether it can be used.
    pub health: Health,
}

impl GpuSnapshot {
    /// The instance with this id.
    pub fn instance(&self, id: GpuInstanceId) -> Option<&GpuInstance> {
        self.instances.iter().find(|instance| instance.id == id)
    }

    /// The instance that lies exactly there.
    pub fn instance_at(&self, placement: Placement) -> Option<&GpuInstance> {
        self.instances.iter().find(|instance| instance.placement == placement)
    }

    /// Grid units taken by instances.
    pub fn occupied(&self) -> SliceMask {
        self.instances
            .iter()
            .fold(SliceMask::EMPTY, |mask, instance| mask.union(instance.placement.mask()))
    }
}

/// A machine at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSnapshot {
    /// When it was read.
    pub taken_at: Timestamp,
    /// Driver version text.
    pub driver_version: String,
    /// CUDA version of the driver as NVML gives it (12040 = 12.4); `None` where not told.
    pub cuda_version: Option<u32>,
    /// GPUs, ascending by index.
    pub gpus: Vec<GpuSnapshot>,
}

impl NodeSnapshot {
    /// The GPU with this UUID.
    pub fn gpu(&self, uuid: &GpuUuid) -> Option<&GpuSnapshot> {
        self.gpus.iter().find(|gpu| gpu.uuid == *uuid)
    }
}
