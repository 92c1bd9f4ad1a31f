//! `migctl change`: changes of layout and mode that are under way or over.
//!
//! Must never begin one.

use std::fmt::Write as _;
use std::process::ExitCode;

use api::{ChangeState, ChangeView};
use clap::Args;
use jiff::tz::TimeZone;
use model::{ChangeId, Millis};

use crate::changing::{Door, follow};
use crate::draw::table::{Side, Table};
use crate::draw::text::clean;
use crate::draw::time::moment;
use crate::{Context, Failure, connect};

/// Options of `change`.
#[derive(Debug, Args)]
#[command(
    about = "Show, watch and cancel changes of layout and mode",
    long_about = "Shows changes of layout and mode: those under way, and the newest that ended. One \
                  that is under way can be cancelled: what was done is taken back. For administrators.",
    after_help = "Examples:\n  \
        migctl change\n  \
        migctl change C3\n  \
        migctl change C3 --cancel\n  \
        migctl change --settle"
)]
pub(crate) struct ChangeVerbArgs {
    /// Which one (C3)
    #[arg(value_name = "CHANGE")]
    change: Option<ChangeId>,
    /// Take it back, and do nothing more of it
    #[arg(long, requires = "change")]
    cancel: bool,
    /// Watch it to its end
    #[arg(long, requires = "change")]
    wait: bool,
    /// Where no daemon runs: take back what was cut off with the last one
    #[arg(long, conflicts_with = "change")]
    settle: bool,
}

/// Runs the verb.
pub(crate) fn run(context: &Context, args: &ChangeVerbArgs) -> Result<ExitCode, Failure> {
    connect::runtime()?.block_on(async {
        if args.settle {
            let door = Door::open(context, true).await?;
            let changes = door.client().changes().await;
            let changes = changes.map_err(|error| Failure::of_client("cannot tell", &error));
            door.close().await;
            return list(context, &changes?);
        }
        let client = connect::required(context).await?;
        let failed = |error| Failure::of_client("cannot do that", &error);
        let Some(id) = args.change else {
            return list(context, &client.changes().await.map_err(failed)?);
        };
        if args.cancel {
            let door = connect::administrative(context).await?;
            door.cancel_change(id).await.map_err(failed)?;
        }
        let mut view = client.change_of(id).await.map_err(failed)?;
        if args.cancel || args.wait {
            view = follow::to_the_end(context, &client, view, None, false).await?;
        }
        if context.json() {
            context.output.data(&view)?;
        } else {
            context.output.line(&one(&view).join("\n"))?;
        }
        let as_asked = args.cancel && view.state == ChangeState::Cancelled;
        if !view.state.is_over() || view.state == ChangeState::Done || as_asked || !args.wait {
            return Ok(ExitCode::SUCCESS);
        }
        Err(follow::failure(&view, None))
    })
}

fn list(context: &Context, changes: &[ChangeView]) -> Result<ExitCode, Failure> {
    if context.json() {
        context.output.data(changes)?;
        return Ok(ExitCode::SUCCESS);
    }
    if changes.is_empty() {
        context.output.say("migctl: no change was asked for yet");
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new([
        ("CHANGE", Side::Left),
        ("BEGAN", Side::Left),
        ("BY", Side::Left),
        ("STATE", Side::Left),
        ("WHAT", Side::Left),
    ]);
    let zone = TimeZone::system();
    for change in changes {
        table.row([
            change.id.to_string(),
            moment(change.began_ms, &zone),
            clean(&change.by),
            word(change.state).to_owned(),
            clean(&change.words),
        ]);
    }
    context.output.line(&table.lines().join("\n"))?;
    Ok(ExitCode::SUCCESS)
}

const fn word(state: ChangeState) -> &'static str {
    match state {
        ChangeState::Waiting => "waiting",
        ChangeState::StoppingUnits => "stopping services",
        ChangeState::Running => "running",
        ChangeState::RollingBack => "rolling back",
        ChangeState::Done => "done",
        ChangeState::Failed => "failed",
        ChangeState::Cancelled => "cancelled",
    }
}

fn one(view: &ChangeView) -> Vec<String> {
    let zone = TimeZone::system();
    let mut lines = vec![format!(
        "{}  {}  {}, by {}, {}",
        view.id,
        word(view.state),
        clean(&view.words),
        clean(&view.by),
        moment(view.began_ms, &zone)
    )];
    for gpu in &view.gpus {
        let name = gpu.index.map_or_else(|| gpu.gpu.to_string(), |index| format!("GPU {index}"));
        let mut line = format!("  {name}: {} of {} steps", gpu.steps_done, gpu.steps_total);
        for (what, words) in
            [("now", &gpu.step), ("waits for", &gpu.waits_for), ("stands", &gpu.stands)]
        {
            if let Some(words) = words {
                let _ = write!(line, "; {what} {}", clean(words));
            }
        }
        if gpu.late {
            let span = Millis::new(gpu.step_ms.unwrap_or_default());
            let _ = write!(line, ", which has not come back from the driver for {span}");
        }
        lines.push(line);
    }
    lines.extend(view.error.iter().map(|error| format!("  {}", clean(error))));
    lines.extend(view.report.iter().map(|line| format!("  {}", clean(line))));
    lines
}
