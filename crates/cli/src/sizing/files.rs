//! The services file and its profile table, read and checked against a board.
//!
//! Must never use a file that is wrong anywhere, nor keep quiet about rows that are left out.

use std::path::Path;

use layout_file::{
    Ask, Asked, Fault, Faults, Mark, Measured, Model, ProfileTable, TableForm, read_profile_table,
    read_services,
};
use model::{ProfileSelector, nearest};
use planner::size::Limits;

use super::{Board, Service, point, service};
use crate::changing::ground::read_text;
use crate::{Context, Exit, Failure};

/// What was read.
#[derive(Debug)]
pub(super) struct Files {
    name: String,
    pub(super) ask: Ask,
    table: ProfileTable,
    table_name: String,
}

/// Reads the services file and the table it names.
pub(super) fn read(context: &Context, file: &Path) -> Result<Files, Failure> {
    let stdin = file.as_os_str() == "-";
    let name = if stdin { String::from("stdin") } else { file.display().to_string() };
    let ask = read_services(&read_text(file)?).map_err(|faults| refused(&name, &faults))?;
    let folder = file.parent().filter(|_| !stdin).map(Path::to_path_buf).unwrap_or_default();
    let (table, table_name) = match &ask.table {
        None => (ProfileTable::default(), String::new()),
        Some(path) => {
            let path = folder.join(&path.text);
            (read_table(&path)?, path.display().to_string())
        }
    };
    for warning in &ask.warnings {
        context.output.warn(&format!("{name}:{warning}"));
    }
    for warning in &table.warnings {
        context.output.warn(&format!("{table_name}:{warning}"));
    }
    Ok(Files { name, ask, table, table_name })
}

/// Reads a profile table; how it is written follows from its name.
pub(crate) fn read_table(path: &Path) -> Result<ProfileTable, Failure> {
    let yaml = path.extension().is_some_and(|end| {
        ["yaml", "yml", "json"].iter().any(|known| end.eq_ignore_ascii_case(known))
    });
    let form = if yaml { TableForm::Yaml } else { TableForm::Csv };
    read_profile_table(&read_text(path)?, form).map_err(|faults| {
        let words =
            format!("the table cannot be used\n{}", faults.in_file(&path.display().to_string()));
        Failure::new("E-PROFILE-TABLE", words)
            .exit(Exit::Usage)
            .hint("docs/sizing.md has the format; `migctl bench` writes one")
    })
}

fn refused(name: &str, faults: &Faults) -> Failure {
    Failure::new("E-SERVICES-FILE", format!("the file cannot be used\n{}", faults.in_file(name)))
        .exit(Exit::Usage)
        .hint("docs/sizing.md has the format with examples")
}

impl Files {
    /// A failure with its place in the services file in front.
    pub(super) fn at(&self, at: Mark, failure: Failure) -> Failure {
        Failure { message: format!("{}:{at}: {}", self.name, failure.message), ..failure }
    }

    /// The services on a board.
    pub(super) fn services(
        &self,
        context: &Context,
        board: &Board,
    ) -> Result<Vec<Service>, Failure> {
        let mut faults = Vec::new();
        let mut services = Vec::new();
        let mut left_out = 0;
        for asked in &self.ask.services {
            let rows = self.rows(asked, &mut faults);
            let limits = limits(asked, self.ask.latency_share, board, &mut faults);
            let known: Vec<_> = rows.iter().filter_map(|row| point(row, &board.geometry)).collect();
            if let (Model::Inline(_), Some(row)) =
                (&asked.model, rows.iter().find(|row| board.geometry.select(&row.profile).is_err()))
            {
                faults.push(unknown(row.at, &row.profile, board));
            }
            left_out += rows.len() - known.len();
            services.push(service(asked, self.ask.latency_share, known, limits));
        }
        if !faults.is_empty() {
            faults.sort_by_key(|fault: &Fault| fault.at);
            return Err(refused(&self.name, &Faults(faults)));
        }
        if left_out > 0 {
            context.output.warn(&format!(
                "migctl: left out of {}, since the {} has no such slices: {left_out} {}",
                self.table_name,
                board.title,
                if left_out == 1 { "row" } else { "rows" }
            ));
        }
        Ok(services)
    }

    /// The rows of a service's model.
    fn rows<'a>(&'a self, asked: &'a Asked, faults: &mut Vec<Fault>) -> Vec<&'a Measured> {
        let named = match &asked.model {
            Model::Inline(rows) => return rows.iter().collect(),
            Model::Table(named) => named,
        };
        let rows: Vec<&Measured> =
            self.table.rows.iter().filter(|row| row.model == named.text).collect();
        if rows.is_empty() {
            let mut models: Vec<&str> =
                self.table.rows.iter().map(|row| row.model.as_str()).collect();
            models.dedup();
            let instead = match nearest(&named.text, models.iter().copied()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("measure it with `migctl bench --model {}`", named.text),
            };
            let what = format!("{} has no rows for the model `{}`", self.table_name, named.text);
            faults.push(Fault { at: named.at, what, instead });
        }
        rows
    }
}

fn limits(asked: &Asked, share: u32, board: &Board, faults: &mut Vec<Fault>) -> Limits {
    let mut profiles = Vec::new();
    for (at, selector) in asked.slices.iter().flatten() {
        match board.geometry.select(selector) {
            Ok(profile) => profiles.push(profile.id),
            Err(_) => faults.push(unknown(*at, selector, board)),
        }
    }
    Limits {
        latency: asked.slo.share(share),
        processes: asked.processes,
        profiles: asked.slices.is_some().then_some(profiles),
    }
}

fn unknown(at: Mark, selector: &ProfileSelector, board: &Board) -> Fault {
    let nearest = board.geometry.nearest(selector);
    let names: Vec<String> = nearest.iter().map(ToString::to_string).collect();
    Fault {
        at,
        what: format!("the {} has no slice {selector}", board.title),
        instead: format!("nearest: {}", names.join(", ")),
    }
}
