//! NVML events: what happened, where, with a number that only grows.
//!
//! Must never be the only way to learn of a change: the queue is short, old events fall out.

use alloc::collections::VecDeque;

use model::{ComputeInstanceId, GpuInstanceId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::node::Node;
use crate::ret::Return;

/// How many events the node remembers.
pub(crate) const KEPT: usize = 64;

/// What kind of event, with NVML's bits (`nvml.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EventKind {
    /// A corrected memory error, 0x1.
    SingleBitEcc,
    /// An uncorrected memory error, 0x2.
    DoubleBitEcc,
    /// An Xid; the event's data is its number, 0x8.
    Xid,
    /// An instance came or went, or the mode changed, 0x100.
    MigConfigChange,
    /// The GPU is gone, 0x4000.
    Unavailable,
    /// The recovery action changed; the event's data is its number, 0x8000.
    RecoveryAction,
}

impl EventKind {
    /// NVML's bit for it.
    pub const fn bit(self) -> u64 {
        match self {
            Self::SingleBitEcc => 0x1,
            Self::DoubleBitEcc => 0x2,
            Self::Xid => 0x8,
            Self::MigConfigChange => 0x100,
            Self::Unavailable => 0x4000,
            Self::RecoveryAction => 0x8000,
        }
    }

    /// The bits a GPU supports: `GetSupportedEventTypes`.
    pub const fn supported(mig_capable: bool) -> u64 {
        let plain = Self::SingleBitEcc.bit()
            | Self::DoubleBitEcc.bit()
            | Self::Xid.bit()
            | Self::Unavailable.bit()
            | Self::RecoveryAction.bit();
        if mig_capable { plain | Self::MigConfigChange.bit() } else { plain }
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its number; grows by one with each event of the node.
    pub sequence: u64,
    /// When it happened.
    pub at: Timestamp,
    /// Index of the GPU.
    pub gpu: usize,
    /// What happened.
    pub kind: EventKind,
    /// `eventData`: the Xid or the recovery action, else 0.
    pub data: u64,
    /// The instance it concerns; `None` = the whole device.
    pub gpu_instance: Option<GpuInstanceId>,
    /// The compute instance it concerns.
    pub compute_instance: Option<ComputeInstanceId>,
}
