//! What a replay came to: each job, and what can be added up of them.
//!
//! Must never leave out whoever was not served: who waits at the end has waited until then.

use std::collections::BTreeMap;

use broker::RequestSpec;
use model::{Millis, Timestamp};
use serde::Serialize;

use crate::play::column::Blocked;
use crate::play::daemon::Tally;
use crate::play::work::Work;
use crate::play::{Fate, Record};

/// What became of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobOutcome {
    /// When it asked.
    pub asked_at: Timestamp,
    /// What it asked for.
    pub spec: RequestSpec,
    /// Units of the placement grid that it asked for.
    pub units: u32,
    /// From when to when it had its slices, oldest first.
    pub stints: Vec<(Timestamp, Timestamp)>,
    /// How long it waited, all in all.
    pub waited: Millis,
    /// How it ended.
    pub end: JobEnd,
    /// How often it was stopped for others.
    pub preempted: u32,
    /// How often it was moved, as its owner had agreed.
    pub moved: u32,
    /// Whether it found no room when it asked although what nobody had could have been cut such
    /// that it fits.
    pub avoidable: bool,
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JobEnd {
    /// Its work was done.
    Done,
    /// Its hard limit cut it off, or it was stopped and would not wait.
    CutOff,
    /// It was refused when it asked.
    Refused,
    /// It gave up waiting.
    GaveUp,
    /// It waited for what would never come.
    NeverServed,
}

impl JobOutcome {
    /// When it had its slices first.
    pub fn started_at(&self) -> Option<Timestamp> {
        self.stints.first().map(|(from, _)| *from)
    }

    /// When it gave them up for good.
    pub fn ended_at(&self) -> Option<Timestamp> {
        self.stints.last().map(|(_, to)| *to)
    }

    /// How long it had its slices between two moments.
    pub fn held_between(&self, from: Timestamp, to: Timestamp) -> Millis {
        let overlap =
            |(begin, end): &(Timestamp, Timestamp)| (*end).min(to).since((*begin).max(from)).get();
        Millis::new(self.stints.iter().map(overlap).sum())
    }
}

/// What a replay came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// Each job, in the order of asking.
    pub jobs: Vec<JobOutcome>,
    /// Units of the placement grids of all GPUs.
    pub grid: u32,
    /// GPU instances that were made.
    pub made: u64,
    /// GPU instances that were destroyed.
    pub destroyed: u64,
    /// Times that room was reserved for a large request, or the reservation moved.
    pub reserved: u64,
    /// Events that the daemons decided.
    pub events: u64,
    /// Acts of daemons and executors.
    pub acts: u64,
    /// How often all laws were checked.
    pub laws_checked: u64,
    /// Laws that were broken; there should be none.
    pub violations: Vec<String>,
}

impl Outcome {
    pub(crate) fn of(works: &[Work], records: &[Record], tallies: Vec<Tally>, grid: u32) -> Self {
        let tally = super::sum(tallies);
        let jobs = works.iter().zip(records).map(|(work, record)| job(work, record));
        Self {
            jobs: jobs.collect(),
            grid,
            made: tally.made,
            destroyed: tally.destroyed,
            reserved: tally.reserved,
            events: tally.events,
            acts: tally.acts,
            laws_checked: tally.laws_checked,
            violations: tally.violations,
        }
    }

    /// From the first request to when the last slice was given up.
    pub fn makespan(&self) -> Millis {
        let begin = self.jobs.iter().map(|job| job.asked_at).min().unwrap_or_default();
        let end = self.jobs.iter().filter_map(JobOutcome::ended_at).max();
        end.map_or(Millis::new(0), |end| end.since(begin))
    }

    /// The part of all room that was held between two moments, from 0 to 1.
    pub fn held_share(&self, from: Timestamp, to: Timestamp) -> f64 {
        let held =
            |job: &JobOutcome| u128::from(job.held_between(from, to).get()) * u128::from(job.units);
        let all = u128::from(to.since(from).get()) * u128::from(self.grid);
        self.jobs.iter().map(held).sum::<u128>() as f64 / all.max(1) as f64
    }

    /// How many jobs ended so.
    pub fn ended(&self, how: JobEnd) -> usize {
        self.jobs.iter().filter(|job| job.end == how).count()
    }

    /// Waits of those that were not refused, by a name.
    pub fn waits(&self, name: impl Fn(&JobOutcome) -> String) -> BTreeMap<String, Waits> {
        let mut all: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for job in self.jobs.iter().filter(|job| job.end != JobEnd::Refused) {
            all.entry(name(job)).or_default().push(job.waited.get());
        }
        all.into_iter().map(|(name, waits)| (name, Waits::of(waits))).collect()
    }
}

fn job(work: &Work, record: &Record) -> JobOutcome {
    let served = !record.stints.is_empty();
    let avoidable = |blocked: &Blocked| !blocked.cap && blocked.idle_room;
    JobOutcome {
        asked_at: work.asked_at,
        spec: work.spec.clone(),
        units: work.units,
        stints: record.stints.clone(),
        waited: Millis::new(record.waited),
        end: match record.fate {
            Fate::Done | Fate::TakenBack => JobEnd::Done,
            Fate::CutOff => JobEnd::CutOff,
            Fate::Refused | Fate::GaveUp if served => JobEnd::CutOff,
            Fate::Refused => JobEnd::Refused,
            Fate::GaveUp => JobEnd::GaveUp,
            Fate::Unfinished => JobEnd::NeverServed,
        },
        preempted: record.stopped[0],
        moved: record.stopped[2],
        avoidable: record.blocked.iter().chain(&record.refused).any(avoidable),
    }
}

/// Waits in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Waits {
    /// How many waited or were served at once.
    pub count: u64,
    /// On average.
    pub mean_ms: f64,
    /// Half of them waited no longer.
    pub p50_ms: f64,
    /// 95 of 100 waited no longer.
    pub p95_ms: f64,
    /// 99 of 100 waited no longer.
    pub p99_ms: f64,
}

impl Waits {
    /// Of these waits, in milliseconds.
    pub fn of(mut waits: Vec<u64>) -> Self {
        waits.sort_unstable();
        let sum: u128 = waits.iter().map(|wait| u128::from(*wait)).sum();
        Self {
            count: waits.len() as u64,
            mean_ms: sum as f64 / waits.len().max(1) as f64,
            p50_ms: quantile(&waits, 0.50),
            p95_ms: quantile(&waits, 0.95),
            p99_ms: quantile(&waits, 0.99),
        }
    }
}

/// A quantile of ascending values, on the straight line between the two next to it; 0 of none.
pub fn quantile(ascending: &[u64], part: f64) -> f64 {
    let Some(last) = ascending.len().checked_sub(1) else { return 0.0 };
    let place = part * last as f64;
    let low = (place as usize).min(last);
    let (below, above) = (ascending[low] as f64, ascending[(low + 1).min(last)] as f64);
    below + (place - low as f64) * (above - below)
}
