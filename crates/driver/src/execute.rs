//! Executing one step of a plan, exactly.
//!
//! Must never destroy an instance that is not the one the step describes: ids are reused at once.

use model::{
    ComputeInstanceId, ComputeInstanceProfileId, GpuInstanceId, GpuInstanceProfileId, GpuUuid,
    MigMode, MigState, Placement, Step,
};

use crate::driver::Driver;
use crate::error::DriverError;
use crate::instances::{compute_instance, gpu_instance};
use crate::outcome::Outcome;
use crate::snapshot::mig_mode;

impl Driver {
    /// Executes a step and says what it made. [`crate::undo`] gives the step that takes it back.
    ///
    /// # Errors
    /// [`DriverError::Changed`] if the instances the step names are not what it expects (nothing was
    /// changed then), [`DriverError::NotNvml`] for a reset, else what the single operations give.
    pub fn execute(&self, step: &Step) -> Result<Outcome, DriverError> {
        match step {
            Step::SetMigMode { gpu, mode } => self.execute_mode(gpu, *mode),
            Step::ResetGpu { .. } => Err(DriverError::NotNvml { operation: step.to_string() }),
            Step::DestroyComputeInstance {
                gpu,
                gpu_instance,
                at,
                compute_instance,
                profile,
                placement,
            } => {
                self.expect_gpu_instance(step, gpu, *gpu_instance, None, *at)?;
                let place = (*profile, *placement);
                self.expect_compute(step, gpu, *gpu_instance, *compute_instance, place)?;
                self.destroy_compute_instance(gpu, *gpu_instance, *compute_instance)?;
                Ok(Outcome::ComputeInstanceDestroyed)
            }
            Step::DestroyGpuInstance { gpu, gpu_instance, profile, placement } => {
                self.expect_gpu_instance(step, gpu, *gpu_instance, Some(*profile), *placement)?;
                self.destroy_gpu_instance(gpu, *gpu_instance)?;
                Ok(Outcome::GpuInstanceDestroyed)
            }
            Step::CreateGpuInstance { gpu, profile, placement } => {
                let id = self.create_gpu_instance(gpu, *profile, *placement)?;
                Ok(Outcome::GpuInstanceCreated { id })
            }
            Step::CreateComputeInstance { gpu, at, profile, placement } => {
                let change = self.change(gpu, words(step, gpu))?;
                let Some(instance) = self.instance_at(&change, *at)? else {
                    return Err(change.changed(format!("no GPU instance lies at {at}")));
                };
                let made =
                    self.create_compute_instance(gpu, instance.id, *profile, Some(*placement))?;
                Ok(Outcome::ComputeInstanceCreated {
                    gpu_instance: instance.id,
                    id: made.id,
                    uuid: made.uuid,
                })
            }
        }
    }

    fn execute_mode(&self, gpu: &GpuUuid, mode: MigMode) -> Result<Outcome, DriverError> {
        let change = self.change(gpu, "read MIG mode".into())?;
        let state = change.checked(mig_mode(change.symbols(), change.device))?;
        let before = match state {
            MigState::Supported { pending, .. } => pending,
            // Setting it fails with the driver's own words.
            MigState::Unsupported => MigMode::Disabled,
        };
        let change = self.set_mig_mode(gpu, mode)?;
        Ok(Outcome::MigMode { before, change })
    }

    /// Refuses unless the GPU instance is what the step says.
    fn expect_gpu_instance(
        &self,
        step: &Step,
        gpu: &GpuUuid,
        id: GpuInstanceId,
        profile: Option<GpuInstanceProfileId>,
        placement: Placement,
    ) -> Result<(), DriverError> {
        let change = self.change(gpu, words(step, gpu))?;
        let geometry = self.geometry_of(gpu)?;
        let found = gpu_instance(change.symbols(), change.device, geometry.as_deref(), id);
        let found = change.checked(found)?;
        if found.placement == placement && profile.is_none_or(|profile| profile == found.profile) {
            return Ok(());
        }
        Err(change.changed(format!(
            "GPU instance {id} is now of profile {} at {}",
            found.profile, found.placement
        )))
    }

    /// Refuses unless the compute instance is what the step says.
    fn expect_compute(
        &self,
        step: &Step,
        gpu: &GpuUuid,
        instance: GpuInstanceId,
        id: ComputeInstanceId,
        (profile, placement): (ComputeInstanceProfileId, Placement),
    ) -> Result<(), DriverError> {
        let change = self.change(gpu, words(step, gpu))?;
        let geometry = self.geometry_of(gpu)?;
        let instance = gpu_instance(change.symbols(), change.device, geometry.as_deref(), instance);
        let instance = change.checked(instance)?;
        let found = compute_instance(change.symbols(), &instance, geometry.as_deref(), id);
        let found = change.checked(found)?;
        if found.placement == placement && found.profile == profile {
            return Ok(());
        }
        Err(change.changed(format!(
            "compute instance {id} is now of profile {} at {}",
            found.profile, found.placement
        )))
    }
}

/// The step in words without its GPU, which the error names itself.
fn words(step: &Step, gpu: &GpuUuid) -> String {
    let text = step.to_string();
    let end = format!(" on {gpu}");
    text.strip_suffix(&end).map(str::to_owned).unwrap_or(text)
}
