//! The tables of a week, as Markdown.
//!
//! Must never round a broken law away.

use std::fmt::Write as _;

use super::score::{Score, Waits};
use super::work::TENANTS;
use super::{COLUMNS, Outcome};

/// A figure over several seeds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Aggregate {
    /// On average.
    pub mean: f64,
    /// The least.
    pub least: f64,
    /// The most.
    pub most: f64,
}

impl Aggregate {
    /// Of these values.
    pub fn of(values: impl Iterator<Item = f64>) -> Self {
        let values: Vec<f64> = values.collect();
        let sum: f64 = values.iter().sum();
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Self { mean: sum / values.len().max(1) as f64, least, most }
    }

    fn words(self) -> String {
        let short = |value: f64| {
            if value.abs() >= 100.0 || (value - value.round()).abs() < 0.005 {
                format!("{value:.0}")
            } else {
                format!("{value:.1}")
            }
        };
        let (mean, least, most) = (short(self.mean), short(self.least), short(self.most));
        if least == most { mean } else { format!("{mean} ({least}–{most})") }
    }
}

/// What a row of the first table is about.
struct Row {
    title: &'static str,
    figure: &'static str,
    /// Whether only columns with a daemon have it.
    daemon: bool,
}

const fn row(title: &'static str, figure: &'static str) -> Row {
    Row { title, figure, daemon: false }
}

const fn of_daemon(title: &'static str, figure: &'static str) -> Row {
    Row { title, figure, daemon: true }
}

const ROWS: &[Row] = &[
    row("jobs asked for", "jobs"),
    row("started", "started"),
    row("finished", "finished"),
    row("cut off by their own limit", "cut off by their own limit"),
    row("gave up waiting", "gave up waiting"),
    row("still waiting at the end", "still waiting at the end"),
    row("refused at once (would not wait)", "refused at once"),
    row("… avoidable: fits in the idle room", "refused, avoidable in idle room"),
    row("… avoidable: fits if all were packed anew", "refused, avoidable by packing"),
    row("had to wait or were refused", "blocked"),
    row("… by their tenant's cap", "blocked by a cap"),
    row("… though it fits in the idle room", "avoidable in idle room"),
    row("… though it fits if all were packed anew", "avoidable by packing"),
    row("room held, %", "held %"),
    row("room used, %", "used %"),
    row("work lost and done again, GPU hours", "work lost, GPU hours"),
    row("idle leases taken back", "idle leases taken back"),
    row("… GPU hours that others got", "taken back, GPU hours"),
    row("… whose users came back", "came back to a lease taken back"),
    row("… and waited then, minutes on average", "their wait, minutes"),
    row("preemptions", "preemptions"),
    row("moves (agreed)", "moves"),
    row("stopped by broken GPUs", "ended by broken GPUs"),
    of_daemon("rooms reserved (and moved)", "rooms reserved"),
    of_daemon("GPU instances made", "instances made"),
    of_daemon("GPU instances destroyed", "instances destroyed"),
    of_daemon("waiting requests told when they start", "told when they start"),
    of_daemon("… with a latest start", "told a latest start"),
    of_daemon("… which was kept, %", "latest start kept %"),
    of_daemon("… started before it by, P50 minutes", "started before the latest, P50 minutes"),
    of_daemon("likely start wrong by, P50 minutes", "likely start wrong by, P50 minutes"),
    of_daemon("likely start wrong by, mean minutes", "likely start wrong by, mean minutes"),
    of_daemon("plans that failed in the driver", "plans failed"),
    of_daemon("events decided", "events"),
    of_daemon("acts of daemon and executor", "acts"),
    of_daemon("crashes of the daemon", "crashes"),
    of_daemon("checks of all laws", "checks of all laws"),
    of_daemon("broken laws", "violations"),
];

fn columns_of(outcomes: &[Outcome], column: usize) -> impl Iterator<Item = &Score> {
    outcomes.iter().filter_map(move |outcome| outcome.columns.get(column))
}

fn head(text: &mut String, first: &str) {
    let _ = writeln!(text, "| {first} | {} |", COLUMNS.join(" | "));
    let _ = writeln!(text, "|---|{}", "---:|".repeat(COLUMNS.len()));
}

/// The tables: figures as mean over the seeds, with the range where it is not a point.
pub fn markdown(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    let seeds: Vec<String> = outcomes.iter().map(|outcome| outcome.seed.to_string()).collect();
    let demand = |which: fn(&Outcome) -> f64| {
        Aggregate::of(outcomes.iter().map(|outcome| 100.0 * which(outcome))).words()
    };
    let _ = writeln!(
        text,
        "Seeds {}; mean and range. Room wanted: {} % of the machine in working hours, {} % otherwise.\n",
        seeds.join(", "),
        demand(|outcome| outcome.demand.0),
        demand(|outcome| outcome.demand.1)
    );
    head(&mut text, "");
    wait_rows(&mut text, outcomes);
    for row in ROWS {
        let cells = (0..COLUMNS.len()).map(|column| {
            if row.daemon && (1..=2).contains(&column) {
                return "–".to_owned();
            }
            Aggregate::of(columns_of(outcomes, column).map(|s| s.figure(row.figure))).words()
        });
        let cells: Vec<String> = cells.collect();
        let _ = writeln!(text, "| {} | {} |", row.title, cells.join(" | "));
    }
    let _ = writeln!(text, "\nWaiting in minutes by tenant and by size: mean / P50 / P95 / P99.\n");
    head(&mut text, "");
    for key in keys(outcomes) {
        let cells: Vec<String> =
            (0..COLUMNS.len()).map(|column| waits_of(outcomes, column, &key)).collect();
        let _ = writeln!(text, "| {key} | {} |", cells.join(" | "));
    }
    let layouts: Vec<String> = outcomes
        .iter()
        .filter_map(|o| Some(format!("seed {}: {}", o.seed, o.columns.get(2)?.layout.as_ref()?)))
        .collect();
    let _ = writeln!(text, "\nBest static layouts: {}.", layouts.join("; "));
    text
}

fn wait_rows(text: &mut String, outcomes: &[Outcome]) {
    type Figure = fn(&Waits) -> f64;
    let kinds: [(&str, Figure); 4] = [
        ("wait, mean minutes", |waits| waits.mean),
        ("wait, P50 minutes", |waits| waits.p50),
        ("wait, P95 minutes", |waits| waits.p95),
        ("wait, P99 minutes", |waits| waits.p99),
    ];
    for (title, of) in kinds {
        let cells = (0..COLUMNS.len()).map(|column| {
            let all = columns_of(outcomes, column).filter_map(|score| score.waits.get("all"));
            Aggregate::of(all.map(of)).words()
        });
        let cells: Vec<String> = cells.collect();
        let _ = writeln!(text, "| {title} | {} |", cells.join(" | "));
    }
}

/// Tenants, then sizes.
fn keys(outcomes: &[Outcome]) -> Vec<String> {
    let mut sizes: Vec<String> = outcomes
        .iter()
        .flat_map(|outcome| &outcome.columns)
        .flat_map(|score| score.waits.keys())
        .filter(|key| *key != "all" && !TENANTS.contains(&key.as_str()))
        .cloned()
        .collect();
    sizes.sort();
    sizes.dedup();
    TENANTS.iter().map(|tenant| (*tenant).to_owned()).chain(sizes).collect()
}

fn waits_of(outcomes: &[Outcome], column: usize, key: &str) -> String {
    let all: Vec<&Waits> =
        columns_of(outcomes, column).filter_map(|score| score.waits.get(key)).collect();
    let mean = |of: fn(&Waits) -> f64| Aggregate::of(all.iter().map(|waits| of(waits))).mean;
    format!(
        "{:.0} / {:.0} / {:.0} / {:.0}",
        mean(|waits| waits.mean),
        mean(|waits| waits.p50),
        mean(|waits| waits.p95),
        mean(|waits| waits.p99)
    )
}
