//! The systemd units of a simulated host: a file in its folder, `units.toml`, in which anybody can
//! see them stopped and started. A unit that runs may hold GPUs, as DCGM's does.
//!
//! Must never run a program: a unit here is a word, a state and a holder.
//!
//! ```toml
//! [[unit]]
//! name = "nvidia-dcgm.service"
//! state = "active"        # active, inactive or failed
//! holds = "session"       # what it holds while it runs: client, session; absent: nothing
//! gpu = 0                 # where; absent: on all GPUs
//! needs = ["x.service"]   # stops when one of these stops
//! enabled = true          # runs after a reboot
//! stops = "obeys"         # obeys, hangs or fails when it is asked to stop
//! starts = "obeys"        # likewise
//! ```

use std::io::Write as _;
use std::path::{Path, PathBuf};

use model::UnitName;
use serde::{Deserialize, Serialize};
use sim_gpu::{HoldKind, Holder, Target};

use crate::host::{SimError, SimHost};
use crate::lock::FileLock;

/// Above the largest pid of Linux (2^22): a simulated unit has no process.
const NO_PROCESS: u32 = 4_194_305;

/// What a simulated unit is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SimUnitState {
    /// It runs.
    #[default]
    Active,
    /// It does not.
    Inactive,
    /// It does not, and ended badly.
    Failed,
}

/// How a simulated unit answers when it is asked to stop or to start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SimUnitManner {
    /// It does.
    #[default]
    Obeys,
    /// It takes longer than anybody waits.
    Hangs,
    /// Asked to stop it goes on; asked to start it ends as failed.
    Fails,
}

/// A unit of a simulated host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimUnit {
    /// Its name.
    pub name: UnitName,
    /// What it is doing.
    #[serde(default)]
    pub state: SimUnitState,
    /// How it holds GPUs while it runs; `None`: it holds none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds: Option<HoldKind>,
    /// Which GPU; `None`: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<usize>,
    /// Units that take it along when they stop.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<UnitName>,
    /// Whether it runs after a reboot.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// How it stops.
    #[serde(default)]
    pub stops: SimUnitManner,
    /// How it starts.
    #[serde(default)]
    pub starts: SimUnitManner,
}

const fn yes() -> bool {
    true
}

impl SimUnit {
    /// A unit that runs, is enabled, holds nothing and does what it is told.
    pub const fn new(name: UnitName) -> Self {
        Self {
            name,
            state: SimUnitState::Active,
            holds: None,
            gpu: None,
            needs: Vec::new(),
            enabled: true,
            stops: SimUnitManner::Obeys,
            starts: SimUnitManner::Obeys,
        }
    }

    fn holder(&self) -> Option<Holder> {
        let kind = self.holds.filter(|_| self.state == SimUnitState::Active)?;
        let name = self.name.as_str().to_owned();
        Some(Holder { name, pid: NO_PROCESS, gpu: self.gpu, target: Target::Gpu, kind })
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    unit: Vec<SimUnit>,
}

impl SimHost {
    /// Its units, by name.
    ///
    /// # Errors
    /// [`SimError::Units`].
    pub fn units(&self) -> Result<Vec<SimUnit>, SimError> {
        match self.units_path() {
            Some(path) => read(&path),
            None => Ok(Vec::new()),
        }
    }

    /// Adds a unit, in place of one of that name.
    ///
    /// # Errors
    /// [`SimError::Units`], [`SimError::State`].
    pub fn add_unit(&self, unit: SimUnit) -> Result<(), SimError> {
        self.change_units(|units| {
            units.retain(|other| other.name != unit.name);
            units.push(unit);
        })
    }

    /// Removes a unit, and its holder; false if there was none of that name.
    ///
    /// # Errors
    /// [`SimError::Units`], [`SimError::State`].
    pub fn remove_unit(&self, name: &UnitName) -> Result<bool, SimError> {
        let found = self.change_units(|units| {
            let before = units.len();
            units.retain(|unit| unit.name != *name);
            units.len() < before
        })?;
        if found {
            self.remove_holder(name.as_str())?;
        }
        Ok(found)
    }

    /// Stops a unit, and those that need it. How it went; `None` if there is no such unit.
    ///
    /// # Errors
    /// [`SimError::Units`], [`SimError::State`].
    pub fn stop_unit(&self, name: &UnitName) -> Result<Option<SimUnitManner>, SimError> {
        self.change_units(|units| {
            let manner = units.iter().find(|unit| unit.name == *name)?.stops;
            if manner == SimUnitManner::Obeys {
                stop(units, name);
            }
            Some(manner)
        })
    }

    /// Starts a unit, and what it needs. How it went; `None` if there is no such unit.
    ///
    /// # Errors
    /// [`SimError::Units`], [`SimError::State`].
    pub fn start_unit(&self, name: &UnitName) -> Result<Option<SimUnitManner>, SimError> {
        self.change_units(|units| start(units, name))
    }

    /// As systemd does at boot: what is enabled runs.
    pub(crate) fn boot_units(&self) -> Result<(), SimError> {
        self.change_units(|units| {
            for unit in units {
                unit.state =
                    if unit.enabled { SimUnitState::Active } else { SimUnitState::Inactive };
            }
        })
    }

    /// Forgets every unit.
    pub(crate) fn forget_units(&self) -> Result<(), SimError> {
        self.change_units(Vec::clear)
    }

    fn units_path(&self) -> Option<PathBuf> {
        (!self.dir().as_os_str().is_empty()).then(|| self.dir().join("units.toml"))
    }

    /// Changes the file, and has those who run hold what they hold.
    fn change_units<R>(&self, act: impl FnOnce(&mut Vec<SimUnit>) -> R) -> Result<R, SimError> {
        let Some(path) = self.units_path() else { return Ok(act(&mut Vec::new())) };
        let lock_path = path.with_extension("lock");
        let failed = |source: std::io::Error| SimError::Units { path: path.clone(), source };
        let lock = std::fs::File::options().create(true).append(true).open(&lock_path);
        drop(lock.map_err(failed)?);
        let _one_at_a_time = FileLock::take(&lock_path)
            .map_err(|source| SimError::State { dir: self.dir().to_owned(), source })?;
        let mut units = read(&path)?;
        let result = act(&mut units);
        units.sort_by(|a, b| a.name.cmp(&b.name));
        write(&path, &units).map_err(failed)?;
        self.follow_units(&units)?;
        Ok(result)
    }

    fn follow_units(&self, units: &[SimUnit]) -> Result<(), SimError> {
        let held = self.node()?;
        for unit in units {
            let name = unit.name.as_str();
            let held = held.value.holders.iter().find(|holder| holder.name == name);
            match (held, unit.holder()) {
                (Some(held), Some(wanted)) if *held == wanted => {}
                (_, Some(wanted)) => self.add_holder(wanted)?,
                (Some(_), None) => drop(self.remove_holder(name)?),
                (None, None) => {}
            }
        }
        Ok(())
    }
}

fn stop(units: &mut [SimUnit], name: &UnitName) {
    let Some(unit) = units.iter_mut().find(|unit| unit.name == *name) else { return };
    if unit.state != SimUnitState::Active {
        return;
    }
    unit.state = SimUnitState::Inactive;
    let along = units.iter().filter(|unit| unit.needs.contains(name));
    let along: Vec<UnitName> = along.map(|unit| unit.name.clone()).collect();
    for name in along {
        stop(units, &name);
    }
}

fn start(units: &mut [SimUnit], name: &UnitName) -> Option<SimUnitManner> {
    let unit = units.iter_mut().find(|unit| unit.name == *name)?;
    let (manner, runs) = (unit.starts, unit.state == SimUnitState::Active);
    match manner {
        _ if runs => return Some(SimUnitManner::Obeys),
        SimUnitManner::Hangs => return Some(manner),
        SimUnitManner::Obeys => unit.state = SimUnitState::Active,
        SimUnitManner::Fails => unit.state = SimUnitState::Failed,
    }
    for needed in unit.needs.clone() {
        start(units, &needed);
    }
    Some(manner)
}

fn read(path: &Path) -> Result<Vec<SimUnit>, SimError> {
    let failed = |source| SimError::Units { path: path.to_owned(), source };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let file: File = toml::from_str(&text)
        .map_err(|error| failed(std::io::Error::new(std::io::ErrorKind::InvalidData, error)))?;
    Ok(file.unit)
}

/// Whole or not at all: somebody may be reading.
fn write(path: &Path, units: &[SimUnit]) -> std::io::Result<()> {
    let text = toml::to_string(&File { unit: units.to_vec() }).map_err(std::io::Error::other)?;
    if std::fs::read_to_string(path).unwrap_or_default() == text {
        return Ok(());
    }
    let fresh = path.with_extension("toml.new");
    let mut file = std::fs::File::create(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)
}

#[cfg(test)]
mod tests {
    use sim_gpu::HostSpec;

    use super::*;
    use crate::HostOptions;

    fn name(text: &str) -> UnitName {
        text.parse().unwrap()
    }

    fn host() -> (tempfile::TempDir, SimHost) {
        let folder = tempfile::tempdir().unwrap();
        let spec = HostSpec::named("lab", "a30:2").unwrap();
        let host = SimHost::create(&folder.path().join("lab"), &spec, &HostOptions::default());
        (folder, host.unwrap())
    }

    fn held(host: &SimHost) -> Vec<String> {
        host.node().unwrap().value.holders.iter().map(|holder| holder.name.clone()).collect()
    }

    #[test]
    fn a_unit_holds_gpus_while_it_runs_and_the_file_shows_it() {
        let (_folder, host) = host();
        let dcgm = SimUnit { holds: Some(HoldKind::Session), ..SimUnit::new(name("nvidia-dcgm")) };
        let exporter = SimUnit {
            needs: vec![name("nvidia-dcgm")],
            holds: Some(HoldKind::Client),
            gpu: Some(1),
            ..SimUnit::new(name("dcgm-exporter"))
        };
        host.add_unit(dcgm).unwrap();
        host.add_unit(exporter).unwrap();
        assert_eq!(held(&host), ["nvidia-dcgm.service", "dcgm-exporter.service"]);
        let stopped = host.stop_unit(&name("nvidia-dcgm")).unwrap();
        assert_eq!(stopped, Some(SimUnitManner::Obeys));
        assert!(held(&host).is_empty());
        let text = std::fs::read_to_string(host.dir().join("units.toml")).unwrap();
        assert_eq!(text.matches("state = \"inactive\"").count(), 2, "{text}");
        // What needs another starts it, and not the other way round.
        host.start_unit(&name("nvidia-dcgm")).unwrap();
        assert_eq!(held(&host), ["nvidia-dcgm.service"]);
        host.stop_unit(&name("nvidia-dcgm")).unwrap();
        host.start_unit(&name("dcgm-exporter")).unwrap();
        assert_eq!(held(&host).len(), 2);
        assert_eq!(host.stop_unit(&name("gone")).unwrap(), None);
        assert!(host.remove_unit(&name("dcgm-exporter")).unwrap());
        assert!(!host.remove_unit(&name("dcgm-exporter")).unwrap());
        assert_eq!(held(&host), ["nvidia-dcgm.service"]);
    }

    #[test]
    fn a_reboot_starts_what_is_enabled_and_a_wipe_forgets_them() {
        let (_folder, host) = host();
        let holds = Some(HoldKind::Client);
        host.add_unit(SimUnit { holds, ..SimUnit::new(name("a")) }).unwrap();
        host.add_unit(SimUnit { holds, enabled: false, ..SimUnit::new(name("b")) }).unwrap();
        host.stop_unit(&name("a")).unwrap();
        host.reboot().unwrap();
        assert_eq!(held(&host), ["a.service"]);
        host.wipe().unwrap();
        assert!(host.units().unwrap().is_empty() && held(&host).is_empty());
    }

    #[test]
    fn one_that_does_not_obey_stays_as_it_is() {
        let (_folder, host) = host();
        let unit = SimUnit {
            stops: SimUnitManner::Hangs,
            starts: SimUnitManner::Fails,
            ..SimUnit::new(name("a"))
        };
        host.add_unit(unit.clone()).unwrap();
        assert_eq!(host.stop_unit(&name("a")).unwrap(), Some(SimUnitManner::Hangs));
        assert_eq!(host.units().unwrap()[0].state, SimUnitState::Active);
        let stopped = SimUnit { state: SimUnitState::Inactive, ..unit };
        host.add_unit(stopped).unwrap();
        assert_eq!(host.start_unit(&name("a")).unwrap(), Some(SimUnitManner::Fails));
        assert_eq!(host.units().unwrap()[0].state, SimUnitState::Failed);
    }
}
