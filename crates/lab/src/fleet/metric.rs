//! The figures by name, so that every table, chart and file shows the same ones.
//!
//! Must never compute a figure: it names what [`Figures`] has.

use super::figures::Figures;

/// A figure.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name in files.
    pub key: &'static str,
    /// Its name for people, without the unit.
    pub title: &'static str,
    /// The same where a table says what it is about.
    pub short: &'static str,
    /// Its unit; empty for plain numbers.
    pub unit: &'static str,
    /// What a value is multiplied by to be in that unit.
    pub factor: f64,
    /// Digits after the point.
    pub digits: usize,
    /// Whether more is better; `None` where neither is.
    pub more_is_better: Option<bool>,
    /// The value of a run.
    pub of: fn(&Figures) -> f64,
}

const fn share(
    key: &'static str,
    title: &'static str,
    more_is_better: bool,
    of: fn(&Figures) -> f64,
) -> Metric {
    let more_is_better = Some(more_is_better);
    Metric { key, title, short: title, unit: "%", factor: 100.0, digits: 2, more_is_better, of }
}

const fn seconds(key: &'static str, title: &'static str, of: fn(&Figures) -> f64) -> Metric {
    Metric {
        key,
        title,
        short: title,
        unit: "s",
        factor: 1.0,
        digits: 0,
        more_is_better: Some(false),
        of,
    }
}

const fn number(
    key: &'static str,
    title: &'static str,
    more_is_better: Option<bool>,
    of: fn(&Figures) -> f64,
) -> Metric {
    Metric { key, title, short: title, unit: "", factor: 1.0, digits: 1, more_is_better, of }
}

/// Requests that got what they asked for.
pub const ACCEPTED: Metric = share("accepted", "accepted", true, Figures::acceptance);
/// The same by size.
pub const ACCEPTED_SLICES: Metric = Metric {
    short: "by size",
    ..share("accepted_slices", "accepted, by size", true, Figures::weighted_acceptance)
};
/// Rejections that a repacking would have avoided.
pub const AVOIDABLE: Metric = share("avoidable", "avoidable", false, Figures::avoidable_share);
/// Memory held.
pub const USED: Metric = share("used", "used", true, |figures| figures.used);
/// Free room that is of no use.
pub const FRAGMENTED: Metric = Metric {
    short: "frag.",
    ..share("fragmentation", "fragmented", false, |figures| figures.fragmentation)
};
/// Mean wait.
pub const WAIT_MEAN: Metric = seconds("wait_mean_s", "mean wait", |figures| figures.waits.mean);
/// Median wait.
pub const WAIT_P50: Metric = seconds("wait_p50_s", "P50 wait", |figures| figures.waits.p50);
/// What 95 of 100 do not exceed.
pub const WAIT_P95: Metric = seconds("wait_p95_s", "P95 wait", |figures| figures.waits.p95);
/// What 99 of 100 do not exceed.
pub const WAIT_P99: Metric = seconds("wait_p99_s", "P99 wait", |figures| figures.waits.p99);
/// Slices that were moved.
pub const MOVES: Metric = Metric {
    short: "moves ‰",
    digits: 0,
    ..number("moves_per_1000", "moves per 1,000 requests", Some(false), Figures::moves_per_thousand)
};

/// All of them, in the order of files.
pub const ALL: &[Metric] = &[
    number("asked", "requests", None, |figures| figures.asked as f64),
    ACCEPTED,
    ACCEPTED_SLICES,
    AVOIDABLE,
    USED,
    share("used_compute", "compute used", true, |figures| figures.used_compute),
    FRAGMENTED,
    number("active_gpus", "GPUs in use", None, |figures| figures.active_gpus),
    WAIT_MEAN,
    WAIT_P50,
    WAIT_P95,
    WAIT_P99,
    number("longest_queue", "longest queue", Some(false), |figures| figures.longest_queue as f64),
    number("waiting", "still waiting", Some(false), |figures| figures.waiting as f64),
    seconds("makespan_s", "makespan", |figures| figures.makespan),
    MOVES,
];
