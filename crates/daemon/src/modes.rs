//! What speaks against a change of a GPU's MIG mode on this machine, where machines are virtual or
//! another driver has the GPU.
//!
//! Must never keep anybody from trying: what the driver says counts.

use host::pci::{self, PciFunction};
use model::{GpuSnapshot, Step};

use crate::machine::Machine;

/// What speaks against a change of the mode of a GPU, and what to do instead; `None` if nothing does.
pub(crate) fn against(machine: &Machine, gpu: &GpuSnapshot, needs_reset: bool) -> Option<String> {
    let kind = machine.driver.virtualization(&gpu.uuid).ok().flatten();
    let told = kind.and_then(|kind| kind.against_mode_change(needs_reset));
    told.map(str::to_owned).or_else(|| {
        let function = pci::function(&machine.root, gpu.pci);
        function.as_ref().and_then(PciFunction::why_not_ours)
    })
}

/// What a failure of this step may come from, if it is one that changes a mode.
pub(crate) fn behind(machine: &Machine, gpu: &GpuSnapshot, failed: &Step) -> Option<String> {
    match failed {
        Step::SetMigMode { .. } => against(machine, gpu, true),
        // A reset tells by itself whose GPU it is.
        Step::ResetGpu { .. } => {
            let kind = machine.driver.virtualization(&gpu.uuid).ok().flatten();
            kind.and_then(|kind| kind.against_mode_change(true)).map(str::to_owned)
        }
        Step::DestroyComputeInstance { .. }
        | Step::DestroyGpuInstance { .. }
        | Step::CreateGpuInstance { .. }
        | Step::CreateComputeInstance { .. } => None,
    }
}
