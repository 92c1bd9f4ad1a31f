//! What the queries beside snapshots answer: versions, telemetry, MIG device shares, topology.
//!
//! Must never stand in for an unknown value: what the driver does not tell is `None`.

use model::topology::TopologyLevel;
use model::{ComputeInstanceId, EngineCounts, GpuInstanceId, GpuUuid, MemoryMib, MigUuid};
use serde::{Deserialize, Serialize};

/// Versions of the driver and of NVML.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// Version of the kernel driver (`580.126.09`).
    pub driver: String,
    /// Version of NVML (`13.580.126.09`: CUDA major, then driver).
    pub nvml: Option<String>,
    /// The CUDA version the driver supports as NVML gives it (12040 = 12.4).
    pub cuda: Option<u32>,
}

/// How much of a memory is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryUse {
    /// All of it.
    pub total: MemoryMib,
    /// What is taken, the driver's own share included.
    pub used: MemoryMib,
}

/// What is worth showing of a GPU beyond its snapshot. Each value is `None` where the driver does
/// not tell, which is usual for some boards and with MIG on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuExtras {
    /// Board serial number.
    pub serial: Option<String>,
    /// NVML's architecture number: 7 Ampere, 8 Ada, 9 Hopper, 10 Blackwell, 13 Rubin.
    pub architecture: Option<u32>,
    /// Power drawn, in milliwatts.
    pub power_milliwatts: Option<u32>,
    /// Power limit in force, in milliwatts.
    pub power_limit_milliwatts: Option<u32>,
    /// Core temperature in degrees Celsius.
    pub temperature_celsius: Option<u32>,
    /// Memory of the whole board.
    pub memory: Option<MemoryUse>,
    /// GPU utilisation in percent; never told with MIG on.
    pub utilization_percent: Option<u32>,
    /// Whether persistence mode is on.
    pub persistence: Option<bool>,
    /// Whether the mode can be toggled without a reset (NVML field 184).
    pub resetless_mig: Option<bool>,
}

impl GpuExtras {
    /// Whether a change of MIG mode needs a reset: the driver's own word if it gives one, else the
    /// architecture (before Hopper it does). `None` if neither is known.
    pub fn mode_change_needs_reset(&self) -> Option<bool> {
        const HOPPER: u32 = 9;
        match (self.resetless_mig, self.architecture) {
            (Some(resetless), _) => Some(!resetless),
            (None, Some(architecture)) => Some(architecture < HOPPER),
            (None, None) => None,
        }
    }
}

/// What a MIG device consists of (`nvmlDeviceGetAttributes_v2`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigAttributes {
    /// Streaming multiprocessors of the compute instance.
    pub multiprocessors: u32,
    /// Engines, shared by the compute instances of one GPU instance.
    pub engines: EngineCounts,
    /// Compute slices of its GPU instance.
    pub gpu_slices: u32,
    /// Compute slices of the compute instance.
    pub compute_slices: u32,
    /// Memory of its GPU instance.
    pub memory: MemoryMib,
}

/// A MIG device by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigDevice {
    /// Its UUID.
    pub uuid: MigUuid,
    /// The GPU it is part of.
    pub gpu: GpuUuid,
    /// Its GPU instance.
    pub gpu_instance: GpuInstanceId,
    /// Its compute instance.
    pub compute_instance: ComputeInstanceId,
    /// Its name (`NVIDIA A100-SXM4-40GB MIG 1g.5gb`).
    pub name: Option<String>,
    /// Memory of its GPU instance, shared with the other compute instances in it.
    pub memory: Option<MemoryUse>,
    /// What it consists of.
    pub attributes: Option<MigAttributes>,
}

/// The way between two GPUs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuPath {
    /// Nearest common ancestor on PCIe; `None` if the driver does not tell.
    pub level: Option<TopologyLevel>,
    /// Active NVLinks that join the two, directly or through switches.
    pub nvlinks: u32,
}

/// How the GPUs of the machine reach each other. MIG devices have no links.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopologyMatrix {
    /// The GPUs in NVML's order: names of rows and columns.
    pub gpus: Vec<GpuUuid>,
    /// `paths[i][j]` leads from `gpus[i]` to `gpus[j]`; `None` on the diagonal.
    pub paths: Vec<Vec<Option<GpuPath>>>,
    /// What lies near each of `gpus`.
    pub near: Vec<Near>,
}

/// Processors and memory near a GPU; what the driver does not tell is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Near {
    /// Numbers of processors, ascending.
    pub cpus: Option<Vec<u32>>,
    /// NUMA nodes of memory, ascending.
    pub memory_nodes: Option<Vec<u32>>,
    /// The NUMA node that the GPU's own memory is (Grace); `None` on other machines.
    pub own_node: Option<u32>,
}

/// What an event says happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriverEventKind {
    /// Instances were made or destroyed; read the GPU again.
    MigConfigChanged,
    /// The kernel driver logged an Xid of this number.
    Xid(u64),
    /// The GPU went away.
    GpuUnavailable,
    /// The action that mends the GPU changed.
    RecoveryActionChanged,
    /// Something else; NVML's bits.
    Other(u64),
}

/// One event. A hint to look, never the state itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriverEvent {
    /// On which GPU; `None` if the driver named none that is known.
    pub gpu: Option<GpuUuid>,
    /// What happened.
    pub kind: DriverEventKind,
    /// The GPU instance concerned; `None` for the whole GPU.
    pub gpu_instance: Option<GpuInstanceId>,
    /// The compute instance concerned; `None` for all.
    pub compute_instance: Option<ComputeInstanceId>,
}
