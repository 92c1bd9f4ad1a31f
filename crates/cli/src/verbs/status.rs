//! `migctl status`: every GPU drawn, with who holds what.
//!
//! Must never start a daemon.

use std::process::ExitCode;

use api::{GpuView, NodeView};
use clap::Args;

use crate::draw::{Page, node};
use crate::session::wish::gpu_text;
use crate::{Context, Failure, connect};

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
    /// Only these GPUs (index, UUID, PCI address or model)
    #[arg(long, value_name = "SEL", value_parser = gpu_text)]
    pub(crate) gpu: Option<String>,
}

/// Runs the verb.
pub(crate) fn run(context: &Context, args: &StatusArgs) -> Result<ExitCode, Failure> {
    let view = read(context)?;
    let gpus = select(&view, args.gpu.as_deref())?;
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
    let view = daemon::view_without_daemon(&connect::gpus(context)?)
        .map_err(|error| super::of_daemon("cannot read the GPUs", &error))?;
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

/// The GPUs that `selector` means, all of them without one.
///
/// # Errors
/// [`Failure`] with exit code 3 when it means none.
pub(crate) fn select<'v>(
    view: &'v NodeView,
    selector: Option<&str>,
) -> Result<Vec<&'v GpuView>, Failure> {
    use broker::GpuSelector;
    let Some(text) = selector else { return Ok(view.gpus.iter().collect()) };
    let selector: GpuSelector =
        text.parse().map_err(|error| Failure::usage(format!("bad --gpu: {error}")))?;
    let is_meant = |gpu: &&GpuView| match &selector {
        GpuSelector::Any => true,
        GpuSelector::Index(index) => gpu.index == *index,
        GpuSelector::Uuid(prefix) => gpu.uuid.as_str().to_ascii_lowercase().starts_with(prefix),
        GpuSelector::Pci(address) => gpu.pci.parse() == Ok(*address),
        GpuSelector::Model(part) => gpu.name.to_ascii_lowercase().contains(part),
    };
    let gpus: Vec<&GpuView> = view.gpus.iter().filter(is_meant).collect();
    if gpus.is_empty() {
        return Err(Failure::usage(format!("{text} matches none of the {} GPUs", view.gpus.len()))
            .hint("list them with `migctl gpus`"));
    }
    Ok(gpus)
}
