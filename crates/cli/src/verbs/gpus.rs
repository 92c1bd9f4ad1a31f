//! `migctl gpus`: the GPUs of the machine, from its daemon or its driver.
//!
//! Must never start a daemon.

use std::process::ExitCode;

use api::{GpuRowView, GpuView, MigView, NodeView};
use clap::Args;
use driver::GpuExtras;
use model::{GpuSnapshot, Timestamp};

use crate::draw::table::{Side, Table};
use crate::draw::text::{clean, mib};
use crate::draw::{FAINT, Page};
use crate::gpu_list::GpuList;
use crate::output::styled;
use crate::{Context, Failure, connect};

/// Options of `gpus`.
#[derive(Debug, Args)]
#[command(
    about = "List the GPUs",
    long_about = "Lists the GPUs: index, name, memory, MIG mode, slices in use, PCI address and \
                  UUID, and the driver's version. A daemon also says which GPUs are out of use and \
                  why. --json adds the device minor, compute capability, serial number, persistence \
                  mode, and whether a change of MIG mode needs a reset.",
    after_help = "Examples:\n  \
        migctl gpus\n  \
        migctl --simulate hgx-h200 gpus --json"
)]
pub(crate) struct GpusArgs {
    /// Only these GPUs: 0, 0,2, 0-3, a UUID, PCI address or model
    #[arg(long, value_name = "SEL")]
    pub(crate) gpu: Option<GpuList>,
}

/// Runs the verb.
pub(crate) fn run(context: &Context, args: &GpusArgs) -> Result<ExitCode, Failure> {
    let view = read(context)?;
    let gpus = GpuList::chosen(args.gpu.as_ref(), &view.gpus)?;
    if context.json() {
        let known = if context.url().is_some() { Vec::new() } else { asked(context)? };
        let rows: Vec<GpuRowView> = gpus.iter().map(|gpu| row(&view, gpu, &known)).collect();
        context.output.data(&rows)?;
    } else {
        context.output.line(&lines(&view, &gpus, Page::current()).join("\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The machine as its daemon knows it, or as the driver does; without a word about which.
fn read(context: &Context) -> Result<NodeView, Failure> {
    match super::status::known(context)? {
        Some(view) => Ok(view),
        None => daemon::view_without_daemon(&connect::gpus(context)?)
            .map_err(|error| super::of_daemon("cannot read the GPUs", &error)),
    }
}

/// What the driver alone tells of each GPU.
fn asked(context: &Context) -> Result<Vec<(GpuSnapshot, GpuExtras)>, Failure> {
    let what = "cannot read the GPUs";
    let driver = daemon::open_driver(&connect::gpus(context)?)
        .map_err(|error| super::of_daemon(what, &error))?;
    let snapshot =
        driver.snapshot(Timestamp::default()).map_err(|error| Failure::of_driver(what, &error))?;
    let extras = |gpu: GpuSnapshot| {
        // A GPU that cannot be reached tells nothing more; its row says so by its health.
        let extras = driver.gpu_extras(&gpu.uuid).unwrap_or_default();
        (gpu, extras)
    };
    Ok(snapshot.gpus.into_iter().map(extras).collect())
}

fn row(view: &NodeView, gpu: &GpuView, known: &[(GpuSnapshot, GpuExtras)]) -> GpuRowView {
    let told = known.iter().find(|(seen, _)| seen.uuid == gpu.uuid);
    let (seen, extras) = (told.map(|(seen, _)| seen), told.map(|(_, extras)| extras));
    let capability = seen.and_then(|seen| seen.compute_capability);
    GpuRowView {
        index: gpu.index,
        name: gpu.name.clone(),
        uuid: gpu.uuid.to_string(),
        pci: gpu.pci.clone(),
        memory_mib: gpu.memory_mib,
        mig: gpu.mig,
        slices: gpu.instances.len(),
        health: gpu.health.clone(),
        out_of_use: out_of_use(gpu),
        driver_version: view.driver_version.clone(),
        cuda_version: view.cuda_version.clone(),
        minor: seen.map(|seen| seen.minor.get()),
        compute_capability: capability.map(|(major, minor)| format!("{major}.{minor}")),
        serial: extras.and_then(|extras| extras.serial.clone()),
        persistence: extras.and_then(|extras| extras.persistence),
        mode_change_needs_reset: extras.and_then(GpuExtras::mode_change_needs_reset),
    }
}

/// Why a GPU takes no leases, as its daemon says.
fn out_of_use(gpu: &GpuView) -> Option<String> {
    if gpu.maintenance {
        return Some(String::from("under change"));
    }
    if let Some(cordon) = &gpu.cordon {
        let act = if cordon.drain { "drained" } else { "cordoned" };
        let why = if cordon.why.is_empty() { String::new() } else { format!(": {}", cordon.why) };
        return Some(format!("{act} by {}{why}", cordon.by));
    }
    gpu.quarantine.clone()
}

fn lines(view: &NodeView, gpus: &[&GpuView], page: Page) -> Vec<String> {
    let mut table = Table::new([
        ("GPU", Side::Right),
        ("NAME", Side::Left),
        ("MEMORY", Side::Right),
        ("MIG", Side::Left),
        ("SLICES", Side::Right),
        ("PCI", Side::Left),
    ]);
    for gpu in gpus {
        table.row([
            gpu.index.to_string(),
            clean(&gpu.name),
            mib(gpu.memory_mib),
            mode(gpu.mig).to_owned(),
            gpu.instances.len().to_string(),
            gpu.pci.clone(),
        ]);
    }
    let mut drawn = table.lines().into_iter();
    let mut lines: Vec<String> = drawn.next().into_iter().collect();
    for (line, gpu) in drawn.zip(gpus) {
        lines.push(line);
        let mut remarks = String::new();
        let health = Some(&gpu.health).filter(|health| *health != "ok");
        for remark in health.into_iter().chain(out_of_use(gpu).as_ref()) {
            remarks.push_str(page.glyphs.separator());
            remarks.push_str(&clean(remark));
        }
        lines.push(format!("     {}{remarks}", styled(FAINT, gpu.uuid.as_str())));
    }
    let cuda =
        view.cuda_version.as_deref().map_or_else(String::new, |cuda| format!(", CUDA {cuda}"));
    lines.push(format!("driver {}{cuda}", view.driver_version));
    lines
}

pub(super) const fn mode(mig: MigView) -> &'static str {
    match mig {
        MigView::Enabled => "on",
        MigView::Disabled => "off",
        MigView::EnablePending => "off>on",
        MigView::DisablePending => "on>off",
        MigView::Unsupported => "none",
    }
}
