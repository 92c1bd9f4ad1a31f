//! Which units stop for a change and start again after it, in which order.
//!
//! Must never stop a unit that the owner's word does not cover, nor leave one out of the start that
//! went along with another.

use std::collections::BTreeSet;
use std::time::Duration;

use model::UnitName;
use model::clients::{KNOWN_CLIENTS, KnownClient, StopClients, Stopping};
use serde::{Deserialize, Serialize};

use super::{Started, Unit, UnitError, Units};

/// How often units are stopped that are started again by somebody else.
const STOPS: u32 = 3;

/// The units that stop, in the order in which they do. They start in the opposite one. It goes into
/// the journal before the first is stopped, so that whoever comes after a crash starts them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Halt {
    /// Units that run now.
    pub units: Vec<UnitName>,
}

/// A unit that runs, holds GPUs as far as is known, and is not stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotHalted {
    /// Which.
    pub unit: UnitName,
    /// Why, as a sentence.
    pub why: String,
}

impl Halt {
    /// What runs and may be stopped, and what runs, is known to hold GPUs, and may not. Units that do
    /// not exist or do not run are in neither.
    ///
    /// # Errors
    /// [`UnitError`] if the units cannot be looked at.
    pub fn of(
        units: &dyn Units,
        allowed: &StopClients,
    ) -> Result<(Self, Vec<NotHalted>), UnitError> {
        let mut halt = Self::default();
        let mut kept = Vec::new();
        for (unit, why_not) in candidates(units, allowed)? {
            if halt.units.contains(&unit.name) {
                continue;
            }
            if let Some(why) = why_not {
                kept.push(NotHalted { unit: unit.name, why });
                continue;
            }
            match with_dependents(units, &unit, allowed)? {
                Ok(order) => {
                    for name in order {
                        if !halt.units.contains(&name) {
                            halt.units.push(name);
                        }
                    }
                }
                Err(why) => kept.push(NotHalted { unit: unit.name, why }),
            }
        }
        Ok((halt, kept))
    }

    /// Whether there is nothing to stop.
    pub const fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// Stops them one after the other and ends with the first that does not stop; one that somebody
    /// starts again meanwhile (its socket, another unit) is stopped again, a few times. Whatever came
    /// of it, [`Self::start`] is due.
    ///
    /// # Errors
    /// [`UnitError`] of the one that did not stop, or does not stay stopped.
    pub fn stop(&self, units: &dyn Units, limit: Duration) -> Result<(), UnitError> {
        let mut left = self.units.clone();
        for _ in 0..STOPS {
            left.iter().try_for_each(|unit| units.stop(unit, limit))?;
            left.clear();
            for name in &self.units {
                if units.unit(name)?.is_some_and(|unit| unit.activity.runs()) {
                    left.push(name.clone());
                }
            }
            if left.is_empty() {
                return Ok(());
            }
        }
        let unit = left.swap_remove(0);
        let triggered_by = units.unit(&unit)?.map(|unit| unit.triggered_by).unwrap_or_default();
        Err(UnitError::ComesBack { unit, times: STOPS, triggered_by })
    }

    /// Starts them all again, the last stopped first; goes on after one that does not start. Units
    /// that run are left as they are, so it may be called again, also by another process.
    pub fn start(
        &self,
        units: &dyn Units,
        limit: Duration,
    ) -> Vec<(UnitName, Result<Started, UnitError>)> {
        let backwards = self.units.iter().rev();
        backwards.map(|unit| (unit.clone(), units.start(unit, limit))).collect()
    }
}

/// Units that run and are known or named, in the order in which they would stop, each with the
/// reason why it may not.
fn candidates(
    units: &dyn Units,
    allowed: &StopClients,
) -> Result<Vec<(Unit, Option<String>)>, UnitError> {
    let listed = units.list()?;
    let mut names: Vec<UnitName> = Vec::new();
    for known in KNOWN_CLIENTS {
        let of_it = listed.iter().filter(|unit| KnownClient::of_unit(&unit.name) == Some(known));
        names.extend(of_it.map(|unit| unit.name.clone()));
    }
    if let StopClients::Named(named) = allowed {
        names
            .extend(named.iter().filter(|name| !names.contains(name)).cloned().collect::<Vec<_>>());
    }
    let mut found = Vec::new();
    for name in names {
        let Some(unit) = units.unit(&name)?.filter(|unit| unit.activity.runs()) else { continue };
        let why = why_not(&unit.name, allowed);
        // What needs nobody's stopping is no holder to tell of.
        if why.is_some() && KnownClient::of_unit(&unit.name).is_some_and(is_no_obstacle) {
            continue;
        }
        found.push((unit, why));
    }
    Ok(found)
}

fn is_no_obstacle(client: &KnownClient) -> bool {
    matches!(client.holds, model::clients::Holds::Fabric)
}

fn why_not(unit: &UnitName, allowed: &StopClients) -> Option<String> {
    if allowed.allows(unit) {
        return None;
    }
    Some(match KnownClient::of_unit(unit).map(|known| known.stopping) {
        Some(Stopping::Never { why }) => format!("it is never stopped: {why}"),
        Some(Stopping::OnlyIfNamed) => {
            "it is stopped only if `stop_clients` or --stop-clients names it".to_owned()
        }
        Some(Stopping::IfAllowed) | None => {
            "neither `stop_clients` in the configuration nor --stop-clients allows it".to_owned()
        }
    })
}

/// The unit after those that would stop with it; or why it may not be stopped.
fn with_dependents(
    units: &dyn Units,
    unit: &Unit,
    allowed: &StopClients,
) -> Result<Result<Vec<UnitName>, String>, UnitError> {
    let mut order = Vec::new();
    let mut seen = BTreeSet::new();
    let found = walk(units, unit, &mut seen, &mut order)?;
    if let Some(stranger) =
        found.into_iter().find(|name| *name != unit.name && !allowed.allows(name))
    {
        return Ok(Err(format!("{stranger} would stop with it, which nothing allows")));
    }
    Ok(Ok(order))
}

/// Depth first, so that who needs another is stopped before it.
fn walk(
    units: &dyn Units,
    unit: &Unit,
    seen: &mut BTreeSet<UnitName>,
    order: &mut Vec<UnitName>,
) -> Result<Vec<UnitName>, UnitError> {
    if !seen.insert(unit.name.clone()) {
        return Ok(Vec::new());
    }
    let mut all = vec![unit.name.clone()];
    for name in &unit.stops_with_it {
        let Some(dependent) = units.unit(name)?.filter(|unit| unit.activity.runs()) else {
            continue;
        };
        all.extend(walk(units, &dependent, seen, order)?);
    }
    order.push(unit.name.clone());
    Ok(all)
}

#[cfg(test)]
#[path = "halt_tests.rs"]
mod tests;
