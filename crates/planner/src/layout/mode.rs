//! The steps of a change of MIG mode.
//!
//! Must never reset a GPU whose architecture does not ask for it.

use alloc::vec::Vec;

use model::{GpuSnapshot, MigMode, MigState, Step};

use super::Rules;
use super::impossible::Impossible;
use super::report::{ModeReport, Reset};

/// The first compute capability, major number, whose GPUs change the mode without a reset.
const RESETLESS_FROM: u32 = 9;

/// The steps of a mode change, around whatever is done to instances.
#[derive(Debug, Default)]
pub(super) struct ModeSteps {
    /// Before anything else: a wish that is taken back, because nothing works while one is pending.
    pub(super) first: Vec<Step>,
    /// Once what must go is gone: the change itself.
    pub(super) then: Vec<Step>,
    /// What to tell of it.
    pub(super) report: Option<ModeReport>,
}

impl ModeSteps {
    /// Whether the mode in force changes, for which the GPU must be empty.
    pub(super) const fn changes(&self) -> bool {
        !self.then.is_empty()
    }
}

/// Whether a change of MIG mode comes into force with a reset only.
const fn reset_for(gpu: &GpuSnapshot) -> Reset {
    match gpu.compute_capability {
        Some((RESETLESS_FROM.., _)) => Reset::No,
        Some(_) => Reset::Needed,
        None => Reset::Assumed,
    }
}

/// The steps that bring MIG mode to `wanted`.
///
/// # Errors
/// [`Impossible::NoMig`], [`Impossible::ModeFixed`], [`Impossible::ResetForbidden`].
pub(super) fn mode_steps(
    gpu: &GpuSnapshot,
    wanted: MigMode,
    rules: &Rules,
) -> Result<ModeSteps, Impossible> {
    let MigState::Supported { current, pending } = gpu.mig else {
        return Err(Impossible::NoMig(gpu.uuid.clone()));
    };
    let set = |mode| Step::SetMigMode { gpu: gpu.uuid.clone(), mode };
    if current == wanted && pending == wanted {
        return Ok(ModeSteps::default());
    }
    if !rules.mode {
        return Err(Impossible::ModeFixed(gpu.uuid.clone()));
    }
    let mut steps = ModeSteps::default();
    let mut report = ModeReport { from: gpu.mig, to: wanted, reset: Reset::No };
    if current == wanted {
        steps.first.push(set(wanted));
    } else {
        report.reset = reset_for(gpu);
        if report.reset != Reset::No && !rules.reset {
            return Err(Impossible::ResetForbidden(gpu.uuid.clone()));
        }
        let pending_already = pending == wanted;
        // Instances cannot be destroyed while a change is pending, and a change cannot come into
        // force before they are gone.
        let in_between = pending_already && !gpu.instances.is_empty();
        if in_between {
            steps.first.push(set(current));
        }
        if report.reset == Reset::No || in_between || !pending_already {
            steps.then.push(set(wanted));
        }
        if report.reset != Reset::No {
            steps.then.push(Step::ResetGpu { gpu: gpu.uuid.clone() });
        }
    }
    steps.report = Some(report);
    Ok(steps)
}
