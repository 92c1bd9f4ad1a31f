//! `migctl why-busy`: who holds a GPU or a slice, and what to do about it.
//!
//! Must never start a daemon, and never end anything itself.

use std::fmt::Write as _;
use std::process::ExitCode;

use api::{BusyView, Client, HolderView, NodeView};
use clap::Args;
use daemon::BusyPlace;
use model::{ComputeInstanceId, GpuInstanceId, LeaseId, PciAddress};

use crate::draw::text::{clean, mib, paragraph};
use crate::draw::{FAINT, HEADING, Page};
use crate::gpu_list::GpuList;
use crate::output::styled;
use crate::{Context, Failure, connect};

/// Options of `why-busy`.
#[derive(Debug, Args)]
#[command(
    about = "Say who holds a GPU or a slice, and what to do about it",
    long_about = "Says who holds a GPU or a slice: programs that run there, whoever has its device \
                  nodes open, leases, virtual machines and kernel modules, each with its user, \
                  systemd unit and container, and what to do about it. Those that keep it from \
                  being destroyed, changed or reset come first. A daemon that runs as root sees \
                  everybody's processes; without one, run it as root. Arguments of other users' \
                  programs are shown to administrators alone.",
    after_help = "Examples:\n  \
        migctl why-busy 0\n  \
        migctl why-busy 0:9             # GPU instance 9 of GPU 0\n  \
        migctl why-busy 0:9:0           # and its compute instance 0\n  \
        migctl why-busy MIG-4f3e1c7a    # a slice by its UUID, or the beginning of it\n  \
        migctl why-busy L7 --json | jq '.[].holders[] | select(.in_the_way)'\n\n\
        Exit codes: 0 told, whoever holds it or nobody; 2 failure; 3 there is no such GPU or slice."
)]
pub(crate) struct WhyBusyArgs {
    /// GPUs (0, 0,2, 0-3, a UUID, PCI address or model), an instance (GPU:GI or GPU:GI:CI), a slice's UUID
    /// or a lease; every GPU without one
    #[arg(value_name = "GPU|SLICE")]
    pub(crate) what: Option<String>,
}

/// What was asked about, as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    /// GPUs, as a selector.
    Gpus(String),
    /// An instance of one GPU.
    Instance { gpu: String, gpu_instance: u32, compute_instance: Option<u32> },
    /// The beginning of the UUID of a slice, in lower case.
    Uuid(String),
    /// All slices of a lease.
    Lease(LeaseId),
}

impl Target {
    fn parse(text: &str) -> Result<Self, Failure> {
        let text = text.trim();
        if text.to_ascii_lowercase().starts_with("mig-") {
            return Ok(Self::Uuid(text.to_ascii_lowercase()));
        }
        // A bare number is a GPU's index.
        let lease = text.parse().ok().filter(|_| text.starts_with(['L', 'l']));
        if let Some(lease) = lease {
            return Ok(Self::Lease(lease));
        }
        let parts: Vec<&str> = text.split([':', '/']).collect();
        let numbers: Option<Vec<u32>> =
            parts.iter().skip(1).map(|part| part.parse().ok()).collect();
        match (parts.as_slice(), numbers.as_deref()) {
            // A PCI address has colons, too, but ends in `.0`.
            ([gpu, _] | [gpu, _, _], Some([instance, part @ ..])) => Ok(Self::Instance {
                gpu: (*gpu).to_owned(),
                gpu_instance: *instance,
                compute_instance: part.first().copied(),
            }),
            (_, _) if text.contains('/') => Err(Failure::usage(format!("`{text}` is no instance"))
                .hint("write GPU:GI or GPU:GI:CI, as in 0:9; `migctl instances` lists them")),
            (_, _) => Ok(Self::Gpus(text.to_owned())),
        }
    }

    /// The places it means on a machine.
    fn places(&self, node: &NodeView) -> Result<Vec<BusyPlace>, Failure> {
        let whole = |gpu| BusyPlace { gpu, gpu_instance: None, compute_instance: None };
        match self {
            Self::Gpus(selector) => {
                let gpus = listed(selector)?.among(&node.gpus)?;
                Ok(gpus.into_iter().map(|gpu| whole(gpu.uuid.clone())).collect())
            }
            Self::Instance { gpu, gpu_instance, compute_instance } => {
                let gpus = listed(gpu)?.among(&node.gpus)?;
                let [gpu] = gpus.as_slice() else {
                    return Err(Failure::usage(format!("{gpu} names {} GPUs", gpus.len()))
                        .hint("an instance is on one GPU: name it by its index"));
                };
                Ok(vec![BusyPlace {
                    gpu: gpu.uuid.clone(),
                    gpu_instance: Some(GpuInstanceId::new(*gpu_instance)),
                    compute_instance: compute_instance.map(ComputeInstanceId::new),
                }])
            }
            Self::Uuid(beginning) => Self::slice(node, beginning),
            Self::Lease(id) => Self::of_lease(node, *id),
        }
    }

    fn slice(node: &NodeView, beginning: &str) -> Result<Vec<BusyPlace>, Failure> {
        let mut found = Vec::new();
        for gpu in &node.gpus {
            for instance in &gpu.instances {
                for part in &instance.compute_instances {
                    let uuid = part.uuid.as_ref().map(|uuid| uuid.as_str().to_ascii_lowercase());
                    if uuid.is_some_and(|uuid| uuid.starts_with(beginning)) {
                        found.push(BusyPlace {
                            gpu: gpu.uuid.clone(),
                            gpu_instance: Some(GpuInstanceId::new(instance.id)),
                            compute_instance: Some(ComputeInstanceId::new(part.id)),
                        });
                    }
                }
            }
        }
        match found.len() {
            1 => Ok(found),
            0 => Err(Failure::usage(format!("no slice has a UUID that begins with {beginning}"))
                .hint("`migctl instances` lists them")),
            count => Err(Failure::usage(format!("{count} slices begin with {beginning}"))
                .hint("write more of the UUID")),
        }
    }

    fn of_lease(node: &NodeView, id: LeaseId) -> Result<Vec<BusyPlace>, Failure> {
        let lease = node.leases.iter().find(|lease| lease.id == id).ok_or_else(|| {
            Failure::usage(format!("there is no lease {id}"))
                .hint("`migctl status` shows the leases")
        })?;
        let slices = lease.slices.iter().map(|slice| BusyPlace {
            gpu: slice.gpu_uuid.clone(),
            gpu_instance: Some(GpuInstanceId::new(slice.gpu_instance)),
            compute_instance: Some(ComputeInstanceId::new(slice.compute_instance)),
        });
        let whole = lease.whole_gpus.iter().map(|gpu| BusyPlace {
            gpu: gpu.uuid.clone(),
            gpu_instance: None,
            compute_instance: None,
        });
        let places: Vec<BusyPlace> = slices.chain(whole).collect();
        if places.is_empty() {
            return Err(Failure::usage(format!("{id} has no slice yet"))
                .hint(format!("`migctl why {id}` says what it waits for")));
        }
        Ok(places)
    }
}

fn listed(text: &str) -> Result<GpuList, Failure> {
    text.parse().map_err(|error: String| Failure::usage(error))
}

/// Runs the verb.
pub(crate) fn run(context: &Context, args: &WhyBusyArgs) -> Result<ExitCode, Failure> {
    let target = args.what.as_deref().map_or(Ok(Target::Gpus("all".into())), Target::parse)?;
    let asked = connect::runtime()?.block_on(async {
        match connect::existing(context).await? {
            Some(client) => ask(context, &client, &target).await.map(Some),
            None => Ok(None),
        }
    })?;
    let views = match asked {
        Some(views) => views,
        None => alone(context, &target)?,
    };
    if context.json() {
        context.output.data(&views)?;
    } else {
        context.output.line(&lines(&views, Page::current()).join("\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn ask(
    context: &Context,
    client: &Client,
    target: &Target,
) -> Result<Vec<BusyView>, Failure> {
    let failed = |error: api::ClientError| Failure::of_client("cannot say who holds it", &error);
    let node = client.node().await.map_err(failed)?;
    let places = match target.places(&node) {
        Ok(places) => places,
        Err(failure) => return unseen(context, target).map_or(Err(failure), |view| Ok(vec![view])),
    };
    let mut views = Vec::new();
    for place in places {
        let id = place.gpu_instance.map(GpuInstanceId::get);
        let part = place.compute_instance.map(ComputeInstanceId::get);
        views.push(client.holders(place.gpu.as_str(), id, part).await.map_err(failed)?);
    }
    Ok(views)
}

/// Without a daemon: what the driver and this user can see.
fn alone(context: &Context, target: &Target) -> Result<Vec<BusyView>, Failure> {
    let what = "cannot say who holds it";
    let source = connect::gpus_here(context, "why-busy")?;
    let node =
        daemon::view_without_daemon(&source).map_err(|error| super::of_daemon(what, &error))?;
    let places = match target.places(&node) {
        Ok(places) => places,
        Err(failure) => return unseen(context, target).map_or(Err(failure), |view| Ok(vec![view])),
    };
    let views = daemon::busy_without_daemon(&source, &places)
        .map_err(|error| super::of_daemon(what, &error))?;
    context.output.detail("migctl: no daemon runs; this is what this user can see");
    let missing = |error: daemon::BusyError| {
        Failure::usage(error.to_string()).hint("`migctl instances` lists them")
    };
    views.into_iter().map(|view| view.map_err(missing)).collect()
}

/// A GPU that no driver of this machine has, because a virtual machine has it.
fn unseen(context: &Context, target: &Target) -> Option<BusyView> {
    let Target::Gpus(text) = target else { return None };
    let pci: PciAddress = text.parse().ok()?;
    let root = context.places().ok()?.host_root();
    if context.url().is_some() {
        return None;
    }
    daemon::busy_passthrough(&root, pci)
}

fn lines(views: &[BusyView], page: Page) -> Vec<String> {
    let mut lines = Vec::new();
    for view in views {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        lines.extend(one(view, page));
    }
    lines
}

fn one(view: &BusyView, page: Page) -> Vec<String> {
    let what = clean(&view.what);
    let hard = view.holders.iter().filter(|holder| holder.in_the_way).count();
    let soft = view.holders.len() - hard;
    let sum = match (hard, soft, view.unseen.is_empty()) {
        (0, 0, true) => format!("nobody holds {what}"),
        (0, 0, false) => format!("nobody is seen to hold {what}"),
        (0, _, _) => format!("nobody is in the way on {what}; {soft} more have the driver open"),
        (_, 0, _) => format!("{what} is held by {hard}"),
        (_, _, _) => format!("{what} is held by {hard}; {soft} more have the driver open"),
    };
    let mut lines = paragraph(&sum, page.width, "", "  ");
    if let Some(first) = lines.first_mut() {
        *first = styled(HEADING, first);
    }
    for holder in &view.holders {
        lines.extend(paragraph(&who(holder), page.width, "  ", "    "));
        for how in &holder.how {
            lines.extend(paragraph(&clean(how), page.width, "    ", "      "));
        }
        if let Some(line) = &holder.command_line {
            let text = format!("runs as: {}", clean(line));
            lines.extend(faint(paragraph(&text, page.width, "    ", "      ")));
        }
        let advice = if holder.in_the_way { "" } else { "not in the way; " };
        let text = format!("-> {advice}{}", clean(&holder.advice));
        lines.extend(paragraph(&text, page.width, "    ", "       "));
    }
    for gap in &view.unseen {
        lines.extend(faint(paragraph(
            &format!("not seen: {}", clean(gap)),
            page.width,
            "  ",
            "    ",
        )));
    }
    lines
}

fn faint(lines: Vec<String>) -> Vec<String> {
    lines.iter().map(|line| styled(FAINT, line)).collect()
}

/// `pid 4711 python of kim, jupyter.service, docker container 0123456789ab, L7, 2,048 MiB`.
fn who(holder: &HolderView) -> String {
    let command = holder.command.as_deref().map(clean);
    let mut text = match (holder.pid, command) {
        (Some(pid), Some(command)) => format!("pid {pid} {command}"),
        (Some(pid), None) => format!("pid {pid}"),
        (None, Some(name)) => name,
        (None, None) => String::from("a lease"),
    };
    if let Some(user) = &holder.user {
        let _ = write!(text, " of {}", clean(user));
    }
    let container = holder.container.as_ref().map(|container| {
        let engine = container.engine.as_deref().unwrap_or("some");
        format!("{engine} container {}", container.id)
    });
    let more = [
        holder.known_as.clone().filter(|known| Some(known) != holder.command.as_ref()),
        holder.unit.clone(),
        container,
        holder.lease.map(|lease| lease.to_string()),
        holder.memory_mib.map(mib),
    ];
    for word in more.into_iter().flatten() {
        let _ = write!(text, ", {}", clean(&word));
    }
    text
}

#[cfg(test)]
#[path = "why_busy_tests.rs"]
mod tests;
