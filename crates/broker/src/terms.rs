//! The terms of a request beside what is wanted: rank, arrangement, idleness, notice.
//!
//! Must never hold a rule of the owner: those are in [`crate::policy`].

use model::{BookingId, Millis};
use serde::{Deserialize, Serialize};

/// The rank of a request among those of its tenant and of others.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// After everybody else.
    Low,
    /// As most.
    #[default]
    Normal,
    /// Before others; a tenant's rules say whether its members may ask so.
    High,
}

/// How several slices lie to each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrangement {
    /// As it suits the machine.
    #[default]
    Any,
    /// On as few GPUs as there is room for.
    Pack,
    /// On as many GPUs as there is room for.
    Spread,
    /// All on one GPU, or not at all.
    SameGpu,
    /// Each on a GPU of its own, or not at all.
    OtherGpu,
}

impl From<Arrangement> for planner::Arrangement {
    fn from(asked: Arrangement) -> Self {
        match asked {
            Arrangement::Any => Self::Any,
            Arrangement::Pack => Self::Pack,
            Arrangement::Spread => Self::Spread,
            Arrangement::SameGpu => Self::SameGpu,
            Arrangement::OtherGpu => Self::OtherGpu,
        }
    }
}

/// After which time without use a lease is taken back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdleRule {
    /// As the tenant's rules say.
    #[default]
    Tenant,
    /// After so long.
    After(Millis),
    /// Never; a tenant's rules say who may ask so.
    Never,
}

/// The signal that tells a lease's processes of a notice, for programs that listen for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum NoticeSignal {
    /// SIGUSR1.
    Usr1,
    /// SIGUSR2.
    Usr2,
    /// SIGTERM.
    Term,
    /// SIGINT.
    Int,
}

/// What the asker agreed to beside the slice itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Terms {
    /// Its rank.
    pub priority: Priority,
    /// How several slices lie to each other.
    pub arrangement: Arrangement,
    /// When it counts as idle.
    pub idle: IdleRule,
    /// Whether it may be ended for somebody with a better right, after a notice.
    pub preemptible: bool,
    /// Whether its command may be stopped and started anew on another slice.
    pub restartable: bool,
    /// How long it outlives its holder, so that a service can be restarted under its name.
    pub linger: Option<Millis>,
    /// The signal that comes with a notice; without it only `migctl run` and the events tell.
    pub notice_signal: Option<NoticeSignal>,
    /// The booking it makes use of.
    pub booking: Option<BookingId>,
}
