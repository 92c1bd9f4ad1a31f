//! One GPU as the simulated driver keeps it: identity, mode, instances, health.
//!
//! Must never hold board facts: those come from [`crate::BoardFacts`].

use alloc::string::String;
use alloc::vec::Vec;

use model::{
    ComputeInstanceId, ComputeInstanceProfileId, GpuInstanceId, GpuInstanceProfileId, GpuMinor,
    GpuUuid, MigMode, PciAddress, Placement,
};
use serde::{Deserialize, Serialize};

use crate::topology::CpuRange;

/// Which compute slice a 7-slice chip lacks; it decides the GPU instance ids. Both kinds occur in
/// one server (DCGM issue 138). Boards with another grid than 8 know only [`Self::Plain`].
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum ChipKind {
    /// The last slice is missing: `3g` at 4:4 has id 2.
    #[default]
    Plain,
    /// A slice of the first half is missing: `3g` at 4:4 has id 1.
    Swapped,
}

/// How the machine reaches the GPU.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Virtualization {
    /// The machine owns the GPU.
    #[default]
    BareMetal,
    /// Passed through to this virtual machine; the guest cannot reset it (dra#883).
    Passthrough,
    /// A share of a GPU; the host decides about MIG.
    VgpuGuest,
    /// The machine shares the GPU with virtual machines of its own.
    VgpuHost,
}

/// Whether calls on the GPU still work.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum GpuHealth {
    /// Everything works.
    #[default]
    Ok,
    /// The GPU fell off the bus: every call on it returns GPU_IS_LOST until the next reboot.
    Lost,
    /// Calls on it return RESET_REQUIRED until it is reset.
    ResetRequired,
}

/// What field 230 says must be done (values of `nvml.h`).
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum RecoveryAction {
    /// 0: nothing.
    #[default]
    None,
    /// 1: reset the GPU.
    GpuReset,
    /// 2: reboot the node.
    NodeReboot,
    /// 3: drain peer-to-peer traffic.
    DrainP2p,
    /// 4: drain, then reset.
    DrainAndReset,
}

impl RecoveryAction {
    /// NVML's number for it.
    pub const fn nvml_value(self) -> u32 {
        self as u32
    }
}

/// One making of a GPU instance: its id plus the generation that tells it from the next instance
/// with that id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InstanceRef {
    /// Id on the GPU.
    pub id: GpuInstanceId,
    /// Number of the creation, unique in the life of the node.
    pub generation: u32,
}

/// One making of a compute instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ComputeRef {
    /// The GPU instance it belongs to.
    pub instance: InstanceRef,
    /// Id inside the GPU instance.
    pub id: ComputeInstanceId,
    /// Number of the creation, unique in the life of the node.
    pub generation: u32,
}

/// A compute instance that exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComputeInstance {
    /// Slot in its GPU instance, 0 to 7.
    pub id: ComputeInstanceId,
    /// Its profile.
    pub profile: ComputeInstanceProfileId,
    /// Where it lies, in compute slices of the GPU instance.
    pub placement: Placement,
    /// Number of its creation.
    pub generation: u32,
}

/// A GPU instance that exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuInstance {
    /// Its position in the chip's tree of partitions.
    pub id: GpuInstanceId,
    /// Its profile.
    pub profile: GpuInstanceProfileId,
    /// Where it lies on the board's grid.
    pub placement: Placement,
    /// Number of its creation.
    pub generation: u32,
    /// Its compute instances, ascending by id.
    pub compute: Vec<ComputeInstance>,
}

impl GpuInstance {
    /// The reference to this making of it.
    pub const fn reference(&self) -> InstanceRef {
        InstanceRef { id: self.id, generation: self.generation }
    }

    /// The reference to a compute instance of it.
    pub const fn compute_reference(&self, compute: &ComputeInstance) -> ComputeRef {
        ComputeRef { instance: self.reference(), id: compute.id, generation: compute.generation }
    }
}

/// One GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gpu {
    /// Id of its board in the catalog.
    pub board: String,
    /// Its UUID.
    pub uuid: GpuUuid,
    /// Where it sits.
    pub pci: PciAddress,
    /// The N of `/dev/nvidiaN`.
    pub minor: GpuMinor,
    /// Serial number.
    pub serial: String,
    /// Which slice its chip lacks.
    pub chip: ChipKind,
    /// Bare metal or virtual.
    pub virtualization: Virtualization,
    /// Overrides whether a mode change needs a reset; `None` = as the architecture does.
    pub resetless: Option<bool>,
    /// Whether MIG is refused although the board has it (display mode, old vBIOS).
    pub mig_refused: bool,
    /// The MIG mode in force.
    pub current: MigMode,
    /// The MIG mode after the next reset.
    pub pending: MigMode,
    /// Whether persistence mode is on.
    pub persistence: bool,
    /// GPU instances, ascending by id.
    pub instances: Vec<GpuInstance>,
    /// Number of resets, reloads and reboots; a handle of another generation is dead.
    pub generation: u32,
    /// Whether it works.
    pub health: GpuHealth,
    /// What should be done about it.
    pub recovery: RecoveryAction,
    /// NUMA node of its PCIe root.
    pub numa_node: u8,
    /// PCIe switch it hangs off; GPUs with the same number share it.
    pub pcie_switch: u8,
    /// Processors near it.
    pub cpus: Vec<CpuRange>,
    /// Corrected ECC errors since the last reset.
    pub ecc_corrected: u64,
    /// Uncorrected ECC errors since the last reset.
    pub ecc_uncorrected: u64,
}

impl Gpu {
    /// The instance with this id.
    pub fn instance(&self, id: GpuInstanceId) -> Option<&GpuInstance> {
        self.instances.iter().find(|instance| instance.id == id)
    }

    /// Whether MIG is in force.
    pub const fn mig_on(&self) -> bool {
        matches!(self.current, MigMode::Enabled)
    }
}
