//! `migctl sim workload`: a stand-in for a small CUDA program.
//!
//! Must never know more of the machine than a CUDA program would: it finds its slice through
//! `CUDA_VISIBLE_DEVICES`, opens the same device nodes, and fails with CUDA's words.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use clap::Args;
use model::{MemoryMib, MemoryRequest, Millis};
use sim_gpu::{Activity, ActivityPoint, ContextKind, Node};
use sim_nvml::{CudaContext, CudaError, CudaRequest, SimHost};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use super::machine;
use crate::failure::Exit;
use crate::{Context, Failure};

/// How often it looks whether its context is still there.
const LOOK: Duration = Duration::from_millis(100);
/// What a CUDA context takes before the program allocates anything: a rule of thumb.
const DEFAULT_MEMORY: &str = "512MiB";

/// `migctl sim workload`.
#[derive(Debug, Args)]
#[command(after_long_help = "It computes on the first device of CUDA_VISIBLE_DEVICES, or on the \
    first device of the machine, and prints one line about it. Like a CUDA program it exits with \
    1 and `CUDA error N: ...` when there is no device, the memory does not suffice, or it may not \
    open the device. SIGTERM and SIGINT end it.\n\nExamples:\n  \
    migctl --simulate dgx-a100 run --gpu-mem 5g -- migctl sim workload --gpu-mem 2g --time 1m\n  \
    migctl --simulate dgx-a100 sim workload --on MIG-5c2e... --print")]
pub(super) struct WorkloadArgs {
    /// Memory to take (2g, 512MiB)
    #[arg(long, value_name = "AMOUNT", default_value = DEFAULT_MEMORY)]
    gpu_mem: MemoryRequest,
    /// How long to compute
    #[arg(long, value_name = "TIME", default_value = "30s")]
    time: Millis,
    /// How busy to keep the multiprocessors, 0 to 1
    #[arg(long, value_name = "SHARE", default_value = "0.8", value_parser = parse_share)]
    busy: f64,
    /// Compute on this device, whatever CUDA_VISIBLE_DEVICES says
    #[arg(long, value_name = "UUID")]
    on: Option<String>,
    /// Only print the line about the device
    #[arg(long)]
    print: bool,
    /// Go on when SIGTERM comes, as a stubborn program does
    #[arg(long)]
    ignore_term: bool,
    /// Also start a child in a session of its own that does the same and outlives this process
    #[arg(long)]
    detach_child: bool,
    /// Leave the session first (the child of --detach-child does)
    #[arg(long, hide = true)]
    new_session: bool,
}

fn parse_share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "write a number from 0 to 1")?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("write a number from 0 to 1".into()) }
}

pub(super) fn run(context: &Context, args: &WorkloadArgs) -> Result<ExitCode, Failure> {
    if args.new_session {
        rustix::process::setsid().map_err(|error| {
            Failure::caused("E-SIM-WORKLOAD", "cannot leave the session", &error)
        })?;
    }
    let machine = machine::open(context)?;
    let runtime = crate::connect::runtime()?;
    runtime.block_on(work(context, &machine, args))
}

async fn work(
    context: &Context,
    machine: &SimHost,
    args: &WorkloadArgs,
) -> Result<ExitCode, Failure> {
    // Before anything is held: a signal that comes early must find us ready.
    let mut signals = Signals::listen()?;
    let device = match machine.begin_context(&request(args)) {
        Ok(device) => device,
        Err(CudaError::Host(error)) => return Err(machine::of_sim("cannot compute", &error)),
        Err(error) => {
            context.output.warn(&error.to_string());
            return Ok(Exit::Negative.into());
        }
    };
    let version =
        machine.node().map_err(|error| machine::of_sim("cannot read the machine", &error))?;
    context.output.line(&format!("running on {}", describe(&device, &version.value)))?;
    if args.detach_child && !args.print {
        let pid = detach(context, args)?;
        context.output.line(&format!("detached child: pid {pid}"))?;
    }
    let end = if args.print {
        End::Done
    } else {
        // The boot before the line was printed: whoever read it may reboot the machine at once.
        compute(machine, &device, args, version.value.boots, &mut signals).await
    };
    // The process ends next, and with it everything it holds; the driver learns of it now.
    let _known = machine.end_context(device.id);
    drop(device);
    if let End::Lost(why) = &end {
        context.output.warn(why);
    }
    Ok(end.exit().into())
}

fn request(args: &WorkloadArgs) -> CudaRequest {
    let variable = std::env::var_os("CUDA_VISIBLE_DEVICES");
    let inherited = variable.map(|value| value.to_string_lossy().into_owned());
    let sm_percent = (args.busy * 100.0).round() as u8;
    CudaRequest {
        visible_devices: args.on.clone().or(inherited),
        memory: match args.gpu_mem {
            MemoryRequest::Strict(memory) => memory,
            MemoryRequest::Nominal(gb) => MemoryMib::new(u64::from(gb.get()) * 1024),
        },
        kind: ContextKind::Compute,
        activity: Activity {
            // Small programs wait for memory about half of the time that they compute.
            points: vec![ActivityPoint {
                after: Millis::new(0),
                sm_percent,
                dram_percent: sm_percent / 2,
            }],
            repeat_every: Millis::new(0),
        },
    }
}

/// `NVIDIA A100-SXM4-40GB MIG 1g.5gb, MIG-..., 4,864 MiB, 14 SMs`.
fn describe(device: &CudaContext, node: &Node) -> String {
    let slice = node
        .mig_device_by_uuid(&device.uuid)
        .and_then(|(gpu, reference)| node.mig_device(gpu, reference).ok())
        .map(|slice| (slice.name, slice.multiprocessors));
    let whole = || node.board(device.gpu).map(|b| (b.name.clone(), b.multiprocessors)).ok();
    let (name, multiprocessors) = slice.or_else(whole).unwrap_or_default();
    format!("{name}, {}, {}, {multiprocessors} SMs", device.uuid, device.memory_total)
}

/// How the computation ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Done,
    Signal(u8),
    Lost(&'static str),
}

impl End {
    const fn exit(&self) -> Exit {
        match self {
            Self::Done => Exit::Success,
            Self::Signal(number) => Exit::Signal(*number),
            Self::Lost(_) => Exit::Negative,
        }
    }
}

async fn compute(
    machine: &SimHost,
    device: &CudaContext,
    args: &WorkloadArgs,
    boots: u32,
    signals: &mut Signals,
) -> End {
    const SIGINT: u8 = 2;
    const SIGTERM: u8 = 15;
    let end = Instant::now() + Duration::from_millis(args.time.get());
    let mut look = tokio::time::interval(LOOK);
    // No generation yet, so the first look is a real one.
    let mut generation = 0;
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(end) => return End::Done,
            _ = signals.interrupt.recv() => return End::Signal(SIGINT),
            _ = signals.terminate.recv() => {
                if !args.ignore_term {
                    return End::Signal(SIGTERM);
                }
            }
            _ = look.tick() => {
                let now = machine.generation();
                if now != generation {
                    generation = now;
                    if let Some(why) = lost(machine, device, boots) {
                        return End::Lost(why);
                    }
                }
            }
        }
    }
}

/// Why the context is gone, if it is.
fn lost(machine: &SimHost, device: &CudaContext, boots: u32) -> Option<&'static str> {
    let version = machine.node().ok()?;
    let node = &version.value;
    if node.boots != boots {
        Some("the machine was rebooted under this program")
    } else if node.contexts.iter().any(|context| context.id == device.id) {
        None
    } else {
        Some("CUDA error 999: unknown error (the driver dropped the context)")
    }
}

/// Starts the same workload as a process of a session of its own, and waits until it runs.
fn detach(context: &Context, args: &WorkloadArgs) -> Result<u32, Failure> {
    let failed = |error: &std::io::Error| {
        Failure::caused("E-SIM-WORKLOAD", "cannot start the detached child", error)
    };
    let mut command = Command::new(std::env::current_exe().map_err(|error| failed(&error))?);
    let machine = machine::open(context)?;
    command
        .args(["sim", "workload", "--new-session", "--gpu-mem"])
        .arg(args.gpu_mem.to_string())
        .arg("--time")
        .arg(format!("{}ms", args.time.get()))
        .arg("--busy")
        .arg(args.busy.to_string())
        .envs(machine::environment(context, &machine)?)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    if let Some(device) = &args.on {
        command.arg("--on").arg(device);
    }
    if args.ignore_term {
        command.arg("--ignore-term");
    }
    let mut child = command.spawn().map_err(|error| failed(&error))?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut line).map_err(|error| failed(&error))?;
    }
    if line.is_empty() {
        return Err(Failure::new("E-SIM-WORKLOAD", "the detached child did not get its device"));
    }
    Ok(child.id())
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Failure::caused("E-SIM-WORKLOAD", "cannot listen for signals", &error)
            })
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_lie_between_nothing_and_everything() {
        assert!(parse_share("0").is_ok() && parse_share("1").is_ok());
        for bad in ["-0.1", "1.1", "80%", "NaN", ""] {
            assert!(parse_share(bad).is_err(), "{bad}");
        }
    }
}
