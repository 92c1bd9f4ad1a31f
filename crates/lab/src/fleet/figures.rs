//! What one run came to.
//!
//! Must never hold anything that two runs of the same seed could differ in.

use serde::Serialize;

use super::stats::percentile;

/// Waiting, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Waits {
    /// How many started.
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
    pub(crate) fn of(mut seconds: Vec<f64>) -> Self {
        seconds.sort_by(f64::total_cmp);
        let mean = seconds.iter().sum::<f64>() / seconds.len().max(1) as f64;
        let at = |share: f64| percentile(&seconds, share).unwrap_or(0.0);
        let count = seconds.len() as u64;
        Self { count, mean, p50: at(0.50), p95: at(0.95), p99: at(0.99) }
    }
}

/// The part of a run that one profile or one tenant had.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct KindFigures {
    /// The profile, or the tenant.
    pub name: String,
    /// Requests that counted.
    pub asked: u64,
    /// Of them started.
    pub accepted: u64,
    /// Of them rejected, or made to wait, although a repacking would have had room.
    pub avoidable: u64,
    /// How long those that started had waited.
    pub waits: Waits,
}

/// What one contender made of one workload. Requests outside the measured span do not count.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Requests.
    pub asked: u64,
    /// Requests that got what they asked for.
    pub accepted: u64,
    /// Requests that were sent away: at once, or because not even the empty fleet holds them.
    pub rejected: u64,
    /// Requests that still wait at the end.
    pub waiting: u64,
    /// Requests that could not start when they came, although everything that ran and they
    /// together fit if all were packed anew.
    pub avoidable: u64,
    /// What was asked for, weighed; a whole GPU weighs 840.
    pub asked_weight: u64,
    /// What was accepted, weighed.
    pub accepted_weight: u64,
    /// By profile.
    pub kinds: Vec<KindFigures>,
    /// By tenant.
    pub tenants: Vec<KindFigures>,
    /// How long requests that started had waited.
    pub waits: Waits,
    /// Share of the fleet's memory that was held, over time.
    pub used: f64,
    /// Share of the fleet's compute slices that was held, over time.
    pub used_compute: f64,
    /// Of the requests that the free room would hold if it lay together, the share that it does
    /// not hold as it lies, over time.
    pub fragmentation: f64,
    /// GPUs with anything on them, over time.
    pub active_gpus: f64,
    /// Running slices that were stopped and started elsewhere.
    pub moves: u64,
    /// What they weighed.
    pub moved_weight: u64,
    /// The most that waited at once.
    pub longest_queue: u64,
    /// From the first request to the last end, in seconds; of the whole run.
    pub makespan: f64,
    /// Arrivals and ends; of the whole run.
    pub events: u64,
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

impl Figures {
    /// Accepted of asked, by count.
    pub fn acceptance(&self) -> f64 {
        ratio(self.accepted, self.asked)
    }

    /// The same with every request counted by its size.
    pub fn weighted_acceptance(&self) -> f64 {
        ratio(self.accepted_weight, self.asked_weight)
    }

    /// Requests that a repacking would have had room for, of all.
    pub fn avoidable_share(&self) -> f64 {
        ratio(self.avoidable, self.asked)
    }

    /// Moves for a thousand requests.
    pub fn moves_per_thousand(&self) -> f64 {
        1000.0 * ratio(self.moves, self.asked)
    }
}
