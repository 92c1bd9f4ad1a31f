//! Figures of an outcome for people to read side by side.
//!
//! Must never count who asked outside of the time that is looked at; what such leases held within it
//! counts as held.

use std::collections::BTreeMap;

use broker::{RequestSpec, Wanted};
use model::Timestamp;
use serde::Serialize;

use super::{JobEnd, JobOutcome, Outcome, Waits};

/// What an outcome came to between two moments.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Requests that were made.
    pub requests: u64,
    /// Those that had their slices at some time.
    pub started: u64,
    /// Those that gave up waiting.
    pub gave_up: u64,
    /// Those that were refused when they asked.
    pub refused: u64,
    /// Those that waited for what never came.
    pub never_served: u64,
    /// Stopped for others, so often.
    pub preempted: u64,
    /// Moved, as their owners had agreed, so often.
    pub moved: u64,
    /// Requests that found no room at first though what nobody had could have been cut such that
    /// they fit. It was kept for somebody else.
    pub kept_waiting_beside_idle_room: u64,
    /// The part of all room that leases had, from 0 to 1.
    pub room_held: f64,
    /// GPU instances that were made.
    pub instances_made: u64,
    /// GPU instances that were destroyed.
    pub instances_destroyed: u64,
    /// Waits of everybody who was not refused.
    pub waits: Waits,
    /// Waits by tenant.
    pub by_tenant: BTreeMap<String, Waits>,
    /// Waits by what was asked for.
    pub by_size: BTreeMap<String, Waits>,
}

impl Summary {
    /// Of an outcome, and of the requests that were made from one moment to another.
    pub fn of(outcome: &Outcome, from: Timestamp, to: Timestamp) -> Self {
        let within = |job: &&JobOutcome| from <= job.asked_at && job.asked_at < to;
        let jobs: Vec<&JobOutcome> = outcome.jobs.iter().filter(within).collect();
        let count = |which: &dyn Fn(&JobOutcome) -> bool| {
            jobs.iter().filter(|job| which(job)).count() as u64
        };
        let ended = |how: JobEnd| count(&|job| job.end == how);
        let waits = |name: &dyn Fn(&JobOutcome) -> String| {
            let mut all: BTreeMap<String, Vec<u64>> = BTreeMap::new();
            for job in jobs.iter().filter(|job| job.end != JobEnd::Refused) {
                all.entry(name(job)).or_default().push(job.waited.get());
            }
            let each = all.into_iter().map(|(name, waits)| (name, Waits::of(waits)));
            each.collect::<BTreeMap<_, _>>()
        };
        Self {
            requests: jobs.len() as u64,
            started: count(&|job| !job.stints.is_empty()),
            gave_up: ended(JobEnd::GaveUp),
            refused: ended(JobEnd::Refused),
            never_served: ended(JobEnd::NeverServed),
            preempted: jobs.iter().map(|job| u64::from(job.preempted)).sum(),
            moved: jobs.iter().map(|job| u64::from(job.moved)).sum(),
            kept_waiting_beside_idle_room: count(&|job| job.avoidable),
            room_held: outcome.held_share(from, to),
            instances_made: outcome.made,
            instances_destroyed: outcome.destroyed,
            waits: waits(&|_| String::new()).remove("").unwrap_or_default(),
            by_tenant: waits(&|job| job.spec.tenant.to_string()),
            by_size: waits(&|job| size(&job.spec)),
        }
    }
}

/// What a request asked for, in a word or two: `3g.20gb`, `2 x 1g.5gb`, `at least 20g`.
pub fn size(spec: &RequestSpec) -> String {
    match spec.wanted {
        Wanted::Need(_) => format!("at least {}", spec.wish()),
        Wanted::Profile(_) | Wanted::WholeGpu => spec.wish(),
    }
}
