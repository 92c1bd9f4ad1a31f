//! The events of changes.
//!
//! Must never be changed in meaning once released: a new shape gets a new variant.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use model::{ChangeId, GpuShape, GpuUuid, PlanId, Uid};
use serde::{Deserialize, Serialize};

use crate::changes::fixed::Fixed;
use crate::changes::spec::ChangeSpec;

/// Why what a change did is taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Turn {
    /// A part of it failed; why, in words.
    Failed(String),
    /// Somebody cancelled it.
    Cancelled {
        /// Who.
        by: Uid,
    },
    /// The daemon ended while one of its plans was at work.
    Interrupted,
    /// The machine was restarted.
    Rebooted,
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => f.write_str(error),
            Self::Cancelled { .. } => f.write_str("it was cancelled"),
            Self::Interrupted => f.write_str("the daemon ended while it was at work"),
            Self::Rebooted => f.write_str("the machine was restarted while it was at work"),
        }
    }
}

/// A fact about a change, or about what a change left behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum ChangeEvent {
    /// A change was accepted; its GPUs get no new lease from here on.
    Began {
        /// Its number.
        change: ChangeId,
        /// Who asked.
        by: Uid,
        /// What was asked.
        spec: ChangeSpec,
    },
    /// Its units run with other processes than before: they were started again while it waited.
    UnitsRunAs {
        /// Of which change.
        change: ChangeId,
        /// All their processes on its GPUs.
        leaving: Vec<u32>,
    },
    /// From here on any of its units may be stopped.
    StoppingUnits {
        /// Of which change.
        change: ChangeId,
    },
    /// Its units are stopped, as far as the system did it.
    UnitsStopped {
        /// Of which change.
        change: ChangeId,
        /// What the system said against it, unit by unit.
        trouble: Vec<String>,
    },
    /// From here on any of its units may be started again.
    StartingUnits {
        /// Of which change.
        change: ChangeId,
    },
    /// Its units are started again, as far as the system did it.
    UnitsStarted {
        /// Of which change.
        change: ChangeId,
        /// What the system said against it, unit by unit.
        trouble: Vec<String>,
    },
    /// The plan that is opened next does a part of it.
    Opened {
        /// Of which change.
        change: ChangeId,
        /// On which GPU.
        gpu: GpuUuid,
        /// The plan's number.
        plan: PlanId,
        /// The GPU as it was just before.
        before: GpuShape,
        /// Whether it does what can be done now, and the rest waits.
        part: bool,
    },
    /// The plan that is opened next takes a part of it back.
    Undoing {
        /// Of which change.
        change: ChangeId,
        /// On which GPU.
        gpu: GpuUuid,
        /// The plan's number.
        plan: PlanId,
    },
    /// A GPU is as wanted, without a plan.
    AsWanted {
        /// Of which change.
        change: ChangeId,
        /// Which GPU.
        gpu: GpuUuid,
    },
    /// A GPU is as before, without a plan.
    AsBefore {
        /// Of which change.
        change: ChangeId,
        /// Which GPU.
        gpu: GpuUuid,
    },
    /// It could not be tried to take it back, or not all of it was; it is tried again.
    NotUndone {
        /// Of which change.
        change: ChangeId,
        /// On which GPU.
        gpu: GpuUuid,
        /// Why, in words.
        error: String,
    },
    /// It is given up to take a GPU back.
    Stands {
        /// Of which change.
        change: ChangeId,
        /// On which GPU.
        gpu: GpuUuid,
        /// What is there, and why, in words.
        found: String,
    },
    /// From here on everything is taken back.
    Turned {
        /// Which change.
        change: ChangeId,
        /// Why.
        why: Turn,
    },
    /// It is over.
    Ended {
        /// Which change.
        change: ChangeId,
    },
    /// A GPU stays as it was made: nothing there is cut, retired or rearranged any more.
    Fixed {
        /// Which GPU.
        gpu: GpuUuid,
        /// How.
        fixed: Fixed,
    },
    /// A fixed GPU is managed again.
    HandedBack {
        /// Which GPU.
        gpu: GpuUuid,
    },
}

impl ChangeEvent {
    /// The change it is about, if it is about one.
    pub const fn change(&self) -> Option<ChangeId> {
        match self {
            Self::Began { change, .. }
            | Self::UnitsRunAs { change, .. }
            | Self::StoppingUnits { change }
            | Self::UnitsStopped { change, .. }
            | Self::StartingUnits { change }
            | Self::UnitsStarted { change, .. }
            | Self::Opened { change, .. }
            | Self::Undoing { change, .. }
            | Self::AsWanted { change, .. }
            | Self::AsBefore { change, .. }
            | Self::NotUndone { change, .. }
            | Self::Stands { change, .. }
            | Self::Turned { change, .. }
            | Self::Ended { change } => Some(*change),
            Self::Fixed { .. } | Self::HandedBack { .. } => None,
        }
    }

    /// Its name, as listings of events show it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Began { .. } => "change_began",
            Self::UnitsRunAs { .. } => "change_units_run_as",
            Self::StoppingUnits { .. } => "change_stopping_units",
            Self::UnitsStopped { .. } => "change_units_stopped",
            Self::StartingUnits { .. } => "change_starting_units",
            Self::UnitsStarted { .. } => "change_units_started",
            Self::Opened { .. } => "change_opened",
            Self::Undoing { .. } => "change_undoing",
            Self::AsWanted { .. } => "change_as_wanted",
            Self::AsBefore { .. } => "change_as_before",
            Self::NotUndone { .. } => "change_not_undone",
            Self::Stands { .. } => "change_stands",
            Self::Turned { .. } => "change_turned",
            Self::Ended { .. } => "change_ended",
            Self::Fixed { .. } => "gpu_fixed",
            Self::HandedBack { .. } => "gpu_handed_back",
        }
    }
}
