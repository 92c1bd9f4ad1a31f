//! `migctl doctor`: what is wrong with this machine, and the commands that mend it.
//!
//! Must never mend anything itself, and must never start a daemon.

use std::process::ExitCode;

use api::{DoctorView, FindingView, Severity};
use clap::Args;

use crate::doctor;
use crate::draw::text::{clean, paragraph};
use crate::draw::{ALARM, FAINT, FOREIGN, Page};
use crate::output::styled;
use crate::{Context, Failure};

/// Options of `doctor`.
#[derive(Debug, Args)]
#[command(
    about = "Examine the machine: what is wrong, and the command that mends it",
    long_about = "Examines the machine: driver and CUDA versions for each board, MIG mode and \
                  resets that are due, persistence, virtual machines, distribution, rights, \
                  container toolkit, Kubernetes, others that manage MIG, CDI, who may open the \
                  slices, GPU instances nobody can use, programs that hold GPUs, the daemon and its \
                  disk. Each finding has a severity, what was seen, and the command that mends it. \
                  It changes nothing.",
    after_help = "Examples:\n  \
        migctl doctor\n  \
        migctl doctor --all\n  \
        migctl doctor --report > ticket.txt\n  \
        migctl doctor --json | jq '.findings[] | select(.severity == \"warn\")'\n\n\
        Exit codes: 0 nothing above info, 1 warnings, 2 errors (or doctor itself failed)."
)]
pub(crate) struct DoctorArgs {
    /// Show what is well, too
    #[arg(long)]
    pub(crate) all: bool,
    /// Print one page for a ticket, without names of people and arguments of programs
    #[arg(long, conflicts_with = "all")]
    pub(crate) report: bool,
}

/// Runs the verb.
pub(crate) fn run(context: &Context, args: &DoctorArgs) -> Result<ExitCode, Failure> {
    if let Some(url) = context.url() {
        return Err(Failure::usage(format!("doctor examines the machine it runs on, not {url}"))
            .hint("run `migctl doctor` there"));
    }
    let evidence = doctor::gather(context)?;
    let view = doctor::examine(&evidence);
    if context.json() {
        context.output.data(&view)?;
    } else if args.report {
        context.output.print(&doctor::report(&evidence, &view))?;
    } else {
        context.output.line(&lines(&view, args.all, Page::current().width).join("\n"))?;
    }
    Ok(doctor::exit_of(view.worst))
}

fn lines(view: &DoctorView, all: bool, columns: usize) -> Vec<String> {
    let merged = doctor::merged(&view.findings);
    let shown = merged.iter().filter(|finding| all || finding.severity > Severity::Ok);
    let mut lines: Vec<String> = shown.flat_map(|finding| one(finding, columns)).collect();
    for gap in &view.unseen {
        let text = format!("not seen: {}", clean(gap));
        lines.extend(
            paragraph(&text, columns, "       ", "       ").iter().map(|l| styled(FAINT, l)),
        );
    }
    let count = |severity| view.findings.iter().filter(|one| one.severity == severity).count();
    lines.push(format!(
        "{} errors, {} warnings, {} remarks, {} well",
        count(Severity::Error),
        count(Severity::Warn),
        count(Severity::Info),
        count(Severity::Ok)
    ));
    lines
}

fn one(finding: &FindingView, columns: usize) -> Vec<String> {
    let style = match finding.severity {
        Severity::Error => ALARM,
        Severity::Warn => FOREIGN,
        Severity::Info | Severity::Ok => FAINT,
    };
    let word = match finding.severity {
        Severity::Error => "ERROR",
        Severity::Warn => "warn",
        Severity::Info => "info",
        Severity::Ok => "ok",
    };
    let text = format!("{}: {}", finding.id, clean(&finding.evidence));
    let mut lines = paragraph(&text, columns, "       ", "         ");
    if let Some(first) = lines.first_mut() {
        let rest = first.trim_start().to_owned();
        *first = format!("{}{} {rest}", styled(style, word), " ".repeat(6 - word.len()));
    }
    let mend = finding.mend.as_deref().filter(|_| finding.severity > Severity::Ok);
    if let Some(mend) = mend {
        lines.extend(paragraph(
            &format!("-> {}", clean(mend)),
            columns,
            "         ",
            "            ",
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_told_with_what_mends_them_and_wells_on_request() {
        let finding = |id: &str, severity, mend: Option<&str>| FindingView {
            id: id.into(),
            severity,
            gpu: None,
            evidence: format!("seen of {id}"),
            mend: mend.map(str::to_owned),
        };
        let view = DoctorView {
            worst: Severity::Error,
            findings: vec![
                finding("driver-version", Severity::Error, Some("install a newer one")),
                finding("disk", Severity::Ok, None),
            ],
            unseen: vec!["containers".into()],
        };
        let text = |all| {
            let text = lines(&view, all, 80).join("\n");
            anstream::adapter::strip_str(&text).to_string()
        };
        assert_eq!(
            text(false),
            "\
ERROR  driver-version: seen of driver-version
         -> install a newer one
       not seen: containers
1 errors, 0 warnings, 0 remarks, 1 well"
        );
        assert!(text(true).contains("ok     disk: seen of disk"), "{}", text(true));
    }
}
