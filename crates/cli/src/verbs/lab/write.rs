//! What `migctl lab` prints and writes.
//!
//! Must never compute a figure.

use std::fs;
use std::path::Path;

use lab::fleet::report::{self, Grid, Heading};
use lab::fleet::{Contender, Study};

use crate::draw::table::{Side, Table};
use crate::draw::text::{paragraph, width};
use crate::draw::{FAINT, HEADING, Page};
use crate::output::styled;
use crate::{Context, Failure};

/// The files of a report.
pub(super) fn files(
    context: &Context,
    study: &Study,
    heading: &Heading,
    folder: &Path,
) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|error| refused(folder, &error))?;
    let json = serde_json::to_string_pretty(&report::json(study))
        .map_err(|error| Failure::caused("E-JSON", "cannot write JSON", &error))?;
    let mut all = vec![
        ("report.md".to_owned(), report::markdown(study, heading)),
        ("report.html".to_owned(), report::html(study, heading)),
        ("data.json".to_owned(), json + "\n"),
        ("runs.csv".to_owned(), report::csv(study)),
    ];
    all.extend(report::charts(study).into_iter().map(|c| (format!("{}.svg", c.name), c.svg)));
    for (name, text) in &all {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|error| refused(&path, &error))?;
    }
    let page = folder.join("report.html");
    context.output.say(&format!("{} files written; open {}", all.len(), page.display()));
    Ok(())
}

fn refused(path: &Path, error: &std::io::Error) -> Failure {
    Failure::caused("E-FILE", &format!("cannot write {}", path.display()), error)
        .hint("choose another folder with --out")
}

/// The study for a terminal.
pub(super) fn terminal(context: &Context, study: &Study) -> Result<(), Failure> {
    let page = Page::current();
    let plan = &study.plan;
    let runs = study.cells.iter().map(|cell| cell.runs.len()).max().unwrap_or(0);
    let seeds = if runs > 1 {
        format!("{runs} seeds, ± is half of the 95 % interval")
    } else {
        "one run, no intervals".to_owned()
    };
    let head = format!("{}; {}; {seeds}", plan.site, plan.settings.discipline);
    let mut lines = paragraph(&head, page.width, "", "  ");
    for note in &study.notes {
        lines.extend(paragraph(note, page.width, "note: ", "      "));
    }
    for grid in report::grids(study).iter().filter(|grid| grid.main) {
        lines.push(String::new());
        lines.push(styled(HEADING, &grid.title));
        lines.extend(table(grid, page.width));
    }
    let more = "--out DIR writes differences, profiles, tenants, charts; --json all figures";
    lines.extend([String::new(), styled(FAINT, more)]);
    context.output.line(&lines.join("\n"))
}

/// The grid; on a narrow terminal without its last column, or else without its intervals.
fn table(grid: &Grid, columns: usize) -> Vec<String> {
    let fits = |lines: &[String]| {
        lines.iter().all(|line| width(&anstream::adapter::strip_str(line).to_string()) <= columns)
    };
    let all = lines(grid, grid.columns.len(), str::to_owned);
    let most = lines(grid, grid.columns.len().saturating_sub(1), str::to_owned);
    match (fits(&all), fits(&most)) {
        (true, _) => all,
        (false, true) => most,
        (false, false) => lines(grid, grid.columns.len(), |cell| {
            cell.split(" ±").next().unwrap_or(cell).to_owned()
        }),
    }
}

/// So many columns of it.
fn lines(grid: &Grid, columns: usize, cell: impl Fn(&str) -> String) -> Vec<String> {
    let mut table = Table::new([]);
    for (index, head) in grid.columns.iter().take(columns).enumerate() {
        let side = if index == 0 { Side::Left } else { Side::Right };
        table.column(head.to_uppercase(), side);
    }
    for row in &grid.rows {
        table.row(row.iter().take(columns).map(|text| cell(text)).collect::<Vec<_>>());
    }
    table.lines()
}

/// The policies with their sources.
pub(super) fn policies(context: &Context) -> Result<(), Failure> {
    let columns = Page::current().width;
    let mut lines = Vec::new();
    for contender in Contender::all() {
        lines.push(styled(HEADING, contender.name));
        lines.extend(paragraph(contender.title, columns, "  ", "  "));
        let source = format!("({})", contender.source);
        lines.extend(paragraph(&source, columns, "  ", "  ").iter().map(|l| styled(FAINT, l)));
    }
    context.output.line(&lines.join("\n"))
}
