//! One step: the driver call, or the reset, and what came of it.
//!
//! Must never hide what a failed step left behind.

use std::error::Error;

use broker::StepOutcome;
use driver::{DriverError, ModeChange, NvmlReturn, Outcome};
use model::{GpuSnapshot, Health, NodeSnapshot, Step};

use crate::Machine;

/// How often it is tried to close the NVML session before a reset is given up.
const CLOSING_TRIES: u32 = 50;

pub(crate) type Failed = Box<dyn Error + Send + Sync>;

/// Does a step. `then` is the step that follows it: a mode that waits for a reset is well if that is
/// what comes next. `last` is what the step before came to: a reset for a mode that is in force by
/// then (drivers reset by themselves where nobody is in the way) is left out.
pub(crate) fn perform(
    machine: &dyn Machine,
    before: &NodeSnapshot,
    step: &Step,
    then: Option<&Step>,
    last: Option<&StepOutcome>,
) -> Result<StepOutcome, Failed> {
    if let Step::ResetGpu { gpu } = step {
        if matches!(last, Some(StepOutcome::ModeSet(_))) {
            return Ok(StepOutcome::ResetNotNeeded);
        }
        let gpu = before.gpu(gpu).ok_or("the GPU is not on this machine")?;
        reset(machine, gpu)?;
        return Ok(StepOutcome::Reset);
    }
    let outcome = machine.driver().execute(step)?;
    if let (
        Step::SetMigMode { gpu, mode },
        Outcome::MigMode { change: ModeChange::Pending { .. }, .. },
    ) = (step, &outcome)
        && matches!(then, Some(Step::ResetGpu { gpu: next }) if next == gpu)
    {
        return Ok(StepOutcome::ModePending(*mode));
    }
    translate(step, outcome)
}

/// What a failed step left in the driver all the same, or may have left, so that it is ours to undo.
pub(crate) fn what_stands(
    machine: &dyn Machine,
    step: &Step,
    error: &Failed,
) -> Option<StepOutcome> {
    let error = error.downcast_ref::<DriverError>()?;
    let in_doubt = if let DriverError::Unverified { stands, .. } = error {
        *stands
    } else {
        error.nvml_return().is_some_and(NvmlReturn::leaves_doubt)
    };
    if !in_doubt {
        return None;
    }
    match step {
        Step::CreateGpuInstance { gpu, profile, placement } => {
            let seen =
                machine.driver().gpu_snapshot(gpu).ok().filter(|gpu| gpu.health == Health::Ok);
            let Some(seen) = seen else { return Some(StepOutcome::Unsure) };
            let instance =
                seen.instance_at(*placement).filter(|found| found.profile == *profile)?;
            Some(StepOutcome::GpuInstanceCreated(instance.id))
        }
        Step::DestroyComputeInstance { .. } | Step::DestroyGpuInstance { .. } => {
            Some(StepOutcome::Unsure)
        }
        // A mode is read again with the GPU, and a compute instance goes with its GPU instance.
        Step::SetMigMode { .. } | Step::ResetGpu { .. } | Step::CreateComputeInstance { .. } => {
            None
        }
    }
}

/// Resets a GPU with persistence mode off, which keeps it from being reset, and on again after.
fn reset(machine: &dyn Machine, gpu: &GpuSnapshot) -> Result<(), Failed> {
    let driver = machine.driver();
    let uuid = &gpu.uuid;
    // A GPU that wants a reset may answer nothing else; whoever resets it tells what is in the way.
    let persistent = driver.persistence(uuid).ok().flatten() == Some(true)
        && driver.set_persistence(uuid, false).is_ok();
    let result = reset_unheld(machine, gpu);
    if persistent && let Err(error) = driver.set_persistence(uuid, true) {
        let why = chain(&error);
        machine.warn(&format!("persistence mode of GPU {uuid} stays off after its reset: {why}"));
    }
    result
}

/// Resets a GPU with our own NVML session closed: an open one is a client like any other, and keeps
/// the GPU from being reset.
fn reset_unheld(machine: &dyn Machine, gpu: &GpuSnapshot) -> Result<(), Failed> {
    let driver = machine.driver();
    let mut closed = driver.close();
    for _ in 0..CLOSING_TRIES {
        // Looks that are under way end by themselves.
        if closed.is_ok() {
            break;
        }
        machine.pause();
        closed = driver.close();
    }
    let result = match closed {
        Ok(()) => machine.reset().reset(gpu).map_err(Failed::from),
        Err(error) => Err(error.into()),
    };
    driver.reopen()?;
    result
}

fn translate(step: &Step, outcome: Outcome) -> Result<StepOutcome, Failed> {
    Ok(match outcome {
        Outcome::MigMode { change: ModeChange::Active, .. } => match step {
            Step::SetMigMode { mode, .. } => StepOutcome::ModeSet(*mode),
            Step::ResetGpu { .. }
            | Step::DestroyComputeInstance { .. }
            | Step::DestroyGpuInstance { .. }
            | Step::CreateGpuInstance { .. }
            | Step::CreateComputeInstance { .. } => {
                return Err("the driver answered another step than was asked".into());
            }
        },
        Outcome::MigMode { change: ModeChange::Pending { reason }, .. } => {
            return Err(format!(
                "the mode is accepted but not in force ({reason}); the GPU must be reset"
            )
            .into());
        }
        Outcome::GpuInstanceCreated { id } => StepOutcome::GpuInstanceCreated(id),
        Outcome::ComputeInstanceCreated { id, uuid: Some(uuid), .. } => {
            StepOutcome::ComputeInstanceCreated { id, uuid }
        }
        Outcome::ComputeInstanceCreated { uuid: None, .. } => {
            return Err("the driver made a MIG device and does not tell its UUID".into());
        }
        Outcome::ComputeInstanceDestroyed | Outcome::GpuInstanceDestroyed => StepOutcome::Destroyed,
    })
}

/// An error with all its causes, one after the other.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !words.contains(&text) {
            words = format!("{words}: {text}");
        }
        cause = error.source();
    }
    words
}
