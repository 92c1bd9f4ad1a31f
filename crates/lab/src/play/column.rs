//! What serves people: a daemon with its machine, or something to compare it with.
//!
//! Must never know what people do with their slices, but what they tell.

use broker::{Activity, Metered};
use model::Timestamp;

use super::work::Work;

/// What becomes of a piece of work, as the column tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    /// It has its slices, of so many grid units.
    Granted(u32),
    /// It lost them, or its request is over.
    Ended(Why),
    /// It gave its slices up, as its owner agreed, and waits for others.
    Moving,
}

/// Why something ended that its owner did not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Why {
    Idle,
    Preempted,
    TimeLimit,
    GpuLost,
    WaitExpired,
    Other,
}

/// What happens to a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The driver no longer reaches it.
    Lost,
    /// It stops until it is reset.
    Fails,
    /// It was mended, and what was on it is gone.
    Mended,
}

/// Why a request found no room, at the moment it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Blocked {
    /// Its tenant has as much as it may.
    pub(crate) cap: bool,
    /// The room that nobody has could be cut such that it fits.
    pub(crate) idle_room: bool,
    /// All that people asked for and have, and this, would fit on the healthy GPUs if everybody
    /// lay elsewhere; `None` where that cannot be told.
    pub(crate) packing: Option<bool>,
}

/// Serves requests.
pub(crate) trait Column {
    /// Time passes until then.
    fn pass(&mut self, to: Timestamp);

    /// When something is due without anybody doing anything; after `now`.
    fn due(&self, now: Timestamp) -> Option<Timestamp>;

    /// Somebody asks; whether it was accepted, and why it was not served at once.
    fn ask(&mut self, index: usize, work: &Work) -> (bool, Option<Blocked>);

    /// The holder is done.
    fn release(&mut self, index: usize);

    /// What is seen of the use of a lease.
    fn activity(&mut self, index: usize, activity: Activity, metered: Metered);

    /// Something happens to a GPU.
    fn trouble(&mut self, gpu: usize, trouble: Trouble);

    /// Everything that is under way is done; what came of it.
    fn news(&mut self) -> Vec<(usize, News)>;
}
