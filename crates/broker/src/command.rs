//! What reaches the broker, what it answers, and what it wants done.
//!
//! Must never carry a handle of the machine: processes, GPUs and slices are named, not held.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use model::geometry::SelectError;
use model::{
    BookingId, BootId, ChangeId, GpuUuid, LeaseId, NodeSnapshot, Plan, PlanId, ProcessId,
    Timestamp, Uid,
};
use planner::{Forecast, Planner};

use crate::booking::BookingSpec;
use crate::changes::{ChangeRefusal, ChangeSpec};
use crate::event::{Event, GrantedSlice, StepOutcome};
use crate::lifecycle::{Activity, HeldUp, Metered};
use crate::policy::Policy;
use crate::request::RequestSpec;
use crate::state::Stage;
use crate::terms::NoticeSignal;

/// Everything a decision depends on beside the state and the command.
#[derive(Debug, Clone, Copy)]
pub struct World<'a> {
    /// The newest snapshot of the machine.
    pub observed: &'a NodeSnapshot,
    /// The owner's rules.
    pub policy: &'a Policy,
    /// The planner with its tables.
    pub planner: &'a Planner,
    /// What is likely to be asked for.
    pub forecast: &'a Forecast,
    /// Now.
    pub now: Timestamp,
    /// Whether now is an hour in which idle leases are left alone.
    pub protected: bool,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The user id, from the socket.
    pub uid: Uid,
    /// Whether it may act on everybody's leases.
    pub admin: bool,
}

impl Peer {
    const fn may_act_for(self, uid: Uid) -> bool {
        self.admin || self.uid.get() == uid.get()
    }
}

/// What was found when a slice was looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Emptiness {
    /// Everybody who uses the slice or still belongs to the lease, in words; empty means proven
    /// empty. Processes that could not be looked into count as holders.
    pub held_by: Vec<String>,
}

/// Something that happened or that somebody wants.
#[derive(Debug, Clone)]
pub enum Command {
    /// A daemon took over; open plans of its predecessor are interrupted.
    Started {
        /// Its version.
        version: String,
        /// The boot it runs in.
        boot: BootId,
        /// The least number of a new request.
        numbers_from: u64,
    },
    /// Somebody asks for slices.
    Request(RequestSpec),
    /// Somebody gives a lease back, or cancels a request.
    End {
        /// Which.
        lease: LeaseId,
        /// Who.
        by: Peer,
        /// Whether the speaker is the very process that holds the lease.
        holder: bool,
    },
    /// A holder started its command.
    Attach {
        /// For which lease.
        lease: LeaseId,
        /// Who says so.
        by: Peer,
        /// The command.
        command: ProcessId,
    },
    /// The command of a lease turned out to be a container, which holds the lease from here on.
    Contain {
        /// Which lease.
        lease: LeaseId,
        /// Who says so.
        by: Peer,
        /// The container's id.
        container: String,
        /// Its control group, as the kernel told it.
        cgroup: String,
    },
    /// A token is renewed.
    Renew {
        /// Of which lease.
        lease: LeaseId,
        /// By whom.
        by: Peer,
    },
    /// A watched process ended.
    HolderExited {
        /// Of which lease.
        lease: LeaseId,
        /// Which process.
        process: ProcessId,
    },
    /// The executor finished a step.
    StepDone {
        /// Of which plan.
        plan: PlanId,
        /// Which, from 0.
        step: u32,
        /// What it brought about.
        outcome: StepOutcome,
    },
    /// The executor finished a plan and read the result back.
    PlanFinished {
        /// Which plan.
        plan: PlanId,
        /// The slices it provides, as read back, in the order of its targets.
        slices: Vec<GrantedSlice>,
    },
    /// The executor gave a plan up.
    PlanFailed {
        /// Which plan.
        plan: PlanId,
        /// The step that failed; `None` if reading back disagreed.
        step: Option<u32>,
        /// Why.
        error: String,
    },
    /// A step of a plan does not come back from the driver. The plan stays open: nobody knows what the
    /// step will have done.
    PlanLate {
        /// Which plan.
        plan: PlanId,
        /// Which step on which GPU, and for how long, in words.
        words: String,
    },
    /// The executor did all of a grant's plan, and found somebody who holds what it was to hand over
    /// from before.
    PlanHeldUp {
        /// Which plan.
        plan: PlanId,
        /// Who, and what of.
        held: HeldUp,
    },
    /// A slice of an ending lease was looked at.
    Looked {
        /// Which lease.
        lease: LeaseId,
        /// What was found.
        found: Emptiness,
    },
    /// The container or the engine's job that held a lease ended.
    HolderGone {
        /// Of which lease.
        lease: LeaseId,
    },
    /// What was measured of a lease's use.
    Measured {
        /// Of which lease.
        lease: LeaseId,
        /// What the evidence says.
        activity: Activity,
        /// Totals since its grant.
        metered: Metered,
    },
    /// A holder agrees to what its notice proposes.
    Agree {
        /// Of which lease.
        lease: LeaseId,
        /// Who.
        by: Peer,
    },
    /// An administrator takes a GPU out of use for new leases.
    Cordon {
        /// Which GPU.
        gpu: GpuUuid,
        /// Whether leases that are there are asked to leave.
        drain: bool,
        /// Why.
        why: String,
        /// Who.
        by: Peer,
    },
    /// An administrator takes a cordon back.
    Uncordon {
        /// Of which GPU.
        gpu: GpuUuid,
        /// Who.
        by: Peer,
    },
    /// Somebody books room.
    Book {
        /// What.
        spec: BookingSpec,
        /// Who.
        by: Peer,
    },
    /// Somebody gives a booking up.
    CancelBooking {
        /// Which.
        booking: BookingId,
        /// Who.
        by: Peer,
    },
    /// An administrator asks for a change of layout or mode.
    Change {
        /// What.
        spec: ChangeSpec,
        /// Who.
        by: Peer,
    },
    /// An administrator cancels a change.
    CancelChange {
        /// Which.
        change: ChangeId,
        /// Who.
        by: Peer,
    },
    /// The units of a change that waits run with other processes than before.
    UnitsRunAs {
        /// Of which change.
        change: ChangeId,
        /// All their processes on its GPUs, ascending.
        leaving: Vec<u32>,
    },
    /// The units of a change were told to stop.
    UnitsStopped {
        /// Of which change.
        change: ChangeId,
        /// What the system said against it, unit by unit.
        trouble: Vec<String>,
    },
    /// The units of a change were told to start again.
    UnitsStarted {
        /// Of which change.
        change: ChangeId,
        /// What the system said against it, unit by unit.
        trouble: Vec<String>,
    },
    /// An administrator hands a fixed GPU back to automatic management.
    HandBack {
        /// Which.
        gpu: GpuUuid,
        /// Who.
        by: Peer,
    },
    /// Time passed.
    Tick,
    /// The snapshot is new.
    Observed,
}

/// Something to be done after the events are committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Execute a plan.
    Execute {
        /// Its number.
        id: PlanId,
        /// The plan.
        plan: Plan,
    },
    /// Say when a process ends.
    Watch {
        /// For which lease.
        lease: LeaseId,
        /// Which process.
        process: ProcessId,
    },
    /// Signal the processes that belong to a lease.
    Signal {
        /// Which lease.
        lease: LeaseId,
        /// With what.
        stage: Stage,
    },
    /// Say when the container of a lease has no process left.
    WatchContainer {
        /// For which lease.
        lease: LeaseId,
        /// Its control group.
        cgroup: String,
    },
    /// Tell the processes of a lease of a notice, without ending them.
    Notify {
        /// Which lease.
        lease: LeaseId,
        /// With what.
        signal: NoticeSignal,
    },
    /// Stop units that hold GPUs, in this order.
    StopUnits {
        /// For which change.
        change: ChangeId,
        /// Which.
        units: Vec<String>,
    },
    /// Start them again, the other way round.
    StartUnits {
        /// For which change.
        change: ChangeId,
        /// Which.
        units: Vec<String>,
    },
    /// Look who uses the slices of a lease.
    Look {
        /// Which lease.
        lease: LeaseId,
    },
}

/// What the speaker is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// This lease is concerned.
    Lease(LeaseId),
    /// This booking is concerned.
    Booking(BookingId),
    /// This change is concerned.
    Change(ChangeId),
    /// Done.
    Done,
}

/// The outcome of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What happened, to be committed before anything else.
    pub events: Vec<Event>,
    /// What to do then.
    pub effects: Vec<Effect>,
    /// What to answer then.
    pub reply: Reply,
}

/// Why a command was refused. Nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// About a change of layout or mode.
    #[error(transparent)]
    Change(#[from] ChangeRefusal),
    /// No slice of that kind exists here.
    #[error("{0}")]
    NoSuchSlice(SelectError),
    /// No GPU answers the selector.
    #[error("no {selector} here; this machine has {present}")]
    NoSuchGpu {
        /// What was asked.
        selector: String,
        /// What there is, in words.
        present: String,
    },
    /// MIG is off and may not be enabled.
    #[error("MIG mode is off on {0}, and the daemon may not enable it")]
    MigOff(String),
    /// MIG is on and may not be disabled.
    #[error("MIG mode is on on {0}, and the daemon may not disable it")]
    MigOn(String),
    /// Not even the empty machine holds so many.
    #[error("{asked} do not fit on this machine even when it is empty; it holds at most {most}")]
    NeverFits {
        /// What was asked.
        asked: String,
        /// How many would fit.
        most: u32,
    },
    /// The count makes no sense.
    #[error("a request is for 1 to {0} slices")]
    BadCount(u32),
    /// There is no room now and the request may not wait.
    #[error("no room for {wish} now: {waits_for}")]
    NoRoomNow {
        /// What was asked.
        wish: String,
        /// What it would wait for.
        waits_for: String,
    },
    /// The name is in use.
    #[error("`{name}` is already the name of {lease}")]
    NameTaken {
        /// The name.
        name: String,
        /// Whose it is.
        lease: LeaseId,
    },
    /// The user has enough requests waiting.
    #[error("you have {0} requests waiting, the most one user may have")]
    TooManyWaiting(u32),
    /// No live lease or request has that id.
    #[error("there is no lease or request {0}; it may have ended")]
    NoSuchLease(LeaseId),
    /// It belongs to somebody else.
    #[error("{0} belongs to another user")]
    NotYours(LeaseId),
    /// The lease is in a phase in which that makes no sense.
    #[error("{lease} {why}")]
    WrongPhase {
        /// Which lease.
        lease: LeaseId,
        /// What it is instead.
        why: &'static str,
    },
    /// The tenant's rules do not allow it.
    #[error("{tenant} may not {what}")]
    NotAllowed {
        /// Whose rules.
        tenant: String,
        /// What was asked.
        what: String,
    },
    /// The request alone is more than the tenant may ever have.
    #[error("{asked} is more than {tenant} may have at once ({cap})")]
    OverCap {
        /// What was asked.
        asked: String,
        /// Whose cap.
        tenant: String,
        /// The cap, in words.
        cap: String,
    },
    /// Only an administrator may do that.
    #[error("only an administrator may {0}")]
    AdminsOnly(&'static str),
    /// No such GPU.
    #[error("there is no GPU {0} here")]
    UnknownGpu(GpuUuid),
    /// The booking cannot be kept.
    #[error("that cannot be booked: {0}")]
    CannotBook(String),
    /// Somebody uses the booking.
    #[error("{booking} is in use by {lease}")]
    BookingInUse {
        /// Which booking.
        booking: BookingId,
        /// By which lease or request.
        lease: LeaseId,
    },
    /// No such booking.
    #[error("there is no booking {0}; it may be over")]
    NoSuchBooking(BookingId),
}

impl Refusal {
    /// A stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoSuchSlice(SelectError::TooLarge { .. }) => "E-SLICE-TOO-LARGE",
            Self::NoSuchSlice(_) => "E-PROFILE-UNKNOWN",
            Self::NoSuchGpu { .. } | Self::UnknownGpu(_) => "E-GPU-UNKNOWN",
            Self::MigOff(_) => "E-MIG-OFF",
            Self::MigOn(_) => "E-MIG-ON",
            Self::NeverFits { .. } => "E-NEVER-FITS",
            Self::BadCount(_) => "E-COUNT",
            Self::NoRoomNow { .. } => "E-NO-ROOM",
            Self::NameTaken { .. } => "E-NAME-TAKEN",
            Self::TooManyWaiting(_) => "E-TOO-MANY-WAITING",
            Self::NoSuchLease(_) => "E-LEASE-UNKNOWN",
            Self::NotYours(_) => "E-NOT-YOURS",
            Self::WrongPhase { .. } => "E-WRONG-PHASE",
            Self::NotAllowed { .. } => "E-NOT-ALLOWED",
            Self::OverCap { .. } => "E-OVER-CAP",
            Self::AdminsOnly(_) => "E-ADMINS-ONLY",
            Self::CannotBook(_) => "E-CANNOT-BOOK",
            Self::BookingInUse { .. } => "E-BOOKING-IN-USE",
            Self::NoSuchBooking(_) => "E-BOOKING-UNKNOWN",
            Self::Change(refusal) => refusal.code(),
        }
    }

    /// What whoever asked can do.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoSuchSlice(_) | Self::NeverFits { .. } => {
                "`migctl profiles` lists what this machine can be cut into"
            }
            Self::NoSuchGpu { .. } | Self::UnknownGpu(_) => "`migctl gpus` lists the GPUs",
            Self::NotAllowed { .. } | Self::OverCap { .. } | Self::AdminsOnly(_) => {
                "ask an administrator"
            }
            Self::CannotBook(_) => "choose another time, a smaller profile or another GPU",
            Self::NoSuchBooking(_) => "`migctl book --list` lists the bookings",
            Self::MigOff(_) => {
                "enable it (`nvidia-smi -i GPU -mig 1`), or start the daemon with --auto-mig"
            }
            Self::MigOn(_) => {
                "disable it (`nvidia-smi -i GPU -mig 0`), start the daemon with --auto-mig, or ask for a slice that fills a GPU (`--profile 7g`)"
            }
            Self::NoRoomNow { .. } => "leave out --immediate to wait for your turn",
            Self::NameTaken { .. } => "choose another --name, or release that lease first",
            Self::TooManyWaiting(_) | Self::NoSuchLease(_) => {
                "`migctl queue` and `migctl status` list what there is"
            }
            Self::BookingInUse { .. } => "release that lease first, or make a booking of your own",
            Self::NotYours(_) => "ask its owner or an administrator",
            Self::Change(refusal) => refusal.hint(),
            Self::BadCount(_) | Self::WrongPhase { .. } => return None,
        };
        Some(hint.to_string())
    }
}

pub(crate) fn guard(lease: &crate::state::Lease, by: Peer) -> Result<(), Refusal> {
    if by.may_act_for(lease.spec.uid) { Ok(()) } else { Err(Refusal::NotYours(lease.id)) }
}
