//! `migctl sim`: shows and steers a simulated machine, and runs programs on it.
//!
//! Must never touch a real GPU: every verb works on a machine that was named with `--simulate`
//! (or `MIGD_SIM_HOST`, inside such a machine).

mod calls;
mod exec;
mod faults;
mod holders;
mod list;
mod machine;
mod show;
mod steer;
mod table;
mod units;
mod view;
mod workload;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::{Context, Failure};

pub(crate) use machine::open_or_create;

/// Show and steer a simulated machine.
#[derive(Debug, Args)]
pub(crate) struct SimArgs {
    #[command(subcommand)]
    verb: SimVerb,
}

#[derive(Debug, Subcommand)]
enum SimVerb {
    /// List the machines that can be simulated and those that exist
    List,
    /// Show the machine: GPUs, instances, processes, holders, faults, knobs
    Show,
    /// Run a program of yours on the machine
    Exec(exec::ExecArgs),
    /// Enter the view of the machine (`sim exec --host-view` does this)
    #[command(hide = true)]
    EnterView(exec::EnterViewArgs),
    /// Run a stand-in for a CUDA program: it takes memory of its slice for a time
    Workload(workload::WorkloadArgs),
    /// Make driver calls fail, lie, hang or crash
    Fault(faults::FaultArgs),
    /// Reset a GPU: its instances are lost, a pending MIG mode takes effect
    Reset(steer::ResetArgs),
    /// Reboot the machine: instances and processes are gone
    Reboot,
    /// Unload and load the driver
    Reload,
    /// Make the machine as new: MIG off, no instances, no faults, no logged calls
    Wipe(steer::WipeArgs),
    /// Set how long driver calls take
    Latency(steer::LatencyArgs),
    /// Invent holders that keep GPUs and instances busy
    Holder(holders::HolderArgs),
    /// Invent systemd units that hold GPUs, and stop and start them
    Unit(units::UnitArgs),
    /// Raise an Xid error
    Xid(steer::XidArgs),
    /// Print the mutating driver calls of every process
    Calls(calls::CallsArgs),
}

/// Runs the verb.
///
/// # Errors
/// [`Failure`].
pub(crate) fn run(context: &Context, args: SimArgs) -> Result<ExitCode, Failure> {
    match args.verb {
        SimVerb::List => list::run(context),
        SimVerb::Show => show::run(context),
        SimVerb::Exec(args) => exec::run(context, &args).map_err(Failure::under_run),
        SimVerb::EnterView(args) => exec::enter_view(&args).map_err(Failure::under_run),
        SimVerb::Workload(args) => workload::run(context, &args),
        SimVerb::Fault(args) => faults::run(context, args),
        SimVerb::Reset(args) => steer::reset(context, &args),
        SimVerb::Reboot => steer::reboot(context),
        SimVerb::Reload => steer::reload(context),
        SimVerb::Wipe(args) => steer::wipe(context, &args),
        SimVerb::Latency(args) => steer::latency(context, &args),
        SimVerb::Holder(args) => holders::run(context, args),
        SimVerb::Unit(args) => units::run(context, args),
        SimVerb::Xid(args) => steer::xid(context, &args),
        SimVerb::Calls(args) => calls::run(context, &args),
    }
}
