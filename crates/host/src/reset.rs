//! Resetting one GPU: NVML has no call for it, so it is a port of the machine.
//!
//! Must never decide whether a reset is safe: the caller has emptied the GPU, closed its own NVML
//! session and journalled the intent before it calls, and reads the GPU again afterwards.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::PathBuf;

use model::{GpuSnapshot, PciAddress};

use crate::root::HostRoot;

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
    /// [`ResetError::Unsupported`] before anything happened, [`ResetError::NotPermitted`] likewise,
    /// [`ResetError::Failed`] when the GPU may be in any state.
    fn reset(&self, gpu: &GpuSnapshot) -> Result<(), ResetError>;
}

/// Resets through the kernel: `/sys/bus/pci/devices/ADDRESS/reset`.
#[derive(Debug, Clone)]
pub struct SysfsReset {
    root: HostRoot,
}

impl SysfsReset {
    /// A reset of GPUs of the machine at `root`.
    pub const fn new(root: HostRoot) -> Self {
        Self { root }
    }

    /// The file whose writing resets the device at `pci`.
    pub fn file(&self, pci: PciAddress) -> PathBuf {
        let PciAddress { domain, bus, device } = pci;
        let name = format!("{domain:04x}:{bus:02x}:{device:02x}.0");
        self.root.resolve("/sys/bus/pci/devices").join(name).join("reset")
    }
}

impl Reset for SysfsReset {
    fn reset(&self, gpu: &GpuSnapshot) -> Result<(), ResetError> {
        reset_at(gpu.pci, self.file(gpu.pci))
    }
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
mod tests {
    use super::*;

    const PCI: PciAddress = PciAddress { domain: 0, bus: 0x0f, device: 0 };

    #[test]
    fn writes_one_into_the_devices_file() {
        let folder = tempfile::tempdir().unwrap();
        let reset = SysfsReset::new(HostRoot::at(folder.path()));
        let file = reset.file(PCI);
        assert!(file.ends_with("sys/bus/pci/devices/0000:0f:00.0/reset"), "{}", file.display());
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, "").unwrap();
        reset_at(PCI, file.clone()).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"1");
    }

    #[test]
    fn a_device_without_reset_is_told_and_no_file_appears() {
        let folder = tempfile::tempdir().unwrap();
        let file = SysfsReset::new(HostRoot::at(folder.path())).file(PCI);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        let error = reset_at(PCI, file.clone()).unwrap_err();
        assert!(matches!(error, ResetError::Unsupported { pci: PCI, .. }), "{error}");
        assert!(!file.exists());
    }

    #[test]
    fn a_kernel_that_refuses_is_a_failure_with_its_cause() {
        // A full device answers every write with ENOSPC.
        let error = reset_at(PCI, PathBuf::from("/dev/full")).unwrap_err();
        let ResetError::Failed { source, .. } = error else { panic!("{error}") };
        assert!(source.to_string().contains("space"), "{source}");
    }
}
