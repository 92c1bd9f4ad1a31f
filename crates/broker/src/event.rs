//! Events: what was decided, complete enough that replay decides nothing.
//!
//! Must never be changed in meaning once released: the journal stores them with a version, and a
//! new shape gets a new variant.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use model::{
    BootId, ComputeInstanceId, GpuInstanceId, GpuInstanceProfileId, GpuUuid, LeaseId, MigMode,
    MigUuid, Plan, PlanId, ProcessId, Purpose, Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::request::RequestSpec;
use crate::state::{SliceKey, Stage};

/// A slice a plan will provide for a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliceTarget {
    /// Where it is or will be.
    pub key: SliceKey,
    /// With which profile.
    pub profile: GpuInstanceProfileId,
    /// Whether it exists already, idle.
    pub reuse: bool,
}

/// A slice as its holder needs to know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantedSlice {
    /// Where it is.
    pub key: SliceKey,
    /// Its profile.
    pub profile: GpuInstanceProfileId,
    /// Its GPU instance.
    pub gpu_instance: GpuInstanceId,
    /// Its compute instance.
    pub compute_instance: ComputeInstanceId,
    /// UUID of the MIG device.
    pub uuid: MigUuid,
}

/// What one step of a plan brought about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepOutcome {
    /// MIG mode is in force.
    ModeSet(MigMode),
    /// The GPU was reset.
    Reset,
    /// Something is gone.
    Destroyed,
    /// A GPU instance exists.
    GpuInstanceCreated(GpuInstanceId),
    /// A compute instance exists.
    ComputeInstanceCreated {
        /// Its id.
        id: ComputeInstanceId,
        /// UUID of its MIG device.
        uuid: MigUuid,
    },
}

/// Why a request or a lease came to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// Its holder gave it back.
    Released,
    /// Its holder ended without giving it back.
    HolderDied,
    /// Its `--time` is over.
    TimeLimit,
    /// Its token was not renewed in time.
    NotRenewed,
    /// An administrator or another process of its owner ended it.
    Revoked,
    /// It was cancelled while it waited.
    Cancelled,
    /// It waited as long as it was willing to.
    WaitExpired,
    /// Its slice is gone from the driver; the sentence says what was found.
    SliceLost(String),
    /// The driver refused again and again; the last error.
    GrantFailed(String),
    /// The machine was restarted, and with it every process and instance ended.
    Rebooted,
}

impl EndReason {
    /// Whether processes that belong to the lease are told to end.
    pub const fn ends_processes(&self) -> bool {
        match self {
            Self::HolderDied | Self::TimeLimit | Self::NotRenewed | Self::Revoked => true,
            Self::Released
            | Self::Cancelled
            | Self::WaitExpired
            | Self::SliceLost(_)
            | Self::GrantFailed(_)
            | Self::Rebooted => false,
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Released => f.write_str("released"),
            Self::HolderDied => f.write_str("its holder ended"),
            Self::TimeLimit => f.write_str("its time is over"),
            Self::NotRenewed => f.write_str("it was not renewed in time"),
            Self::Revoked => f.write_str("revoked"),
            Self::Cancelled => f.write_str("cancelled"),
            Self::WaitExpired => f.write_str("it waited as long as it was willing to"),
            Self::SliceLost(found) => write!(f, "its slice is gone: {found}"),
            Self::GrantFailed(error) => write!(f, "the driver refused: {error}"),
            Self::Rebooted => f.write_str("the machine was restarted"),
        }
    }
}

/// One fact of the journal. The journal adds a sequence number, a version and the time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// A daemon took over the journal.
    DaemonStarted {
        /// Its version.
        version: String,
        /// The boot it runs in.
        boot: BootId,
        /// The least number of a request from here on.
        #[serde(default)]
        numbers_from: u64,
    },
    /// A request was accepted and waits.
    Requested {
        /// Its number.
        lease: LeaseId,
        /// What was asked.
        spec: RequestSpec,
    },
    /// A plan was decided; from here on any of its steps may have happened.
    PlanOpened {
        /// Its number.
        plan: PlanId,
        /// The whole plan.
        steps: Plan,
        /// The slices it provides, for a grant.
        targets: Vec<SliceTarget>,
        /// Idle slices it takes away.
        evicted: Vec<SliceKey>,
    },
    /// A step is done.
    StepDone {
        /// Of which plan.
        plan: PlanId,
        /// Which step, from 0.
        step: u32,
        /// What it brought about.
        outcome: StepOutcome,
    },
    /// Every step is done and the result was read back.
    PlanFinished {
        /// Which plan.
        plan: PlanId,
    },
    /// A step failed; the plan ends here and what it did so far is undone by another plan.
    PlanFailed {
        /// Which plan.
        plan: PlanId,
        /// The step that failed; `None` if the final reading back disagreed.
        step: Option<u32>,
        /// Why.
        error: String,
    },
    /// A crash interrupted a plan; what stands was read from the driver and recorded by the
    /// events that follow.
    PlanAbandoned {
        /// Which plan.
        plan: PlanId,
    },
    /// A request became a lease.
    Granted {
        /// Which.
        lease: LeaseId,
        /// Its slices.
        slices: Vec<GrantedSlice>,
    },
    /// A grant failed in the driver; the request waits again.
    GrantUndone {
        /// Which.
        lease: LeaseId,
        /// Why.
        error: String,
    },
    /// A restart interrupted a grant; the request waits again.
    Requeued {
        /// Which.
        lease: LeaseId,
    },
    /// The command of a lease is known.
    HolderAttached {
        /// Which lease.
        lease: LeaseId,
        /// The command's process.
        command: ProcessId,
    },
    /// A token was renewed.
    Renewed {
        /// Which lease.
        lease: LeaseId,
    },
    /// A lease must end; it still holds its slice.
    Ending {
        /// Which.
        lease: LeaseId,
        /// Why.
        reason: EndReason,
    },
    /// The next measure against processes that stay.
    Escalated {
        /// Which lease.
        lease: LeaseId,
        /// What is done now.
        stage: Stage,
    },
    /// Who still uses the slice of a lease that must end.
    StillHeld {
        /// Which lease.
        lease: LeaseId,
        /// Each holder in words: pid, user, command, how it holds.
        by: Vec<String>,
    },
    /// A request or a lease is over, and its slice, if it had one, is proven empty.
    Ended {
        /// Which.
        lease: LeaseId,
        /// Why.
        reason: EndReason,
    },
    /// An instance that one of our interrupted plans made is kept as an idle slice.
    SliceAdopted {
        /// The slice.
        slice: GrantedSlice,
    },
    /// An instance that an ended plan may have left behind is not in the driver.
    OrphanCleared {
        /// Where it would have been.
        key: SliceKey,
    },
    /// A slice of ours is no longer in the driver.
    SliceGone {
        /// Where it was.
        key: SliceKey,
        /// What was found instead.
        found: String,
    },
    /// A GPU was taken out of use for a change of its mode.
    MaintenanceBegan {
        /// Which GPU.
        gpu: GpuUuid,
    },
    /// A GPU on which the driver refused is tried again.
    GpuTriedAgain {
        /// Which GPU.
        gpu: GpuUuid,
    },
    /// The GPU is back.
    MaintenanceEnded {
        /// Which GPU.
        gpu: GpuUuid,
    },
}

impl Event {
    /// The lease the event is about, if it is about one.
    pub const fn lease(&self) -> Option<LeaseId> {
        match self {
            Self::Requested { lease, .. }
            | Self::Granted { lease, .. }
            | Self::GrantUndone { lease, .. }
            | Self::Requeued { lease }
            | Self::HolderAttached { lease, .. }
            | Self::Renewed { lease }
            | Self::Ending { lease, .. }
            | Self::Escalated { lease, .. }
            | Self::StillHeld { lease, .. }
            | Self::Ended { lease, .. } => Some(*lease),
            Self::PlanOpened { steps, .. } => match &steps.purpose {
                Purpose::Grant(lease) => Some(*lease),
                Purpose::Prepare
                | Purpose::Retire
                | Purpose::Reconcile
                | Purpose::Rollback(_)
                | Purpose::Apply(_) => None,
            },
            Self::DaemonStarted { .. }
            | Self::StepDone { .. }
            | Self::PlanFinished { .. }
            | Self::PlanFailed { .. }
            | Self::PlanAbandoned { .. }
            | Self::SliceAdopted { .. }
            | Self::OrphanCleared { .. }
            | Self::SliceGone { .. }
            | Self::MaintenanceBegan { .. }
            | Self::GpuTriedAgain { .. }
            | Self::MaintenanceEnded { .. } => None,
        }
    }
}

/// An event with the time it was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamped {
    /// When.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}
