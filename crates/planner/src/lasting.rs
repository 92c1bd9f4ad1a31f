//! Hints of lengths: between places that are equally good, a slice goes where it puts off least that the
//! whole GPU becomes empty.
//!
//! Must never outweigh what a placement costs: lengths are guesses.

use model::Timestamp;

/// When a request ends probably, and what lies on the GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lasting<'a> {
    /// When the request ends, if it begins now.
    pub until: Timestamp,
    /// Aligned with the rooms: when the last of what is held there ends; `None` where nothing is, or
    /// where nobody knows.
    pub ends: &'a [Option<Timestamp>],
}

impl Lasting<'_> {
    /// What a request does to the end of a room.
    pub(crate) fn delay(&self, room: usize) -> Delay {
        Delay::of(self.until, self.ends.get(room).copied().flatten())
    }
}

/// What a slice does to the time at which its GPU becomes empty; less is better.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Delay {
    /// By how much it is put off, in milliseconds.
    put_off: u64,
    /// How far the two ends lie apart: a short one is wasted beside the longest.
    apart: u64,
}

impl Delay {
    /// Of a slice that ends at `until` where the last ends at `end`; the worst where that is unknown.
    pub(crate) fn of(until: Timestamp, end: Option<Timestamp>) -> Self {
        let unknown = Self { put_off: u64::MAX, apart: u64::MAX };
        end.map_or(unknown, |end| {
            let (until, end) = (until.as_millis(), end.as_millis());
            Self { put_off: until.saturating_sub(end), apart: until.abs_diff(end) }
        })
    }
}
