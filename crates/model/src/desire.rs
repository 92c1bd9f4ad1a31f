//! What somebody wants GPUs to look like, by hand or by file, before it is a plan.
//!
//! Everything is already resolved against one machine: GPUs by UUID, profiles by id. Must never
//! hold what a file said beyond that (selectors, names, counts of CI-level names).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::ids::{
    ComputeInstanceId, ComputeInstanceProfileId, GpuInstanceId, GpuInstanceProfileId, GpuUuid,
};
use crate::placement::Placement;

/// A compute instance that is wanted in a GPU instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DesiredCompute {
    /// Its profile.
    pub profile: ComputeInstanceProfileId,
    /// Where, in compute slices of the GPU instance; `None` where any place will do.
    pub placement: Option<Placement>,
}

/// A GPU instance that is wanted, with what lies in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DesiredInstance {
    /// Its profile.
    pub profile: GpuInstanceProfileId,
    /// Where on the grid; `None` where any place will do.
    pub placement: Option<Placement>,
    /// Its compute instances; empty for a GPU instance without any (which nobody can use).
    pub computes: Vec<DesiredCompute>,
}

/// What is wanted of one GPU.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DesiredGpu {
    /// MIG mode off, and so no instance.
    Whole,
    /// MIG mode on; what lies there stays as it is.
    Sliced,
    /// MIG mode on, and exactly these instances, in any order.
    Exactly(Vec<DesiredInstance>),
    /// What lies there as it is, and this beside it. MIG mode must be on already.
    Beside {
        /// New GPU instances.
        instances: Vec<DesiredInstance>,
        /// New compute instances in GPU instances that exist.
        computes: Vec<(GpuInstanceId, DesiredCompute)>,
    },
    /// What lies there, without this. MIG mode must be on already.
    Without {
        /// GPU instances that go, with all their compute instances.
        instances: Vec<GpuInstanceId>,
        /// Compute instances that go while their GPU instance stays.
        computes: Vec<(GpuInstanceId, ComputeInstanceId)>,
    },
}

/// What is wanted of a machine; GPUs that are not named stay as they are.
pub type DesiredNode = BTreeMap<GpuUuid, DesiredGpu>;
