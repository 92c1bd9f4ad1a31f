//! How the GPUs of a node reach each other and the processors.
//!
//! Must never describe MIG devices: slices have no links.

use alloc::vec::Vec;

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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NvLinks {
    /// None.
    #[default]
    None,
    /// So many links per GPU, all into NVSwitches: every pair is `NV<n>`.
    Switched(u8),
}
