//! The machine below the daemon: its driver, the root of its files, its reset, its units.
//!
//! Must never know which of the two machines it is, beyond opening it.

use std::ptr::NonNull;
use std::sync::Arc;

use driver::{Driver, Resolver};
use host::{HostRoot, MachineReset, Reset, SystemdUnits, Units};
use model::Timestamp;
use sim_nvml::SimHost;

use crate::options::{DaemonError, GpuSource};
use crate::simulated::{SimulatedReset, SimulatedUnits};
use crate::views;

/// What a daemon stands on.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) driver: Driver,
    pub(crate) root: HostRoot,
    pub(crate) reset: Box<dyn Reset>,
    /// Its systemd units, some of which hold GPUs.
    pub(crate) units: Box<dyn Units>,
    /// Name of the simulated host, if it is one.
    pub(crate) simulated: Option<String>,
}

impl Machine {
    pub(crate) fn open(source: &GpuSource) -> Result<Self, DaemonError> {
        let driver = open_driver(source)?;
        Ok(match source {
            GpuSource::Real => {
                let root = HostRoot::real();
                let reset = Box::new(MachineReset::new(root.clone()));
                let units = Box::new(SystemdUnits::default());
                Self { driver, root, reset, units, simulated: None }
            }
            GpuSource::Simulated { name, dir } => {
                let root = HostRoot::at(SimHost::open(dir)?.root());
                let reset = Box::new(SimulatedReset { dir: dir.clone() });
                let units = Box::new(SimulatedUnits { dir: dir.clone() });
                Self { driver, root, reset, units, simulated: Some(name.clone()) }
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
