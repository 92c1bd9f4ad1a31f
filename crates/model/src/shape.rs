//! What of a GPU a change can touch: its MIG mode and what lies on it, without who uses it.
//!
//! A plan carries the shape it was made for; whoever carries it out compares. Must never hold what
//! changes by itself, such as processes, use or health.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::desire::{DesiredCompute, DesiredGpu, DesiredInstance};
use crate::ids::{
    ComputeInstanceId, ComputeInstanceProfileId, GpuInstanceId, GpuInstanceProfileId,
};
use crate::placement::Placement;
use crate::snapshot::{GpuInstance, GpuSnapshot, MigMode, MigState};

/// A compute instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ComputeShape {
    /// Id inside its GPU instance.
    pub id: ComputeInstanceId,
    /// Its profile.
    pub profile: ComputeInstanceProfileId,
    /// Where, in compute slices of its GPU instance.
    pub placement: Placement,
}

/// A GPU instance and what lies in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InstanceShape {
    /// Id on its GPU.
    pub id: GpuInstanceId,
    /// Its profile.
    pub profile: GpuInstanceProfileId,
    /// Where on the board's grid.
    pub placement: Placement,
    /// Its compute instances, sorted by placement.
    pub computes: Vec<ComputeShape>,
}

/// A GPU's MIG mode and instances.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GpuShape {
    /// MIG mode, in force and pending.
    pub mig: MigState,
    /// GPU instances, sorted by placement.
    pub instances: Vec<InstanceShape>,
}

impl From<&GpuInstance> for InstanceShape {
    fn from(instance: &GpuInstance) -> Self {
        let compute = |found: &crate::snapshot::ComputeInstance| ComputeShape {
            id: found.id,
            profile: found.profile,
            placement: found.placement,
        };
        let mut computes: Vec<ComputeShape> =
            instance.compute_instances.iter().map(compute).collect();
        computes.sort_unstable_by_key(|compute| (compute.placement, compute.id));
        Self { id: instance.id, profile: instance.profile, placement: instance.placement, computes }
    }
}

impl InstanceShape {
    /// What is wanted where exactly this is wanted again, whatever ids it then gets.
    pub fn desired(&self) -> DesiredInstance {
        let compute = |found: &ComputeShape| DesiredCompute {
            profile: found.profile,
            placement: Some(found.placement),
        };
        DesiredInstance {
            profile: self.profile,
            placement: Some(self.placement),
            computes: self.computes.iter().map(compute).collect(),
        }
    }

    /// Whether the other one is the same but for the ids that a driver gives.
    pub fn is_like(&self, other: &Self) -> bool {
        self.desired() == other.desired()
    }
}

impl GpuShape {
    /// The shape of a GPU as it was seen.
    pub fn of(gpu: &GpuSnapshot) -> Self {
        let mut instances: Vec<InstanceShape> =
            gpu.instances.iter().map(InstanceShape::from).collect();
        instances.sort_unstable_by_key(|instance| (instance.placement, instance.id));
        Self { mig: gpu.mig, instances }
    }

    /// What is wanted where exactly this is wanted again.
    pub fn desired(&self) -> DesiredGpu {
        match self.mig {
            MigState::Unsupported | MigState::Supported { current: MigMode::Disabled, .. } => {
                DesiredGpu::Whole
            }
            MigState::Supported { current: MigMode::Enabled, .. } => {
                DesiredGpu::Exactly(self.instances.iter().map(InstanceShape::desired).collect())
            }
        }
    }

    /// Whether the other one is the same but for the ids that a driver gives.
    pub fn is_like(&self, other: &Self) -> bool {
        self.mig == other.mig
            && self.instances.len() == other.instances.len()
            && self.instances.iter().zip(&other.instances).all(|(one, two)| one.is_like(two))
    }
}
