//! `migctl mode`: MIG mode of GPUs.
//!
//! Must never reset a GPU that does not need it, nor touch one that somebody uses.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use model::{DesiredGpu, GpuSnapshot, MigMode, MigState};
use serde::Serialize;

use crate::changing::{ChangeArgs, Ground, Wish, carry_out};
use crate::draw::table::{Side, Table};
use crate::draw::text::clean;
use crate::{Context, Failure};

/// Options of `mode`.
#[derive(Debug, Args)]
#[command(
    about = "Show, enable and disable MIG mode",
    long_about = "Shows, enables and disables MIG mode. Ampere boards need a reset for it, which the \
                  plan names; Hopper and later do not. Only GPUs that need a reset are reset. What \
                  holds a GPU is named; nothing is killed, and services are stopped only with \
                  --stop-clients or where the configuration allows it. For administrators.",
    after_help = "Examples:\n  \
        migctl mode\n  \
        migctl mode enable --gpu 0\n  \
        migctl mode disable --gpu all --stop-clients --dry-run"
)]
pub(crate) struct ModeArgs {
    /// What to do; without it the modes are shown
    #[command(subcommand)]
    verb: Option<ModeVerb>,
}

/// What to do.
#[derive(Debug, Subcommand)]
enum ModeVerb {
    /// Cut the GPUs into slices from now on
    Enable(Which),
    /// Make whole GPUs of them again; idle slices go
    Disable(Which),
}

/// Which GPUs, and how.
#[derive(Debug, Args)]
struct Which {
    /// Which GPUs: index, UUID, PCI address, model, a list of them, or `all`
    #[arg(long, value_name = "SEL")]
    gpu: Option<String>,
    /// How
    #[command(flatten)]
    change: ChangeArgs,
}

/// A GPU's mode as JSON.
#[derive(Debug, Serialize)]
struct ModeRow<'g> {
    index: u32,
    uuid: &'g str,
    name: &'g str,
    /// Absent where the board cannot do MIG.
    current: Option<MigMode>,
    pending: Option<MigMode>,
    reset_needed: bool,
}

/// Runs the verb.
pub(crate) fn run(context: &Context, args: &ModeArgs) -> Result<ExitCode, Failure> {
    let ground = Ground::read(context)?;
    let (which, desired, word) = match &args.verb {
        None => return show(context, &ground),
        Some(ModeVerb::Enable(which)) => (which, DesiredGpu::Sliced, "enable"),
        Some(ModeVerb::Disable(which)) => (which, DesiredGpu::Whole, "disable"),
    };
    let gpus = ground.one_or_named(which.gpu.as_deref())?;
    if let Some(gpu) = gpus.iter().find(|gpu| gpu.mig == MigState::Unsupported) {
        return Err(Failure::new(
            "E-NO-MIG",
            format!("GPU {} ({}) cannot do MIG", gpu.index, gpu.name),
        )
        .hint("`migctl doctor` says why; `--gpu all` means those that can"));
    }
    let named = which.gpu.as_deref().map_or_else(String::new, |gpu| format!(" --gpu {gpu}"));
    let wish = Wish {
        desired: gpus.iter().map(|gpu| (gpu.uuid.clone(), desired.clone())).collect(),
        words: format!("mode {word}{named}"),
        fix: BTreeMap::new(),
    };
    carry_out(context, &ground, wish, &which.change)
}

fn show(context: &Context, ground: &Ground) -> Result<ExitCode, Failure> {
    if context.json() {
        let rows: Vec<ModeRow<'_>> = ground.node.gpus.iter().map(json).collect();
        context.output.data(&rows)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new([
        ("GPU", Side::Right),
        ("NAME", Side::Left),
        ("MIG", Side::Left),
        ("AFTER RESET", Side::Left),
    ]);
    for gpu in &ground.node.gpus {
        let (now, then) = words(gpu.mig);
        table.row([gpu.index.to_string(), clean(&gpu.name), now.to_owned(), then.to_owned()]);
    }
    context.output.line(&table.lines().join("\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn json(gpu: &GpuSnapshot) -> ModeRow<'_> {
    let (current, pending) = match gpu.mig {
        MigState::Unsupported => (None, None),
        MigState::Supported { current, pending } => (Some(current), Some(pending)),
    };
    ModeRow {
        index: gpu.index.get(),
        uuid: gpu.uuid.as_str(),
        name: &gpu.name,
        current,
        pending,
        reset_needed: gpu.mig.needs_reset(),
    }
}

const fn words(mig: MigState) -> (&'static str, &'static str) {
    const fn word(mode: MigMode) -> &'static str {
        match mode {
            MigMode::Enabled => "on",
            MigMode::Disabled => "off",
        }
    }
    match mig {
        MigState::Unsupported => ("none", ""),
        MigState::Supported { current, pending } => (word(current), word(pending)),
    }
}
