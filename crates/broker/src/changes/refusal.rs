//! Why a change was refused. Nothing changed.
//!
//! Must never be given for something that happens later: that ends the change, with a report.

use alloc::string::String;

use model::ChangeId;

/// Why a change was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeRefusal {
    /// The machine is not as it was planned for.
    #[error("GPU {gpu} is no longer as this was planned for: {how}")]
    MachineChanged {
        /// Its index, or its UUID where it is not there.
        gpu: String,
        /// What differs.
        how: String,
    },
    /// Something is in the way.
    #[error("{0}")]
    Busy(String),
    /// The plan makes no sense.
    #[error("this plan cannot be carried out: {0}")]
    BadPlan(String),
    /// No such change is known.
    #[error("there is no change {0}; the newest that ended are remembered")]
    Unknown(ChangeId),
    /// It is over, or cannot be stopped any more.
    #[error("{id} {how}")]
    Over {
        /// Which.
        id: ChangeId,
        /// How it ended.
        how: &'static str,
    },
    /// The GPU is not fixed.
    #[error("GPU {0} is managed automatically already")]
    NotFixed(String),
}

impl ChangeRefusal {
    /// A stable code for scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::MachineChanged { .. } => "E-MACHINE-CHANGED",
            Self::Busy(_) => "E-BUSY",
            Self::BadPlan(_) => "E-PLAN",
            Self::Unknown(_) => "E-CHANGE-UNKNOWN",
            Self::Over { .. } => "E-CHANGE-OVER",
            Self::NotFixed(_) => "E-NOT-FIXED",
        }
    }

    /// What whoever asked can do.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::MachineChanged { .. } => {
                "plan again, look at what it would do now, and apply that"
            }
            Self::Busy(_) => {
                "`migctl why-busy` names who it is; apply with --wait-idle to wait for them"
            }
            Self::BadPlan(_) => "plan again with this version of migd",
            Self::Unknown(_) | Self::Over { .. } => "`migctl events` shows what happened",
            Self::NotFixed(_) => "`migctl gpus` shows which GPUs are fixed",
        }
    }
}
