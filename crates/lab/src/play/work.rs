//! What somebody wants done: one job, session, replica or test each, the same in every column.
//!
//! Must never know how a column serves it.

use broker::{RequestSpec, Wanted};
use model::{Geometry, GpuInstanceProfile, Millis, Timestamp};

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
    pub(crate) asked_at: Timestamp,
    /// What is asked. Who holds the lease is the column's affair.
    pub(crate) spec: RequestSpec,
    pub(crate) course: Course,
    /// Units of the placement grid that it asks for.
    pub(crate) units: u32,
}

impl Work {
    /// From when to when it would take its room if it were served at once and nothing were taken
    /// back.
    pub(crate) fn span(&self) -> (Timestamp, Timestamp) {
        let end = match &self.course {
            Course::Labour(work) => {
                let length = self.spec.time.map_or(*work, |limit| limit.min(*work));
                self.asked_at.plus(length)
            }
            Course::Present { spans, leaves } => {
                let last = spans.last().map_or(self.asked_at, |span| span.1);
                let limit = self.spec.time.map_or(last, |limit| self.asked_at.plus(limit));
                leaves.map_or(limit, |at| at.min(limit.max(last)))
            }
        };
        (self.asked_at, end.max(self.asked_at))
    }
}

/// The profile that answers a wish on a board; for a whole GPU the largest there is.
pub(crate) fn answer<'g>(
    wanted: &Wanted,
    geometry: &'g Geometry,
) -> Option<&'g GpuInstanceProfile> {
    if *wanted != Wanted::WholeGpu {
        return wanted.on(geometry).ok();
    }
    let plain = geometry.profiles.iter().filter(|profile| profile.name.attributes.is_plain());
    plain.max_by_key(|profile| (profile.size, profile.name.slices))
}
