//! `migctl gpus`: the GPUs of the machine, from the driver.
//!
//! Must never start a daemon.

use std::process::ExitCode;

use api::{GpuView, MigView, NodeView};
use clap::Args;
use serde::Serialize;

use crate::draw::table::{Side, Table};
use crate::draw::text::{clean, mib};
use crate::draw::{FAINT, Glyphs, Page};
use crate::output::styled;
use crate::session::wish::gpu_text;
use crate::{Context, Failure, connect};

/// Options of `gpus`.
#[derive(Debug, Args)]
#[command(
    about = "List the GPUs",
    long_about = "Lists the GPUs: index, name, memory, MIG mode, slices in use, PCI address and \
                  UUID, and the driver's version.",
    after_help = "Examples:\n  \
        migctl gpus\n  \
        migctl --simulate hgx-h200 gpus --json"
)]
pub(crate) struct GpusArgs {
    /// Only these GPUs (index, UUID, PCI address or model)
    #[arg(long, value_name = "SEL", value_parser = gpu_text)]
    pub(crate) gpu: Option<String>,
}

/// A GPU as JSON.
#[derive(Debug, Serialize)]
struct GpuRow<'v> {
    index: u32,
    name: &'v str,
    uuid: &'v str,
    pci: &'v str,
    memory_mib: u64,
    mig: MigView,
    slices: usize,
    health: &'v str,
    driver_version: &'v str,
    cuda_version: Option<&'v str>,
}

/// Runs the verb.
pub(crate) fn run(context: &Context, args: &GpusArgs) -> Result<ExitCode, Failure> {
    let view = daemon::view_without_daemon(&connect::gpus(context)?)
        .map_err(|error| super::of_daemon("cannot read the GPUs", &error))?;
    let gpus = super::status::select(&view, args.gpu.as_deref())?;
    if context.json() {
        let rows: Vec<GpuRow<'_>> = gpus.iter().map(|gpu| json(&view, gpu)).collect();
        context.output.data(&rows)?;
    } else {
        context.output.line(&lines(&view, &gpus, Page::current()).join("\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn json<'v>(view: &'v NodeView, gpu: &'v GpuView) -> GpuRow<'v> {
    GpuRow {
        index: gpu.index,
        name: &gpu.name,
        uuid: gpu.uuid.as_str(),
        pci: &gpu.pci,
        memory_mib: gpu.memory_mib,
        mig: gpu.mig,
        slices: gpu.instances.len(),
        health: &gpu.health,
        driver_version: &view.driver_version,
        cuda_version: view.cuda_version.as_deref(),
    }
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
        let health = match (gpu.health.as_str(), page.glyphs) {
            ("ok", _) => String::new(),
            (health, Glyphs::Unicode) => format!(" · {}", clean(health)),
            (health, Glyphs::Ascii) => format!(", {}", clean(health)),
        };
        lines.push(format!("     {}{health}", styled(FAINT, gpu.uuid.as_str())));
    }
    let cuda =
        view.cuda_version.as_deref().map_or_else(String::new, |cuda| format!(", CUDA {cuda}"));
    lines.push(format!("driver {}{cuda}", view.driver_version));
    lines
}

const fn mode(mig: MigView) -> &'static str {
    match mig {
        MigView::Enabled => "on",
        MigView::Disabled => "off",
        MigView::EnablePending => "off>on",
        MigView::DisablePending => "on>off",
        MigView::Unsupported => "none",
    }
}
