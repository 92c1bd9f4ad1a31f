//! The driver and the GPUs: versions, health, MIG mode, persistence, resets, virtual machines.
//!
//! Must never call a board too new or too old that the catalog does not know.

use api::Severity::{Error, Info, Ok as Fine, Warn};
use driver::Virtualization;
use host::{HostRoot, pci, preflight};
use model::{Health, MigMode, MigState, catalog};

use super::gather::{Driver, Evidence, Gpu};
use super::{Findings, More as _, finding, version};

/// The first driver with MIG.
const FIRST_DRIVER: &str = "450.80.02";
/// The first CUDA with MIG, as NVML writes versions.
const FIRST_CUDA: u32 = 11_000;

pub(super) fn all(evidence: &Evidence) -> Findings {
    let driver = match &evidence.driver {
        Ok(driver) => driver,
        Err(why) => {
            let mut findings = vec![
                finding("driver-loaded", Error, format!("the driver does not answer: {why}")).mend(
                    "install NVIDIA's driver, or `modprobe nvidia`; `nvidia-smi` shows whether it works",
                ),
            ];
            findings.extend(others_gpus(&evidence.tree));
            return findings;
        }
    };
    let mut findings = vec![finding(
        "driver-loaded",
        Fine,
        format!("driver {} answers and has {} GPUs", driver.versions.driver, driver.gpus.len()),
    )];
    findings.extend(driver_version(driver));
    findings.push(cuda_version(driver));
    findings.extend(capable(driver));
    for gpu in &driver.gpus {
        findings.extend(health(gpu));
        findings.extend(mode(gpu, &evidence.tree));
        findings.extend(persistence(gpu));
        findings.extend(reset(gpu, &evidence.tree));
        findings.extend(virtual_gpu(gpu));
    }
    findings.extend(others_gpus(&evidence.tree));
    findings.extend(evidence.system.as_ref().and_then(|root| guest(driver, root)));
    findings
}

/// The number in `R570 (>= 570.133.20)`, else the branch.
fn first_of(text: &str) -> &str {
    let inside = text.split_once(">= ").map(|(_, rest)| rest);
    let number = inside.and_then(|rest| rest.split(')').next());
    number.unwrap_or_else(|| text.trim_start_matches('R').split(' ').next().unwrap_or(text))
}

/// The driver against what each board here needs.
fn driver_version(driver: &Driver) -> Findings {
    let own = version(&driver.versions.driver);
    let mut needs: Vec<(String, String)> = vec![("MIG".into(), FIRST_DRIVER.into())];
    for gpu in &driver.gpus {
        let mut boards = catalog::all_by_pci(gpu.seen.pci_device_id, gpu.seen.pci_subsystem_id);
        let board = catalog::by_nvml_name(&gpu.seen.name).or_else(|| boards.next());
        let Some(board) = board else { continue };
        let Some(first) = board.min_driver else { continue };
        let need = (board.title.to_owned(), first_of(first).to_owned());
        if !needs.contains(&need) {
            needs.push(need);
        }
    }
    let old: Vec<String> = needs
        .iter()
        .filter(|(_, first)| own < version(first))
        .map(|(what, first)| format!("{what} needs {first}"))
        .collect();
    let current = &driver.versions.driver;
    if old.is_empty() {
        let latest = needs.iter().map(|(_, first)| first).max_by_key(|first| version(first));
        let needed = latest.map_or("", String::as_str);
        return vec![finding(
            "driver-version",
            Fine,
            format!("driver {current}; {needed} is needed"),
        )];
    }
    let words = format!("driver {current} is too old: {}", old.join(", "));
    vec![finding("driver-version", Error, words).mend("install a newer driver of NVIDIA's")]
}

fn cuda_version(driver: &Driver) -> api::FindingView {
    match driver.versions.cuda {
        None => finding("cuda-version", Info, "the driver does not tell its CUDA version"),
        Some(cuda) if cuda < FIRST_CUDA => {
            let words = format!("the driver's CUDA is {}; MIG needs 11", dotted(cuda));
            finding("cuda-version", Error, words).mend("install a newer driver of NVIDIA's")
        }
        Some(cuda) => finding("cuda-version", Fine, format!("CUDA {}; 11 is needed", dotted(cuda))),
    }
}

fn dotted(cuda: u32) -> String {
    format!("{}.{}", cuda / 1000, cuda % 1000 / 10)
}

fn capable(driver: &Driver) -> Findings {
    let can = driver.gpus.iter().filter(|gpu| gpu.seen.mig != MigState::Unsupported).count();
    let all = driver.gpus.len();
    vec![match (can, all) {
        (0, 0) => finding("mig-capable", Error, "the driver has no GPU").mend(
            "`lspci -d 10de:` shows whether the machine has one; `dmesg` why it is not taken",
        ),
        (0, _) => finding("mig-capable", Warn, "no GPU here can do MIG: only whole GPUs are lent"),
        (_, _) if can < all => {
            finding("mig-capable", Info, format!("{can} of {all} GPUs can do MIG"))
        }
        (_, _) => finding("mig-capable", Fine, format!("every GPU ({all}) can do MIG")),
    }]
}

fn health(gpu: &Gpu) -> Findings {
    let index = gpu.seen.index.get();
    let words = format!("GPU {index}: {}", gpu.seen.health);
    let finding = match &gpu.seen.health {
        Health::Ok => return Findings::new(),
        Health::Lost => finding("gpu-health", Error, words)
            .mend("look into `dmesg` for Xid; power the machine off and on again"),
        Health::ResetRequired => finding("gpu-health", Error, words)
            .mend(format!("empty it, then `nvidia-smi --gpu-reset -i {index}`")),
        Health::Failing(_) => finding("gpu-health", Error, words)
            .mend(format!("`migctl gpu cordon {index}`, and look into `dmesg` for Xid")),
    };
    vec![finding.on(index)]
}

/// A mode that waits for a reset.
fn mode(gpu: &Gpu, tree: &HostRoot) -> Findings {
    let index = gpu.seen.index.get();
    let MigState::Supported { current, pending } = gpu.seen.mig else { return Findings::new() };
    if current == pending {
        let word = if current == MigMode::Enabled { "on" } else { "off" };
        return vec![finding("mig-mode", Fine, format!("GPU {index}: MIG is {word}")).on(index)];
    }
    let word = if pending == MigMode::Enabled { "on" } else { "off" };
    let words = format!("GPU {index}: MIG will be {word} after a reset, which has not been made");
    let mend = if resets(gpu, tree) {
        format!(
            "`migctl why-busy {index}`, end what holds it, then `nvidia-smi --gpu-reset -i {index}`"
        )
    } else {
        String::from("reboot the machine: this GPU cannot be reset alone")
    };
    vec![finding("mig-mode", Warn, words).mend(mend).on(index)]
}

fn resets(gpu: &Gpu, tree: &HostRoot) -> bool {
    pci::resets(tree, gpu.seen.pci)
}

/// Whether a mode change here needs a reset; unknown counts as yes.
fn needs_reset(gpu: &Gpu) -> bool {
    gpu.extras.mode_change_needs_reset().unwrap_or(true)
}

/// Without persistence the driver unloads when nobody looks: MIG mode goes with it from Hopper on.
fn persistence(gpu: &Gpu) -> Findings {
    let index = gpu.seen.index.get();
    if gpu.seen.mig == MigState::Unsupported {
        return Findings::new();
    }
    let found = match gpu.extras.persistence {
        None => finding("persistence", Info, format!("GPU {index} does not tell its persistence mode")),
        Some(true) => finding("persistence", Fine, format!("GPU {index}: persistence mode is on")),
        Some(false) if needs_reset(gpu) => finding(
            "persistence",
            Info,
            format!("GPU {index}: persistence mode is off; the first program after a pause waits for the driver"),
        )
        .mend("`systemctl enable --now nvidia-persistenced`"),
        Some(false) => finding(
            "persistence",
            Warn,
            format!("GPU {index}: persistence mode is off; MIG mode and every slice go when the driver unloads"),
        )
        .mend("`systemctl enable --now nvidia-persistenced`"),
    };
    vec![found.on(index)]
}

fn reset(gpu: &Gpu, tree: &HostRoot) -> Findings {
    let index = gpu.seen.index.get();
    if gpu.seen.mig == MigState::Unsupported {
        return Findings::new();
    }
    let found = match (resets(gpu, tree), needs_reset(gpu)) {
        (true, _) => finding("reset", Fine, format!("GPU {index} can be reset alone")),
        (false, false) => finding(
            "reset",
            Info,
            format!("GPU {index} cannot be reset alone; a change of MIG mode does not need it"),
        ),
        (false, true) => finding(
            "reset",
            Warn,
            format!("GPU {index} cannot be reset alone: a change of MIG mode takes a reboot"),
        )
        .mend(
            "change the mode when the machine may be rebooted; in a virtual machine, on its host",
        ),
    };
    vec![found.on(index)]
}

fn virtual_gpu(gpu: &Gpu) -> Findings {
    let index = gpu.seen.index.get();
    let Some(kind) = gpu.virtualization else { return Findings::new() };
    let words = match kind {
        Virtualization::None | Virtualization::Unknown(_) => return Findings::new(),
        Virtualization::Passthrough => "is handed through to this virtual machine",
        Virtualization::VgpuGuest => "is a share of a GPU (vGPU): MIG is its host's",
        Virtualization::VgpuHost => "is shared with virtual machines (vGPU)",
    };
    let against = kind.against_mode_change(needs_reset(gpu));
    let severity = if against.is_some() { Warn } else { Info };
    let found = finding("virtual", severity, format!("GPU {index} {words}")).on(index);
    vec![match against {
        Some(why) => found.mend(why),
        None => found,
    }]
}

/// GPUs that NVIDIA's driver does not have, and those that virtual machines share.
fn others_gpus(tree: &HostRoot) -> Findings {
    let mut findings = Findings::new();
    for function in pci::gpus(tree) {
        let Some(pci) = function.address() else { continue };
        match function.driver.as_deref() {
            Some("nvidia") => {}
            Some(driver) if driver.starts_with("vfio") => findings.push(
                finding(
                    "passthrough",
                    Info,
                    format!("the GPU at {pci} is a virtual machine's ({driver})"),
                )
                .mend(format!("`migctl why-busy {pci}` names the machine")),
            ),
            Some(driver) => findings.push(
                finding("passthrough", Warn, format!("the GPU at {pci} is bound to {driver}"))
                    .mend(format!("blacklist {driver} and reboot")),
            ),
            None => findings.push(
                finding("passthrough", Warn, format!("no driver has the GPU at {pci}"))
                    .mend("`dmesg | grep -i nvrm` says why"),
            ),
        }
        if function.shares > 0 || function.mediated {
            findings.push(
                finding("vgpu", Warn, format!("virtual machines share the GPU at {pci} (vGPU)"))
                    .mend("leave its layout to the hypervisor's tools"),
            );
        }
    }
    findings
}

/// An Ampere GPU in a virtual machine cannot be reset from inside.
fn guest(driver: &Driver, root: &HostRoot) -> Option<api::FindingView> {
    let name = preflight::hypervisor(root)?;
    let told = driver
        .gpus
        .iter()
        .any(|gpu| gpu.virtualization.is_some_and(|kind| kind != Virtualization::None));
    let words = format!("this is a virtual machine ({name})");
    (!told).then(|| finding("virtual", Info, words))
}

#[cfg(test)]
#[path = "driver_tests.rs"]
mod tests;
