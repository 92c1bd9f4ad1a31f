//! Systemd's units: what runs, and stopping and starting it in bounded time.
//!
//! Must never choose which unit is stopped, nor start one that was not running before it was
//! stopped: [`halt::Halt`] says what goes, from the owner's word and what runs.

pub mod halt;
pub mod memory;
pub mod scope;
pub mod systemd;

use std::time::Duration;

use model::UnitName;
use serde::{Deserialize, Serialize};

pub use halt::{Halt, NotHalted};
pub use memory::MemoryUnits;
pub use scope::{ScopeError, Scopes};
pub use systemd::SystemdUnits;

/// What a unit is doing, in systemd's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activity {
    /// It runs (or did what it had to, and counts as running).
    Active,
    /// It runs and reads its configuration anew.
    Reloading,
    /// It is being started.
    Activating,
    /// It is being stopped.
    Deactivating,
    /// It does not run.
    Inactive,
    /// It does not run, and ended badly.
    Failed,
    /// Something that this version of migd does not know.
    Other,
}

impl Activity {
    /// Whether it holds what it holds: it runs, or is about to.
    pub const fn runs(self) -> bool {
        matches!(self, Self::Active | Self::Reloading | Self::Activating)
    }

    /// systemd's word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Reloading => "reloading",
            Self::Activating => "activating",
            Self::Deactivating => "deactivating",
            Self::Inactive => "inactive",
            Self::Failed => "failed",
            Self::Other => "in a state of its own",
        }
    }

    /// What systemd's word means.
    pub fn of_word(word: &str) -> Self {
        let known = [
            Self::Active,
            Self::Reloading,
            Self::Activating,
            Self::Deactivating,
            Self::Inactive,
            Self::Failed,
        ];
        known.into_iter().find(|known| known.word() == word).unwrap_or(Self::Other)
    }
}

/// A unit that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Its name; the one it has, where it was asked for by another (`display-manager.service`).
    pub name: UnitName,
    /// What it says it is.
    pub description: String,
    /// What it is doing.
    pub activity: Activity,
    /// Units that stop when it is stopped, as they say of themselves: those that require it, are
    /// bound to it or are part of it.
    pub stops_with_it: Vec<UnitName>,
    /// Units that may start it again by themselves, such as its socket.
    pub triggered_by: Vec<UnitName>,
}

/// What came of starting a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Started {
    /// It runs.
    Running,
    /// The manager took the job and it waits for others, as at boot; it will run without us.
    Queued,
}

/// Why units cannot be looked at or changed.
#[derive(Debug, thiserror::Error)]
pub enum UnitError {
    /// There is no systemd to talk to.
    #[error("systemd cannot be reached over D-Bus (is dbus.socket up?)")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// systemd does not know the unit.
    #[error("there is no unit {unit}")]
    NoSuchUnit {
        /// Which.
        unit: UnitName,
    },
    /// systemd does not let us.
    #[error("may not {operation} {unit}")]
    NotPermitted {
        /// Which.
        unit: UnitName,
        /// What was asked.
        operation: Operation,
        /// What systemd said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// systemd refused or broke off.
    #[error("cannot {operation} {unit}")]
    Refused {
        /// Which.
        unit: UnitName,
        /// What was asked.
        operation: Operation,
        /// What systemd said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The job ended, and the unit is not as it was asked to be.
    #[error("asked to {operation}, {unit} is {}", activity.word())]
    NotAsAsked {
        /// Which.
        unit: UnitName,
        /// What was asked.
        operation: Operation,
        /// What it is doing now.
        activity: Activity,
    },
    /// It was stopped again and again, and somebody starts it.
    #[error(
        "{unit} was stopped {times} times and runs again{}; `systemctl mask --runtime {unit}` keeps it down",
        starters(triggered_by)
    )]
    ComesBack {
        /// Which.
        unit: UnitName,
        /// How often it was stopped.
        times: u32,
        /// Units that may start it.
        triggered_by: Vec<UnitName>,
    },
    /// It took longer than it may. The job was withdrawn where that was possible.
    #[error("{unit} did not {operation} within {} s (it is {})", limit.as_secs(), activity.word())]
    TimedOut {
        /// Which.
        unit: UnitName,
        /// What was asked.
        operation: Operation,
        /// How long it was waited.
        limit: Duration,
        /// What it is doing now.
        activity: Activity,
    },
}

fn starters(units: &[UnitName]) -> String {
    let names: Vec<&str> = units.iter().map(UnitName::as_str).collect();
    if names.is_empty() { String::new() } else { format!(" (started by {})", names.join(", ")) }
}

/// What can be asked of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// That it be shown.
    Show,
    /// That it stop.
    Stop,
    /// That it start.
    Start,
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Show => "show",
            Self::Stop => "stop",
            Self::Start => "start",
        })
    }
}

/// The units of a machine.
pub trait Units: std::fmt::Debug + Send + Sync {
    /// A unit; `None` if there is none of that name (or it is masked).
    ///
    /// # Errors
    /// [`UnitError::Unreachable`], [`UnitError::Refused`].
    fn unit(&self, name: &UnitName) -> Result<Option<Unit>, UnitError>;

    /// Every service that the manager has loaded. Their relations to others are left out.
    ///
    /// # Errors
    /// [`UnitError::Unreachable`], [`UnitError::Refused`].
    fn list(&self) -> Result<Vec<Unit>, UnitError>;

    /// Stops a unit and waits until it has stopped; one that does not run is no error.
    ///
    /// # Errors
    /// [`UnitError`]; after [`UnitError::TimedOut`] and [`UnitError::NotAsAsked`] it may stop yet.
    fn stop(&self, name: &UnitName, limit: Duration) -> Result<(), UnitError>;

    /// Starts a unit and waits until it runs; one that runs is no error. Where the limit passes and
    /// the manager keeps the job, that is [`Started::Queued`]: at boot a unit may wait for the very
    /// one that starts it.
    ///
    /// # Errors
    /// [`UnitError`].
    fn start(&self, name: &UnitName, limit: Duration) -> Result<Started, UnitError>;
}
