//! `migctl instances`: every GPU instance with its compute instances, and who holds them.
//!
//! Must never leave out a GPU instance because it has no compute instance, and must never start a
//! daemon.

use std::process::ExitCode;

use api::{
    CapabilityView, ComputePartView, EnginesView, GpuInstancesView, InstanceUse, InstanceView,
    NodeView, ProcessView, WholeInstanceView,
};
use clap::Args;
use host::nodes::{InstancePath, node};
use host::processes::{Arguments, describe};
use host::{HostRoot, Users};
use model::{
    ComputeInstance, GpuInstance, GpuInstanceProfile, GpuProcess, GpuSnapshot, GpuUuid, MemoryMib,
    Placement, Timestamp,
};

use crate::draw::table::{Side, Table};
use crate::draw::text::{clean, mib, paragraph};
use crate::draw::{FAINT, HEADING, Page};
use crate::gpu_list::GpuList;
use crate::output::styled;
use crate::{Context, Failure, connect, cut_off};

/// Options of `instances`.
#[derive(Debug, Args)]
#[command(
    about = "List every GPU instance and compute instance",
    long_about = "Lists every GPU instance, those without a compute instance too, with its compute \
                  instances: ids, names as `nvidia-smi mig -lgi` and `-lci` print them, placement \
                  (start:size), memory, multiprocessors, engines, UUID, capability nodes, and who \
                  holds it: lease, processes, or made by hand.",
    after_help = "Examples:\n  \
        migctl instances\n  \
        migctl instances --gpu 0 --json | jq '.[].instances[] | select(.compute_instances == [])'"
)]
pub(crate) struct InstancesArgs {
    /// Only these GPUs: 0, 0,2, 0-3, a UUID, PCI address or model
    #[arg(long, value_name = "SEL")]
    pub(crate) gpu: Option<GpuList>,
}

/// Runs the verb.
pub(crate) fn run(context: &Context, args: &InstancesArgs) -> Result<ExitCode, Failure> {
    let what = "cannot read the instances";
    let source = connect::gpus_here(context, "instances")?;
    let known = super::status::known(context)?;
    let driver = daemon::open_driver(&source).map_err(|error| super::of_daemon(what, &error))?;
    let snapshot =
        driver.snapshot(Timestamp::default()).map_err(|error| Failure::of_driver(what, &error))?;
    let root = context.places()?.host_root();
    let reader = Reader { root: &root, users: Users::load(), known: known.as_ref() };
    let chosen = GpuList::chosen(args.gpu.as_ref(), &snapshot.gpus)?;
    let gpus: Vec<GpuInstancesView> = chosen.into_iter().map(|gpu| reader.gpu(gpu)).collect();
    if context.json() {
        context.output.data(&gpus)?;
    } else {
        context.output.line(&lines(&gpus, Page::current()).join("\n"))?;
    }
    if known.is_none() {
        let index =
            |uuid: &GpuUuid| Some(snapshot.gpus.iter().find(|gpu| gpu.uuid == *uuid)?.index.get());
        for sentence in cut_off::sentences(context, index) {
            context.output.warn(&format!("migctl: {sentence}"));
        }
        if !context.json() {
            context.output.say("migctl: no daemon runs; leases are not known");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What an instance is looked up in beside the driver.
struct Reader<'a> {
    root: &'a HostRoot,
    users: Users,
    known: Option<&'a NodeView>,
}

impl Reader<'_> {
    fn gpu(&self, gpu: &GpuSnapshot) -> GpuInstancesView {
        let mut instances: Vec<&GpuInstance> = gpu.instances.iter().collect();
        instances.sort_by_key(|instance| (instance.placement.start, instance.id));
        GpuInstancesView {
            index: gpu.index.get(),
            uuid: gpu.uuid.to_string(),
            name: gpu.name.clone(),
            minor: gpu.minor.get(),
            mig: gpu.mig.into(),
            health: gpu.health.to_string(),
            instances: instances.into_iter().map(|instance| self.whole(gpu, instance)).collect(),
        }
    }

    fn whole(&self, gpu: &GpuSnapshot, seen: &GpuInstance) -> WholeInstanceView {
        let geometry = gpu.geometry.as_deref();
        let profile = geometry.and_then(|geometry| geometry.profile(seen.profile));
        let engines = profile.map(|profile| profile.engines).unwrap_or_default();
        let record = self.record(gpu, seen);
        let name = profile.map_or_else(
            || format!("profile {}", seen.profile),
            |profile| format!("MIG {}", profile.name),
        );
        let parts = seen.compute_instances.iter();
        WholeInstanceView {
            id: seen.id.get(),
            name,
            profile_id: seen.profile.get(),
            start: start(seen.placement),
            size: seen.placement.size.get(),
            memory_mib: profile.map_or(0, |profile| profile.memory.get()),
            multiprocessors: profile.map_or(0, |profile| profile.multiprocessors),
            engines: EnginesView {
                copy: engines.copy,
                decoders: engines.decoders,
                encoders: engines.encoders,
                jpeg: engines.jpeg,
                ofa: engines.ofa,
            },
            used: record.map(|record| record.used),
            lease: record.and_then(|record| record.lease),
            lease_name: record.and_then(|record| record.lease_name.clone()),
            tenant: record.and_then(|record| record.tenant.clone()),
            node: self.capability(InstancePath {
                gpu: gpu.minor,
                gpu_instance: seen.id,
                compute_instance: None,
            }),
            compute_instances: parts.map(|part| self.part(gpu, seen, profile, part)).collect(),
        }
    }

    /// What the daemon knows of an instance. Ids are used again at once, so the place counts, too.
    fn record(&self, gpu: &GpuSnapshot, seen: &GpuInstance) -> Option<&InstanceView> {
        let gpu = self.known?.gpus.iter().find(|known| known.uuid == gpu.uuid)?;
        gpu.instances.iter().find(|known| {
            known.id == seen.id.get()
                && (start(seen.placement).is_none_or(|start| known.start == start))
        })
    }

    fn part(
        &self,
        gpu: &GpuSnapshot,
        whole: &GpuInstance,
        profile: Option<&GpuInstanceProfile>,
        seen: &ComputeInstance,
    ) -> ComputePartView {
        let name = profile.map_or_else(
            || format!("profile {}", seen.profile),
            |profile| format!("MIG {}", profile.compute_name(seen.profile)),
        );
        let kinds = profile.into_iter().flat_map(|profile| &profile.compute_profiles);
        let kind = kinds.into_iter().find(|kind| kind.id == seen.profile);
        ComputePartView {
            id: seen.id.get(),
            name,
            profile_id: seen.profile.get(),
            start: start(seen.placement),
            size: seen.placement.size.get(),
            multiprocessors: kind.map(|kind| kind.multiprocessors),
            uuid: seen.uuid.clone(),
            node: self.capability(InstancePath {
                gpu: gpu.minor,
                gpu_instance: whole.id,
                compute_instance: Some(seen.id),
            }),
            processes: seen.processes.iter().map(|process| self.process(process)).collect(),
        }
    }

    fn capability(&self, instance: InstancePath) -> CapabilityView {
        let path = instance.minor().node(self.root);
        // One that cannot be looked at is shown as missing: the path says which.
        let found = node(&path).ok().flatten();
        CapabilityView {
            path: instance.minor().node(&HostRoot::real()).display().to_string(),
            owner: found.map(|found| self.users.label(found.owner)),
            mode: found.map(|found| format!("{:04o}", found.mode)),
        }
    }

    fn process(&self, process: &GpuProcess) -> ProcessView {
        let known = describe(process.pid, &self.users, Arguments::Hidden);
        ProcessView {
            pid: process.pid,
            user: known.as_ref().map(|known| known.user.clone()),
            command: known.map(|known| known.command),
            memory_mib: process.memory.map(MemoryMib::get),
        }
    }
}

/// Where an instance begins, if the driver tells this user.
fn start(placement: Placement) -> Option<u8> {
    driver::placement_is_known(placement).then(|| placement.start.get())
}

fn lines(gpus: &[GpuInstancesView], page: Page) -> Vec<String> {
    let mut lines = Vec::new();
    for gpu in gpus {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        let mode = super::gpus::mode(gpu.mig);
        let title = format!("GPU {}  {}  MIG {mode}", gpu.index, clean(&gpu.name));
        lines.push(styled(HEADING, &title));
        if gpu.health != "ok" {
            lines.push(format!("  {}", clean(&gpu.health)));
        }
        if gpu.instances.is_empty() {
            lines.push(styled(FAINT, "  no instances"));
        } else {
            lines.extend(table(gpu, page));
        }
    }
    lines
}

fn table(gpu: &GpuInstancesView, page: Page) -> Vec<String> {
    let mut table = Table::new([
        ("GI", Side::Right),
        ("CI", Side::Right),
        ("NAME", Side::Left),
        ("AT", Side::Left),
        ("MEMORY", Side::Right),
        ("SM", Side::Right),
        ("ENGINES", Side::Left),
        ("USED BY", Side::Left),
    ]);
    let mut below: Vec<Vec<String>> = Vec::new();
    for whole in &gpu.instances {
        table.row([
            whole.id.to_string(),
            String::new(),
            clean(&whole.name),
            place(whole.start, whole.size),
            mib(whole.memory_mib),
            whole.multiprocessors.to_string(),
            engines(whole.engines),
            used(whole),
        ]);
        below.push(details(None, &[&whole.node], &[], page));
        for part in &whole.compute_instances {
            table.row([
                String::new(),
                part.id.to_string(),
                clean(&part.name),
                place(part.start, part.size),
                String::new(),
                part.multiprocessors.map_or_else(String::new, |count| count.to_string()),
                String::new(),
                String::new(),
            ]);
            let uuid = part.uuid.as_ref().map(ToString::to_string);
            below.push(details(uuid.as_deref(), &[&part.node], &part.processes, page));
        }
    }
    let mut drawn = table.lines().into_iter();
    let mut lines: Vec<String> = drawn.next().into_iter().collect();
    for (line, below) in drawn.zip(below) {
        lines.push(line);
        lines.extend(below);
    }
    lines
}

/// What does not fit into columns: UUID, nodes and processes.
fn details(
    uuid: Option<&str>,
    nodes: &[&CapabilityView],
    processes: &[ProcessView],
    page: Page,
) -> Vec<String> {
    const INDENT: &str = "        ";
    let mut lines = Vec::new();
    lines.extend(uuid.map(|uuid| format!("{INDENT}{}", styled(FAINT, uuid))));
    for node in nodes {
        let access = match (&node.mode, &node.owner) {
            (Some(mode), Some(owner)) => format!("{mode} {}", clean(owner)),
            (_, _) => String::from("no such node"),
        };
        lines.push(format!("{INDENT}{}", styled(FAINT, &format!("{}  {access}", node.path))));
    }
    for process in processes {
        let user = process.user.as_deref().map_or("somebody".into(), clean);
        let command = process.command.as_deref().map_or("?".into(), clean);
        let memory = process.memory_mib.map(|amount| format!(", {}", mib(amount)));
        let text = format!("pid {} {command} of {user}{}", process.pid, memory.unwrap_or_default());
        lines.extend(paragraph(&text, page.width, INDENT, INDENT));
    }
    lines
}

fn place(start: Option<u8>, size: u8) -> String {
    let start = start.map_or_else(|| String::from("?"), |start| start.to_string());
    format!("{start}:{size}")
}

/// `3 CE 2 DEC`: the engines there are.
fn engines(engines: EnginesView) -> String {
    let all = [
        (engines.copy, "CE"),
        (engines.decoders, "DEC"),
        (engines.encoders, "ENC"),
        (engines.jpeg, "JPEG"),
        (engines.ofa, "OFA"),
    ];
    let there = all.iter().filter(|(count, _)| *count > 0);
    there.map(|(count, name)| format!("{count} {name}")).collect::<Vec<_>>().join(" ")
}

/// Who holds a GPU instance, in words.
fn used(whole: &WholeInstanceView) -> String {
    if whole.compute_instances.is_empty() && whole.used != Some(InstanceUse::Changing) {
        return String::from("nobody can: no compute instance");
    }
    let busy = whole.compute_instances.iter().any(|part| !part.processes.is_empty());
    let tenant = whole.tenant.as_deref().map(|tenant| format!(" of {}", clean(tenant)));
    let name = whole.lease_name.as_deref().map(|name| format!(" ({})", clean(name)));
    let lease = |what: &str| {
        let id = whole.lease.map_or_else(|| String::from("a lease"), |id| id.to_string());
        let (tenant, name) = (tenant.as_deref().unwrap_or(""), name.as_deref().unwrap_or(""));
        format!("{id}{tenant}{name}{what}")
    };
    match whole.used {
        Some(InstanceUse::Leased) => lease(""),
        Some(InstanceUse::Ending) => lease(", which ends"),
        Some(InstanceUse::Warm) => String::from("nobody: kept for the next lease"),
        Some(InstanceUse::Changing) => String::from("being made or taken away"),
        Some(InstanceUse::Foreign) if busy => String::from("made by hand, in use"),
        Some(InstanceUse::Foreign) => String::from("made by hand, idle"),
        None if busy => String::from("in use"),
        None => String::from("idle"),
    }
}

#[cfg(test)]
#[path = "instances_tests.rs"]
mod tests;
