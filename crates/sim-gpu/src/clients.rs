//! Who uses the GPUs: NVML sessions, CUDA-like contexts, and holders invented by a test.
//!
//! Must never outlive the processes: [`Node::forget_dead`] drops what the dead left behind, as
//! the kernel does when their descriptors close.

use alloc::string::String;
use alloc::vec::Vec;

use model::{ComputeInstanceId, GpuInstanceId, MemoryMib, ProcessId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::activity::Activity;
use crate::node::Node;
use crate::ret::Return;

/// Number of a context, unique in the life of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContextId(pub u32);

/// What a context computes with; decides in which of NVML's three process lists it appears.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContextKind {
    /// CUDA.
    #[default]
    Compute,
    /// Graphics.
    Graphics,
    /// CUDA through an MPS server.
    Mps,
}

/// What somebody holds on a GPU.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The whole GPU.
    #[default]
    Gpu,
    /// A GPU instance.
    Instance(GpuInstanceId),
    /// A compute instance, and with it its GPU instance.
    Compute(GpuInstanceId, ComputeInstanceId),
}

impl Target {
    /// The GPU instance it touches.
    pub const fn gpu_instance(self) -> Option<GpuInstanceId> {
        match self {
            Self::Gpu => None,
            Self::Instance(gi) | Self::Compute(gi, _) => Some(gi),
        }
    }

    /// The compute instance it touches.
    pub const fn compute_instance(self) -> Option<ComputeInstanceId> {
        match self {
            Self::Gpu | Self::Instance(_) => None,
            Self::Compute(_, ci) => Some(ci),
        }
    }
}

/// A CUDA-like context: a process that occupies memory on a GPU or on a MIG device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// Its number.
    pub id: ContextId,
    /// Whose it is.
    pub process: ProcessId,
    /// Index of the GPU.
    pub gpu: usize,
    /// [`Target::Gpu`] or [`Target::Compute`].
    pub target: Target,
    /// Memory it occupies.
    pub memory: MemoryMib,
    /// What it computes with.
    pub kind: ContextKind,
    /// How busy it keeps the hardware over time.
    pub activity: Activity,
    /// When it began.
    pub started_at: Timestamp,
}

/// A context to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextRequest {
    /// Whose it is.
    pub process: ProcessId,
    /// Index of the GPU.
    pub gpu: usize,
    /// [`Target::Gpu`] or [`Target::Compute`].
    pub target: Target,
    /// Memory it occupies.
    pub memory: MemoryMib,
    /// What it computes with.
    pub kind: ContextKind,
    /// How busy it keeps the hardware over time.
    pub activity: Activity,
    /// The time now.
    pub now: Timestamp,
}

/// An NVML session: a process between `nvmlInit` and `nvmlShutdown`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Whose it is.
    pub process: ProcessId,
    /// Number of `nvmlInit` calls not yet undone.
    pub count: u32,
}

/// How a holder holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldKind {
    /// As a CUDA client or a subscriber of an instance does: always in the way.
    #[default]
    Client,
    /// As a monitoring agent with an NVML session does: in the way where the knobs say so.
    Session,
}

/// A holder invented by a test or a scenario (DCGM, persistenced, an MPS server).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its name, unique; by it the holder is removed.
    pub name: String,
    /// The pid it pretends to have.
    pub pid: u32,
    /// Index of the GPU; `None` = all.
    pub gpu: Option<usize>,
    /// What it holds there.
    #[serde(default)]
    pub target: Target,
    /// How it holds.
    #[serde(default)]
    pub kind: HoldKind,
}
