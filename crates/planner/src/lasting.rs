//! Hints of lengths: between places that are equally good, a slice goes where what lies there ends when
//! it does, so that GPUs become empty as a whole.
//!
//! Must never outweigh what a placement costs: lengths are guesses.

use alloc::vec::Vec;

use model::Timestamp;

/// When a request ends probably, and what lies on the GPUs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lasting {
    /// When the request ends, if it begins now.
    pub until: Timestamp,
    /// Aligned with the rooms: when the last of what is held there ends; `None` where nothing is, or
    /// where nobody knows.
    pub ends: Vec<Option<Timestamp>>,
}

impl Lasting {
    /// How far the end of the request lies from that of a room, in milliseconds.
    pub(crate) fn apart(&self, room: usize) -> u64 {
        apart(self.until, self.ends.get(room).copied().flatten())
    }
}

/// The time between two ends in milliseconds; the longest where one is unknown.
pub(crate) fn apart(until: Timestamp, end: Option<Timestamp>) -> u64 {
    end.map_or(u64::MAX, |end| end.as_millis().abs_diff(until.as_millis()))
}
