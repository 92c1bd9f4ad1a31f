//! What speaks against a change of a GPU's MIG mode on this machine, where machines are virtual or
//! another driver has the GPU.
//!
//! Must never keep anybody from trying: what the driver says counts.

use api::{HoldView, HolderView};
use broker::Peer;
use host::pci::{self, PciFunction};
use model::{GpuSnapshot, Step, Uid, UnitName};

use crate::busy::{self, BusyPlace, Scene};
use crate::machine::Machine;
use crate::published::Published;

/// The daemon that keeps GPUs awake: its process has GPUs open as long as persistence mode is on. The
/// kernel keeps fifteen characters of a name.
const PERSISTENCE: &str = "nvidia-persiste";

/// What speaks against a change of the mode of a GPU, and what to do instead; `None` if nothing does.
pub(crate) fn against(machine: &Machine, gpu: &GpuSnapshot, needs_reset: bool) -> Option<String> {
    let kind = machine.driver.virtualization(&gpu.uuid).ok().flatten();
    let told = kind.and_then(|kind| kind.against_mode_change(needs_reset));
    told.map(str::to_owned).or_else(|| {
        let function = pci::function(&machine.root, gpu.pci);
        function.as_ref().and_then(PciFunction::why_not_ours)
    })
}

/// What a failure of this step may come from, if it is one that changes a mode: what speaks against it
/// here, and who holds the GPU.
pub(crate) fn behind(
    machine: &Machine,
    published: &Published,
    gpu: &GpuSnapshot,
    failed: &Step,
) -> Option<String> {
    if !matches!(failed, Step::SetMigMode { .. } | Step::ResetGpu { .. }) {
        return None;
    }
    let words: Vec<String> =
        against(machine, gpu, true).into_iter().chain(held(machine, published, gpu)).collect();
    (!words.is_empty()).then(|| words.join("; "))
}

/// Who is in the way of a mode change or a reset, in words.
fn held(machine: &Machine, published: &Published, gpu: &GpuSnapshot) -> Option<String> {
    let names = holders(machine, published, gpu, &[]);
    (!names.is_empty()).then(|| sentence(gpu, &names))
}

/// That somebody holds a GPU, and what to do.
pub(crate) fn sentence(gpu: &GpuSnapshot, names: &[String]) -> String {
    let (index, names) = (gpu.index, names.join(", "));
    format!(
        "GPU {index} is held by {names}; migd ends nobody (`migctl why-busy {index}` tells what to do)"
    )
}

/// Programs that keep the mode of a GPU from being changed, beside those of units that are stopped for
/// it. The driver may not list them: a monitor only has the GPU open.
pub(crate) fn holders(
    machine: &Machine,
    published: &Published,
    gpu: &GpuSnapshot,
    stopping: &[UnitName],
) -> Vec<String> {
    let folder = machine.simulated.as_ref().and_then(|_| machine.root.as_path().parent());
    let invented = busy::invented(folder).unwrap_or_default();
    // The words go into the journal, which everybody may read: no arguments of programs.
    let by = Peer { uid: Uid::new(u32::MAX), admin: false };
    let scene = Scene {
        observed: &published.observed,
        state: &published.state,
        root: &machine.root,
        invented: &invented,
        by,
    };
    let place = BusyPlace { gpu: gpu.uuid.clone(), gpu_instance: None, compute_instance: None };
    let Ok(found) = busy::look(&scene, &place) else { return Vec::new() };
    let caller = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().cast_unsigned());
    let in_the_way = |holder: &&HolderView| {
        let stops = |name: Option<&String>| {
            name.is_some_and(|name| stopping.iter().any(|unit| unit.as_str() == name))
        };
        let program = holder.pid.is_some() || holder.holds.contains(&HoldView::Invented);
        // Turning persistence mode off makes it let go.
        let persistence = holder.command.as_deref().is_some_and(|name| name == PERSISTENCE);
        holder.in_the_way
            && program
            && !persistence
            // Whoever has a daemon for one command looks at the GPUs itself.
            && (holder.pid.is_none() || holder.pid != caller)
            && !stops(holder.unit.as_ref())
            && !stops(holder.command.as_ref())
    };
    found.holders.iter().filter(in_the_way).map(name).collect()
}

fn name(holder: &HolderView) -> String {
    let command = holder.command.as_deref().unwrap_or("a process");
    let pid = holder.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
    let unit = holder.unit.as_ref().map(|unit| format!(" of {unit}")).unwrap_or_default();
    format!("{command}{pid}{unit}")
}
