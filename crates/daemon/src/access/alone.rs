//! The break-glass without a daemon: the last step of an uninstallation, and the way out when the
//! daemon does not start.
//!
//! Must never need more than it uses: without a GPU named it works without a driver, too.

use std::io;
use std::path::Path;

use broker::GpuSelector;
use host::HostRoot;
use host::access::Report;
use model::{GpuMinor, GpuUuid};

use super::BrokenGlass;
use crate::machine::open_driver;
use crate::options::{DaemonError, GpuSource};

/// Gives everybody access to the slices of one GPU, or of all, and notes it for the next daemon if
/// there is a state folder.
///
/// # Errors
/// [`DaemonError`]; what fails for one node is in the report.
pub fn stock_without_daemon(
    gpu: Option<(&GpuSource, &GpuSelector)>,
    root: &HostRoot,
    state_dir: &Path,
) -> Result<Report, DaemonError> {
    let gpu = gpu.map(|(source, selector)| find(source, selector)).transpose()?;
    let failed = |source| DaemonError::System { what: "set the access to slices", source };
    if state_dir.exists() {
        let mut note = BrokenGlass::read(state_dir).unwrap_or_default();
        match &gpu {
            Some((uuid, _)) => {
                note.gpus.insert(uuid.clone());
            }
            None => note.all = true,
        }
        note.write(state_dir).map_err(|error| failed(io::Error::other(error)))?;
    }
    host::access::restore_stock(root, gpu.map(|(_, minor)| minor))
        .map_err(|error| failed(io::Error::other(error)))
}

fn find(source: &GpuSource, selector: &GpuSelector) -> Result<(GpuUuid, GpuMinor), DaemonError> {
    let driver = open_driver(source)?;
    let mut meant = Vec::new();
    for gpu in driver.gpus()? {
        let seen = driver.gpu_snapshot(&gpu)?;
        if selector.matches(&seen) {
            meant.push((seen.uuid, seen.minor));
        }
    }
    match meant.as_slice() {
        [only] => Ok(only.clone()),
        _ => Err(DaemonError::System {
            what: "find that GPU",
            source: io::Error::other(format!("{selector} means {} GPUs", meant.len())),
        }),
    }
}
