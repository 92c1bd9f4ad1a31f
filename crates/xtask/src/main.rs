//! Chores of the project, run as `cargo xtask VERB`.
//!
//! Must never be needed to build or to run migd.

mod architecture;
mod docs;
mod dst;
mod migbench;
mod page;
mod sizing;
mod week;

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;

const USAGE: &str = "\
usage: cargo xtask VERB

verbs:
  architecture   check the arrows between crates, what pure crates may use, and lint tables
  dst            simulate users and faults by seed, and check the laws after every act
  week           a week on a DGX A100 in virtual time, beside what else one could do with it
  migbench       MIGBench's trace and others of its kind through migd, beside what it published
  sizing         ParvaGPU's scenarios and Azure's hour through sizing, beside what was published
  docs           write the pages that are made from the code, and check that of error codes
";

/// The options that were parsed, or the exit status of a call that only wants the usage (`None`) or
/// is wrong.
fn or_usage<Options>(
    parsed: anyhow::Result<Option<Options>>,
    usage: &str,
) -> io::Result<Result<Options, ExitCode>> {
    match parsed {
        Ok(Some(options)) => Ok(Ok(options)),
        Ok(None) => {
            io::stdout().write_all(usage.as_bytes())?;
            Ok(Err(ExitCode::SUCCESS))
        }
        Err(error) => {
            io::stderr().write_all(format!("{error:#}\n{usage}").as_bytes())?;
            Ok(Err(ExitCode::from(3)))
        }
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    if std::env::args().nth(1).as_deref() == Some("dst") {
        return dst::run(arguments.skip(1));
    }
    if std::env::args().nth(1).as_deref() == Some("week") {
        return week::run(arguments.skip(1));
    }
    if std::env::args().nth(1).as_deref() == Some("migbench") {
        return migbench::run(arguments.skip(1));
    }
    if std::env::args().nth(1).as_deref() == Some("sizing") {
        return sizing::run(arguments.skip(1));
    }
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("architecture"), None) => architecture(),
        (Some("docs"), None) => docs(),
        (Some("help" | "-h" | "--help"), None) => {
            io::stdout().write_all(USAGE.as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
        _ => {
            io::stderr().write_all(USAGE.as_bytes())?;
            Ok(ExitCode::from(3))
        }
    }
}

/// Prints what is wrong and what is worth a look; the exit status is 1 if anything is wrong.
fn architecture() -> anyhow::Result<ExitCode> {
    let report = architecture::of_this_workspace().context("cannot look at the workspace")?;
    let mut out = io::stdout().lock();
    for note in &report.notes {
        writeln!(out, "note: {note}")?;
    }
    for violation in &report.violations {
        writeln!(out, "wrong: {violation}")?;
    }
    let (crates, edges) = (report.crates, report.edges);
    if report.violations.is_empty() {
        writeln!(out, "architecture: {crates} crates and {edges} arrows between them, as agreed")?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(
        out,
        "architecture: {} things are wrong; see ARCHITECTURE.md",
        report.violations.len()
    )?;
    Ok(ExitCode::FAILURE)
}

/// Writes what differs; the exit status is 1 if the page of error codes needs a hand.
fn docs() -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    for page in docs::generated() {
        if page.is_current() {
            writeln!(out, "{}: up to date", page.path)?;
        } else {
            page.write()?;
            writeln!(out, "{}: written", page.path)?;
        }
    }
    let differences = docs::error_codes()?;
    for difference in &differences {
        writeln!(out, "wrong: {difference}")?;
    }
    Ok(if differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
