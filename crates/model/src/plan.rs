//! Plans: immutable, ordered steps so exact that whoever executes them chooses nothing.
//!
//! Must never contain a choice left open; a placement is always explicit, because the driver's own
//! choice makes feasible layouts fail (15 of 108 creation orders on A100).

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{
    ComputeInstanceId, ComputeInstanceProfileId, GpuInstanceId, GpuInstanceProfileId, GpuUuid,
    LeaseId, PlanId,
};
use crate::placement::Placement;
use crate::snapshot::MigMode;

/// Why a plan exists.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Makes the slices of a lease.
    Grant(LeaseId),
    /// Makes GPUs ready for slices: MIG mode on where nothing runs.
    Prepare,
    /// Removes idle slices that nobody leases.
    Retire,
    /// Makes idle slices of the kinds that are likely to be asked for.
    Warm,
    /// Rearranges idle slices so that larger ones fit.
    Defragment,
    /// Brings records and driver into agreement after a crash.
    Reconcile,
    /// Undoes the finished steps of another plan.
    Rollback(PlanId),
    /// Asked for by hand or by file; the words of whoever asked.
    Apply(String),
}

/// One driver call, with every argument decided.
///
/// GPU instances that exist are named by id *and* by profile and placement, so that an executor can
/// refuse when the id was reused. GPU instances that a plan creates are named by placement, since
/// their ids are not known before.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Sets MIG mode.
    SetMigMode {
        /// On which GPU.
        gpu: GpuUuid,
        /// To what.
        mode: MigMode,
    },
    /// Resets a GPU so that a pending mode comes into force.
    ResetGpu {
        /// Which GPU.
        gpu: GpuUuid,
    },
    /// Destroys a compute instance.
    DestroyComputeInstance {
        /// On which GPU.
        gpu: GpuUuid,
        /// In which GPU instance.
        gpu_instance: GpuInstanceId,
        /// Where that GPU instance lies.
        at: Placement,
        /// Which compute instance.
        compute_instance: ComputeInstanceId,
        /// Its profile, needed to undo.
        profile: ComputeInstanceProfileId,
        /// Its place in compute slices, needed to undo.
        placement: Placement,
    },
    /// Destroys a GPU instance that has no compute instance left.
    DestroyGpuInstance {
        /// On which GPU.
        gpu: GpuUuid,
        /// Which GPU instance.
        gpu_instance: GpuInstanceId,
        /// Its profile.
        profile: GpuInstanceProfileId,
        /// Where it lies.
        placement: Placement,
    },
    /// Creates a GPU instance.
    CreateGpuInstance {
        /// On which GPU.
        gpu: GpuUuid,
        /// With which profile.
        profile: GpuInstanceProfileId,
        /// Where.
        placement: Placement,
    },
    /// Creates a compute instance in the GPU instance that lies at `at`.
    CreateComputeInstance {
        /// On which GPU.
        gpu: GpuUuid,
        /// Where the GPU instance lies.
        at: Placement,
        /// With which profile.
        profile: ComputeInstanceProfileId,
        /// Where, in compute slices of the GPU instance.
        placement: Placement,
    },
}

impl Step {
    /// The GPU the step changes.
    pub const fn gpu(&self) -> &GpuUuid {
        match self {
            Self::SetMigMode { gpu, .. }
            | Self::ResetGpu { gpu }
            | Self::DestroyComputeInstance { gpu, .. }
            | Self::DestroyGpuInstance { gpu, .. }
            | Self::CreateGpuInstance { gpu, .. }
            | Self::CreateComputeInstance { gpu, .. } => gpu,
        }
    }

    /// Whether the step concerns the GPU instance that lies exactly at `place` on `gpu`.
    pub fn names(&self, on: &GpuUuid, place: Placement) -> bool {
        let at = match self {
            Self::SetMigMode { .. } | Self::ResetGpu { .. } => return false,
            Self::DestroyGpuInstance { placement, .. }
            | Self::CreateGpuInstance { placement, .. } => placement,
            Self::DestroyComputeInstance { at, .. } | Self::CreateComputeInstance { at, .. } => at,
        };
        self.gpu() == on && *at == place
    }

    /// Whether the step takes something away.
    pub const fn is_destructive(&self) -> bool {
        match self {
            Self::DestroyComputeInstance { .. }
            | Self::DestroyGpuInstance { .. }
            | Self::ResetGpu { .. } => true,
            Self::SetMigMode { .. }
            | Self::CreateGpuInstance { .. }
            | Self::CreateComputeInstance { .. } => false,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetMigMode { gpu, mode: MigMode::Enabled } => write!(f, "enable MIG on {gpu}"),
            Self::SetMigMode { gpu, mode: MigMode::Disabled } => write!(f, "disable MIG on {gpu}"),
            Self::ResetGpu { gpu } => write!(f, "reset {gpu}"),
            Self::DestroyComputeInstance { gpu, gpu_instance, compute_instance, .. } => write!(
                f,
                "destroy compute instance {compute_instance} of GPU instance {gpu_instance} on {gpu}"
            ),
            Self::DestroyGpuInstance { gpu, gpu_instance, placement, .. } => {
                write!(f, "destroy GPU instance {gpu_instance} at {placement} on {gpu}")
            }
            Self::CreateGpuInstance { gpu, profile, placement } => {
                write!(f, "create a GPU instance of profile {profile} at {placement} on {gpu}")
            }
            Self::CreateComputeInstance { gpu, at, profile, .. } => write!(
                f,
                "create a compute instance of profile {profile} in the GPU instance at {at} on {gpu}"
            ),
        }
    }
}

/// Ordered steps with their reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Why it exists.
    pub purpose: Purpose,
    /// What to do, in this order.
    pub steps: Vec<Step>,
}

impl Plan {
    /// A plan without steps: the desire is met as things are.
    pub const fn nothing(purpose: Purpose) -> Self {
        Self { purpose, steps: Vec::new() }
    }

    /// The GPUs the plan changes, each once, in order of first mention.
    pub fn gpus(&self) -> Vec<&GpuUuid> {
        let mut gpus: Vec<&GpuUuid> = Vec::new();
        for step in &self.steps {
            if !gpus.contains(&step.gpu()) {
                gpus.push(step.gpu());
            }
        }
        gpus
    }
}
