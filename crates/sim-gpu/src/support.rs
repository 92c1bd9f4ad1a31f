//! Which query works on which handle (`nvml.md` §3.11).
//!
//! Must never answer for a caller's rights: this is about the hardware.

use crate::node::Node;
use crate::ret::Return;

/// A kind of device handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HandleKind {
    /// A physical GPU.
    Gpu,
    /// A MIG device.
    Mig,
}

/// A kind of query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Query {
    /// Name, UUID, index, whether it is a MIG handle, its parent.
    Identity,
    /// PCI address, minor number, serial number, compute capability, architecture, brand. On a MIG
    /// handle the parent's is answered; real drivers are not known to.
    Board,
    /// Memory, its second version, BAR1.
    Memory,
    /// Process lists.
    Processes,
    /// GPU, encoder, decoder, JPEG and OFA utilisation, samples of those, process utilisation.
    Utilization,
    /// Power, temperature, clocks, fan, PCIe throughput.
    Telemetry,
    /// Compute mode, read.
    ComputeMode,
    /// Compute mode, set.
    SetComputeMode,
    /// ECC mode and counters.
    Ecc,
    /// Remapped rows.
    RemappedRows,
    /// Number of cores.
    CoreCount,
    /// Accounting mode, set.
    SetAccounting,
    /// Event registration.
    Events,
    /// `nvmlDeviceGetAttributes_v2`.
    Attributes,
    /// GPU and compute instance id.
    InstanceIds,
    /// NVLink state, peer-to-peer status, topology, affinity.
    Links,
    /// MIG mode, profiles and instances.
    MigConfig,
    /// GPM samples; Hopper and later.
    Gpm,
    /// Persistence mode, driver model, display, virtualisation: the board's settings.
    Settings,
}

/// Whether a query works on a kind of handle while MIG is on or off. A MIG handle exists only
/// while it is on.
///
/// # Errors
/// NOT_SUPPORTED where the real driver refuses; INVALID_ARGUMENT for the MIG calls that want a
/// physical GPU.
pub const fn supports(query: Query, handle: HandleKind, mig_on: bool) -> Result<(), Return> {
    match handle {
        HandleKind::Gpu => on_gpu(query, mig_on),
        HandleKind::Mig => on_mig_device(query),
    }
}

const fn on_gpu(query: Query, mig_on: bool) -> Result<(), Return> {
    match query {
        Query::Identity
        | Query::Board
        | Query::Memory
        | Query::Processes
        | Query::Telemetry
        | Query::ComputeMode
        | Query::Ecc
        | Query::Events
        | Query::Links
        | Query::MigConfig
        | Query::Gpm
        | Query::Settings => Ok(()),
        Query::Utilization
        | Query::SetComputeMode
        | Query::RemappedRows
        | Query::CoreCount
        | Query::SetAccounting => {
            if mig_on {
                Err(Return::NotSupported)
            } else {
                Ok(())
            }
        }
        Query::Attributes | Query::InstanceIds => Err(Return::NotSupported),
    }
}

const fn on_mig_device(query: Query) -> Result<(), Return> {
    match query {
        Query::Identity
        | Query::Board
        | Query::Memory
        | Query::Processes
        | Query::ComputeMode
        | Query::SetComputeMode
        | Query::Ecc
        | Query::Attributes
        | Query::InstanceIds
        | Query::Gpm => Ok(()),
        Query::MigConfig => Err(Return::InvalidArgument),
        Query::Utilization
        | Query::Telemetry
        | Query::RemappedRows
        | Query::CoreCount
        | Query::SetAccounting
        | Query::Events
        | Query::Links
        | Query::Settings => Err(Return::NotSupported),
    }
}

impl Node {
    /// [`supports`] for a GPU as it is now: remapped rows are refused only while instances exist,
    /// GPM before Hopper.
    ///
    /// # Errors
    /// As [`supports`], and INVALID_ARGUMENT, GPU_IS_LOST, RESET_REQUIRED as any call on the GPU.
    pub fn supports(&self, gpu: usize, query: Query, handle: HandleKind) -> Result<(), Return> {
        let found = self.working_gpu(gpu)?;
        if query == Query::Gpm && !self.board(gpu)?.gpm {
            return Err(Return::NotSupported);
        }
        let untouched = query == Query::RemappedRows && found.instances.is_empty();
        let mig_on = found.mig_on() && !untouched;
        supports(query, handle, mig_on)
    }
}
