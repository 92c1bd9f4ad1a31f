//! A study as one page: Markdown, or HTML that needs nothing beside it.
//!
//! Must never link to anything outside the page.

use std::fmt::Write as _;

use super::super::study::Study;
use super::chart::{Chart, charts, escaped};
use super::grid::{Grid, grids};

/// What stands above the figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heading {
    /// What the page is called.
    pub title: String,
    /// The command that makes it.
    pub command: String,
}

/// What was played, in sentences.
fn facts(study: &Study) -> Vec<String> {
    let plan = &study.plan;
    let mut facts = vec![
        format!("Fleet: {}.", plan.site),
        format!("A request that cannot start: {}.", plan.settings.discipline),
    ];
    if study.has_queue() && !plan.settings.lengths_known {
        facts.push("The length of a request is not known beforehand.".into());
    }
    let runs = study.cells.iter().map(|cell| cell.runs.len()).max().unwrap_or(0);
    facts.push(if runs > 1 {
        format!(
            "{runs} seeds, each the same requests for every policy; ± is half of the 95 % confidence \
             interval."
        )
    } else {
        "One run: no intervals.".into()
    });
    facts.extend(study.notes.iter().map(|note| format!("Note: {note}.")));
    facts
}

/// The study as Markdown; charts are links to the files of [`charts`].
pub fn markdown(study: &Study, heading: &Heading) -> String {
    let mut text = format!("# {}\n\n", heading.title);
    let _ = writeln!(text, "Made by `{}`.\n", heading.command);
    for fact in facts(study) {
        let _ = writeln!(text, "- {fact}");
    }
    for chart in charts(study) {
        let _ = writeln!(text, "\n![{}]({}.svg)", chart.title, chart.name);
    }
    for grid in grids(study) {
        let _ = write!(text, "\n## {}\n\n{}", grid.title, grid.markdown());
    }
    let _ = writeln!(text, "\n## Policies\n");
    for contender in &study.plan.contenders {
        let _ =
            writeln!(text, "- `{}`: {} ({})", contender.name, contender.title, contender.source);
    }
    text
}

impl Grid {
    /// The table as Markdown.
    pub fn markdown(&self) -> String {
        let row = |cells: &[String]| {
            let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
            format!("| {} |\n", cells.join(" | "))
        };
        let sides = "---:|".repeat(self.columns.len().saturating_sub(1));
        let mut text = row(&self.columns);
        let _ = writeln!(text, "|---|{sides}");
        for cells in &self.rows {
            text.push_str(&row(cells));
        }
        text
    }

    fn html(&self) -> String {
        let cells = |cells: &[String], tag: &str| -> String {
            cells.iter().fold(String::new(), |mut text, cell| {
                let _ = write!(text, "<{tag}>{}</{tag}>", escaped(cell));
                text
            })
        };
        let mut text = format!(
            "<h2>{}</h2>\n<div class=\"wide\"><table>\n<thead><tr>{}</tr></thead>\n<tbody>\n",
            escaped(&self.title),
            cells(&self.columns, "th")
        );
        for row in &self.rows {
            let _ = writeln!(text, "<tr>{}</tr>", cells(row, "td"));
        }
        text.push_str("</tbody></table></div>\n");
        text
    }
}

const STYLE: &str = "\
body{font:15px/1.5 system-ui,sans-serif;color:#222;background:#fff;max-width:84rem;margin:2rem auto;\
padding:0 1rem}\
h1{font-size:1.5rem;margin-bottom:.3rem}h2{font-size:1.05rem;margin:1.8rem 0 .4rem}\
code{background:#f3f3f3;padding:.1rem .3rem;border-radius:3px;overflow-wrap:anywhere}\
.wide{overflow-x:auto}\
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.9rem}\
th,td{padding:.25rem .7rem;text-align:right;white-space:nowrap;border-bottom:1px solid #e3e3e3}\
th:first-child,td:first-child{text-align:left;position:sticky;left:0;background:#fff}\
thead th{border-bottom:2px solid #999}\
figure{margin:1.2rem 0;overflow-x:auto}\
.charts{display:flex;flex-wrap:wrap;gap:0 2rem}";

/// The study as one page of HTML with its charts inside.
pub fn html(study: &Study, heading: &Heading) -> String {
    let title = escaped(&heading.title);
    let mut text = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n\
         <p>Made by <code>{}</code>.</p>\n<ul>\n",
        escaped(&heading.command)
    );
    for fact in facts(study) {
        let _ = writeln!(text, "<li>{}</li>", escaped(&fact));
    }
    text.push_str("</ul>\n");
    text.push_str("<div class=\"charts\">\n");
    for Chart { svg, .. } in charts(study) {
        let _ = writeln!(text, "<figure>{svg}</figure>");
    }
    text.push_str("</div>\n");
    for grid in grids(study) {
        text.push_str(&grid.html());
    }
    text.push_str("<h2>Policies</h2>\n<ul>\n");
    for contender in &study.plan.contenders {
        let _ = writeln!(
            text,
            "<li><code>{}</code>: {} ({})</li>",
            escaped(contender.name),
            escaped(contender.title),
            escaped(contender.source)
        );
    }
    text.push_str("</ul>\n</body>\n</html>\n");
    text
}
