//! How GPUs of one machine reach each other.
//!
//! Must never describe MIG devices: slices have no links and no peer-to-peer.

use serde::{Deserialize, Serialize};

/// The nearest common ancestor of two GPUs, as `nvmlDeviceGetTopologyCommonAncestor` numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TopologyLevel {
    /// On one board (PSB).
    Internal,
    /// At most one PCIe bridge or switch (PIX).
    Single,
    /// Several PCIe bridges, no host bridge (PXB).
    Multiple,
    /// Through one host bridge (PHB).
    HostBridge,
    /// Host bridges of one NUMA node (NODE).
    Node,
    /// Across NUMA nodes (SYS).
    System,
}

impl TopologyLevel {
    /// NVML's number for it.
    pub const fn nvml_value(self) -> u32 {
        match self {
            Self::Internal => 0,
            Self::Single => 10,
            Self::Multiple => 20,
            Self::HostBridge => 30,
            Self::Node => 40,
            Self::System => 50,
        }
    }

    /// The mark `nvidia-smi topo -m` prints.
    pub const fn mark(self) -> &'static str {
        match self {
            Self::Internal => "PSB",
            Self::Single => "PIX",
            Self::Multiple => "PXB",
            Self::HostBridge => "PHB",
            Self::Node => "NODE",
            Self::System => "SYS",
        }
    }
}
