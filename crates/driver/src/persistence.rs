//! What stands between a GPU and a reset or a change of mode beside its users: persistence mode, and
//! who owns the GPU on a machine with virtual ones.
//!
//! Must never guess: what the driver does not tell is `None`.

use model::GpuUuid;
use serde::{Deserialize, Serialize};

use crate::driver::Driver;
use crate::error::DriverError;
use crate::returns::NvmlReturn;
use crate::session::read;
use crate::symbols::CallError;

/// Whose GPU it is, where machines are virtual (`nvmlGpuVirtualizationMode_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Virtualization {
    /// The machine's own.
    None,
    /// This is a virtual machine, and the GPU is handed through to it: it cannot be reset from in
    /// here, so on Ampere a change of MIG mode stays pending until the machine is rebooted, and the
    /// GPU may hang until then.
    Passthrough,
    /// This is a virtual machine, and what looks like a GPU is a share of one: MIG is its host's.
    VgpuGuest,
    /// This is the host of virtual machines that share the GPU.
    VgpuHost,
    /// A number that this version of migd does not know.
    Unknown(u32),
}

impl Virtualization {
    /// What NVML's number means.
    pub const fn of_number(number: u32) -> Self {
        match number {
            0 => Self::None,
            1 => Self::Passthrough,
            2 => Self::VgpuGuest,
            // Graphics shared by a host's own software counts as the host's side too.
            3 | 4 => Self::VgpuHost,
            other => Self::Unknown(other),
        }
    }

    /// Why a change of MIG mode does not work or should not be made here, and what to do; `None` if
    /// nothing speaks against it. `needs_reset` tells whether a change needs a reset of the GPU.
    pub const fn against_mode_change(self, needs_reset: bool) -> Option<&'static str> {
        match self {
            Self::Passthrough if needs_reset => Some(
                "this is a virtual machine, which cannot reset the GPU handed through to it: the mode \
                 would stay pending, and the GPU may hang, until the virtual machine is rebooted; \
                 change the mode on the host before the machine starts, or change it here and reboot",
            ),
            Self::None | Self::Unknown(_) | Self::Passthrough => None,
            Self::VgpuGuest => {
                Some("this is a virtual machine with a share of a GPU; MIG is changed on its host")
            }
            Self::VgpuHost => Some(
                "the GPU is shared with virtual machines (vGPU host mode); stop them and let the \
                 hypervisor's tools change its mode",
            ),
        }
    }
}

impl Driver {
    /// Whether persistence mode is on; `None` if the driver does not tell.
    ///
    /// # Errors
    /// If the GPU cannot be found.
    pub fn persistence(&self, gpu: &GpuUuid) -> Result<Option<bool>, DriverError> {
        let session = self.session()?;
        let device = session.gpu(gpu)?;
        let told = read(|mode| session.symbols().nvmlDeviceGetPersistenceMode(device, mode));
        Ok(told.ok().map(|mode| mode != 0))
    }

    /// Turns persistence mode on or off. Where nvidia-persistenced runs, the driver has it take hold
    /// of the GPU or let go of it.
    ///
    /// # Errors
    /// [`DriverError::MissingSymbol`], [`DriverError::Call`] with `NO_PERMISSION` for others than
    /// root.
    pub fn set_persistence(&self, gpu: &GpuUuid, on: bool) -> Result<(), DriverError> {
        let verb = if on { "turn persistence mode on" } else { "turn persistence mode off" };
        let change = self.change(gpu, verb.into())?;
        let set = change.symbols().nvmlDeviceSetPersistenceMode(change.device, u32::from(on));
        change.checked(set)
    }

    /// Whose GPU it is, where machines are virtual; `None` if the driver does not tell.
    ///
    /// # Errors
    /// If the GPU cannot be found, or cannot be asked.
    pub fn virtualization(&self, gpu: &GpuUuid) -> Result<Option<Virtualization>, DriverError> {
        let session = self.session()?;
        let device = session.gpu(gpu)?;
        let told = read(|mode| session.symbols().nvmlDeviceGetVirtualizationMode(device, mode));
        match told {
            Ok(number) => Ok(Some(Virtualization::of_number(number))),
            Err(
                CallError::Missing(_)
                | CallError::Returned(NvmlReturn::NotSupported | NvmlReturn::FunctionNotFound),
            ) => Ok(None),
            Err(error) => Err(session.failure(error, Some(gpu), "ask whose GPU it is")),
        }
    }
}
