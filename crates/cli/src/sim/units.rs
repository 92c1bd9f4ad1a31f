//! `migctl sim unit`: systemd units of a simulated machine, some of which hold its GPUs.
//!
//! Must never reach the units of the machine that migctl runs on.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use model::UnitName;
use sim_gpu::HoldKind;
use sim_nvml::{SimHost, SimUnit, SimUnitManner, SimUnitState};

use super::machine::{self, GpuSelector, of_sim};
use super::table;
use crate::failure::Exit;
use crate::{Context, Failure};

/// `migctl sim unit`.
#[derive(Debug, Args)]
pub(super) struct UnitArgs {
    #[command(subcommand)]
    verb: UnitVerb,
}

#[derive(Debug, Subcommand)]
enum UnitVerb {
    /// Add a unit, which runs; one of the same name is replaced
    Add(AddArgs),
    /// Remove a unit, and what it holds
    Remove {
        /// Its name
        name: UnitName,
    },
    /// Stop a unit, and those that need it
    Stop {
        /// Its name
        name: UnitName,
    },
    /// Start a unit, and what it needs
    Start {
        /// Its name
        name: UnitName,
    },
    /// List the units
    List,
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  \
    migctl sim unit add nvidia-dcgm --holds session\n  \
    migctl sim unit add dcgm-exporter --holds session --needs nvidia-dcgm\n  \
    migctl sim unit add nvsm --holds session --stops hangs")]
struct AddArgs {
    /// Its name, such as nvidia-dcgm
    name: UnitName,
    /// How it holds GPUs while it runs; without it, it holds none
    #[arg(long, value_enum)]
    holds: Option<Kind>,
    /// The GPU it holds (index, UUID or PCI address); without it, all
    #[arg(long, requires = "holds")]
    gpu: Option<GpuSelector>,
    /// A unit that takes it along when it stops
    #[arg(long, value_name = "UNIT")]
    needs: Vec<UnitName>,
    /// Not to be started by a reboot
    #[arg(long)]
    disabled: bool,
    /// What it does when it is asked to stop
    #[arg(long, value_enum, default_value = "obeys")]
    stops: Manner,
    /// What it does when it is asked to start
    #[arg(long, value_enum, default_value = "obeys")]
    starts: Manner,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// As a CUDA program does: always in the way
    Client,
    /// As a monitoring agent does: in the way of mode changes and resets
    Session,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Manner {
    /// It does so
    Obeys,
    /// It takes longer than anybody waits
    Hangs,
    /// It goes on, or ends as failed
    Fails,
}

impl From<Manner> for SimUnitManner {
    fn from(manner: Manner) -> Self {
        match manner {
            Manner::Obeys => Self::Obeys,
            Manner::Hangs => Self::Hangs,
            Manner::Fails => Self::Fails,
        }
    }
}

pub(super) fn run(context: &Context, args: UnitArgs) -> Result<ExitCode, Failure> {
    let machine = machine::open(context)?;
    match args.verb {
        UnitVerb::Add(args) => add(context, &machine, args)?,
        UnitVerb::Remove { name } => {
            let removed = machine.remove_unit(&name);
            if !removed.map_err(|error| of_sim("cannot remove it", &error))? {
                return Err(no_unit(&name));
            }
        }
        UnitVerb::Stop { name } => {
            let told = machine.stop_unit(&name);
            asked(&name, "stop", told.map_err(|error| of_sim("cannot stop it", &error))?)?;
        }
        UnitVerb::Start { name } => {
            let told = machine.start_unit(&name);
            asked(&name, "start", told.map_err(|error| of_sim("cannot start it", &error))?)?;
        }
        UnitVerb::List => list(context, &machine)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn add(context: &Context, machine: &SimHost, args: AddArgs) -> Result<(), Failure> {
    let node = machine.node().map_err(|error| of_sim("cannot read the machine", &error))?;
    let gpu = args.gpu.as_ref().map(|gpu| gpu.on(&node.value)).transpose()?;
    let holds = args.holds.map(|kind| match kind {
        Kind::Client => HoldKind::Client,
        Kind::Session => HoldKind::Session,
    });
    let words = match holds {
        Some(_) => format!("{} runs and holds {}", args.name, place(gpu)),
        None => format!("{} runs", args.name),
    };
    let unit = SimUnit {
        holds,
        gpu,
        needs: args.needs,
        enabled: !args.disabled,
        stops: args.stops.into(),
        starts: args.starts.into(),
        ..SimUnit::new(args.name)
    };
    machine.add_unit(unit).map_err(|error| of_sim("cannot add it", &error))?;
    context.output.say(&words);
    Ok(())
}

fn asked(name: &UnitName, verb: &str, told: Option<SimUnitManner>) -> Result<(), Failure> {
    match told {
        None => Err(no_unit(name)),
        Some(SimUnitManner::Obeys) => Ok(()),
        Some(SimUnitManner::Hangs | SimUnitManner::Fails) => {
            Err(Failure::new("E-SIM", format!("{name} does not {verb}, as it was told when added"))
                .exit(Exit::Busy)
                .hint(format!("`migctl sim unit add {name}` makes one that does")))
        }
    }
}

fn no_unit(name: &UnitName) -> Failure {
    Failure::usage(format!("there is no unit {name}")).hint("`migctl sim unit list` shows them")
}

fn list(context: &Context, machine: &SimHost) -> Result<(), Failure> {
    let units = machine.units().map_err(|error| of_sim("cannot read the units", &error))?;
    if context.json() {
        return context.output.data(&units);
    }
    if units.is_empty() {
        context.output.say("no unit was invented; `migctl sim unit add NAME` does");
        return Ok(());
    }
    let rows: Vec<Vec<String>> = units.iter().map(row).collect();
    context.output.print(&table::aligned(&["UNIT", "STATE", "HOLDS", "NEEDS"], &rows, 0))
}

fn row(unit: &SimUnit) -> Vec<String> {
    let state = match unit.state {
        SimUnitState::Active => "active",
        SimUnitState::Inactive => "inactive",
        SimUnitState::Failed => "failed",
    };
    let holds = unit.holds.map_or_else(|| "-".to_owned(), |_| place(unit.gpu));
    let needs: Vec<&str> = unit.needs.iter().map(UnitName::short).collect();
    let needs = if needs.is_empty() { "-".to_owned() } else { needs.join(", ") };
    vec![unit.name.short().to_owned(), state.to_owned(), holds, needs]
}

fn place(gpu: Option<usize>) -> String {
    machine::place(gpu, sim_gpu::Target::Gpu)
}
