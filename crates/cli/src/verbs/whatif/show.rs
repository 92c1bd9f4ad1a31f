//! The answer as a page: figures side by side, then what is assumed.
//!
//! Must never leave a column without the replay of what was, beside what really was.

use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::TimeZone;
use lab::replay::{Summary, Waits};
use model::Millis;

use super::Answer;
use crate::draw::table::{Side, Table};
use crate::draw::text::clean;
use crate::draw::time;

/// Waits by some name.
type Named = fn(&Summary) -> &BTreeMap<String, Waits>;

/// The page.
pub(super) fn lines(answer: &Answer) -> Vec<String> {
    let zone = TimeZone::system();
    let at = |at: u64| time::moment(at, &zone);
    let mut lines = vec![
        format!(
            "from {} to {}, on {}",
            at(answer.from_ms),
            at(answer.to_ms),
            machine(&answer.gpus)
        ),
        String::new(),
    ];
    lines.extend(figures(answer).lines());
    let by: [(&'static str, Named); 2] =
        [("TENANT", |summary| &summary.by_tenant), ("SIZE", |summary| &summary.by_size)];
    for (heading, of) in by {
        lines.push(String::new());
        lines.extend(waits(answer, heading, of).lines());
    }
    lines.push(String::new());
    lines.push(String::from("Waits are mean / P95. Assumed:"));
    lines.extend(answer.assumed.iter().map(|words| format!("- {words}")));
    lines
}

/// `8x NVIDIA A100-SXM4-40GB`.
fn machine(gpus: &[String]) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for gpu in gpus {
        match counts.iter_mut().find(|(name, _)| name == gpu) {
            Some((_, count)) => *count += 1,
            None => counts.push((gpu, 1)),
        }
    }
    let words = counts.iter().map(|(name, count)| format!("{count}x {}", clean(name)));
    words.collect::<Vec<_>>().join(", ")
}

fn table(answer: &Answer, heading: &'static str) -> Table {
    let mut table = Table::new([(heading, Side::Left)]);
    for column in &answer.columns {
        table.column(clean(&column.name), Side::Right);
    }
    table
}

fn figures(answer: &Answer) -> Table {
    let mut table = table(answer, "");
    let mut row = |name: &str, figure: &dyn Fn(usize, &Summary) -> String| {
        let each = answer.columns.iter().enumerate().map(|(at, c)| figure(at, &c.summary));
        table.row([String::from(name)].into_iter().chain(each).collect::<Vec<_>>());
    };
    // What is not known of what really happened.
    let unknown = |at: usize, number: u64| {
        if at == 0 { String::from("-") } else { number.to_string() }
    };
    row("requests", &|_, s| s.requests.to_string());
    row("started", &|_, s| s.started.to_string());
    row("gave up", &|_, s| s.gave_up.to_string());
    row("refused", &|at, s| unknown(at, s.refused));
    row("waiting at the end", &|_, s| s.never_served.to_string());
    row("mean wait", &|_, s| span(s.waits.mean_ms));
    row("wait P50", &|_, s| span(s.waits.p50_ms));
    row("wait P95", &|_, s| span(s.waits.p95_ms));
    row("room held", &|_, s| format!("{:.1} %", 100.0 * s.room_held));
    row("preempted", &|_, s| s.preempted.to_string());
    row("moved", &|_, s| s.moved.to_string());
    row("waited beside idle room", &|at, s| unknown(at, s.kept_waiting_beside_idle_room));
    row("GPU instances made", &|at, s| unknown(at, s.instances_made));
    table
}

fn waits(answer: &Answer, heading: &'static str, of: Named) -> Table {
    let mut table = table(answer, heading);
    let names: BTreeSet<&String> =
        answer.columns.iter().flat_map(|c| of(&c.summary).keys()).collect();
    for name in names {
        let each = answer.columns.iter().map(|column| {
            let found = of(&column.summary).get(name);
            found.map_or_else(
                || String::from("-"),
                |waits| format!("{} / {}", span(waits.mean_ms), span(waits.p95_ms)),
            )
        });
        table.row([clean(name)].into_iter().chain(each).collect::<Vec<_>>());
    }
    table
}

/// A span to the second; what is shorter than one is nothing.
fn span(ms: f64) -> String {
    Millis::from_secs((ms / 1000.0).round() as u64).to_string()
}
