//! Who makes a driver call.
//!
//! Must never guess rights: `sim-nvml` reads them from the process.

use model::ProcessId;
use serde::{Deserialize, Serialize};

use crate::ret::Return;

/// What a caller may do. Ordered: a later value may do all that an earlier one may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Rights {
    /// An ordinary user: sees MIG devices by handle, changes nothing.
    Plain,
    /// May read the whole GPU while MIG is on (the `mig/monitor` capability).
    MonitorCapable,
    /// May make and destroy instances (read access to the `mig/config` capability).
    ConfigCapable,
    /// May also change the MIG mode and reset (`CAP_SYS_ADMIN`).
    Root,
}

/// The process that calls, with its rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Caller {
    /// Which process. Its own NVML session never stands in its own way.
    pub process: ProcessId,
    /// What it may do.
    pub rights: Rights,
}

impl Caller {
    /// A caller with every right.
    pub const fn root(process: ProcessId) -> Self {
        Self { process, rights: Rights::Root }
    }

    /// A caller without rights.
    pub const fn plain(process: ProcessId) -> Self {
        Self { process, rights: Rights::Plain }
    }

    pub(crate) fn require(self, rights: Rights) -> Result<(), Return> {
        if self.rights >= rights { Ok(()) } else { Err(Return::NoPermission) }
    }
}
