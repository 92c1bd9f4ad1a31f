//! The machine below the daemon: its driver, the root of its files, its reset.
//!
//! Must never know which of the two machines it is, beyond opening it.

use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::Arc;

use driver::{Driver, Resolver};
use host::{HostRoot, Reset, ResetError, SysfsReset};
use model::{GpuSnapshot, Timestamp};
use sim_nvml::SimHost;

use crate::options::{DaemonError, GpuSource};
use crate::views;

/// What a daemon stands on.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) driver: Driver,
    pub(crate) root: HostRoot,
    pub(crate) reset: Box<dyn Reset>,
    /// Name of the simulated host, if it is one.
    pub(crate) simulated: Option<String>,
}

impl Machine {
    pub(crate) fn open(source: &GpuSource) -> Result<Self, DaemonError> {
        let driver = open_driver(source)?;
        Ok(match source {
            GpuSource::Real => {
                let root = HostRoot::real();
                let reset = Box::new(SysfsReset::new(root.clone()));
                Self { driver, root, reset, simulated: None }
            }
            GpuSource::Simulated { name, dir } => {
                let root = HostRoot::at(SimHost::open(dir)?.root());
                let reset = Box::new(SimulatedReset { dir: dir.clone() });
                Self { driver, root, reset, simulated: Some(name.clone()) }
            }
        })
    }
}

/// Opens the driver of a machine.
///
/// # Errors
/// [`DaemonError::Driver`] and [`DaemonError::Simulated`].
pub fn open_driver(source: &GpuSource) -> Result<Driver, DaemonError> {
    match source {
        GpuSource::Real => Ok(Driver::load()?),
        GpuSource::Simulated { dir, .. } => {
            sim_nvml::attach(dir)?;
            let resolver: Resolver = Arc::new(|name| {
                sim_nvml::symbol(name).and_then(|symbol| NonNull::new(symbol.cast_mut()))
            });
            Ok(Driver::open(resolver)?)
        }
    }
}

/// The machine as its driver shows it, without a daemon's records.
///
/// # Errors
/// As [`open_driver`], and whatever the driver answers.
pub fn view_without_daemon(source: &GpuSource) -> Result<api::NodeView, DaemonError> {
    let machine = Machine::open(source)?;
    let observed = machine.driver.snapshot(Timestamp::default())?;
    Ok(views::bare_node(&observed, machine.simulated))
}

/// The reset of a simulated GPU: its own control, since NVML has none.
#[derive(Debug)]
struct SimulatedReset {
    dir: PathBuf,
}

impl Reset for SimulatedReset {
    fn reset(&self, gpu: &GpuSnapshot) -> Result<(), ResetError> {
        reset_simulated(&self.dir, gpu)
            .map_err(|source| ResetError::Failed { pci: gpu.pci, source: Box::new(source) })
    }
}

fn reset_simulated(dir: &Path, gpu: &GpuSnapshot) -> Result<(), sim_nvml::SimError> {
    SimHost::open(dir)?.reset_gpu(gpu.index.get() as usize)
}
