//! What stands in for the machine of a simulated host: its reset and its systemd units.
//!
//! Must never reach anything but the folder of that host.

use std::path::{Path, PathBuf};
use std::time::Duration;

use host::units::{Activity, Operation, Started, Unit, UnitError, Units};
use host::{Reset, ResetError};
use model::{GpuSnapshot, UnitName};
use sim_nvml::{SimError, SimHost, SimUnit, SimUnitManner, SimUnitState};

/// The reset of a simulated GPU: its own control, since NVML has none.
#[derive(Debug)]
pub(crate) struct SimulatedReset {
    pub(crate) dir: PathBuf,
}

impl Reset for SimulatedReset {
    fn reset(&self, gpu: &GpuSnapshot) -> Result<(), ResetError> {
        reset_simulated(&self.dir, gpu)
            .map_err(|source| ResetError::Failed { pci: gpu.pci, source: Box::new(source) })
    }
}

fn reset_simulated(dir: &Path, gpu: &GpuSnapshot) -> Result<(), SimError> {
    SimHost::open(dir)?.reset_gpu(gpu.index.get() as usize)
}

/// The units of a simulated host. They stop and start at once, or are told not to; one that hangs
/// is given up at once, too, so that nobody waits for what never comes.
#[derive(Debug)]
pub(crate) struct SimulatedUnits {
    pub(crate) dir: PathBuf,
}

impl SimulatedUnits {
    fn host(&self) -> Result<SimHost, UnitError> {
        SimHost::open(&self.dir).map_err(unreachable)
    }

    fn all(&self) -> Result<Vec<Unit>, UnitError> {
        let units = self.host()?.units().map_err(unreachable)?;
        Ok(units.iter().map(|unit| shown(unit, &units)).collect())
    }
}

fn unreachable(error: SimError) -> UnitError {
    UnitError::Unreachable(Box::new(error))
}

const fn activity(state: SimUnitState) -> Activity {
    match state {
        SimUnitState::Active => Activity::Active,
        SimUnitState::Inactive => Activity::Inactive,
        SimUnitState::Failed => Activity::Failed,
    }
}

fn shown(unit: &SimUnit, all: &[SimUnit]) -> Unit {
    let needing = all.iter().filter(|other| other.needs.contains(&unit.name));
    Unit {
        name: unit.name.clone(),
        description: format!("{} (simulated)", unit.name.short()),
        activity: activity(unit.state),
        stops_with_it: needing.map(|other| other.name.clone()).collect(),
        triggered_by: Vec::new(),
    }
}

impl Units for SimulatedUnits {
    fn unit(&self, name: &UnitName) -> Result<Option<Unit>, UnitError> {
        Ok(self.all()?.into_iter().find(|unit| unit.name == *name))
    }

    fn list(&self) -> Result<Vec<Unit>, UnitError> {
        self.all()
    }

    fn stop(&self, name: &UnitName, limit: Duration) -> Result<(), UnitError> {
        let (unit, operation) = (name.clone(), Operation::Stop);
        match self.host()?.stop_unit(name).map_err(unreachable)? {
            None => Err(UnitError::NoSuchUnit { unit }),
            Some(SimUnitManner::Obeys) => Ok(()),
            Some(SimUnitManner::Hangs) => {
                let activity = Activity::Deactivating;
                Err(UnitError::TimedOut { unit, operation, limit, activity })
            }
            Some(SimUnitManner::Fails) => {
                Err(UnitError::NotAsAsked { unit, operation, activity: Activity::Active })
            }
        }
    }

    fn start(&self, name: &UnitName, _limit: Duration) -> Result<Started, UnitError> {
        let (unit, operation) = (name.clone(), Operation::Start);
        match self.host()?.start_unit(name).map_err(unreachable)? {
            None => Err(UnitError::NoSuchUnit { unit }),
            Some(SimUnitManner::Obeys) => Ok(Started::Running),
            Some(SimUnitManner::Hangs) => Ok(Started::Queued),
            Some(SimUnitManner::Fails) => {
                Err(UnitError::NotAsAsked { unit, operation, activity: Activity::Failed })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use host::units::Halt;
    use sim_gpu::HostSpec;
    use sim_nvml::HostOptions;

    use super::*;

    /// What stops for a change lets go of the simulated GPUs, and holds them again after.
    #[test]
    fn halted_units_let_go_of_the_gpus() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("lab");
        let spec = HostSpec::named("lab", "a30:1").unwrap();
        let host = SimHost::create(&dir, &spec, &HostOptions::default()).unwrap();
        let name = |text: &str| text.parse::<UnitName>().unwrap();
        let holds = Some(sim_gpu::HoldKind::Session);
        host.add_unit(SimUnit { holds, ..SimUnit::new(name("nvidia-dcgm")) }).unwrap();
        let needs = vec![name("nvidia-dcgm")];
        host.add_unit(SimUnit { holds, needs, ..SimUnit::new(name("dcgm-exporter")) }).unwrap();
        let units = SimulatedUnits { dir };
        let holders = || host.node().unwrap().value.holders.len();
        assert_eq!(holders(), 2);
        let (halt, _) = Halt::of(&units, &model::StopClients::Known).unwrap();
        assert_eq!(halt.units, [name("dcgm-exporter"), name("nvidia-dcgm")]);
        halt.stop(&units, Duration::ZERO).unwrap();
        assert_eq!(holders(), 0);
        assert!(halt.start(&units, Duration::ZERO).iter().all(|(_, result)| result.is_ok()));
        assert_eq!(holders(), 2);
    }
}
