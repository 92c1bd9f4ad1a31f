//! What happens to a lease between its grant and its end: use, notices, estimates, the receipt.
//!
//! Must never hold a rule: these are facts and decisions, as events carry them.

use alloc::string::String;
use alloc::vec::Vec;

use model::{BookingId, GpuUuid, LeaseId, MemoryMib, Millis, Placement, ProfileName, Timestamp};
use serde::{Deserialize, Serialize};

/// What the board's evidence says about the use of a lease's slices.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activity {
    /// There is no evidence either way. Unknown is never idle.
    #[default]
    Unknown,
    /// Work was done on at least one of them lately.
    Busy,
    /// Nothing was done on any of them.
    Idle {
        /// Since when.
        since: Timestamp,
    },
}

/// Totals measured for a lease since its grant; each only grows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metered {
    /// The most memory its processes had at once, over all its slices; `None` if nothing told.
    pub peak_memory: Option<MemoryMib>,
    /// Time for which use was seen.
    pub busy: Millis,
    /// Time for which evidence existed; the rest is unknown.
    pub observed: Millis,
}

/// What could not be handed over, since somebody holds its device from before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldUp {
    /// On which GPU.
    pub gpu: GpuUuid,
    /// The place of the slice; `None` if it is all of the GPU.
    pub place: Option<Placement>,
    /// Who holds it, in words.
    pub by: String,
}

/// Why a lease is given notice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeReason {
    /// It has not been used.
    Idle {
        /// Since when.
        since: Timestamp,
    },
    /// Somebody with a better right needs the room.
    Preempted {
        /// Who.
        for_lease: LeaseId,
    },
    /// Its GPU is to be emptied.
    Drained {
        /// Which.
        gpu: GpuUuid,
    },
    /// A booking of its place begins.
    Booked {
        /// Which.
        booking: BookingId,
    },
    /// It would free a larger room elsewhere; its holder is asked.
    Move {
        /// For whom, if somebody waits.
        for_lease: Option<LeaseId>,
    },
}

/// A notice to a lease's holder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Why.
    pub reason: NoticeReason,
    /// What happens happens then. A [`NoticeReason::Move`] that nobody agreed to is withdrawn then.
    pub until: Timestamp,
}

/// When a waiting request will start, as known when it was said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartEstimate {
    /// No later than this, if everybody's hard limits hold; `None` where some have none.
    pub not_later_than: Option<Timestamp>,
    /// Probably then, by the owners' estimates and typical lengths.
    pub likely: Option<Timestamp>,
}

/// What a lease was, told when it is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Its slices by profile; empty for whole GPUs.
    pub profiles: Vec<ProfileName>,
    /// How many whole GPUs it had.
    pub whole_gpus: u32,
    /// Usable memory of all its slices together.
    pub memory: MemoryMib,
    /// When it was granted.
    pub granted_at: Timestamp,
    /// How long it was held.
    pub held: Millis,
    /// How long it had waited.
    pub waited: Millis,
    /// What it is charged: the time it was held, times the share of a GPU that it took.
    pub gpu_time: Millis,
    /// What was measured.
    pub metered: Metered,
}
