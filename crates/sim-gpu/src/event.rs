//! NVML events: what happened, where, with a number that only grows.
//!
//! Must never be the only way to learn of a change: the queue is short, old events fall out.

use model::{ComputeInstanceId, GpuInstanceId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::clients::Target;
use crate::gpu::{GpuHealth, RecoveryAction};
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

impl Node {
    pub(crate) fn record(
        &mut self,
        gpu: usize,
        kind: EventKind,
        data: u64,
        gpu_instance: Option<GpuInstanceId>,
        compute_instance: Option<ComputeInstanceId>,
        now: Timestamp,
    ) {
        let sequence = self.next_event;
        self.next_event = sequence + 1;
        if self.events.len() >= KEPT {
            self.events.pop_front();
        }
        let at = now;
        self.events.push_back(Event {
            sequence,
            at,
            gpu,
            kind,
            data,
            gpu_instance,
            compute_instance,
        });
    }

    /// The number of the latest event ever; 0 if there was none. A new event set starts here.
    pub const fn last_event(&self) -> u64 {
        self.next_event - 1
    }

    /// The remembered events with a higher number than `sequence`, in order. An unprivileged
    /// listener must be shown only those without an instance.
    pub fn events_after(&self, sequence: u64) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(move |event| event.sequence > sequence)
    }

    /// Makes an Xid happen: user errors such as 13, 31, 43, 45 hit one instance; 48, 63, 64, 79,
    /// 94 and 95 are about the hardware. 79 loses the GPU; 95 and 48 demand a reset.
    ///
    /// # Errors
    /// INVALID_ARGUMENT if there is no such GPU or instance.
    pub fn inject_xid(
        &mut self,
        gpu: usize,
        xid: u32,
        target: Target,
        now: Timestamp,
    ) -> Result<(), Return> {
        let (gi, ci) = (target.gpu_instance(), target.compute_instance());
        if let Some(id) = gi {
            let instance = self.gpu(gpu)?.instance(id).ok_or(Return::InvalidArgument)?;
            let known = |ci| instance.compute.iter().any(|compute| compute.id == ci);
            if ci.is_some_and(|ci| !known(ci)) {
                return Err(Return::InvalidArgument);
            }
        }
        self.gpu(gpu)?;
        self.record(gpu, EventKind::Xid, u64::from(xid), gi, ci, now);
        match xid {
            79 => self.set_health(gpu, GpuHealth::Lost, RecoveryAction::NodeReboot, now),
            48 | 95 => {
                self.gpu_mut(gpu)?.ecc_uncorrected += 1;
                self.record(gpu, EventKind::DoubleBitEcc, 0, gi, ci, now);
                self.set_health(gpu, GpuHealth::Ok, RecoveryAction::GpuReset, now)
            }
            _ => Ok(()),
        }
    }

    /// Sets whether the GPU works and what should be done about it, with the events that go with
    /// it.
    ///
    /// # Errors
    /// INVALID_ARGUMENT if there is no such GPU.
    pub fn set_health(
        &mut self,
        gpu: usize,
        health: GpuHealth,
        recovery: RecoveryAction,
        now: Timestamp,
    ) -> Result<(), Return> {
        let found = self.gpu_mut(gpu)?;
        let (was, advised) = (found.health, found.recovery);
        found.health = health;
        found.recovery = recovery;
        if health == GpuHealth::Lost && was != GpuHealth::Lost {
            self.record(gpu, EventKind::Unavailable, 0, None, None, now);
        }
        if recovery != advised {
            let data = u64::from(recovery.nvml_value());
            self.record(gpu, EventKind::RecoveryAction, data, None, None, now);
        }
        Ok(())
    }
}
