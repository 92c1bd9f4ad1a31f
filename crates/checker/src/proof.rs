//! What a checked plan leaves behind, to be compared with what is read back.
//!
//! Must never be built but by [`crate::check`].

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use model::{
    ComputeInstance, ComputeInstanceId, ComputeInstanceProfileId, GpuInstance, GpuInstanceId,
    GpuInstanceProfileId, GpuSnapshot, GpuUuid, MigState, NodeSnapshot, Placement,
};

/// A compute instance that must exist in the end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExpectedCompute {
    /// Where it lies in its GPU instance.
    pub placement: Placement,
    /// Its profile.
    pub profile: ComputeInstanceProfileId,
    /// Its id; `None` for one that the plan creates.
    pub id: Option<ComputeInstanceId>,
}

/// A GPU instance that must exist in the end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExpectedInstance {
    /// Where it lies.
    pub placement: Placement,
    /// Its profile.
    pub profile: GpuInstanceProfileId,
    /// Its id; `None` for one that the plan creates.
    pub id: Option<GpuInstanceId>,
    /// Its compute instances, sorted by placement.
    pub compute: Vec<ExpectedCompute>,
}

/// A GPU in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedGpu {
    /// Its MIG mode.
    pub mig: MigState,
    /// Its GPU instances, sorted by placement.
    pub instances: Vec<ExpectedInstance>,
}

/// That a plan is sound: the end state of every GPU it touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    pub(crate) gpus: BTreeMap<GpuUuid, ExpectedGpu>,
}

/// Something that is not as a plan should have left it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{gpu}: {what}")]
pub struct Difference {
    /// On which GPU.
    pub gpu: GpuUuid,
    /// What differs.
    pub what: Mismatch,
}

/// The kinds of difference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// The GPU is no longer there.
    #[error("the GPU is gone")]
    GpuGone,
    /// MIG mode is another.
    #[error("MIG mode is {found:?}, not {expected:?}")]
    Mode {
        /// What it should be.
        expected: MigState,
        /// What it is.
        found: MigState,
    },
    /// A GPU instance is missing.
    #[error("no GPU instance of profile {1} lies at {0}")]
    Missing(Placement, GpuInstanceProfileId),
    /// A GPU instance should not be there.
    #[error("GPU instance {0} of profile {2} lies at {1} and should not")]
    Unexpected(GpuInstanceId, Placement, GpuInstanceProfileId),
    /// An instance that should have stayed was replaced by another.
    #[error("the GPU instance at {0} should be {1} and is {2}")]
    Replaced(Placement, GpuInstanceId, GpuInstanceId),
    /// The compute instances of a GPU instance differ.
    #[error("GPU instance {0} has other compute instances: {1}")]
    Compute(GpuInstanceId, String),
}

impl Proof {
    /// The end state of every GPU the plan touches; other GPUs are as they were.
    pub const fn gpus(&self) -> &BTreeMap<GpuUuid, ExpectedGpu> {
        &self.gpus
    }

    /// Compares what was read back with what the plan must have left.
    ///
    /// # Errors
    /// Every difference on the GPUs the plan touches.
    pub fn matches(&self, found: &NodeSnapshot) -> Result<(), Vec<Difference>> {
        let mut differences = Vec::new();
        for (uuid, expected) in &self.gpus {
            let mismatches = match found.gpu(uuid) {
                None => alloc::vec![Mismatch::GpuGone],
                Some(gpu) => expected.compare(gpu),
            };
            let named = mismatches.into_iter().map(|what| Difference { gpu: uuid.clone(), what });
            differences.extend(named);
        }
        if differences.is_empty() { Ok(()) } else { Err(differences) }
    }
}

impl ExpectedGpu {
    fn compare(&self, found: &GpuSnapshot) -> Vec<Mismatch> {
        let mut mismatches = Vec::new();
        if found.mig != self.mig {
            mismatches.push(Mismatch::Mode { expected: self.mig, found: found.mig });
        }
        for expected in &self.instances {
            let there = found.instance_at(expected.placement);
            match there.filter(|instance| instance.profile == expected.profile) {
                None => mismatches.push(Mismatch::Missing(expected.placement, expected.profile)),
                Some(instance) => mismatches.extend(expected.compare(instance)),
            }
        }
        for instance in &found.instances {
            let wanted = self.instances.iter().any(|expected| {
                expected.placement == instance.placement && expected.profile == instance.profile
            });
            if !wanted {
                let (id, at, profile) = (instance.id, instance.placement, instance.profile);
                mismatches.push(Mismatch::Unexpected(id, at, profile));
            }
        }
        mismatches
    }
}

impl ExpectedInstance {
    fn compare(&self, found: &GpuInstance) -> Option<Mismatch> {
        if let Some(id) = self.id
            && id != found.id
        {
            return Some(Mismatch::Replaced(self.placement, id, found.id));
        }
        let same = self.compute.len() == found.compute_instances.len()
            && self.compute.iter().all(|e| found.compute_instances.iter().any(|f| e.is(f)));
        if same {
            return None;
        }
        let expected: Vec<String> = self.compute.iter().map(ExpectedCompute::sentence).collect();
        let expected = if expected.is_empty() { "none".into() } else { expected.join(", ") };
        let count = found.compute_instances.len();
        let words = alloc::format!("expected {expected}, found {count}");
        Some(Mismatch::Compute(found.id, words))
    }
}

impl ExpectedCompute {
    fn is(&self, found: &ComputeInstance) -> bool {
        self.placement == found.placement
            && self.profile == found.profile
            && self.id.is_none_or(|id| id == found.id)
    }

    fn sentence(&self) -> String {
        alloc::format!("profile {} at {}", self.profile, self.placement)
    }
}
