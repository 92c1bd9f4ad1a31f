//! Resetting one GPU: NVML has no call for it, so it is a port of the machine.
//!
//! Must never decide whether a reset is safe: the caller has emptied the GPU, turned persistence mode
//! off, closed its own NVML session and journalled the intent before it calls, and reads the GPU again
//! afterwards. Must never touch another GPU than the one it is told.

mod smi;

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::PathBuf;

use model::{GpuSnapshot, PciAddress};

use crate::pci;
use crate::root::HostRoot;

/// Fabric Manager as `/proc/PID/comm` has it, cut to 15 bytes.
const FABRIC_MANAGER: &str = "nv-fabricmanage";
/// Ampere; later GPUs reset without regard to their NVLinks.
const NEEDS_FABRIC: u32 = 8;

/// Why a GPU was not reset.
#[derive(Debug, thiserror::Error)]
pub enum ResetError {
    /// The kernel offers no reset of this device (a GPU passed through to a virtual machine has
    /// none); only a reboot brings a pending mode into force.
    #[error("the GPU at {pci} has no reset here (no {}); reboot the machine instead", path.display())]
    Unsupported {
        /// Which GPU.
        pci: PciAddress,
        /// The file that is missing.
        path: PathBuf,
    },
    /// It hangs on NVSwitches, and what runs them does not run: one GPU alone cannot be reset then.
    #[error(
        "the GPU at {pci} is connected through NVSwitches, and Fabric Manager does not run: one such \
         GPU cannot be reset alone; `systemctl start nvidia-fabricmanager` first"
    )]
    NeedsFabricManager {
        /// Which GPU.
        pci: PciAddress,
    },
    /// Another driver than NVIDIA's has it.
    #[error("the GPU at {pci} is not reset: {why}")]
    NotOurs {
        /// Which GPU.
        pci: PciAddress,
        /// Whose it is.
        why: String,
    },
    /// The caller may not reset it.
    #[error("may not reset the GPU at {pci}")]
    NotPermitted {
        /// Which GPU.
        pci: PciAddress,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The reset was tried and failed; the state of the GPU is to be read again.
    #[error("resetting the GPU at {pci} failed")]
    Failed {
        /// Which GPU.
        pci: PciAddress,
        /// What the machine said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A way to reset one GPU.
pub trait Reset: std::fmt::Debug + Send + Sync {
    /// Resets `gpu` and returns when it is done.
    ///
    /// # Errors
    /// [`ResetError::Failed`] when the GPU may be in any state; the others before anything happened.
    fn reset(&self, gpu: &GpuSnapshot) -> Result<(), ResetError>;
}

/// The reset of a real machine's GPUs: by NVIDIA's own tool where it is installed, since it tells the
/// driver, and through the kernel (`/sys/bus/pci/devices/ADDRESS/reset`) where it is not.
#[derive(Debug, Clone)]
pub struct MachineReset {
    root: HostRoot,
    tool: Option<PathBuf>,
}

impl MachineReset {
    /// A reset of GPUs of the machine at `root`.
    pub fn new(root: HostRoot) -> Self {
        let tool = smi::PATHS.iter().map(|path| root.resolve(path)).find(|path| path.is_file());
        Self { root, tool }
    }

    /// The file whose writing resets the device at `pci`.
    pub fn file(&self, pci: PciAddress) -> PathBuf {
        pci::folder(&self.root, pci).join("reset")
    }

    /// What speaks against a reset before it is tried.
    fn check(&self, gpu: &GpuSnapshot) -> Result<(), ResetError> {
        let pci = gpu.pci;
        // A machine whose list cannot be read says more when the reset is tried.
        let functions = pci::nvidia_functions(&self.root).unwrap_or_default();
        let own = functions.iter().find(|function| function.address() == Some(pci));
        if let Some(why) = own.and_then(pci::PciFunction::why_not_ours) {
            return Err(ResetError::NotOurs { pci, why });
        }
        let ampere = gpu.compute_capability.is_none_or(|(major, _)| major <= NEEDS_FABRIC);
        let switched = functions.iter().any(pci::PciFunction::is_nvswitch);
        if ampere && switched && !self.runs(FABRIC_MANAGER) {
            return Err(ResetError::NeedsFabricManager { pci });
        }
        Ok(())
    }

    /// Whether a process of this name runs.
    fn runs(&self, name: &str) -> bool {
        let processes = fs::read_dir(self.root.resolve("/proc")).into_iter().flatten();
        let mut names = processes
            .filter_map(|process| fs::read_to_string(process.ok()?.path().join("comm")).ok());
        names.any(|comm| comm.trim_end() == name)
    }
}

impl Reset for MachineReset {
    fn reset(&self, gpu: &GpuSnapshot) -> Result<(), ResetError> {
        self.check(gpu)?;
        match &self.tool {
            Some(tool) => smi::reset(tool, gpu.pci, smi::LIMIT),
            None => reset_at(gpu.pci, self.file(gpu.pci)),
        }
    }
}

/// The address as sysfs and `nvidia-smi -i` write it.
fn sysfs_name(pci: PciAddress) -> String {
    let PciAddress { domain, bus, device } = pci;
    format!("{domain:04x}:{bus:02x}:{device:02x}.0")
}

fn reset_at(pci: PciAddress, path: PathBuf) -> Result<(), ResetError> {
    let mut file = match OpenOptions::new().write(true).open(&path) {
        Ok(file) => file,
        Err(source) if source.kind() == io::ErrorKind::NotFound => {
            return Err(ResetError::Unsupported { pci, path });
        }
        Err(source) if source.kind() == io::ErrorKind::PermissionDenied => {
            return Err(ResetError::NotPermitted { pci, source });
        }
        Err(source) => return Err(ResetError::Failed { pci, source: source.into() }),
    };
    file.write_all(b"1").map_err(|source| ResetError::Failed { pci, source: source.into() })
}

#[cfg(test)]
mod tests;
