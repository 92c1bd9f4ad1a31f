//! What people want done: one job, session, replica or test each, the same in every column.
//!
//! Must never know how a column serves it.

use broker::{Patience, Priority};
use model::{Millis, Timestamp};

/// When the week begins: a Monday, midnight.
pub(crate) const MONDAY: Timestamp = Timestamp::from_millis(1_767_571_200_000);

pub(crate) const MINUTE: u64 = 60_000;
pub(crate) const HOUR: u64 = 60 * MINUTE;
pub(crate) const DAY: u64 = 24 * HOUR;

/// Hard limit of leases whose owners name none, by every tenant's rules but the services'.
pub(crate) const DEFAULT_TIME: Millis = Millis::new(DAY);

/// The tenants by name, in the order of their indices.
pub(crate) const TENANTS: [&str; 6] =
    ["nlp", "vision", "biology", "teaching", "robotics", "serving"];

/// Of what kind a piece of work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Notebook,
    Batch,
    Replica,
    Test,
    WholeGpu,
}

/// What is done with a slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Course {
    /// So much work, from its start to its end.
    Labour(Millis),
    /// Somebody is there until `leaves` (`None`: forgets to leave), at work in these spans.
    Present { spans: Vec<(Timestamp, Timestamp)>, leaves: Option<Timestamp> },
}

/// One piece of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) kind: Kind,
    pub(crate) tenant: usize,
    pub(crate) uid: u32,
    /// Compute slices of the profile; 7 for a whole GPU, too.
    pub(crate) slices: u8,
    pub(crate) count: u32,
    pub(crate) asked_at: Timestamp,
    pub(crate) course: Course,
    pub(crate) time: Option<Millis>,
    pub(crate) expect: Option<Millis>,
    pub(crate) patience: Patience,
    pub(crate) priority: Priority,
    pub(crate) preemptible: bool,
    pub(crate) restartable: bool,
    pub(crate) name: Option<String>,
}

/// Grid units, of eight, that a profile with so many compute slices takes on an A100.
pub(crate) const fn units(slices: u8) -> u32 {
    match slices {
        1 => 1,
        2 => 2,
        3 | 4 => 4,
        _ => 8,
    }
}

impl Work {
    /// Grid units it asks for.
    pub(crate) const fn units(&self) -> u32 {
        units(self.slices) * self.count
    }

    /// The size as the table names it.
    pub(crate) fn size(&self) -> String {
        match (self.kind, self.count) {
            (Kind::WholeGpu, _) => "whole GPU".to_owned(),
            (_, 1) => format!("{}g", self.slices),
            _ => "several slices".to_owned(),
        }
    }

    /// From when to when it would take its room if it were served at once and nothing were taken
    /// back.
    pub(crate) fn span(&self) -> (Timestamp, Timestamp) {
        let end = match &self.course {
            Course::Labour(work) => {
                let length = self.time.map_or(*work, |limit| limit.min(*work));
                self.asked_at.plus(length)
            }
            Course::Present { spans, leaves } => {
                let last = spans.last().map_or(self.asked_at, |span| span.1);
                let limit = self.time.map_or(last, |limit| self.asked_at.plus(limit));
                leaves.map_or(limit, |at| at.min(limit.max(last)))
            }
        };
        (self.asked_at, end.max(self.asked_at))
    }
}
