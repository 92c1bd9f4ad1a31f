//! Events: what was decided, complete enough that replay decides nothing.
//!
//! Must never be changed in meaning once released: the journal stores them with a version, and a
//! new shape gets a new variant.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use model::{
    BookingId, BootId, ComputeInstanceId, GpuInstanceId, GpuInstanceProfileId, GpuUuid, LeaseId,
    MigMode, MigUuid, Plan, PlanId, ProcessId, ProfileName, Purpose, Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::booking::{BookingEnd, BookingSpec};
use crate::changes::ChangeEvent;
use crate::lifecycle::{Activity, HeldUp, Metered, Notice, NoticeReason, Receipt, StartEstimate};
use crate::request::{Holder, RequestSpec};
use crate::state::{Cordon, Reservation, SliceKey, Stage};

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
    /// MIG mode is accepted and comes into force with the reset that follows.
    ModePending(MigMode),
    /// The GPU did not need the reset: the mode was in force before.
    ResetNotNeeded,
    /// Something is gone.
    Destroyed,
    /// The driver failed in a way that does not tell whether the step was done.
    Unsure,
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
    /// What was learned of the machine since it was accepted shows that it can never be met; why.
    Impossible(String),
    /// The machine was restarted, and with it every process and instance ended.
    Rebooted,
    /// It was not used.
    Idle {
        /// Since when.
        since: Timestamp,
    },
    /// Somebody with a better right needed the room.
    Preempted {
        /// Who.
        for_lease: LeaseId,
    },
    /// Its GPU is lost or failing; the sentence says how.
    GpuLost(String),
    /// Its GPU was emptied by an administrator.
    Drained,
    /// The booking it used is over.
    BookingOver,
    /// A booking of its place begins.
    BookingBegins {
        /// Which.
        booking: BookingId,
    },
    /// It gives its slice up for another one, as its holder agreed; it is not over.
    Moving(NoticeReason),
}

impl EndReason {
    /// Whether processes that belong to the lease are told to end.
    pub const fn ends_processes(&self) -> bool {
        match self {
            Self::HolderDied
            | Self::TimeLimit
            | Self::NotRenewed
            | Self::Revoked
            | Self::Idle { .. }
            | Self::Preempted { .. }
            | Self::GpuLost(_)
            | Self::Drained
            | Self::BookingOver
            | Self::BookingBegins { .. }
            | Self::Moving(_) => true,
            Self::Released
            | Self::Cancelled
            | Self::WaitExpired
            | Self::SliceLost(_)
            | Self::GrantFailed(_)
            | Self::Impossible(_)
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
            Self::Impossible(why) => write!(f, "it can never be met: {why}"),
            Self::Rebooted => f.write_str("the machine was restarted"),
            Self::Idle { .. } => f.write_str("it was not used"),
            Self::Preempted { for_lease } => {
                write!(f, "{for_lease} with a better right needed the room")
            }
            Self::GpuLost(how) => write!(f, "its GPU is out of order: {how}"),
            Self::Drained => f.write_str("its GPU was emptied by an administrator"),
            Self::BookingBegins { booking } => write!(f, "its place is booked ({booking})"),
            Self::BookingOver => f.write_str("its booking is over"),
            Self::Moving(_) => f.write_str("it moves to another slice, as its holder agreed"),
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
        /// The profile that answers it on the first GPU that has one, for the forecast.
        #[serde(default)]
        counts_as: Option<ProfileName>,
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
        /// Whole GPUs it provides.
        #[serde(default)]
        whole: Vec<GpuUuid>,
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
    /// A step of a plan does not come back from the driver; whoever the plan is for goes elsewhere.
    PlanLate {
        /// Which plan.
        plan: PlanId,
        /// What does not come back, in words.
        words: String,
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
    /// Somebody holds what a grant was to hand over; the request waits again, and nothing failed.
    HeldUp {
        /// Which.
        lease: LeaseId,
        /// Who, and what of.
        held: HeldUp,
    },
    /// A restart interrupted a grant, or it came so late that a booking would not find its place
    /// free; the request waits again.
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
        /// What it was, if it had been granted.
        #[serde(default)]
        receipt: Option<Receipt>,
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
    /// A request became a lease of whole GPUs.
    GrantedWhole {
        /// Which.
        lease: LeaseId,
        /// Its GPUs.
        gpus: Vec<GpuUuid>,
    },
    /// A waiting request was told when it will start.
    Predicted {
        /// Which.
        lease: LeaseId,
        /// When.
        start: StartEstimate,
    },
    /// The evidence about the use of a lease changed.
    ActivityChanged {
        /// Which lease.
        lease: LeaseId,
        /// What it says now.
        activity: Activity,
    },
    /// Totals measured for a lease so far.
    Metered {
        /// Which lease.
        lease: LeaseId,
        /// The totals.
        metered: Metered,
    },
    /// A holder was told that something will happen to its lease.
    Noticed {
        /// Which lease.
        lease: LeaseId,
        /// What and when.
        notice: Notice,
    },
    /// The notice is void.
    NoticeWithdrawn {
        /// Which lease.
        lease: LeaseId,
    },
    /// The holder agreed that its command is stopped and started anew elsewhere.
    Agreed {
        /// Which lease.
        lease: LeaseId,
    },
    /// A restartable lease gave its slices up and waits for others; its slices are proven empty.
    Displaced {
        /// Which.
        lease: LeaseId,
        /// Why.
        reason: NoticeReason,
        /// What it was until here.
        receipt: Option<Receipt>,
    },
    /// The holder of a named lease ended; the lease stays for the next one.
    Lingering {
        /// Which.
        lease: LeaseId,
        /// Until when.
        until: Timestamp,
    },
    /// Somebody took over a named lease that lingered.
    HolderReplaced {
        /// Which.
        lease: LeaseId,
        /// By whom.
        holder: Holder,
    },
    /// No new lease goes to a GPU; a second one changes the first.
    Cordoned {
        /// Which GPU.
        gpu: GpuUuid,
        /// How.
        cordon: Cordon,
    },
    /// Leases may go to the GPU again.
    Uncordoned {
        /// Which GPU.
        gpu: GpuUuid,
    },
    /// A GPU that was to be emptied is empty.
    Drained {
        /// Which GPU.
        gpu: GpuUuid,
    },
    /// A GPU is lost or failing and is kept out of use.
    Quarantined {
        /// Which GPU.
        gpu: GpuUuid,
        /// What is wrong with it.
        why: String,
    },
    /// A GPU that answered well fails, or one that failed answers well.
    HealthNoted {
        /// Which GPU.
        gpu: GpuUuid,
        /// What is wrong with it; `None` if nothing is.
        trouble: Option<String>,
    },
    /// The GPU is well again.
    QuarantineLifted {
        /// Which GPU.
        gpu: GpuUuid,
    },
    /// Room was booked.
    Booked {
        /// Its number.
        booking: BookingId,
        /// What was booked.
        spec: BookingSpec,
        /// The places kept for it.
        places: Vec<SliceTarget>,
        /// The whole GPUs kept for it.
        whole: Vec<GpuUuid>,
    },
    /// A booking was given other places.
    BookingMoved {
        /// Which.
        booking: BookingId,
        /// The places kept for it from here on.
        places: Vec<SliceTarget>,
        /// The whole GPUs kept for it from here on.
        whole: Vec<GpuUuid>,
    },
    /// A booking is over.
    BookingEnded {
        /// Which.
        booking: BookingId,
        /// Why.
        why: BookingEnd,
    },
    /// Room is kept free for the request that waits longest.
    Reserved {
        /// Which request.
        lease: LeaseId,
        /// Where.
        reservation: Reservation,
    },
    /// Nothing is kept free for a request any more.
    ReservationDropped,
    /// Places are kept for a request for which others are told to leave; none if that is over.
    RoomPromised {
        /// For which request.
        lease: LeaseId,
        /// The places.
        places: Vec<SliceTarget>,
        /// Whole GPUs.
        whole: Vec<GpuUuid>,
    },
    /// Something about a change of layout or mode, or about a GPU that one left fixed.
    Change(ChangeEvent),
}

impl Event {
    /// The lease the event is about, if it is about one.
    pub const fn lease(&self) -> Option<LeaseId> {
        match self {
            Self::Requested { lease, .. }
            | Self::Granted { lease, .. }
            | Self::GrantUndone { lease, .. }
            | Self::HeldUp { lease, .. }
            | Self::Requeued { lease }
            | Self::HolderAttached { lease, .. }
            | Self::Renewed { lease }
            | Self::Ending { lease, .. }
            | Self::Escalated { lease, .. }
            | Self::StillHeld { lease, .. }
            | Self::GrantedWhole { lease, .. }
            | Self::Predicted { lease, .. }
            | Self::ActivityChanged { lease, .. }
            | Self::Metered { lease, .. }
            | Self::Noticed { lease, .. }
            | Self::NoticeWithdrawn { lease }
            | Self::Agreed { lease }
            | Self::Displaced { lease, .. }
            | Self::Lingering { lease, .. }
            | Self::HolderReplaced { lease, .. }
            | Self::Reserved { lease, .. }
            | Self::RoomPromised { lease, .. }
            | Self::Ended { lease, .. } => Some(*lease),
            Self::PlanOpened { steps, .. } => match &steps.purpose {
                Purpose::Grant(lease) => Some(*lease),
                Purpose::Prepare
                | Purpose::Retire
                | Purpose::Warm
                | Purpose::Defragment
                | Purpose::Reconcile
                | Purpose::Rollback(_)
                | Purpose::Apply(_) => None,
            },
            Self::DaemonStarted { .. }
            | Self::StepDone { .. }
            | Self::PlanFinished { .. }
            | Self::PlanFailed { .. }
            | Self::PlanLate { .. }
            | Self::PlanAbandoned { .. }
            | Self::SliceAdopted { .. }
            | Self::OrphanCleared { .. }
            | Self::SliceGone { .. }
            | Self::MaintenanceBegan { .. }
            | Self::GpuTriedAgain { .. }
            | Self::Cordoned { .. }
            | Self::Uncordoned { .. }
            | Self::Drained { .. }
            | Self::Quarantined { .. }
            | Self::QuarantineLifted { .. }
            | Self::HealthNoted { .. }
            | Self::Booked { .. }
            | Self::BookingMoved { .. }
            | Self::BookingEnded { .. }
            | Self::ReservationDropped
            | Self::Change(_)
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
