//! How much memory a GPU or MIG device has and uses.
//!
//! Must never count a GPU instance twice: its compute instances share its memory.

use model::{ComputeInstanceId, GpuInstanceId, MemoryMib};

use crate::caller::{Caller, Rights};
use crate::clients::Target;
use crate::node::Node;
use crate::ret::Return;

/// `nvmlMemory_v2_t` in MiB. The first version of the query adds `reserved` to `used`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// All there is.
    pub total: MemoryMib,
    /// What the driver keeps for itself.
    pub reserved: MemoryMib,
    /// What is left.
    pub free: MemoryMib,
    /// What is taken.
    pub used: MemoryMib,
}

/// `nvmlBAR1Memory_t` in MiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bar1Use {
    /// All there is.
    pub total: MemoryMib,
    /// What is left.
    pub free: MemoryMib,
    /// What is taken.
    pub used: MemoryMib,
}
