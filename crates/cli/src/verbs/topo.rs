//! `migctl topo`: how GPUs and network cards reach each other, and what MIG does to that.
//!
//! Must never start a daemon, and must never give a slice links.

use std::process::ExitCode;

use api::{LinkView, MarkView, MigView, TopologyDeviceView, TopologyKind, TopologyView};
use clap::Args;
use driver::{GpuPath, Near, TopologyMatrix};
use host::HostRoot;
use host::nics::{Nic, PciPlace, nics, pci_place};
use model::topology::TopologyLevel;
use model::{GpuSnapshot, PciAddress, Timestamp};

use crate::draw::table::{Side, Table};
use crate::draw::text::{clean, paragraph, ranges, width};
use crate::draw::{FAINT, HEADING, Page};
use crate::output::styled;
use crate::{Context, Failure, connect};

/// Options of `topo`.
#[derive(Debug, Args)]
#[command(
    about = "Show how GPUs and network cards reach each other",
    long_about = "Shows the matrix of `nvidia-smi topo -m`: how each GPU reaches the others and \
                  the network cards, which processors and memory lie near it, and what MIG does \
                  to that: a GPU with MIG on has no NVLink, and slices reach nobody peer to peer.",
    after_help = "Examples:\n  \
        migctl topo\n  \
        migctl --simulate dgx-a100 topo --json | jq '.links[0][1].mark'"
)]
pub(crate) struct TopoArgs {}

/// Runs the verb.
pub(crate) fn run(context: &Context, _: &TopoArgs) -> Result<ExitCode, Failure> {
    let what = "cannot read the topology";
    let source = connect::gpus_here(context, "topo")?;
    let driver = daemon::open_driver(&source).map_err(|error| super::of_daemon(what, &error))?;
    let snapshot =
        driver.snapshot(Timestamp::default()).map_err(|error| Failure::of_driver(what, &error))?;
    let matrix = driver.topology().map_err(|error| Failure::of_driver(what, &error))?;
    let view = view(&context.places()?.host_root(), &snapshot.gpus, &matrix);
    if context.json() {
        context.output.data(&view)?;
    } else {
        context.output.line(&lines(&view, Page::current().width).join("\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A row of the matrix, with where it sits.
struct Device {
    shown: TopologyDeviceView,
    /// Its row in the driver's matrix, if it is a GPU.
    row: Option<usize>,
    place: Option<PciPlace>,
}

fn view(root: &HostRoot, gpus: &[GpuSnapshot], matrix: &TopologyMatrix) -> TopologyView {
    let mut devices: Vec<Device> =
        matrix.gpus.iter().enumerate().map(|(row, _)| gpu(root, gpus, matrix, row)).collect();
    devices.extend(nics(root).into_iter().enumerate().map(|(at, card)| nic(at, card)));
    let links = devices
        .iter()
        .map(|from| devices.iter().map(|to| link(matrix, from, to)).collect())
        .collect();
    let shown: Vec<TopologyDeviceView> = devices.into_iter().map(|device| device.shown).collect();
    let notes = notes(&shown);
    TopologyView { devices: shown, links, legend: legend(), notes }
}

fn gpu(root: &HostRoot, gpus: &[GpuSnapshot], matrix: &TopologyMatrix, row: usize) -> Device {
    let uuid = matrix.gpus.get(row);
    let seen = gpus.iter().find(|gpu| Some(&gpu.uuid) == uuid);
    let near = matrix.near.get(row).cloned().unwrap_or_default();
    let Near { cpus, memory_nodes, own_node } = near;
    let list = |numbers: Option<Vec<u32>>| numbers.map(|numbers| ranges(&numbers));
    Device {
        shown: TopologyDeviceView {
            name: format!("GPU{}", seen.map_or(row as u32, |gpu| gpu.index.get())),
            kind: TopologyKind::Gpu,
            label: seen.map_or_else(String::new, |gpu| gpu.name.clone()),
            uuid: uuid.map(ToString::to_string),
            pci: seen.map_or_else(String::new, |gpu| gpu.pci.to_string()),
            mig: seen.map(|gpu| gpu.mig.into()),
            cpu_affinity: list(cpus),
            numa_affinity: list(memory_nodes),
            gpu_numa_id: own_node,
        },
        row: Some(row),
        place: seen.and_then(|gpu| pci_place(root, &function(gpu.pci))),
    }
}

/// The address of a GPU's function as the kernel writes it.
fn function(pci: PciAddress) -> String {
    format!("{:04x}:{:02x}:{:02x}.0", pci.domain, pci.bus, pci.device)
}

fn nic(at: usize, card: Nic) -> Device {
    let names: Vec<&str> = card.rdma.iter().chain(&card.interfaces).map(String::as_str).collect();
    Device {
        shown: TopologyDeviceView {
            name: format!("NIC{at}"),
            kind: TopologyKind::Nic,
            label: names.join(" "),
            uuid: None,
            pci: card.place.address.clone(),
            mig: None,
            cpu_affinity: None,
            numa_affinity: card.place.numa_node.map(|node| node.to_string()),
            gpu_numa_id: None,
        },
        row: None,
        place: Some(card.place),
    }
}

/// Between GPUs the driver's word counts, elsewhere the place on the bus.
fn link(matrix: &TopologyMatrix, from: &Device, to: &Device) -> LinkView {
    if from.shown.name == to.shown.name {
        return LinkView { mark: "X".into(), nvlinks: 0, pcie: None };
    }
    let told = match (from.row, to.row) {
        (Some(row), Some(column)) => {
            matrix.paths.get(row).and_then(|paths| paths.get(column).copied().flatten())
        }
        (_, _) => None,
    };
    let GpuPath { level, nvlinks } = told.unwrap_or_default();
    let pcie = level.or_else(|| Some(by_place(from.place.as_ref()?, to.place.as_ref()?)));
    let pcie = pcie.map(|level| level.mark().to_owned());
    let mark = match nvlinks {
        0 => pcie.clone().unwrap_or_else(|| "?".into()),
        count => format!("NV{count}"),
    };
    LinkView { mark, nvlinks, pcie }
}

fn by_place(from: &PciPlace, to: &PciPlace) -> TopologyLevel {
    TopologyLevel::of_pci_paths(&from.path, &to.path, from.numa_node == to.numa_node)
}

fn legend() -> Vec<MarkView> {
    let mark = |mark: &str, meaning: &str| MarkView { mark: mark.into(), meaning: meaning.into() };
    let mut legend = vec![mark("X", "itself"), mark("NV#", "that many NVLinks, bonded")];
    let levels = TopologyLevel::ALL.iter().rev().filter(|level| **level != TopologyLevel::Internal);
    legend.extend(levels.map(|level| mark(level.mark(), level.words())));
    legend
}

/// What MIG does to the links of this machine.
fn notes(devices: &[TopologyDeviceView]) -> Vec<String> {
    let gpus: Vec<&TopologyDeviceView> =
        devices.iter().filter(|device| device.kind == TopologyKind::Gpu).collect();
    let indices = |on: bool| -> Vec<u32> {
        let is_on =
            |mig: Option<MigView>| matches!(mig, Some(MigView::Enabled | MigView::DisablePending));
        let chosen = gpus.iter().filter(|gpu| is_on(gpu.mig) == on);
        chosen.filter_map(|gpu| gpu.name.strip_prefix("GPU")?.parse().ok()).collect()
    };
    let (on, off) = (indices(true), indices(false));
    if on.is_empty() {
        return vec![String::from(
            "MIG is off on every GPU. Where it is on, NVLink is off and no slice reaches another \
             GPU or slice peer to peer: leave it off for work on several GPUs.",
        )];
    }
    let mut notes = vec![format!(
        "MIG is on on GPU {}: NVLink is off there, and no slice reaches another GPU or slice peer \
         to peer; what runs on several slices talks through the memory of the host.",
        ranges(&on)
    )];
    notes.push(if off.is_empty() {
        String::from(
            "No GPU is left for work on several GPUs: `migctl run --whole-gpu` takes one with MIG \
             off.",
        )
    } else {
        format!("For work on several GPUs: GPU {} (`migctl run --whole-gpu`).", ranges(&off))
    });
    notes
}

/// The columns beside the matrix.
const BESIDE: [(&str, Side); 3] =
    [("CPU AFFINITY", Side::Left), ("NUMA", Side::Left), ("GPU NUMA", Side::Left)];

fn lines(view: &TopologyView, columns: usize) -> Vec<String> {
    let with = matrix(view, true).lines();
    let fits = with.iter().all(|line| width(&plain(line)) <= columns);
    let mut lines = if fits {
        with
    } else {
        let mut lines = matrix(view, false).lines();
        lines.push(String::new());
        lines.extend(affinities(view).lines());
        lines
    };
    let cards = view.devices.iter().filter(|device| device.kind == TopologyKind::Nic);
    let cards: Vec<String> = cards
        .map(|card| format!("  {}: {} ({})", card.name, clean(&card.label), card.pci))
        .collect();
    if !cards.is_empty() {
        lines.push(String::new());
        lines.extend(cards);
    }
    lines.extend([String::new(), styled(HEADING, "Legend")]);
    let mark = |mark: &MarkView| format!("  {:<4} {}", mark.mark, styled(FAINT, &mark.meaning));
    lines.extend(view.legend.iter().map(mark));
    lines.push(String::new());
    for note in &view.notes {
        lines.extend(paragraph(note, columns, "", ""));
    }
    lines
}

fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

fn beside(device: &TopologyDeviceView) -> [String; 3] {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    [
        or_none(device.cpu_affinity.clone()),
        or_none(device.numa_affinity.clone()),
        or_none(device.gpu_numa_id.map(|node| node.to_string())),
    ]
}

fn matrix(view: &TopologyView, with_affinities: bool) -> Table {
    let mut table = Table::new([("", Side::Left)]);
    for device in &view.devices {
        table.column(device.name.clone(), Side::Left);
    }
    if with_affinities {
        for (title, side) in BESIDE {
            table.column(title.to_owned(), side);
        }
    }
    for (device, links) in view.devices.iter().zip(&view.links) {
        let mut cells = vec![device.name.clone()];
        cells.extend(links.iter().map(|link| link.mark.clone()));
        if with_affinities {
            cells.extend(beside(device));
        }
        table.row(cells);
    }
    table
}

fn affinities(view: &TopologyView) -> Table {
    let mut table = Table::new([("", Side::Left)]);
    for (title, side) in BESIDE {
        table.column(title.to_owned(), side);
    }
    for device in &view.devices {
        let mut cells = vec![device.name.clone()];
        cells.extend(beside(device));
        table.row(cells);
    }
    table
}

#[cfg(test)]
#[path = "topo_tests.rs"]
mod tests;
