//! The shapes of who holds a GPU or a slice: `GET /v1/gpus/{gpu}/holders`.
//!
//! Must never carry a process's arguments to anybody but its user and administrators.

use model::LeaseId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Who holds a GPU or a slice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BusyView {
    /// What was asked about, in words (`GPU 0`, `3g.20gb on GPU 0 (GPU instance 1)`).
    pub what: String,
    /// NVML index of the GPU.
    pub gpu: u32,
    /// GPU instance id, if a slice was asked about.
    pub gpu_instance: Option<u32>,
    /// Compute instance id, if one was asked about.
    pub compute_instance: Option<u32>,
    /// Who holds it: those that are in the way first.
    pub holders: Vec<HolderView>,
    /// Why somebody may not have been seen.
    pub unseen: Vec<String>,
}

/// A way of holding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HoldView {
    /// The driver says that it runs there.
    Runs,
    /// It has the capability node of the slice open.
    OpenSlice,
    /// It has the node of the GPU open.
    OpenGpu,
    /// It has the driver's control nodes open, which every client of the driver has.
    OpenDriver,
    /// A virtual machine has the GPU.
    Passthrough,
    /// A kernel module has the GPU.
    Module,
    /// A lease has it, though none of its processes was seen.
    Lease,
    /// It was invented on a simulated machine (`migctl sim holder`).
    Invented,
}

/// A container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ContainerView {
    /// Its id, shortened as its engine shows it.
    pub id: String,
    /// Its engine: `docker`, `podman`, `containerd`, `cri-o`; absent where the name does not tell.
    pub engine: Option<String>,
}

/// Somebody who holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HolderView {
    /// How it holds, the weightiest way first.
    pub holds: Vec<HoldView>,
    /// The same in words, with nodes and descriptors.
    pub how: Vec<String>,
    /// Whether it keeps the thing from being destroyed, changed or reset.
    pub in_the_way: bool,
    /// Its pid; absent for modules and leases.
    pub pid: Option<u32>,
    /// Its user.
    pub user: Option<String>,
    /// Name of its program, or of the module.
    pub command: Option<String>,
    /// Its arguments; told to its user and to administrators alone.
    pub command_line: Option<String>,
    /// Its systemd unit.
    pub unit: Option<String>,
    /// Its container.
    pub container: Option<ContainerView>,
    /// Its lease.
    #[schema(value_type = Option<String>)]
    pub lease: Option<LeaseId>,
    /// Memory it uses there.
    pub memory_mib: Option<u64>,
    /// What it is, if it is known to hold GPUs (`NVIDIA's persistence daemon`).
    pub known_as: Option<String>,
    /// What to do about it.
    pub advice: String,
}
