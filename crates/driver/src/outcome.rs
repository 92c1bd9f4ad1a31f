//! What executed steps made, as data, and the steps that take it back.
//!
//! Must never ask the driver: undoing is decided from the step and its outcome alone.

use model::{ComputeInstanceId, GpuInstanceId, MigMode, MigUuid, Placement, Step};
use serde::{Deserialize, Serialize};

use crate::returns::NvmlReturn;

/// What became of a wish to change MIG mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModeChange {
    /// The mode is in force.
    Active,
    /// The wish is recorded and comes into force with the next reset.
    Pending {
        /// Why it is not in force, as the driver says: in use, reset required.
        reason: NvmlReturn,
    },
}

/// A compute instance that was made, and with it a MIG device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatedCompute {
    /// Its id inside its GPU instance.
    pub id: ComputeInstanceId,
    /// UUID of the MIG device; `None` if the driver did not tell.
    pub uuid: Option<MigUuid>,
    /// Where it lies, in compute slices of its GPU instance.
    pub placement: Placement,
}

/// What executing one [`Step`] did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// MIG mode was set.
    MigMode {
        /// The mode that was wished for before (the pending one).
        before: MigMode,
        /// Whether the new one is in force.
        change: ModeChange,
    },
    /// A GPU instance was made.
    GpuInstanceCreated {
        /// Its id.
        id: GpuInstanceId,
    },
    /// A compute instance was made.
    ComputeInstanceCreated {
        /// In which GPU instance.
        gpu_instance: GpuInstanceId,
        /// Its id.
        id: ComputeInstanceId,
        /// UUID of the MIG device; `None` if the driver did not tell.
        uuid: Option<MigUuid>,
    },
    /// The compute instance is gone.
    ComputeInstanceDestroyed,
    /// The GPU instance is gone.
    GpuInstanceDestroyed,
}

/// The step that undoes `step`, which ended with `outcome`; `None` where there is nothing to undo
/// (the mode was that already), nothing can undo it (a reset), or the two do not belong together.
pub fn undo(step: &Step, outcome: &Outcome) -> Option<Step> {
    match (step, outcome) {
        (Step::SetMigMode { gpu, mode }, Outcome::MigMode { before, .. }) if mode != before => {
            Some(Step::SetMigMode { gpu: gpu.clone(), mode: *before })
        }
        (
            Step::CreateGpuInstance { gpu, profile, placement },
            Outcome::GpuInstanceCreated { id },
        ) => Some(Step::DestroyGpuInstance {
            gpu: gpu.clone(),
            gpu_instance: *id,
            profile: *profile,
            placement: *placement,
        }),
        (
            Step::CreateComputeInstance { gpu, at, profile, placement },
            Outcome::ComputeInstanceCreated { gpu_instance, id, .. },
        ) => Some(Step::DestroyComputeInstance {
            gpu: gpu.clone(),
            gpu_instance: *gpu_instance,
            at: *at,
            compute_instance: *id,
            profile: *profile,
            placement: *placement,
        }),
        (
            Step::DestroyGpuInstance { gpu, profile, placement, .. },
            Outcome::GpuInstanceDestroyed,
        ) => Some(Step::CreateGpuInstance {
            gpu: gpu.clone(),
            profile: *profile,
            placement: *placement,
        }),
        (
            Step::DestroyComputeInstance { gpu, at, profile, placement, .. },
            Outcome::ComputeInstanceDestroyed,
        ) => Some(Step::CreateComputeInstance {
            gpu: gpu.clone(),
            at: *at,
            profile: *profile,
            placement: *placement,
        }),
        (
            Step::SetMigMode { .. }
            | Step::ResetGpu { .. }
            | Step::CreateGpuInstance { .. }
            | Step::CreateComputeInstance { .. }
            | Step::DestroyGpuInstance { .. }
            | Step::DestroyComputeInstance { .. },
            _,
        ) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{ComputeInstanceProfileId, GpuInstanceProfileId, GpuUuid};

    fn gpu() -> GpuUuid {
        GpuUuid::new("GPU-1")
    }

    #[test]
    fn creation_is_undone_by_destroying_what_was_made() {
        let step = Step::CreateGpuInstance {
            gpu: gpu(),
            profile: GpuInstanceProfileId::new(9),
            placement: Placement::new(4, 4),
        };
        let outcome = Outcome::GpuInstanceCreated { id: GpuInstanceId::new(2) };
        let back = undo(&step, &outcome).unwrap();
        assert_eq!(
            back,
            Step::DestroyGpuInstance {
                gpu: gpu(),
                gpu_instance: GpuInstanceId::new(2),
                profile: GpuInstanceProfileId::new(9),
                placement: Placement::new(4, 4),
            }
        );
        assert_eq!(undo(&back, &Outcome::GpuInstanceDestroyed), Some(step));
    }

    #[test]
    fn compute_instances_are_undone_both_ways() {
        let step = Step::CreateComputeInstance {
            gpu: gpu(),
            at: Placement::new(0, 4),
            profile: ComputeInstanceProfileId::new(1),
            placement: Placement::new(2, 2),
        };
        let outcome = Outcome::ComputeInstanceCreated {
            gpu_instance: GpuInstanceId::new(1),
            id: ComputeInstanceId::new(0),
            uuid: None,
        };
        let back = undo(&step, &outcome).unwrap();
        assert!(back.is_destructive());
        assert_eq!(undo(&back, &Outcome::ComputeInstanceDestroyed), Some(step));
    }

    #[test]
    fn a_mode_that_did_not_change_is_not_toggled_back() {
        let step = Step::SetMigMode { gpu: gpu(), mode: MigMode::Enabled };
        let outcome = |before| Outcome::MigMode { before, change: ModeChange::Active };
        assert_eq!(undo(&step, &outcome(MigMode::Enabled)), None);
        assert_eq!(
            undo(&step, &outcome(MigMode::Disabled)),
            Some(Step::SetMigMode { gpu: gpu(), mode: MigMode::Disabled })
        );
    }

    #[test]
    fn an_outcome_of_another_step_undoes_nothing() {
        let step = Step::ResetGpu { gpu: gpu() };
        assert_eq!(undo(&step, &Outcome::GpuInstanceDestroyed), None);
        let step = Step::SetMigMode { gpu: gpu(), mode: MigMode::Enabled };
        assert_eq!(undo(&step, &Outcome::ComputeInstanceDestroyed), None);
    }
}
