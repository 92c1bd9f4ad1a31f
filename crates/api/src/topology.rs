//! The shapes of how GPUs and network cards of a machine reach each other.
//!
//! Must never describe slices: they have no links.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::v1::MigView;

/// How the devices of a machine reach each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TopologyView {
    /// GPUs in the driver's order, then network cards by PCI address: rows and columns of `links`.
    pub devices: Vec<TopologyDeviceView>,
    /// `links[i][j]` leads from `devices[i]` to `devices[j]`.
    pub links: Vec<Vec<LinkView>>,
    /// What the marks mean.
    pub legend: Vec<MarkView>,
    /// What MIG does to the links, in sentences.
    pub notes: Vec<String>,
}

/// What kind of device it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TopologyKind {
    /// A GPU.
    Gpu,
    /// A network card.
    Nic,
}

/// A row and column of the matrix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TopologyDeviceView {
    /// Its name in the matrix (`GPU0`, `NIC1`).
    pub name: String,
    /// What it is.
    pub kind: TopologyKind,
    /// Product name of a GPU; names of a network card (`mlx5_0 ens1f0`).
    pub label: String,
    /// UUID of a GPU.
    pub uuid: Option<String>,
    /// PCI address.
    pub pci: String,
    /// MIG mode of a GPU.
    pub mig: Option<MigView>,
    /// Processors near it, as the kernel writes lists (`0-15,64-79`).
    pub cpu_affinity: Option<String>,
    /// NUMA nodes whose memory is near it.
    pub numa_affinity: Option<String>,
    /// The NUMA node that a GPU's own memory is, where it is one.
    pub gpu_numa_id: Option<u32>,
}

/// The way between two devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LinkView {
    /// The mark of `nvidia-smi topo -m`: `X`, `NV12`, `SYS` …; `?` where nobody tells.
    pub mark: String,
    /// Active NVLinks that join the two.
    pub nvlinks: u32,
    /// The mark of the way over PCIe, also where NVLinks join the two.
    pub pcie: Option<String>,
}

/// A mark of the matrix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MarkView {
    /// The mark.
    pub mark: String,
    /// What it means.
    pub meaning: String,
}
