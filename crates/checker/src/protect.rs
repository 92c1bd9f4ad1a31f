//! What records forbid to touch; the snapshot alone cannot tell.
//!
//! Must never hold what the driver reports: busy instances are found in the snapshot.

use alloc::collections::BTreeMap;
use core::fmt;

use model::{GpuInstanceId, GpuUuid, LeaseId};

/// Why a GPU instance must stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InstanceProtection {
    /// A lease has it, or had it and is not proven gone.
    Leased(LeaseId),
    /// An admin pinned it.
    Pinned,
    /// No record of ours explains it.
    Foreign,
}

impl fmt::Display for InstanceProtection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leased(lease) => write!(f, "lease {lease} has it"),
            Self::Pinned => f.write_str("it is pinned"),
            Self::Foreign => f.write_str("it is foreign"),
        }
    }
}

/// Why nothing on a GPU may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GpuProtection {
    /// Another change of the GPU itself is under way. The plan of that maintenance is checked
    /// without this entry.
    Maintenance,
    /// A lease has the whole GPU.
    Leased(LeaseId),
}

impl fmt::Display for GpuProtection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Maintenance => f.write_str("it is under maintenance"),
            Self::Leased(lease) => write!(f, "lease {lease} has all of it"),
        }
    }
}

/// What a plan must leave alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Protected {
    /// Instances that must not be destroyed, nor their compute instances.
    pub instances: BTreeMap<(GpuUuid, GpuInstanceId), InstanceProtection>,
    /// GPUs that no step may touch.
    pub gpus: BTreeMap<GpuUuid, GpuProtection>,
}

impl Protected {
    /// Nothing is protected.
    pub const fn nothing() -> Self {
        Self { instances: BTreeMap::new(), gpus: BTreeMap::new() }
    }

    /// The same with one more instance.
    #[must_use]
    pub fn with_instance(
        mut self,
        gpu: GpuUuid,
        instance: GpuInstanceId,
        why: InstanceProtection,
    ) -> Self {
        self.instances.insert((gpu, instance), why);
        self
    }

    /// The same with one more GPU.
    #[must_use]
    pub fn with_gpu(mut self, gpu: GpuUuid, why: GpuProtection) -> Self {
        self.gpus.insert(gpu, why);
        self
    }

    /// Why an instance must stay, if it must.
    pub fn instance(&self, gpu: &GpuUuid, instance: GpuInstanceId) -> Option<InstanceProtection> {
        self.instances.get(&(gpu.clone(), instance)).copied()
    }

    /// Whether any instance of a GPU is protected.
    pub fn any_on(&self, gpu: &GpuUuid) -> bool {
        self.instances.keys().any(|(of, _)| of == gpu)
    }
}
