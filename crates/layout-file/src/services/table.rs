//! The profile table: what slices were measured to do, for each model, slice, batch and number of
//! processes.
//!
//! Must never forget whether a figure was measured, and on what.

use std::fmt::Write as _;

use model::{Micros, ProfileSelector, Rate};

use super::cells::{Cell, rows, written};
use super::words;
use crate::fault::{Faults, Findings, Mark, Warning};
use crate::keys::unknown_key;
use crate::tree::Node;
use crate::yaml;

/// What marks a table in YAML.
const MARKER: &str = "migd-profiles/v1";
/// The columns, in the order in which they are written.
const COLUMNS: [&str; 10] = [
    "model",
    "profile",
    "batch",
    "processes",
    "throughput",
    "latency_ms",
    "throughput_sd",
    "latency_ms_sd",
    "runs",
    "source",
];
/// The columns that every table has.
const NEEDED: usize = 6;
const POINT: [&str; 7] =
    ["model", "profile", "batch", "processes", "throughput", "latency", "source"];

/// Where a figure comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Nobody said.
    #[default]
    Given,
    /// `migctl bench` on a GPU.
    Measured,
    /// `migctl bench` on a simulated GPU: it says nothing about hardware.
    Simulated,
}

impl Source {
    /// Its word in a table.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Given => "given",
            Self::Measured => "measured",
            Self::Simulated => "simulated",
        }
    }

    fn of_word(word: &str) -> Option<Self> {
        [Self::Given, Self::Measured, Self::Simulated].into_iter().find(|s| s.word() == word)
    }
}

/// How far repeated runs lie apart: standard deviations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spread {
    /// Of the throughput.
    pub throughput: Rate,
    /// Of the latency.
    pub latency: Micros,
    /// Of so many runs.
    pub runs: u32,
}

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// Where it stands.
    pub at: Mark,
    /// Which model.
    pub model: String,
    /// On which slice.
    pub profile: ProfileSelector,
    /// Requests in a batch.
    pub batch: u32,
    /// Processes on the slice at once.
    pub processes: u32,
    /// Requests per second of them all.
    pub throughput: Rate,
    /// What a batch takes.
    pub latency: Micros,
    /// How repeatable it was, if it was repeated.
    pub spread: Option<Spread>,
    /// Where it comes from.
    pub source: Source,
}

/// A table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProfileTable {
    /// Its rows, in the order of the file; no two are for the same.
    pub rows: Vec<Measured>,
    /// What is odd about it.
    pub warnings: Vec<Warning>,
}

/// How a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableForm {
    /// Comma-separated, with a line of column names.
    Csv,
    /// YAML or JSON, with `points`.
    Yaml,
}

/// Reads a table.
///
/// # Errors
/// Everything that is wrong with it, with line and column; nothing of it is used then.
pub fn read_profile_table(text: &str, form: TableForm) -> Result<ProfileTable, Faults> {
    let mut findings = Findings::default();
    let rows = match form {
        TableForm::Csv => csv(text, &mut findings),
        TableForm::Yaml => {
            let root = yaml::parse(text, &mut findings)?;
            for odd in std::mem::take(&mut findings.warnings) {
                findings.refuse(odd.at, odd.what, odd.instead);
            }
            document(&root, &mut findings)
        }
    };
    once(&rows, &mut findings);
    let (rows, warnings) = findings.finish(rows)?;
    Ok(ProfileTable { rows, warnings })
}

/// The table as comma-separated values, behind lines of comment.
pub fn write_profile_table(table: &ProfileTable, comment: &str) -> String {
    let mut text = String::new();
    for line in comment.lines() {
        let _ = writeln!(text, "# {line}");
    }
    let _ = writeln!(text, "{}", COLUMNS.join(","));
    for row in &table.rows {
        let spread = row.spread.map_or(String::from(",,"), |spread| {
            format!("{},{},{}", spread.throughput, spread.latency, spread.runs)
        });
        let _ = writeln!(
            text,
            "{},{},{},{},{},{},{spread},{}",
            written(&row.model),
            row.profile,
            row.batch,
            row.processes,
            row.throughput,
            row.latency,
            row.source.word()
        );
    }
    text
}

/// Two rows for the same setting contradict each other.
fn once(rows: &[Measured], findings: &mut Findings) {
    let mut seen = std::collections::BTreeMap::new();
    for row in rows {
        let key = (&row.model, row.profile, row.batch, row.processes);
        if let Some(line) = seen.insert(key, row.at.line) {
            let what = format!(
                "{} on {} with batch {} and {} processes stands here and at line {line}",
                row.model, row.profile, row.batch, row.processes
            );
            findings.refuse(row.at, what, "keep one of them");
        }
    }
}

fn csv(text: &str, findings: &mut Findings) -> Vec<Measured> {
    let mut rows = rows(text, findings).into_iter();
    let Some(head) = rows.next() else {
        let instead =
            format!("begin it with a line of column names: {}", COLUMNS[..NEEDED].join(","));
        findings.refuse(Mark::START, "the table is empty", instead);
        return Vec::new();
    };
    let mut places: [Option<usize>; COLUMNS.len()] = [None; COLUMNS.len()];
    for (at, cell) in head.iter().enumerate() {
        match COLUMNS.iter().position(|name| *name == cell.text) {
            Some(column) if places[column].is_none() => places[column] = Some(at),
            Some(_) => {
                findings.refuse(cell.at, format!("`{}` stands twice", cell.text), "remove one");
            }
            None => {
                let instead = format!("there are: {}", COLUMNS.join(", "));
                findings.refuse(cell.at, format!("there is no column `{}`", cell.text), instead);
            }
        }
    }
    for (name, _) in COLUMNS.iter().zip(&places).take(NEEDED).filter(|(_, place)| place.is_none()) {
        let at = head.first().map_or(Mark::START, |cell| cell.at);
        findings.refuse(at, format!("the table has no column `{name}`"), "add it");
    }
    if !findings.faults.is_empty() {
        return Vec::new();
    }
    rows.filter_map(|cells| {
        Line { cells: &cells, places: &places, wide: head.len() }.read(findings)
    })
    .collect()
}

/// A line of a table whose columns are known.
struct Line<'a> {
    cells: &'a [Cell],
    places: &'a [Option<usize>],
    wide: usize,
}

impl Line<'_> {
    fn at(&self) -> Mark {
        self.cells.first().map_or(Mark::START, |cell| cell.at)
    }

    /// The cell of a column; `None` where it is not there or empty.
    fn cell(&self, column: &str) -> Option<&Cell> {
        let column = COLUMNS.iter().position(|name| *name == column)?;
        self.cells.get(self.places[column]?).filter(|cell| !cell.text.is_empty())
    }

    fn value<T>(
        &self,
        column: &str,
        instead: &str,
        findings: &mut Findings,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let cell = self.cell(column);
        let value = cell.and_then(|cell| parse(&cell.text));
        if value.is_none() {
            let what = match cell {
                Some(cell) => format!("`{column}` is `{}`", cell.text),
                None => format!("`{column}` is empty"),
            };
            findings.refuse(cell.map_or(self.at(), |cell| cell.at), what, instead);
        }
        value
    }

    fn read(&self, findings: &mut Findings) -> Option<Measured> {
        if self.cells.len() != self.wide {
            let (cells, wide) = (self.cells.len(), self.wide);
            let what = format!("the line has {cells} cells and the table {wide} columns");
            findings.refuse(self.at(), what, "add or remove commas");
            return None;
        }
        let whole = |text: &str| text.parse().ok().filter(|number| *number > 0);
        let from_one = "write a whole number from 1";
        let per_second = "write requests per second, such as 74.4";
        let millis = "write milliseconds, such as 13.5";
        let name = |text: &str| words::is_name(text).then(|| text.to_owned());
        let model = self.value("model", "write its name", findings, name);
        let profile = self.value("profile", words::PROFILE, findings, words::selector);
        let batch = self.value("batch", from_one, findings, whole);
        let processes = self.value("processes", from_one, findings, whole);
        let rate = |text: &str| text.parse::<Rate>().ok();
        let throughput = self.value("throughput", per_second, findings, rate);
        let time = |text: &str| Micros::from_millis_text(text).ok();
        let latency = self.value("latency_ms", millis, findings, time);
        let spread = self.cell("runs").is_some().then(|| {
            let runs = self.value("runs", from_one, findings, whole);
            let throughput = self.value("throughput_sd", per_second, findings, rate);
            let latency = self.value("latency_ms_sd", millis, findings, time);
            Some(Spread { throughput: throughput?, latency: latency?, runs: runs? })
        });
        let source = self.cell("source").map(|_| {
            let instead = "write given, measured or simulated";
            self.value("source", instead, findings, Source::of_word)
        });
        Some(Measured {
            at: self.at(),
            model: model?,
            profile: profile?,
            batch: batch?,
            processes: processes?,
            throughput: throughput?,
            latency: latency?,
            spread: spread.flatten(),
            source: source.unwrap_or(Some(Source::Given))?,
        })
    }
}

fn document(root: &Node, findings: &mut Findings) -> Vec<Measured> {
    let top = ["schema", "points"];
    let Some(pairs) = root.map() else {
        let what = format!("the table is {}", root.words());
        findings.refuse(root.at, what, format!("begin it with `schema: {MARKER}`"));
        return Vec::new();
    };
    for pair in pairs.iter().filter(|pair| !top.contains(&pair.key.as_str())) {
        unknown_key(findings, pair.at, &pair.key, &top);
    }
    if root.get("schema").and_then(Node::text) != Some(MARKER) {
        let at = root.get("schema").map_or(root.at, |node| node.at);
        let what = "the table does not say what it is";
        findings.refuse(at, what, format!("write `schema: {MARKER}`"));
    }
    if let Some(node) = root.get("points") {
        return points(node, "", findings);
    }
    findings.refuse(root.at, "the table has no points", "add `points:` with a list");
    Vec::new()
}

/// A list of points; those that name no model are of `model`, and must if that is empty.
pub(super) fn points(node: &Node, model: &str, findings: &mut Findings) -> Vec<Measured> {
    let Some(items) = node.list() else {
        let instead = "write a list, each with `profile`, `batch`, `throughput` and `latency`";
        findings.refuse(node.at, format!("`points` is {}", node.words()), instead);
        return Vec::new();
    };
    if items.is_empty() {
        findings.refuse(node.at, "`points` is empty", "give at least one measured point");
    }
    items.iter().filter_map(|item| point(item, model, findings)).collect()
}

fn point(node: &Node, model: &str, findings: &mut Findings) -> Option<Measured> {
    let Some(pairs) = node.map() else {
        let instead = "a point has `profile`, `batch`, `throughput` and `latency`";
        findings.refuse(node.at, format!("a point is {}", node.words()), instead);
        return None;
    };
    for pair in pairs.iter().filter(|pair| !POINT.contains(&pair.key.as_str())) {
        unknown_key(findings, pair.at, &pair.key, &POINT);
    }
    let needed: &[&str] = if model.is_empty() {
        &["model", "profile", "throughput", "latency"]
    } else {
        &["profile", "throughput", "latency"]
    };
    for key in needed.iter().filter(|key| node.get(key).is_none()) {
        findings.refuse(node.at, format!("the point has no `{key}`"), format!("add `{key}:`"));
    }
    let model = match node.get("model") {
        Some(node) => words::name(node, "model", findings),
        None => Some(model.to_owned()),
    };
    let profile = node.get("profile").and_then(|node| words::profile(node, findings));
    let one = |key: &str, findings: &mut Findings| {
        node.get(key).map_or(Some(1), |node| words::count(node, key, findings))
    };
    let batch = one("batch", findings);
    let processes = one("processes", findings);
    let throughput =
        node.get("throughput").and_then(|node| words::rate(node, "throughput", findings));
    let latency = node.get("latency").and_then(|node| words::time(node, "latency", findings));
    let source = node.get("source").map_or(Some(Source::Given), |node| {
        let found = node.text().and_then(Source::of_word);
        if found.is_none() {
            let what = format!("`source` is {}", node.words());
            findings.refuse(node.at, what, "write given, measured or simulated");
        }
        found
    });
    Some(Measured {
        at: node.at,
        model: model?,
        profile: profile?,
        batch: batch?,
        processes: processes?,
        throughput: throughput?,
        latency: latency?,
        spread: None,
        source: source?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "model,profile,batch,processes,throughput,latency_ms";

    fn faults(text: &str, form: TableForm) -> Vec<String> {
        read_profile_table(text, form).unwrap_err().0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let text = format!(
            "# by hand\n{HEAD},throughput_sd,latency_ms_sd,runs,source\n\
             \"a, b\",1g.10gb,4,2,74.408,13.5,0.25,1,3,simulated\nc,2g,1,1,5,8,,,,given\n"
        );
        let table = read_profile_table(&text, TableForm::Csv).unwrap();
        assert_eq!(write_profile_table(&table, "by hand"), text);
        assert_eq!(table.rows[0].source, Source::Simulated);
        let spread = table.rows[0].spread.unwrap();
        assert_eq!((spread.latency, spread.runs), (Micros::new(1000), 3));
        assert_eq!(table.rows[1].profile, ProfileSelector::Slices(2));
    }

    #[test]
    fn columns_may_stand_in_any_order_and_yaml_says_the_same() {
        let csv = "latency_ms,throughput,processes,batch,profile,model\n13.5,74.4,1,4,2g,m\n";
        let yaml = "schema: migd-profiles/v1\npoints:\n\
                    - {model: m, profile: 2g, batch: 4, throughput: 74.4, latency: 13.5ms}\n";
        let strip = |table: ProfileTable| {
            table
                .rows
                .into_iter()
                .map(|row| Measured { at: Mark::START, ..row })
                .collect::<Vec<_>>()
        };
        let csv = read_profile_table(csv, TableForm::Csv).unwrap();
        let yaml = read_profile_table(yaml, TableForm::Yaml).unwrap();
        assert_eq!(strip(csv), strip(yaml));
    }

    #[test]
    fn every_bad_cell_is_told_with_its_place() {
        let text = format!(
            "{HEAD}\nm,1g,0,1,5,8\nm,2x,1,1,1e3,8\nm,1g,1,1,5,\nm,1g,1\nm,3g,1,1,5,8\nm,3g,1,1,6,9\n"
        );
        let wanted = [
            "2:6: `batch` is `0`; write a whole number from 1",
            "3:3: `profile` is `2x`; write a profile: 2g, 2g.20gb or 1g.10gb+me",
            "3:10: `throughput` is `1e3`; write requests per second, such as 74.4",
            "4:1: `latency_ms` is empty; write milliseconds, such as 13.5",
            "5:1: the line has 3 cells and the table 6 columns; add or remove commas",
            "7:1: m on 3g with batch 1 and 1 processes stands here and at line 6; keep one of them",
        ];
        assert_eq!(faults(&text, TableForm::Csv), wanted);
        let wanted = ["1:1: the table has no column `model`; add it"];
        let without = "profile,batch,processes,throughput,latency_ms\n";
        assert_eq!(faults(without, TableForm::Csv), wanted);
        assert!(faults("", TableForm::Csv)[0].contains("the table is empty"));
        assert!(faults("modle,profile", TableForm::Csv)[0].contains("no column `modle`"));
        let yaml = "schema: migd-profiles/v1\npoints: [{profile: 2g, throughput: x}]";
        let wanted = [
            "2:10: the point has no `model`; add `model:`",
            "2:10: the point has no `latency`; add `latency:`",
            "2:36: `throughput` is the text \"x\"; write requests per second, such as 12 or 0.5",
        ];
        assert_eq!(faults(yaml, TableForm::Yaml), wanted);
    }
}
