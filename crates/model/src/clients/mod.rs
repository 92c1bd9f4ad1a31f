//! Programs that are known to hold GPUs though no job of theirs runs there: monitors, daemons of
//! the driver, display servers.
//!
//! Must never say that a unit may be stopped without the owner's word: [`StopClients`] is that word,
//! and by default it allows nothing.

mod known;
mod name;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

pub use known::{Holds, KNOWN_CLIENTS, KnownClient, Stopping, known_client_of_process};
pub use name::{UnitName, UnitNameError};

/// Which units may be stopped while a GPU's MIG mode changes or a GPU is reset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopClients {
    /// None.
    #[default]
    Nothing,
    /// Those of [`KNOWN_CLIENTS`] that may be stopped.
    Known,
    /// These.
    Named(Vec<UnitName>),
}

/// Why the words for units to stop were not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StopClientsError {
    /// One of them is no name.
    #[error(transparent)]
    Name(#[from] UnitNameError),
    /// It is never stopped.
    #[error("{unit} is never stopped: {why}")]
    Never {
        /// Which.
        unit: UnitName,
        /// Why.
        why: &'static str,
    },
}

impl StopClients {
    /// The units of a list.
    ///
    /// # Errors
    /// [`StopClientsError::Never`] for one that nobody may stop.
    pub fn named(units: Vec<UnitName>) -> Result<Self, StopClientsError> {
        for unit in &units {
            let known = KnownClient::of_unit(unit);
            if let Some(Stopping::Never { why }) = known.map(|known| known.stopping) {
                return Err(StopClientsError::Never { unit: unit.clone(), why });
            }
        }
        Ok(if units.is_empty() { Self::Nothing } else { Self::Named(units) })
    }

    /// Whether the unit may be stopped.
    pub fn allows(&self, unit: &UnitName) -> bool {
        let stopping = KnownClient::of_unit(unit).map(|known| known.stopping);
        match (self, stopping) {
            (_, Some(Stopping::Never { .. })) | (Self::Nothing, _) => false,
            (Self::Known, stopping) => stopping == Some(Stopping::IfAllowed),
            (Self::Named(units), _) => units.contains(unit),
        }
    }
}

impl FromStr for StopClients {
    type Err = StopClientsError;

    /// `none`, `known`, or names of units between commas.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            "" | "none" => Ok(Self::Nothing),
            "known" => Ok(Self::Known),
            names => {
                let names: Result<Vec<UnitName>, UnitNameError> =
                    names.split(',').map(|name| name.trim().parse()).collect();
                Self::named(names?)
            }
        }
    }
}

impl fmt::Display for StopClients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("none"),
            Self::Known => f.write_str("known"),
            Self::Named(units) => {
                let names: Vec<String> =
                    units.iter().map(|unit| String::from(unit.as_str())).collect();
                f.write_str(&names.join(","))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    fn unit(name: &str) -> UnitName {
        name.parse().unwrap()
    }

    #[test]
    fn nothing_may_be_stopped_unless_it_is_said() {
        for known in KNOWN_CLIENTS.iter().flat_map(|known| known.units) {
            let known = known.trim_end_matches('*');
            assert!(!StopClients::default().allows(&unit(known)), "{known}");
        }
    }

    #[test]
    fn known_ones_may_be_stopped_together_and_kubelet_only_by_name() {
        let known: StopClients = "known".parse().unwrap();
        for name in ["nvidia-dcgm", "dcgm-exporter", "nvidia-persistenced.service", "nvsm-core"] {
            assert!(known.allows(&unit(name)), "{name}");
        }
        for name in ["kubelet", "nvidia-fabricmanager", "gdm", "sshd", "docker"] {
            assert!(!known.allows(&unit(name)), "{name}");
        }
        let named: StopClients = "kubelet, telegraf.service".parse().unwrap();
        assert!(named.allows(&unit("kubelet")) && named.allows(&unit("telegraf")));
        assert!(!named.allows(&unit("nvidia-dcgm")));
        assert_eq!(named.to_string(), "kubelet.service,telegraf.service");
        assert_eq!(named.to_string().parse(), Ok(named));
    }

    #[test]
    fn what_is_never_stopped_cannot_be_asked_for() {
        for name in ["nvidia-fabricmanager", "gdm3", "display-manager.service"] {
            let error = name.parse::<StopClients>().unwrap_err();
            assert!(error.to_string().contains("is never stopped"), "{error}");
        }
        assert!("a b".parse::<StopClients>().is_err());
        assert_eq!("none".parse(), Ok(StopClients::Nothing));
    }
}
