//! `migctl sim reset|reboot|reload|wipe|latency|xid`: what happens to a machine from outside.
//!
//! Must never throw away what programs use without being told to.

use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use clap::Args;
use model::Millis;
use sim_gpu::{Latencies, Node};
use sim_nvml::SimHost;

use super::machine::{self, GpuSelector, TargetOptions, of_sim};
use super::table;
use crate::failure::Exit;
use crate::{Context, Failure};

/// `migctl sim reset`.
#[derive(Debug, Args)]
pub(super) struct ResetArgs {
    /// Which GPU (index, UUID or PCI address)
    gpu: GpuSelector,
}

pub(super) fn reset(context: &Context, args: &ResetArgs) -> Result<ExitCode, Failure> {
    let machine = machine::open(context)?;
    let gpu = args.gpu.on(&read(&machine)?.value)?;
    let what = format!("cannot reset GPU {gpu}");
    machine.reset_gpu(gpu).map_err(|error| of_sim(&what, &error))?;
    context.output.say(&format!("GPU {gpu} was reset"));
    Ok(ExitCode::SUCCESS)
}

pub(super) fn reboot(context: &Context) -> Result<ExitCode, Failure> {
    let machine = machine::open(context)?;
    machine.reboot().map_err(|error| of_sim("cannot reboot", &error))?;
    context.output.say("rebooted: instances and processes are gone");
    Ok(ExitCode::SUCCESS)
}

pub(super) fn reload(context: &Context) -> Result<ExitCode, Failure> {
    let machine = machine::open(context)?;
    machine.reload_driver().map_err(|error| of_sim("cannot unload the driver", &error))?;
    context.output.say("the driver was unloaded and loaded: instances are gone");
    Ok(ExitCode::SUCCESS)
}

/// `migctl sim wipe`.
#[derive(Debug, Args)]
pub(super) struct WipeArgs {
    /// Wipe although a daemon or programs use the machine
    #[arg(short, long)]
    yes: bool,
}

pub(super) fn wipe(context: &Context, args: &WipeArgs) -> Result<ExitCode, Failure> {
    let machine = machine::open(context)?;
    let users = users(context, &read(&machine)?.value)?;
    if !users.is_empty() && !args.yes {
        return Err(Failure::new("E-SIM-IN-USE", format!("not wiped: {}", users.join(", ")))
            .exit(Exit::Busy)
            .hint("end them first, or wipe under them with --yes"));
    }
    machine
        .wipe()
        .and_then(|()| machine.clear_calls())
        .map_err(|error| of_sim("cannot wipe the machine", &error))?;
    context.output.say("wiped: MIG is off, nothing is left of instances, faults and logged calls");
    Ok(ExitCode::SUCCESS)
}

/// Who would notice a wipe.
fn users(context: &Context, node: &Node) -> Result<Vec<String>, Failure> {
    let mut users = Vec::new();
    if UnixStream::connect(context.socket()?).is_ok() {
        users.push("a daemon manages the machine".to_owned());
    }
    for process in super::show::programs(node) {
        users.push(format!("pid {} uses {}", process.pid, process.place));
    }
    Ok(users)
}

/// `migctl sim latency`.
#[derive(Debug, Args)]
#[command(after_long_help = "Without a setting, prints how long calls take.\n\nExamples:\n  \
    migctl sim latency zero\n  \
    migctl sim latency realistic destroy_gpu_instance=3s")]
pub(super) struct LatencyArgs {
    /// `zero`, `realistic`, or CALL=TIME (0 is no time); applied from left to right
    #[arg(value_name = "SETTING")]
    settings: Vec<String>,
}

pub(super) fn latency(context: &Context, args: &LatencyArgs) -> Result<ExitCode, Failure> {
    let machine = machine::open(context)?;
    let before = read(&machine)?.value.knobs.latencies;
    let mut latencies = before;
    for setting in &args.settings {
        apply(setting, &mut latencies)?;
    }
    if latencies != before {
        machine
            .set_knobs(|knobs| knobs.latencies = latencies)
            .map_err(|error| of_sim("cannot set the latencies", &error))?;
    }
    if !args.settings.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    if context.json() {
        context.output.data(&latencies)?;
    } else {
        let rows: Vec<Vec<String>> = named(&mut latencies)
            .into_iter()
            .map(|(name, time)| vec![name.to_owned(), time.to_string()])
            .collect();
        context.output.print(&table::aligned(&["CALL", "TAKES"], &rows, 0))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn apply(setting: &str, latencies: &mut Latencies) -> Result<(), Failure> {
    match setting {
        "zero" => *latencies = Latencies::ZERO,
        "realistic" => *latencies = Latencies::default(),
        other => {
            let (call, time) = other.split_once('=').ok_or_else(|| {
                Failure::usage(format!("`{other}` is no latency"))
                    .hint("write zero, realistic, or CALL=TIME such as reset=10s")
            })?;
            let time = match time {
                "0" => Millis::new(0),
                text => {
                    text.parse::<Millis>().map_err(|error| Failure::usage(error.to_string()))?
                }
            };
            let mut all = named(latencies);
            let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
            let Some((_, found)) = all.iter_mut().find(|(name, _)| *name == call) else {
                return Err(Failure::usage(format!("no latency is called `{call}`"))
                    .hint(format!("there are: {}", names.join(", "))));
            };
            **found = time;
        }
    }
    Ok(())
}

fn named(latencies: &mut Latencies) -> [(&'static str, &mut Millis); 7] {
    [
        ("create_gpu_instance", &mut latencies.create_gpu_instance),
        ("destroy_gpu_instance", &mut latencies.destroy_gpu_instance),
        ("create_compute_instance", &mut latencies.create_compute_instance),
        ("destroy_compute_instance", &mut latencies.destroy_compute_instance),
        ("set_mig_mode", &mut latencies.set_mig_mode),
        ("reset", &mut latencies.reset),
        ("uuid_lookup", &mut latencies.uuid_lookup),
    ]
}

/// `migctl sim xid`.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  \
    migctl sim xid 0 79            the GPU falls off the bus\n  \
    migctl sim xid 0 94 --gi 2     a contained memory error in an instance")]
pub(super) struct XidArgs {
    /// Which GPU (index, UUID or PCI address)
    gpu: GpuSelector,
    /// The number of the Xid
    xid: u32,
    #[command(flatten)]
    target: TargetOptions,
}

pub(super) fn xid(context: &Context, args: &XidArgs) -> Result<ExitCode, Failure> {
    let machine = machine::open(context)?;
    let node = read(&machine)?;
    let gpu = args.gpu.on(&node.value)?;
    let found = node.value.gpu(gpu).map_err(|code| Failure::new("E-SIM", code.text()))?;
    let target = args.target.on(gpu, found)?;
    let place = machine::place(Some(gpu), target);
    machine
        .inject_xid(gpu, args.xid, target)
        .map_err(|error| of_sim("cannot raise the Xid", &error))?;
    context.output.say(&format!("Xid {} on {place}", args.xid));
    Ok(ExitCode::SUCCESS)
}

fn read(machine: &SimHost) -> Result<std::sync::Arc<sim_nvml::Version<Node>>, Failure> {
    machine.node().map_err(|error| of_sim("cannot read the machine", &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_set_from_left_to_right() {
        let mut latencies = Latencies::default();
        for setting in ["zero", "reset=10s", "set_mig_mode=250ms", "reset=0"] {
            apply(setting, &mut latencies).unwrap();
        }
        assert_eq!(latencies.reset, Millis::new(0));
        assert_eq!(latencies.set_mig_mode, Millis::new(250));
        assert_eq!(latencies.create_gpu_instance, Millis::new(0));
        for bad in ["fast", "reset", "reset=", "reset=-1s", "reboot=1s"] {
            assert_eq!(apply(bad, &mut latencies).unwrap_err().exit, Exit::Usage, "{bad}");
        }
    }
}
