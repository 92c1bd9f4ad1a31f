//! A study for programs: JSON with means and intervals, CSV with every run.
//!
//! Must never round.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::super::metric;
use super::super::stats::Estimate;
use super::super::study::{Cell, Source, Study};
use super::super::{Figures, KindFigures};

/// The study as JSON. Everything but `decision_time` is the same whenever it is run again.
pub fn json(study: &Study) -> Value {
    let plan = &study.plan;
    let boards = plan.site.boards().iter().map(|b| json!({"board": b.name, "gpus": b.gpus}));
    let contenders = plan.contenders.iter();
    let contenders =
        contenders.map(|c| json!({"name": c.name, "title": c.title, "source": c.source}));
    json!({
        "version": 1,
        "fleet": boards.collect::<Vec<_>>(),
        "queue": plan.settings.discipline.to_string(),
        "lengths_known": plan.settings.lengths_known,
        "seeds": plan.seeds,
        "policies": contenders.collect::<Vec<_>>(),
        "notes": study.notes,
        "results": (0..plan.sources.len()).map(|source| result(study, source)).collect::<Vec<_>>(),
    })
}

fn result(study: &Study, source: usize) -> Value {
    let cells = study.of_source(source);
    let first = cells.first();
    let of = |cell: &Cell| {
        let name = study.plan.contenders.get(cell.contender).map_or("", |c| c.name);
        let figures: Map<String, Value> = metric::ALL
            .iter()
            .map(|metric| (metric.key.to_owned(), json!(cell.estimate(metric))))
            .collect();
        let differences: Map<String, Value> = metric::ALL
            .iter()
            .zip(first.into_iter().cycle())
            .map(|(metric, first)| (metric.key.to_owned(), json!(cell.difference(first, metric))))
            .collect();
        json!({
            "policy": name,
            "runs": cell.runs.len(),
            "figures": figures,
            "difference_to_first": differences,
            "profiles": parts(cell, |run| &run.kinds),
            "tenants": parts(cell, |run| &run.tenants),
            "decision_time": cell.pace,
        })
    };
    json!({
        "requests": study.plan.sources.get(source).map(ToString::to_string),
        "policies": cells.iter().map(of).collect::<Vec<_>>(),
    })
}

fn parts(cell: &Cell, of: fn(&Figures) -> &Vec<KindFigures>) -> Value {
    let count = cell.runs.first().map_or(0, |run| of(run).len());
    let part = |index: usize| {
        let all: Vec<&KindFigures> =
            cell.runs.iter().filter_map(|run| of(run).get(index)).collect();
        let estimate = |value: fn(&KindFigures) -> f64| {
            let values: Vec<f64> = all.iter().map(|part| value(part)).collect();
            Estimate::of(&values)
        };
        let share = |part: &KindFigures| 100.0 * part.accepted as f64 / part.asked.max(1) as f64;
        json!({
            "name": all.first().map(|part| part.name.as_str()),
            "asked": estimate(|part| part.asked as f64),
            "accepted": estimate(share),
            "avoidable": estimate(|p| 100.0 * p.avoidable as f64 / p.asked.max(1) as f64),
            "wait_mean_s": estimate(|part| part.waits.mean),
            "wait_p50_s": estimate(|part| part.waits.p50),
            "wait_p95_s": estimate(|part| part.waits.p95),
            "wait_p99_s": estimate(|part| part.waits.p99),
        })
    };
    Value::Array((0..count).map(part).collect())
}

/// Every run, one a row: requests, policy, seed, then every figure in its unit.
pub fn csv(study: &Study) -> String {
    let heads: Vec<&str> = metric::ALL.iter().map(|metric| metric.key).collect();
    let mut text = format!("requests,policy,seed,{}\n", heads.join(","));
    for cell in &study.cells {
        let source = &study.plan.sources[cell.source];
        let name = study.plan.contenders[cell.contender].name;
        for (index, run) in cell.runs.iter().enumerate() {
            let seed = match source {
                Source::Mix(..) => study.plan.seeds.get(index).map(ToString::to_string),
                Source::Trace(_) => None,
            };
            let values: Vec<String> =
                metric::ALL.iter().map(|m| format!("{}", (m.of)(run) * m.factor)).collect();
            let what = quoted(&source.to_string());
            let seed = seed.unwrap_or_default();
            let _ = writeln!(text, "{what},{name},{seed},{}", values.join(","));
        }
    }
    text
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}
