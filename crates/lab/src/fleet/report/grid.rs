//! Tables of a study as rows of words.
//!
//! Must never compute: it chooses which figures stand where.

use super::super::metric::{self, Metric};
use super::super::stats::Estimate;
use super::super::study::{Cell, Study};
use super::super::{Figures, KindFigures, Pace};

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grid {
    /// What it shows.
    pub title: String,
    /// The heads of its columns; the first is that of the row's name.
    pub columns: Vec<String>,
    /// As many cells as columns.
    pub rows: Vec<Vec<String>>,
    /// Whether it is one of the few that a terminal should see.
    pub main: bool,
}

/// A number as tables have it: `96.08 ±0.12`; with a digit less where the last one says nothing.
pub(super) fn words(estimate: Estimate, digits: usize) -> String {
    if estimate.mean == 0.0 && estimate.half.is_none_or(|half| half == 0.0) {
        return "0".into();
    }
    let digits = if estimate.half.is_some_and(|half| half >= 1.0) {
        digits.saturating_sub(1)
    } else {
        digits
    };
    let mean = format!("{:.digits$}", estimate.mean);
    // A zero has no sign.
    let mean = if mean.trim_start_matches(['-', '0', '.']).is_empty() {
        mean.trim_start_matches('-').to_owned()
    } else {
        mean
    };
    estimate.half.map_or(mean.clone(), |half| format!("{mean} ±{half:.digits$}"))
}

fn signed(estimate: Estimate, digits: usize) -> String {
    let text = words(estimate, digits);
    let mark = if estimate.is_clear() { " *" } else { "" };
    let plus = if estimate.mean > 0.0 && !text.starts_with("0 ") { "+" } else { "" };
    format!("{plus}{text}{mark}")
}

/// A figure with its unit.
fn with_unit(name: &str, metric: &Metric) -> String {
    match metric.unit {
        "" => name.to_owned(),
        unit => format!("{name} {unit}"),
    }
}

fn head(metric: &Metric) -> String {
    with_unit(metric.short, metric)
}

/// The figures that matter for this kind of study.
fn main_metrics(study: &Study) -> Vec<Metric> {
    if study.has_queue() {
        use metric::{AVOIDABLE, USED, WAIT_MEAN, WAIT_P50, WAIT_P95, WAIT_P99};
        vec![WAIT_MEAN, WAIT_P50, WAIT_P95, WAIT_P99, USED, AVOIDABLE]
    } else {
        use metric::{ACCEPTED, ACCEPTED_SLICES, AVOIDABLE, FRAGMENTED, USED};
        vec![ACCEPTED, ACCEPTED_SLICES, AVOIDABLE, USED, FRAGMENTED]
    }
}

/// The figures that policies are compared by.
pub(super) fn compared(study: &Study) -> Vec<Metric> {
    if study.has_queue() {
        vec![metric::WAIT_MEAN, metric::WAIT_P95, metric::AVOIDABLE]
    } else {
        vec![metric::ACCEPTED, metric::ACCEPTED_SLICES, metric::AVOIDABLE]
    }
}

/// Every table of a study.
pub fn grids(study: &Study) -> Vec<Grid> {
    let sources = 0..study.plan.sources.len();
    let mut all: Vec<Grid> = Vec::new();
    if study.plan.sources.len() > 1 {
        all.extend(compared(study).iter().map(|metric| overview(study, metric)));
    }
    for source in sources {
        all.push(main(study, source));
        all.extend(differences(study, source));
        let one: Vec<&str> = study.of_source(source).first().map_or_else(Vec::new, tenants_of);
        all.push(by(study, source, "profile", |figures| &figures.kinds));
        if one.len() > 1 {
            all.push(by(study, source, "tenant", |figures| &figures.tenants));
        }
    }
    all.push(decisions(study));
    all
}

fn tenants_of(cell: &Cell) -> Vec<&str> {
    let first = cell.runs.first();
    first.map_or_else(Vec::new, |run| run.tenants.iter().map(|t| t.name.as_str()).collect())
}

fn name(study: &Study, contender: usize) -> String {
    study.plan.contenders.get(contender).map_or_else(String::new, |c| c.name.to_owned())
}

fn contender_columns(study: &Study) -> impl Iterator<Item = String> + '_ {
    study.plan.contenders.iter().map(|contender| contender.name.to_owned())
}

fn overview(study: &Study, metric: &Metric) -> Grid {
    let heads = contender_columns(study).chain(["best without moves".to_owned()]);
    let columns = std::iter::once("requests".to_owned()).chain(heads).collect();
    let row = |source: usize| {
        let cells = study.of_source(source).iter();
        let cells = cells.map(|cell| words(cell.estimate(metric), metric.digits));
        let first = study.plan.sources.get(source).map_or_else(String::new, ToString::to_string);
        let cells = std::iter::once(first).chain(cells);
        cells.chain([leaders(study, source, metric)]).collect()
    };
    let rows = (0..study.plan.sources.len()).map(row).collect();
    Grid { title: format!("All: {}", with_unit(metric.title, metric)), columns, rows, main: false }
}

/// The best of those that move nothing, then whoever differs from it by no more than chance.
fn leaders(study: &Study, source: usize, metric: &Metric) -> String {
    let Some(more) = metric.more_is_better else { return String::new() };
    let places = |cell: &&Cell| {
        study.plan.contenders.get(cell.contender).is_some_and(|contender| !contender.moves())
    };
    let cells: Vec<&Cell> = study.of_source(source).iter().filter(places).collect();
    let score = |cell: &Cell| {
        let mean = cell.estimate(metric).mean;
        if more { mean } else { -mean }
    };
    let best = cells.iter().rev().copied().max_by(|a, b| score(a).total_cmp(&score(b)));
    let Some(best) = best else { return String::new() };
    let equal = cells.iter().filter(|cell| {
        let difference = cell.difference(best, metric);
        cell.contender != best.contender && cell.runs.len() > 1 && !difference.is_clear()
    });
    let equal: Vec<String> = equal.map(|cell| name(study, cell.contender)).collect();
    let first = name(study, best.contender);
    if equal.is_empty() { first } else { format!("{first}; equal: {}", equal.join(", ")) }
}

fn main(study: &Study, source: usize) -> Grid {
    let mut metrics = main_metrics(study);
    let moved = |cell: &Cell| cell.runs.iter().any(|run| run.moves > 0);
    if study.of_source(source).iter().any(moved) {
        // The last column is the first that a narrow terminal leaves out.
        metrics.insert(metrics.len() - 1, metric::MOVES);
    }
    let heads = metrics.iter().map(head);
    let columns = std::iter::once("policy".to_owned()).chain(heads).collect();
    let row = |cell: &Cell| {
        let cells = metrics.iter().map(|metric| words(cell.estimate(metric), metric.digits));
        std::iter::once(name(study, cell.contender)).chain(cells).collect()
    };
    let cells = study.of_source(source);
    let asked = cells.first().map_or(0.0, |cell| cell.estimate(&metric::ALL[0]).mean);
    let title = study.plan.sources.get(source).map_or_else(String::new, ToString::to_string);
    let title = format!("{title}: {asked:.0} requests");
    Grid { title, columns, rows: cells.iter().map(row).collect(), main: true }
}

/// What the others have more or less of than the first, seed by seed.
fn differences(study: &Study, source: usize) -> Option<Grid> {
    let cells = study.of_source(source);
    let (first, others) = cells.split_first().filter(|(_, others)| !others.is_empty())?;
    let metrics = compared(study);
    let heads = metrics.iter().map(head);
    let columns = std::iter::once("policy".to_owned()).chain(heads).collect();
    let row = |cell: &Cell| {
        let of = |metric: &Metric| signed(cell.difference(first, metric), metric.digits);
        std::iter::once(name(study, cell.contender)).chain(metrics.iter().map(of)).collect()
    };
    let title = study.plan.sources.get(source).map_or_else(String::new, ToString::to_string);
    let title = format!(
        "{title}: difference to {}, pair by pair (* beyond chance)",
        name(study, first.contender)
    );
    Some(Grid { title, columns, rows: others.iter().map(row).collect(), main: false })
}

/// Acceptance or waiting by profile or tenant.
fn by(study: &Study, source: usize, what: &str, parts: fn(&Figures) -> &Vec<KindFigures>) -> Grid {
    let cells = study.of_source(source);
    let named = cells.first().and_then(|cell| cell.runs.first()).map_or(&[][..], |f| parts(f));
    let names = named.iter().map(|part| part.name.clone());
    let columns = std::iter::once("policy".to_owned()).chain(names).collect();
    let queue = study.has_queue();
    let value = move |part: &KindFigures| {
        if queue {
            part.waits.mean
        } else {
            100.0 * part.accepted as f64 / part.asked.max(1) as f64
        }
    };
    let row = |cell: &Cell| {
        let estimate = |index: usize| {
            let of = |run: &Figures| {
                let part = parts(run).get(index).filter(|part| part.asked > 0);
                part.map(value)
            };
            let values: Vec<f64> = cell.runs.iter().filter_map(of).collect();
            if values.is_empty() { "-".into() } else { words(Estimate::of(&values), 2) }
        };
        let cells = (0..named.len()).map(estimate);
        std::iter::once(name(study, cell.contender)).chain(cells).collect()
    };
    let title = study.plan.sources.get(source).map_or_else(String::new, ToString::to_string);
    let figure = if queue { "mean wait s" } else { "accepted %" };
    let title = format!("{title}: {figure} by {what}");
    Grid { title, columns, rows: cells.iter().map(row).collect(), main: false }
}

fn decisions(study: &Study) -> Grid {
    let heads = ["policy", "decisions", "P50 us", "P99 us"];
    let row = |contender: usize| {
        let cells = study.cells.iter().filter(|cell| cell.contender == contender);
        let paces: Vec<Pace> = cells.map(|cell| cell.pace).collect();
        let count: u64 = paces.iter().map(|pace| pace.decisions).sum();
        // The median source stands for all of them.
        let middle = |of: fn(&Pace) -> u64| {
            let mut values: Vec<u64> = paces.iter().map(of).collect();
            values.sort_unstable();
            values.get(values.len() / 2).copied().unwrap_or(0) as f64 / 1000.0
        };
        vec![
            name(study, contender),
            count.to_string(),
            format!("{:.1}", middle(|pace| pace.p50_ns)),
            format!("{:.1}", middle(|pace| pace.p99_ns)),
        ]
    };
    let rows = (0..study.plan.contenders.len()).map(row).collect();
    let title = "Time of decisions on this machine (differs from run to run)".to_owned();
    Grid { title, columns: heads.map(String::from).to_vec(), rows, main: true }
}
