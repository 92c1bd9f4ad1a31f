//! How the GPUs of a node reach each other and the processors.
//!
//! Must never describe MIG devices: slices have no links.

use alloc::vec::Vec;

use model::PciAddress;
use model::topology::TopologyLevel;
use serde::{Deserialize, Serialize};

use crate::node::Node;
use crate::ret::Return;

/// A run of processor numbers, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CpuRange {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

/// The NVLinks of every GPU of a node.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum NvLinks {
    /// None.
    #[default]
    None,
    /// So many links per GPU, all into NVSwitches: every pair is `NV<n>`.
    Switched(u8),
}

impl Node {
    /// The nearest common ancestor of two GPUs on PCIe; NVLinks do not count.
    ///
    /// # Errors
    /// INVALID_ARGUMENT if one of them does not exist.
    pub fn common_ancestor(&self, a: usize, b: usize) -> Result<TopologyLevel, Return> {
        let (first, second) = (self.gpu(a)?, self.gpu(b)?);
        Ok(match () {
            () if a == b => TopologyLevel::Internal,
            () if first.numa_node != second.numa_node => TopologyLevel::System,
            () if first.pcie_switch == second.pcie_switch => TopologyLevel::Multiple,
            () => TopologyLevel::Node,
        })
    }

    /// How many NVLinks of the GPU are active: none in MIG mode.
    ///
    /// # Errors
    /// INVALID_ARGUMENT if there is no such GPU.
    pub fn active_nvlinks(&self, gpu: usize) -> Result<u8, Return> {
        Ok(if self.gpu(gpu)?.mig_on() { 0 } else { self.nvlink_count(gpu)? })
    }

    /// How many NVLinks the GPU has.
    ///
    /// # Errors
    /// INVALID_ARGUMENT if there is no such GPU.
    pub fn nvlink_count(&self, gpu: usize) -> Result<u8, Return> {
        self.gpu(gpu)?;
        Ok(match self.nvlinks {
            NvLinks::None => 0,
            NvLinks::Switched(count) => count,
        })
    }

    /// Where the other end of a link is: an NVSwitch. Links go to the switches in turn, six of
    /// them with twelve links (DGX A100), four otherwise (DGX H100).
    ///
    /// # Errors
    /// NOT_SUPPORTED without NVLinks; INVALID_ARGUMENT beyond the last one.
    pub fn nvlink_remote(&self, gpu: usize, link: u8) -> Result<PciAddress, Return> {
        let count = self.nvlink_count(gpu)?;
        if count == 0 {
            return Err(Return::NotSupported);
        }
        if link >= count {
            return Err(Return::InvalidArgument);
        }
        let (first, switches) = if count == 12 { (0xc4, 6) } else { (0x07, 4) };
        Ok(PciAddress { domain: 0, bus: first + link % switches, device: 0 })
    }

    /// The processors near the GPU, each once, ascending.
    ///
    /// # Errors
    /// INVALID_ARGUMENT if there is no such GPU.
    pub fn cpu_affinity(&self, gpu: usize) -> Result<Vec<u16>, Return> {
        let mut cpus: Vec<u16> =
            self.gpu(gpu)?.cpus.iter().flat_map(|range| range.first..=range.last).collect();
        cpus.sort_unstable();
        cpus.dedup();
        Ok(cpus)
    }
}
