//! `migctl status`: every GPU drawn, with who holds what.
//!
//! Must never start a daemon.

use std::process::ExitCode;

use api::NodeView;
use clap::Args;
use model::GpuUuid;

use crate::draw::{Page, node};
use crate::gpu_list::GpuList;
use crate::{Context, Failure, connect, cut_off};

/// Options of `status`.
#[derive(Debug, Args)]
#[command(
    about = "Show every GPU: its slices, who holds them, and what else would fit",
    long_about = "Draws every GPU's slices on its placement grid: which profile, who holds it, the \
                  processes on it, what else would fit, and who waits. Without a daemon it shows \
                  what the driver tells.",
    after_help = "Examples:\n  \
        migctl status\n  \
        migctl status --gpu 0 --json | jq '.gpus[].instances'"
)]
pub(crate) struct StatusArgs {
    /// Only these GPUs: 0, 0,2, 0-3, a UUID, PCI address or model
    #[arg(long, value_name = "SEL")]
    pub(crate) gpu: Option<GpuList>,
}

/// Runs the verb.
pub(crate) fn run(context: &Context, args: &StatusArgs) -> Result<ExitCode, Failure> {
    let view = read(context)?;
    let gpus = GpuList::chosen(args.gpu.as_ref(), &view.gpus)?;
    if context.json() {
        let mut chosen = view.clone();
        chosen.gpus = gpus.into_iter().cloned().collect();
        context.output.data(&chosen)?;
        return Ok(ExitCode::SUCCESS);
    }
    let lines = node::node(&view, &gpus, Page::current());
    context.output.line(&lines.join("\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// The machine as its daemon knows it, or as the driver does.
///
/// # Errors
/// [`Failure`] when neither answers.
pub(crate) fn read(context: &Context) -> Result<NodeView, Failure> {
    if let Some(view) = known(context)? {
        return Ok(view);
    }
    let mut view = daemon::view_without_daemon(&connect::gpus(context)?)
        .map_err(|error| super::of_daemon("cannot read the GPUs", &error))?;
    let gpus = &view.gpus;
    let index = |uuid: &GpuUuid| Some(gpus.iter().find(|gpu| gpu.uuid == *uuid)?.index);
    let cut_off = cut_off::sentences(context, index);
    view.warnings.extend(cut_off);
    context.output.say("migctl: no daemon runs; this is what the driver tells, without leases");
    Ok(view)
}

/// The machine as its daemon knows it; `None` where none runs.
///
/// # Errors
/// [`Failure`] when one runs and does not answer as it should.
pub(crate) fn known(context: &Context) -> Result<Option<NodeView>, Failure> {
    connect::runtime()?.block_on(async {
        match connect::existing(context).await? {
            Some(client) => client
                .node()
                .await
                .map(Some)
                .map_err(|error| Failure::of_client("cannot read the machine", &error)),
            None => Ok(None),
        }
    })
}
