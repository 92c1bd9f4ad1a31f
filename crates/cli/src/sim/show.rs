//! `migctl sim show`: the machine as the simulator has it, beyond what a driver tells.
//!
//! Must never change anything but to drop what dead processes left, as the driver does.

use std::fmt::Write as _;
use std::process::ExitCode;

use model::{MemoryMib, MigMode};
use serde_json::{Value, json};
use sim_gpu::{Caller, ContextKind, Gpu, GpuHealth, GpuInstance, Knobs, Node, Target};
use sim_nvml::SimHost;

use super::machine::{self, of_sim, place};
use super::{faults, holders, table};
use crate::{Context, Failure};

pub(super) fn run(context: &Context) -> Result<ExitCode, Failure> {
    let machine = machine::open(context)?;
    // Whoever may not write sees what is there; the next writer sweeps.
    let _swept = machine.change(|_, _| ());
    let version = machine.node().map_err(|error| of_sim("cannot read the machine", &error))?;
    let (node, caller) = (&version.value, machine.caller());
    if context.json() {
        context.output.data(&json_of(&machine, node, caller))?;
    } else {
        context.output.print(&text_of(&machine, node, caller))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A process that computes on the machine.
pub(super) struct Program {
    /// Its pid, a real one.
    pub(super) pid: u32,
    /// Where it computes.
    pub(super) place: String,
    gpu: usize,
    target: Target,
    memory: MemoryMib,
    kind: ContextKind,
}

/// The processes that compute on the machine, by place.
pub(super) fn programs(node: &Node) -> Vec<Program> {
    let mut programs: Vec<Program> = node
        .contexts
        .iter()
        .map(|context| Program {
            pid: context.process.pid,
            place: place(Some(context.gpu), context.target),
            gpu: context.gpu,
            target: context.target,
            memory: context.memory,
            kind: context.kind,
        })
        .collect();
    programs.sort_by_key(|program| (program.gpu, program.target, program.pid));
    programs
}

impl Program {
    const fn kind(&self) -> &'static str {
        match self.kind {
            ContextKind::Compute => "compute",
            ContextKind::Graphics => "graphics",
            ContextKind::Mps => "mps",
        }
    }

    /// The name of the program, if it lives and we may see it.
    fn command(&self) -> String {
        let comm = std::fs::read_to_string(format!("/proc/{}/comm", self.pid));
        comm.map_or_else(|_| "?".to_owned(), |name| name.trim_end().to_owned())
    }
}

fn text_of(machine: &SimHost, node: &Node, caller: Caller) -> String {
    let (major, minor) = (node.driver.cuda / 1000, node.driver.cuda % 1000 / 10);
    let mut text = format!(
        "{}: {}, driver {}, CUDA {major}.{minor}, booted {}\n{}\n",
        node.host,
        count(node.gpus.len(), "GPU"),
        node.driver.version,
        count(node.boots as usize, "time"),
        machine.dir().display(),
    );
    text.push('\n');
    for (index, gpu) in node.gpus.iter().enumerate() {
        text.push_str(&gpu_text(node, index, gpu, caller));
    }
    section(&mut text, "Processes", &processes_table(&programs(node)), node.contexts.is_empty());
    section(&mut text, "Holders", &holders::table_of(&node.holders, 2), node.holders.is_empty());
    section(&mut text, "NVML sessions", &sessions_table(node), node.sessions.is_empty());
    section(&mut text, "Faults", &faults::table_of(&node.faults, 2), node.faults.is_empty());
    section(&mut text, "Knobs", &knobs_table(&node.knobs), false);
    text
}

fn section(text: &mut String, title: &str, table: &str, is_empty: bool) {
    if is_empty {
        let _ = write!(text, "\n{title}: none\n");
    } else {
        let _ = write!(text, "\n{title}:\n{table}");
    }
}

fn count(number: usize, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

fn gpu_text(node: &Node, index: usize, gpu: &Gpu, caller: Caller) -> String {
    let name = node.board(index).map_or(gpu.board.as_str(), |board| board.name.as_str());
    let mut text = format!(
        "GPU {index}  {name}  {}  {}  {}\n",
        gpu.pci,
        mode_words(node, index, gpu),
        gpu.uuid,
    );
    if !gpu.instances.is_empty() {
        let rows: Vec<Vec<String>> = gpu
            .instances
            .iter()
            .flat_map(|instance| instance_rows(node, index, instance, caller))
            .collect();
        let titles = ["GI", "PROFILE", "PLACEMENT", "CI", "MIG", "MEMORY (MiB)", "UUID"];
        text.push_str(&table::aligned(&titles, &rows, 2));
    }
    text
}

fn mode_words(node: &Node, index: usize, gpu: &Gpu) -> String {
    let word = |mode| match mode {
        MigMode::Enabled => "on",
        MigMode::Disabled => "off",
    };
    let mut words = match (node.mig_capable(index), gpu.current == gpu.pending) {
        (Ok(true), true) => format!("MIG {}", word(gpu.current)),
        (Ok(true), false) => {
            format!("MIG {}, {} after a reset", word(gpu.current), word(gpu.pending))
        }
        (Ok(false) | Err(_), _) => "no MIG".to_owned(),
    };
    match gpu.health {
        GpuHealth::Ok => {}
        GpuHealth::Lost => words.push_str(", LOST"),
        GpuHealth::ResetRequired => words.push_str(", RESET REQUIRED"),
    }
    words
}

fn instance_rows(
    node: &Node,
    gpu: usize,
    instance: &GpuInstance,
    caller: Caller,
) -> Vec<Vec<String>> {
    let profile = node.board(gpu).ok().and_then(|board| board.geometry.profile(instance.profile));
    let name = profile.map_or_else(|| instance.profile.to_string(), |known| known.name.to_string());
    let memory = node.memory(gpu, Target::Instance(instance.id), caller).map_or_else(
        |code| code.name().to_owned(),
        |memory| format!("{} of {}", memory.used.get(), memory.total.get()),
    );
    let head = vec![instance.id.to_string(), name, instance.placement.to_string()];
    if instance.compute.is_empty() {
        let none = ["-".to_owned(), "-".to_owned(), memory, "-".to_owned()];
        return vec![head.into_iter().chain(none).collect()];
    }
    let row = |compute: &sim_gpu::ComputeInstance| {
        let device = node.mig_device(gpu, instance.compute_reference(compute));
        let (profile, uuid) = device.map_or_else(
            |code| (compute.profile.to_string(), code.name().to_owned()),
            |device| (device.profile.to_string(), device.uuid.to_string()),
        );
        let tail = [compute.id.to_string(), profile, memory.clone(), uuid];
        head.iter().cloned().chain(tail).collect()
    };
    instance.compute.iter().map(row).collect()
}

fn processes_table(programs: &[Program]) -> String {
    let rows: Vec<Vec<String>> = programs
        .iter()
        .map(|program| {
            vec![
                program.pid.to_string(),
                program.place.clone(),
                program.memory.to_string(),
                program.kind().to_owned(),
                program.command(),
            ]
        })
        .collect();
    table::aligned(&["PID", "ON", "MEMORY", "KIND", "COMMAND"], &rows, 2)
}

fn sessions_table(node: &Node) -> String {
    let rows: Vec<Vec<String>> = node
        .sessions
        .iter()
        .map(|session| vec![session.process.pid.to_string(), session.count.to_string()])
        .collect();
    table::aligned(&["PID", "COUNT"], &rows, 2)
}

/// The knobs under the names that a machine's TOML file has for them.
fn knobs_table(knobs: &Knobs) -> String {
    let mut rows = Vec::new();
    if let Ok(Value::Object(all)) = serde_json::to_value(knobs) {
        for (name, value) in all {
            match value {
                Value::Object(inner) => rows.extend(
                    inner.iter().map(|(key, value)| vec![format!("{name}.{key}"), knob(value)]),
                ),
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::String(_)
                | Value::Array(_) => rows.push(vec![name, knob(&value)]),
            }
        }
    }
    table::aligned(&["NAME", "VALUE"], &rows, 2)
}

fn knob(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

fn json_of(machine: &SimHost, node: &Node, caller: Caller) -> Value {
    let gpus = node.gpus.iter().enumerate();
    json!({
        "host": node.host,
        "dir": machine.dir(),
        "root": machine.root(),
        "driver": node.driver,
        "boots": node.boots,
        "gpus": gpus.map(|(index, gpu)| gpu_json(node, index, gpu, caller)).collect::<Vec<_>>(),
        "processes": programs(node).iter().map(|program| json!({
            "pid": program.pid,
            "gpu": program.gpu,
            "gpu_instance": program.target.gpu_instance(),
            "compute_instance": program.target.compute_instance(),
            "memory_mib": program.memory.get(),
            "kind": program.kind(),
        })).collect::<Vec<_>>(),
        "holders": node.holders.iter().map(holders::json_of).collect::<Vec<_>>(),
        "sessions": node.sessions.iter().map(|session| json!({
            "pid": session.process.pid,
            "count": session.count,
        })).collect::<Vec<_>>(),
        "faults": node.faults.iter().map(faults::json_of).collect::<Vec<_>>(),
        "knobs": node.knobs,
    })
}

fn gpu_json(node: &Node, index: usize, gpu: &Gpu, caller: Caller) -> Value {
    let board = node.board(index).ok();
    json!({
        "index": index,
        "board": gpu.board,
        "name": board.map(|board| board.name.clone()),
        "uuid": gpu.uuid,
        "pci": gpu.pci.to_string(),
        "minor": gpu.minor,
        "mig_capable": node.mig_capable(index).unwrap_or(false),
        "mig_current": gpu.current,
        "mig_pending": gpu.pending,
        "health": gpu.health,
        "instances": gpu.instances.iter().map(|instance| {
            let profile = board.and_then(|board| board.geometry.profile(instance.profile));
            let memory = node.memory(index, Target::Instance(instance.id), caller).ok();
            json!({
                "id": instance.id,
                "profile": profile.map(|known| known.name),
                "profile_id": instance.profile,
                "start": instance.placement.start,
                "size": instance.placement.size,
                "memory_total_mib": memory.map(|memory| memory.total.get()),
                "memory_used_mib": memory.map(|memory| memory.used.get()),
                "compute_instances": instance.compute.iter().map(|compute| {
                    let device = node.mig_device(index, instance.compute_reference(compute)).ok();
                    json!({
                        "id": compute.id,
                        "profile": device.as_ref().map(|device| device.profile),
                        "start": compute.placement.start,
                        "size": compute.placement.size,
                        "uuid": device.map(|device| device.uuid),
                    })
                }).collect::<Vec<_>>(),
            })
        }).collect::<Vec<_>>(),
    })
}
