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

    /// What the path runs through, in words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Internal => "on one board",
            Self::Single => "at most one PCIe switch",
            Self::Multiple => "several PCIe switches, not the processor",
            Self::HostBridge => "PCIe and one host bridge of a processor",
            Self::Node => "PCIe and several host bridges of one NUMA node",
            Self::System => "PCIe and the link between NUMA nodes",
        }
    }

    /// All of them, the longest way first, as legends list them.
    pub const ALL: [Self; 6] =
        [Self::System, Self::Node, Self::HostBridge, Self::Multiple, Self::Single, Self::Internal];

    /// The level of two PCI devices by the way the kernel names them: host bridge, bridges, device
    /// (`pci0000:00`, `0000:00:01.0`, `0000:01:00.0`). `same_node` says whether they are near one
    /// NUMA node.
    pub fn of_pci_paths<T: AsRef<str>>(one: &[T], other: &[T], same_node: bool) -> Self {
        let shared = one.iter().zip(other).take_while(|(a, b)| a.as_ref() == b.as_ref()).count();
        // Two functions of one device share everything up to it.
        let rest = one.len().max(other.len()).saturating_sub(shared);
        match shared {
            0 if same_node => Self::Node,
            0 => Self::System,
            1 => Self::HostBridge,
            // A switch is one bridge upstream and one towards each device.
            _ if rest <= 2 => Self::Single,
            _ => Self::Multiple,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_numbers_are_the_vendor_s() {
        let marks = TopologyLevel::ALL.map(|level| (level.mark(), level.nvml_value()));
        assert_eq!(
            marks,
            [("SYS", 50), ("NODE", 40), ("PHB", 30), ("PXB", 20), ("PIX", 10), ("PSB", 0)]
        );
    }

    #[test]
    fn levels_follow_from_where_the_kernel_finds_devices() {
        // A GPU and a NIC behind one switch, a GPU behind another below the same root port, one on
        // the same host bridge, and one elsewhere.
        let gpu = ["pci0000:16", "0000:16:02.0", "0000:17:00.0", "0000:18:00.0", "0000:1a:00.0"];
        let switch = ["pci0000:16", "0000:16:02.0", "0000:17:00.0", "0000:18:10.0", "0000:1b:00.0"];
        let function =
            ["pci0000:16", "0000:16:02.0", "0000:17:00.0", "0000:18:00.0", "0000:1a:00.1"];
        let far = [
            "pci0000:16",
            "0000:16:02.0",
            "0000:17:00.0",
            "0000:18:08.0",
            "0000:1c:00.0",
            "0000:1d:00.0",
            "0000:1e:00.0",
        ];
        let bridge = ["pci0000:16", "0000:16:04.0", "0000:20:00.0"];
        let other = ["pci0000:80", "0000:80:02.0", "0000:81:00.0"];
        let level = |path: &[&str], same| TopologyLevel::of_pci_paths(&gpu, path, same);
        assert_eq!(level(&switch, true), TopologyLevel::Single);
        assert_eq!(level(&function, true), TopologyLevel::Single);
        assert_eq!(level(&far, true), TopologyLevel::Multiple);
        assert_eq!(level(&bridge, true), TopologyLevel::HostBridge);
        assert_eq!(level(&other, true), TopologyLevel::Node);
        assert_eq!(level(&other, false), TopologyLevel::System);
    }
}
