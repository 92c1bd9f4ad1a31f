//! `migctl sim holder`: invented holders such as DCGM or persistenced.
//!
//! Must never name a living process by accident: an invented pid is one that the kernel does not
//! give out, unless another is asked for.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use sim_gpu::{HoldKind, Holder, Target};

use super::machine::{self, GpuSelector, TargetOptions, of_sim};
use super::table;
use crate::{Context, Failure};

/// Above the largest pid of Linux (2^22).
const NO_PROCESS: u32 = 4_194_305;

/// `migctl sim holder`.
#[derive(Debug, Args)]
pub(super) struct HolderArgs {
    #[command(subcommand)]
    verb: HolderVerb,
}

#[derive(Debug, Subcommand)]
enum HolderVerb {
    /// Add a holder; one of the same name is replaced
    Add(AddArgs),
    /// Remove a holder
    Remove {
        /// Its name
        name: String,
    },
    /// List the holders
    List,
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  \
    migctl sim holder add nv-hostengine --kind session\n  \
    migctl sim holder add mps --gpu 0 --gi 2")]
struct AddArgs {
    /// Its name, such as nv-hostengine
    name: String,
    /// The GPU it holds (index, UUID or PCI address); without it, all
    #[arg(long)]
    gpu: Option<GpuSelector>,
    #[command(flatten)]
    target: TargetOptions,
    /// How it holds
    #[arg(long, value_enum, default_value = "client")]
    kind: Kind,
    /// The pid it pretends to have
    #[arg(long, default_value_t = NO_PROCESS, hide_default_value = true)]
    pid: u32,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// As a CUDA program does: always in the way
    Client,
    /// As a monitoring agent does: in the way of mode changes and resets
    Session,
}

pub(super) fn run(context: &Context, args: HolderArgs) -> Result<ExitCode, Failure> {
    let machine = machine::open(context)?;
    let node = machine.node().map_err(|error| of_sim("cannot read the machine", &error))?;
    match args.verb {
        HolderVerb::Add(args) => {
            let gpu = args.gpu.as_ref().map(|gpu| gpu.on(&node.value)).transpose()?;
            let found = gpu.and_then(|gpu| Some((gpu, node.value.gpus.get(gpu)?)));
            let target = match found {
                Some((index, gpu)) => args.target.on(index, gpu)?,
                None if args.target.is_named() => {
                    return Err(Failure::usage("an instance is on a GPU: name it with --gpu"));
                }
                None => Target::Gpu,
            };
            let kind = match args.kind {
                Kind::Client => HoldKind::Client,
                Kind::Session => HoldKind::Session,
            };
            let words = format!("{} holds {}", args.name, machine::place(gpu, target));
            let holder = Holder { name: args.name, pid: args.pid, gpu, target, kind };
            machine.add_holder(holder).map_err(|error| of_sim("cannot add it", &error))?;
            context.output.say(&words);
        }
        HolderVerb::Remove { name } => {
            let removed = machine.remove_holder(&name);
            if !removed.map_err(|error| of_sim("cannot remove it", &error))? {
                return Err(Failure::usage(format!("there is no holder `{name}`"))
                    .hint("`migctl sim holder list` shows them"));
            }
        }
        HolderVerb::List => list(context, &node.value.holders)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(context: &Context, holders: &[Holder]) -> Result<(), Failure> {
    if context.json() {
        return context.output.data(&holders.iter().map(json_of).collect::<Vec<_>>());
    }
    if holders.is_empty() {
        context.output.say("no holder was invented");
        return Ok(());
    }
    context.output.print(&table_of(holders, 0))
}

/// The holders as a table.
pub(super) fn table_of(holders: &[Holder], indent: usize) -> String {
    let rows: Vec<Vec<String>> = holders
        .iter()
        .map(|holder| {
            let place = machine::place(holder.gpu, holder.target);
            vec![holder.name.clone(), place, kind_word(holder).to_owned(), pid_word(holder)]
        })
        .collect();
    table::aligned(&["NAME", "HOLDS", "AS", "PID"], &rows, indent)
}

/// A holder as data.
pub(super) fn json_of(holder: &Holder) -> Value {
    json!({
        "name": holder.name,
        "pid": holder.pid,
        "gpu": holder.gpu,
        "gpu_instance": holder.target.gpu_instance(),
        "compute_instance": holder.target.compute_instance(),
        "kind": kind_word(holder),
    })
}

fn pid_word(holder: &Holder) -> String {
    if holder.pid == NO_PROCESS { "-".to_owned() } else { holder.pid.to_string() }
}

const fn kind_word(holder: &Holder) -> &'static str {
    match holder.kind {
        HoldKind::Client => "client",
        HoldKind::Session => "session",
    }
}
