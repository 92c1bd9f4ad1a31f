//! A week on a DGX A100 in virtual time: the same arrivals for migd and for what else one could do.
//!
//! Must never give one column what another is denied, but what the column is about.

mod arrivals;
mod layouts;
mod score;
mod table;
mod work;

use std::collections::BTreeMap;

use broker::{Amount, Policy, Priority, TenantRules};
use model::{MemoryMib, Millis, NodeSnapshot, Tenant, Timestamp};
use planner::Planner;
use serde::Serialize;
use sim_gpu::{GpuSpec, HostSpec};

pub use arrivals::Scenario;
pub use score::{Score, Waits};
pub use table::{Aggregate, markdown};

use crate::bench::{Bench, BenchError};
use crate::play::column::{Column, Trouble};
use crate::play::daemon::{Daemon, Watch};
use crate::play::fixed::Fixed;
use crate::play::{Play, Term};
use crate::room::Room;
use arrivals::arrivals;
use layouts::{Pattern, cut};
use score::Capacity;
use work::{DAY, DEFAULT_TIME, HOUR, MINUTE, MONDAY, TENANTS, Work};

/// GPUs of the machine.
pub(crate) const GPUS: usize = 8;

/// The columns, in the table's order.
pub const COLUMNS: [&str; 4] =
    ["migd", "whole GPUs only", "best static layout", "first fit, nothing taken back"];

/// What a week came to in each column.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Room wanted, as a share of the machine: in working hours, and otherwise.
    pub demand: (f64, f64),
    /// One score for each of [`COLUMNS`].
    pub columns: Vec<Score>,
}

/// The rules of the week. Without `reclaim` no idle lease is taken back, and no room is kept.
fn policy(reclaim: bool) -> Policy {
    let gib = |gib: u64| Amount { slices: None, memory: Some(MemoryMib::new(gib * 1024)) };
    let rules = |name: &str| {
        let plain = TenantRules {
            default_time: Some(DEFAULT_TIME),
            idle_limit: reclaim.then_some(Millis::new(45 * MINUTE)),
            may_stay_idle: false,
            ..TenantRules::default()
        };
        match name {
            "nlp" => TenantRules { weight: 3, ..plain },
            "vision" => TenantRules { weight: 2, ..plain },
            "biology" => TenantRules { cap: gib(80), ..plain },
            "robotics" => TenantRules { guaranteed: gib(40), ..plain },
            "serving" => TenantRules {
                weight: 2,
                max_priority: Priority::High,
                default_time: None,
                idle_limit: None,
                may_stay_idle: true,
                ..plain
            },
            _ => plain,
        }
    };
    let tenants: BTreeMap<Tenant, TenantRules> =
        TENANTS.iter().map(|name| (Tenant::new(*name), rules(name))).collect();
    let base = Policy { auto_mig: true, tenants, ..Policy::default() };
    if reclaim {
        return base;
    }
    let never = Millis::new(u64::MAX / 4);
    Policy { drain_after: never, placement: planner::Policy::FirstFit, ..base }
}

/// A GPU is lost on Tuesday for twenty hours, another fails on Thursday and is back after two.
fn troubles(days: u64) -> Vec<(Timestamp, usize, Trouble)> {
    let at = |day: u64, millis: u64| MONDAY.plus(Millis::new(day * DAY + millis));
    let all = [
        (at(1, 11 * HOUR), 2, Trouble::Lost),
        (at(2, 7 * HOUR), 2, Trouble::Mended),
        (at(3, 14 * HOUR), 5, Trouble::Fails),
        (at(3, 16 * HOUR), 5, Trouble::Mended),
    ];
    let end = at(days, 0);
    all.into_iter().filter(|(when, ..)| *when < end).collect()
}

/// When the daemon dies: in the first plan that is at work then, between a driver call and its
/// record.
fn crashes() -> Vec<Timestamp> {
    let at = |day: u64, millis: u64| MONDAY.plus(Millis::new(day * DAY + millis));
    vec![at(0, 10 * HOUR + 17 * MINUTE), at(2, 14 * HOUR + 3 * MINUTE), at(4, 2 * HOUR)]
}

/// Units times milliseconds, without GPUs that were out of order.
fn capacity(days: u64) -> Capacity {
    let mut sum = GPUS as u64 * days * DAY;
    let mut since: BTreeMap<usize, Timestamp> = BTreeMap::new();
    let end = MONDAY.plus(Millis::new(days * DAY));
    for (at, gpu, trouble) in troubles(days) {
        match trouble {
            Trouble::Lost | Trouble::Fails => {
                since.insert(gpu, at);
            }
            Trouble::Mended => {
                sum -= since.remove(&gpu).map_or(0, |since| at.since(since).get());
            }
        }
    }
    sum -= since.values().map(|since| end.since(*since).get()).sum::<u64>();
    Capacity(sum * 8)
}

/// How much of the machine is wanted: in working hours, and otherwise.
fn demand(works: &[Work], days: u64) -> (f64, f64) {
    let mut sums = [0u64; 2];
    let mut hours = [0u64; 2];
    for hour in 0..days * 24 {
        let from = MONDAY.plus(Millis::new(hour * HOUR));
        let to = from.plus(Millis::new(HOUR));
        let kind = usize::from(!arrivals::is_working(hour));
        hours[kind] += 1;
        for work in works {
            let (begin, end) = work.span();
            let overlap = end.min(to).since(begin.max(from)).get();
            sums[kind] += overlap * u64::from(work.units);
        }
    }
    let share =
        |kind: usize| sums[kind] as f64 / (hours[kind].max(1) * HOUR * 8 * GPUS as u64) as f64;
    (share(0), share(1))
}

fn room(policy: Policy) -> Result<Room, BenchError> {
    let mut spec = HostSpec { host: "dgx".to_owned(), ..HostSpec::default() };
    spec.add(&GpuSpec::new("a100-sxm4-40gb"), GPUS);
    let bench = Bench::new(&spec)?;
    bench.enable_mig();
    Room::new(bench, policy, Planner::default())
}

const fn term(end: Timestamp) -> Term {
    Term { begin: MONDAY, end: Some(end), default_time: DEFAULT_TIME }
}

fn with_daemon(scenario: &Scenario, works: &[Work], all: bool) -> Result<Score, BenchError> {
    let mut daemon = Daemon::new(room(policy(all))?, all, Watch::CLOSELY, crashes());
    daemon.pass(MONDAY);
    let end = MONDAY.plus(Millis::new(scenario.days * DAY));
    let (records, asked) = Play::new(&mut daemon, works, &troubles(scenario.days), term(end)).run();
    let mut score = Score::of(works, &records, capacity(scenario.days));
    score.asked = asked;
    score.tally(daemon.finish(), end);
    Ok(score)
}

fn with_layout(
    scenario: &Scenario,
    works: &[Work],
    (observed, planner, policy): (&NodeSnapshot, &Planner, &Policy),
    patterns: &[Pattern],
) -> Option<Score> {
    let cut =
        patterns.iter().enumerate().map(|(gpu, pattern)| cut(observed, planner, gpu, pattern));
    let mut fixed =
        Fixed::new(observed, policy, planner, &cut.collect::<Option<Vec<_>>>()?, false)?;
    let end = MONDAY.plus(Millis::new(scenario.days * DAY));
    let troubles = troubles(scenario.days);
    let (records, asked) = Play::new(&mut fixed, works, &troubles, term(end)).run();
    let mut score = Score::of(works, &records, capacity(scenario.days));
    score.asked = asked;
    score.layout = Some(layouts::in_words(patterns));
    Some(score)
}

/// Lives through a week in every column.
///
/// # Errors
/// If the simulated machine cannot be built.
pub fn run(scenario: &Scenario) -> Result<Outcome, BenchError> {
    let works = arrivals(scenario);
    let demand = demand(&works, scenario.days);
    let policy = policy(false);
    let empty = room(policy.clone())?;
    let machine = (&empty.observed, &empty.planner, &policy);
    let serve = |patterns: &[Pattern]| with_layout(scenario, &works, machine, patterns);
    let uncut: Pattern = &[7];
    let whole = serve(&[uncut; GPUS]).ok_or("seven slices fill no GPU")?;
    let fixed = layouts::best(&serve).ok_or("no static layout is legal")?;
    drop(empty);
    let migd = with_daemon(scenario, &works, true)?;
    let first_fit = with_daemon(scenario, &works, false)?;
    let columns = vec![migd, whole, fixed, first_fit];
    Ok(Outcome { seed: scenario.seed, demand, columns })
}
