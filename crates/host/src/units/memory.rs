//! Units that exist in memory alone, for simulations and tests: they do what they are told, or what
//! the test told them to do instead, and everything asked of them is recorded.
//!
//! Must never behave better than systemd: a unit takes along what depends on it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::UnitName;

use super::{Activity, Operation, Started, Unit, UnitError, Units};

/// How a unit answers when it is asked to stop or start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Manner {
    /// It does.
    #[default]
    Obeys,
    /// It takes longer than anybody waits.
    Hangs,
    /// It ends up failed.
    Fails,
}

#[derive(Debug, Clone)]
struct Kept {
    unit: Unit,
    stopping: Manner,
    starting: Manner,
}

#[derive(Debug, Default)]
struct Inside {
    units: BTreeMap<UnitName, Kept>,
    asked: Vec<(Operation, UnitName)>,
}

/// Units in memory.
#[derive(Debug, Default)]
pub struct MemoryUnits(Mutex<Inside>);

impl MemoryUnits {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a unit that runs; those in `needs` take it along when they stop.
    pub fn add(&self, name: &UnitName, needs: &[UnitName]) {
        let mut inside = self.inside();
        let unit = Unit {
            name: name.clone(),
            description: name.short().to_owned(),
            activity: Activity::Active,
            stops_with_it: Vec::new(),
            triggered_by: Vec::new(),
        };
        let kept = Kept { unit, stopping: Manner::Obeys, starting: Manner::Obeys };
        inside.units.insert(name.clone(), kept);
        for needed in needs {
            if let Some(needed) = inside.units.get_mut(needed) {
                needed.unit.stops_with_it.push(name.clone());
            }
        }
    }

    /// How it stops and starts from now on.
    pub fn set_manner(&self, name: &UnitName, stopping: Manner, starting: Manner) {
        if let Some(kept) = self.inside().units.get_mut(name) {
            (kept.stopping, kept.starting) = (stopping, starting);
        }
    }

    /// Names of those that run.
    pub fn running(&self) -> Vec<UnitName> {
        let inside = self.inside();
        let running = inside.units.values().filter(|kept| kept.unit.activity.runs());
        running.map(|kept| kept.unit.name.clone()).collect()
    }

    /// What was asked so far, in order; looks are left out.
    pub fn asked(&self) -> Vec<(Operation, UnitName)> {
        self.inside().asked.clone()
    }
}

impl Inside {
    fn asked_to(&mut self, operation: Operation, name: &UnitName) -> Result<Manner, UnitError> {
        self.asked.push((operation, name.clone()));
        let kept = self.units.get(name);
        let kept = kept.ok_or_else(|| UnitError::NoSuchUnit { unit: name.clone() })?;
        Ok(match operation {
            Operation::Show => Manner::Obeys,
            Operation::Stop => kept.stopping,
            Operation::Start => kept.starting,
        })
    }

    fn set(&mut self, name: &UnitName, activity: Activity) {
        if let Some(kept) = self.units.get_mut(name) {
            kept.unit.activity = activity;
        }
    }

    /// Stops it and whatever stops with it.
    fn stop(&mut self, name: &UnitName) {
        let Some(kept) = self.units.get_mut(name) else { return };
        if !kept.unit.activity.runs() {
            return;
        }
        kept.unit.activity = Activity::Inactive;
        for dependent in kept.unit.stops_with_it.clone() {
            self.stop(&dependent);
        }
    }
}

impl Units for MemoryUnits {
    fn unit(&self, name: &UnitName) -> Result<Option<Unit>, UnitError> {
        Ok(self.inside().units.get(name).map(|kept| kept.unit.clone()))
    }

    fn list(&self) -> Result<Vec<Unit>, UnitError> {
        Ok(self.inside().units.values().map(|kept| kept.unit.clone()).collect())
    }

    fn stop(&self, name: &UnitName, limit: Duration) -> Result<(), UnitError> {
        let mut inside = self.inside();
        let (unit, operation) = (name.clone(), Operation::Stop);
        match inside.asked_to(operation, name)? {
            Manner::Obeys => {
                inside.stop(name);
                Ok(())
            }
            Manner::Hangs => {
                let activity = Activity::Deactivating;
                Err(UnitError::TimedOut { unit, operation, limit, activity })
            }
            Manner::Fails => {
                Err(UnitError::NotAsAsked { unit, operation, activity: Activity::Active })
            }
        }
    }

    fn start(&self, name: &UnitName, _limit: Duration) -> Result<Started, UnitError> {
        let mut inside = self.inside();
        match inside.asked_to(Operation::Start, name)? {
            Manner::Obeys => {
                inside.set(name, Activity::Active);
                Ok(Started::Running)
            }
            Manner::Hangs => {
                inside.set(name, Activity::Activating);
                Ok(Started::Queued)
            }
            Manner::Fails => {
                inside.set(name, Activity::Failed);
                let (unit, operation) = (name.clone(), Operation::Start);
                Err(UnitError::NotAsAsked { unit, operation, activity: Activity::Failed })
            }
        }
    }
}
