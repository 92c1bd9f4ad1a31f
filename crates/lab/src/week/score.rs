//! What a week came to, in figures.
//!
//! Must never leave out whoever was not served: it counts as waiting until it gave up, or until the
//! week ended.

use std::collections::BTreeMap;

use model::Timestamp;
use serde::Serialize;

use super::work::{HOUR, MINUTE, Work, size};
use crate::play::column::Blocked;
use crate::play::daemon::Tally;
use crate::play::{Fate, Record};

/// Waiting in minutes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Waits {
    /// How many waited or were served at once.
    pub count: u64,
    /// On average.
    pub mean: f64,
    /// Half of them waited no longer.
    pub p50: f64,
    /// 95 of 100 waited no longer.
    pub p95: f64,
    /// 99 of 100 waited no longer.
    pub p99: f64,
}

impl Waits {
    fn of(mut minutes: Vec<f64>) -> Self {
        minutes.sort_by(f64::total_cmp);
        let count = minutes.len();
        let at = |percent: usize| {
            let place = (count * percent).div_ceil(100).saturating_sub(1);
            minutes.get(place).copied().unwrap_or(0.0)
        };
        let mean = minutes.iter().sum::<f64>() / count.max(1) as f64;
        Self { count: count as u64, mean, p50: at(50), p95: at(95), p99: at(99) }
    }
}

/// One column of one seed.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Score {
    /// Figures by name.
    pub figures: BTreeMap<String, f64>,
    /// Waits by whose and what: `all`, a tenant, a size.
    pub waits: BTreeMap<String, Waits>,
    /// Tells what was asked for from anything else: the same in every column.
    pub asked: u64,
    /// What was chosen, for the best static layout.
    pub layout: Option<String>,
    /// Broken laws.
    pub violations: Vec<String>,
}

/// How much room there was: units times milliseconds, without GPUs that were out of order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Capacity(pub(crate) u64);

fn minutes(millis: u64) -> f64 {
    millis as f64 / MINUTE as f64
}

/// Unit-milliseconds as GPU hours.
fn gpu_hours(unit_millis: u64) -> f64 {
    unit_millis as f64 / (8 * HOUR) as f64
}

impl Score {
    pub(crate) fn of(works: &[Work], records: &[Record], capacity: Capacity) -> Self {
        let mut score = Self::default();
        score.waits(works, records);
        score.fates(works, records);
        let sum = |of: fn(&Record) -> u64| records.iter().map(of).sum::<u64>();
        let share = |part: u64| 100.0 * part as f64 / capacity.0.max(1) as f64;
        let (held, used) = (sum(|r| r.held), sum(|r| r.used));
        score.set("held %", share(held));
        score.set("used %", share(used));
        score.set("work lost, GPU hours", gpu_hours(sum(|r| r.lost)));
        score.set("taken back, GPU hours", gpu_hours(sum(|r| r.taken_back)));
        let back: u64 = records.iter().map(|r| u64::from(r.came_back)).sum();
        score.set("came back to a lease taken back", back as f64);
        let wait = minutes(sum(|r| r.back_wait)) / (back.max(1)) as f64;
        score.set("their wait, minutes", wait);
        let stopped = |kind: usize| records.iter().map(|r| f64::from(r.stopped[kind])).sum();
        score.set("preemptions", stopped(0));
        score.set("ended by broken GPUs", stopped(1));
        score.set("moves", stopped(2));
        score.blocked(records);
        score
    }

    pub(crate) fn set(&mut self, name: &str, value: f64) {
        self.figures.insert(name.to_owned(), value);
    }

    /// A figure; nothing if it has none of that name.
    pub fn figure(&self, name: &str) -> f64 {
        self.figures.get(name).copied().unwrap_or(0.0)
    }

    fn waits(&mut self, works: &[Work], records: &[Record]) {
        let mut all: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for (work, record) in works.iter().zip(records) {
            if record.fate == Fate::Refused && !record.served {
                continue;
            }
            let wait = minutes(record.waited);
            for key in ["all".to_owned(), work.spec.tenant.to_string(), size(&work.spec)] {
                all.entry(key).or_default().push(wait);
            }
        }
        self.waits = all.into_iter().map(|(key, waits)| (key, Waits::of(waits))).collect();
    }

    fn fates(&mut self, works: &[Work], records: &[Record]) {
        let count = |which: &dyn Fn(&Record) -> bool| {
            records.iter().filter(|record| which(record)).count() as f64
        };
        self.set("jobs", works.len() as f64);
        self.set("started", count(&|r| r.served));
        let done = |r: &Record| matches!(r.fate, Fate::Done | Fate::TakenBack);
        self.set("finished", count(&|r| r.served && done(r)));
        self.set("cut off by their own limit", count(&|r| r.fate == Fate::CutOff));
        self.set("refused at once", count(&|r| r.fate == Fate::Refused));
        self.set("gave up waiting", count(&|r| r.fate == Fate::GaveUp && !r.served));
        let never = count(&|r| !r.served && matches!(r.fate, Fate::Unfinished));
        self.set("still waiting at the end", never);
    }

    fn blocked(&mut self, records: &[Record]) {
        let all: Vec<&Blocked> =
            records.iter().flat_map(|r| r.blocked.iter().chain(&r.refused)).collect();
        let count = |which: fn(&Blocked) -> bool| all.iter().filter(|b| which(b)).count() as f64;
        self.set("blocked", all.len() as f64);
        self.set("blocked by a cap", count(|b| b.cap));
        self.set("avoidable in idle room", count(|b| !b.cap && b.idle_room));
        self.set("avoidable by packing", count(|b| !b.cap && b.packing == Some(true)));
        let refused: Vec<&Blocked> = records.iter().filter_map(|r| r.refused.as_ref()).collect();
        let of = |which: fn(&Blocked) -> bool| refused.iter().filter(|b| which(b)).count() as f64;
        self.set("refused, avoidable in idle room", of(|b| !b.cap && b.idle_room));
        self.set("refused, avoidable by packing", of(|b| !b.cap && b.packing == Some(true)));
    }

    /// What the daemon counted.
    pub(crate) fn tally(&mut self, tally: Tally, end: Timestamp) {
        self.set("instances made", tally.made as f64);
        self.set("instances destroyed", tally.destroyed as f64);
        self.set("plans failed", tally.plans_failed as f64);
        self.set("rooms reserved", tally.reserved as f64);
        self.set("idle leases warned", tally.warned as f64);
        self.set("idle leases taken back", tally.reclaimed as f64);
        self.set("events", tally.events as f64);
        self.set("acts", tally.acts as f64);
        self.set("crashes", f64::from(tally.crashes));
        self.set("checks of all laws", tally.laws_checked as f64);
        self.set("violations", tally.violations.len() as f64);
        self.promises(&tally, end);
        self.violations = tally.violations;
    }

    fn promises(&mut self, tally: &Tally, end: Timestamp) {
        let (mut told, mut kept, mut judged) = (0u32, 0u32, 0u32);
        let (mut errors, mut early) = (Vec::new(), Vec::new());
        for promise in &tally.promises {
            if let Some(bound) = promise.told.not_later_than {
                told += 1;
                // Of one that never started it is known only if its bound lay within the week.
                let started = promise.started.unwrap_or(end);
                if promise.started.is_some() || bound < end {
                    judged += 1;
                    kept += u32::from(promise.started.is_some() && started <= bound);
                }
                if promise.started.is_some() {
                    early.push(minutes(bound.since(started).get()));
                }
            }
            if let (Some(likely), Some(started)) = (promise.told.likely, promise.started) {
                let (late, soon) = (started.since(likely).get(), likely.since(started).get());
                errors.push(minutes(late.max(soon)));
            }
        }
        self.set("told when they start", tally.promises.len() as f64);
        self.set("told a latest start", f64::from(told));
        self.set("latest start kept %", 100.0 * f64::from(kept) / f64::from(judged.max(1)));
        let (errors, early) = (Waits::of(errors), Waits::of(early));
        self.set("started before the latest, P50 minutes", early.p50);
        self.set("likely start wrong by, P50 minutes", errors.p50);
        self.set("likely start wrong by, mean minutes", errors.mean);
        let waits: Vec<f64> = tally
            .promises
            .iter()
            .filter_map(|p| Some(minutes(p.started?.since(p.told_at).get())))
            .collect();
        self.set("their waits, mean minutes", Waits::of(waits).mean);
    }
}
