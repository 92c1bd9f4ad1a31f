//! The broker's state: what the fold over events (see `fold`) leads to.
//!
//! Must never hold anything that the events do not lead to.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use model::{
    BookingId, BootId, ChangeId, GpuInstanceId, GpuInstanceProfileId, GpuUuid, LeaseId, Millis,
    Placement, Plan, PlanId, Purpose, Timestamp, Uid,
};
use serde::{Deserialize, Serialize};

use crate::booking::Booking;
use crate::changes::{Change, Costs, Fixed};
use crate::event::{EndReason, GrantedSlice, SliceTarget, StepOutcome};
use crate::lifecycle::{Activity, HeldUp, Metered, Notice, StartEstimate};
use crate::request::{Holder, RequestSpec};
use crate::usage::Usage;

/// Where a slice lies: unique among the instances of a machine at one moment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SliceKey {
    /// The GPU.
    pub gpu: GpuUuid,
    /// The place on its grid.
    pub placement: Placement,
}

/// What a slice of ours is for at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SliceUse {
    /// A lease has it.
    Leased(LeaseId),
    /// Nobody; kept for reuse.
    Warm {
        /// Since when.
        since: Timestamp,
    },
    /// An open plan takes it away or hands it over.
    InPlan(PlanId),
}

/// A slice that migd made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliceRecord {
    /// What it is.
    pub slice: GrantedSlice,
    /// What it is for.
    pub used: SliceUse,
}

/// The measures against processes of a lease that must end, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Nothing is sent; the lease ends when its processes do.
    Waiting,
    /// SIGTERM was sent.
    Term,
    /// SIGKILL was sent.
    Kill,
}

/// Where a request or lease stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It waits.
    Queued,
    /// A plan makes its slices.
    Granting {
        /// Which plan.
        plan: PlanId,
    },
    /// It has its slices.
    Active {
        /// Since when.
        since: Timestamp,
    },
    /// It must end and still has its slices.
    Ending {
        /// Why.
        reason: EndReason,
        /// What was done to its processes.
        stage: Stage,
        /// When that was done.
        since: Timestamp,
        /// Who still uses the slice, in words.
        held_by: Vec<String>,
        /// When that was last noted.
        told_at: Option<Timestamp>,
    },
}

/// A request, or the lease it became.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Its number.
    pub id: LeaseId,
    /// What was asked.
    pub spec: RequestSpec,
    /// When it was asked.
    pub requested_at: Timestamp,
    /// When it was granted; `None` while it waits.
    pub granted_at: Option<Timestamp>,
    /// When its token was last renewed.
    pub renewed_at: Option<Timestamp>,
    /// Where it stands.
    pub phase: Phase,
    /// Its slices, without those that were lost; empty while it waits.
    pub slices: Vec<GrantedSlice>,
    /// Grants that failed in the driver.
    pub failures: u32,
    /// The last such failure.
    pub last_failure: Option<String>,
    /// What it was refused because somebody held it from before; empty once it has its slices.
    #[serde(default)]
    pub held_up: Vec<HeldUp>,
    /// Its whole GPUs, if it asked for such.
    #[serde(default)]
    pub whole: Vec<GpuUuid>,
    /// What is known of its use.
    #[serde(default)]
    pub activity: Activity,
    /// What was measured since its grant.
    #[serde(default)]
    pub metered: Metered,
    /// What its holder was told to expect.
    #[serde(default)]
    pub notice: Option<Notice>,
    /// Whether the holder agreed to the move that the notice proposes.
    #[serde(default)]
    pub agreed: bool,
    /// Until when it waits for a new holder.
    #[serde(default)]
    pub lingering_until: Option<Timestamp>,
    /// When it was first told that it would start.
    #[serde(default)]
    pub predicted: Option<StartEstimate>,
    /// When it was last asked to move, so that nobody is asked again and again.
    #[serde(default)]
    pub asked_to_move: Option<Timestamp>,
    /// How often it gave its slices up for others.
    #[serde(default)]
    pub displaced: u32,
    /// Places kept for it while others leave them.
    #[serde(default)]
    pub promised: Vec<SliceTarget>,
    /// Whole GPUs kept for it while others leave them.
    #[serde(default)]
    pub promised_whole: Vec<GpuUuid>,
}

impl Lease {
    /// When its hard limit strikes.
    pub fn deadline(&self) -> Option<Timestamp> {
        Some(self.granted_at?.plus(self.spec.time?))
    }

    /// When its token expires.
    pub fn token_expires(&self) -> Option<Timestamp> {
        // A lease that moved was granted again after it was last renewed.
        match (&self.spec.holder, self.renewed_at.max(self.granted_at)) {
            (Holder::Token { life }, Some(from)) => Some(from.plus(*life)),
            _ => None,
        }
    }

    /// Whether it has a slice on a GPU, or all of it.
    pub fn is_on(&self, gpu: &GpuUuid) -> bool {
        self.slices.iter().any(|slice| slice.key.gpu == *gpu) || self.whole.contains(gpu)
    }

    /// Whether it has slices or GPUs that nobody else may get.
    pub const fn holds_slices(&self) -> bool {
        matches!(self.phase, Phase::Active { .. } | Phase::Ending { .. })
    }
}

/// A plan that was decided and has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenPlan {
    /// The plan.
    pub plan: Plan,
    /// The slices it provides.
    pub targets: Vec<SliceTarget>,
    /// Idle slices it takes away.
    pub evicted: Vec<SliceKey>,
    /// Outcomes of the steps done so far, in order.
    pub done: Vec<StepOutcome>,
    /// The whole GPUs it provides.
    #[serde(default)]
    pub whole: Vec<GpuUuid>,
    /// When it was opened, or its newest step was done.
    #[serde(default)]
    pub touched: Timestamp,
    /// What of it does not come back from the driver. Nobody waits for it any more; what it makes when
    /// it does come back is taken away again.
    #[serde(default)]
    pub late: Option<String>,
}

impl OpenPlan {
    /// The request that waits for it.
    pub(crate) fn asker(&self) -> Option<LeaseId> {
        let Purpose::Grant(lease) = self.plan.purpose else { return None };
        self.late.is_none().then_some(lease)
    }

    /// The GPUs it changes, and those where it hands over what is there; some more than once.
    pub fn gpus(&self) -> impl Iterator<Item = &GpuUuid> {
        let targets = self.targets.iter().map(|target| &target.key.gpu);
        self.plan.gpus().into_iter().chain(targets).chain(&self.whole)
    }
}

/// An instance that a plan of ours may have left in the driver without it being a slice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orphan {
    /// Where it would be.
    pub key: SliceKey,
    /// With which profile.
    pub profile: GpuInstanceProfileId,
    /// The plan that may have left it.
    pub plan: PlanId,
    /// Whether it is taken away even if it is whole (the plan failed), or kept as an idle slice
    /// (a crash interrupted the plan).
    pub undo: bool,
    /// Its id, where the plan learnt it; another instance at the same place is not ours.
    pub instance: Option<GpuInstanceId>,
    /// Attempts to take it away.
    pub attempts: Option<Attempts>,
}

/// Attempts at something that has not succeeded yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    /// When the last one began.
    pub last: Timestamp,
    /// How many there were.
    pub tries: u32,
}

impl Attempts {
    /// One more, at this moment, after those made so far.
    pub(crate) fn again(earlier: Option<Self>, at: Timestamp) -> Self {
        Self { last: at, tries: earlier.map_or(0, |attempts| attempts.tries).saturating_add(1) }
    }

    /// When the next one is due: 2 s after the first, then twice as long each time, up to some four
    /// minutes. What stands in the way is mostly a monitor that looks at a GPU for a moment; what
    /// stays is asked less and less often.
    pub const fn due(&self) -> Timestamp {
        let tries = if self.tries < 8 { self.tries } else { 8 };
        self.last.plus(Millis::from_secs(1 << tries))
    }
}

/// A GPU that gets no new lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cordon {
    /// Whether leases that are there are asked to leave.
    pub drain: bool,
    /// Why, in the words of whoever did it.
    pub why: String,
    /// Who did it.
    pub by: Uid,
    /// Since when.
    pub since: Timestamp,
    /// Whether nothing of ours is left on it.
    pub drained: bool,
}

/// What is known of a GPU's health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// What is wrong with it; `None` if nothing is.
    pub trouble: Option<String>,
    /// Since when.
    pub since: Timestamp,
}

/// Room kept free for a request that waits long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// For which request.
    pub lease: LeaseId,
    /// The places kept for it. Leases that end in time may still use them.
    pub places: Vec<SliceTarget>,
    /// Whole GPUs kept for it.
    pub whole: Vec<GpuUuid>,
    /// When they should be free, if that is known.
    pub free_at: Option<Timestamp>,
    /// Since when.
    pub since: Timestamp,
}

/// Everything the broker knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// The number of the next request.
    pub next_lease: u64,
    /// The number of the next plan.
    pub next_plan: u64,
    /// The boot the journal was last written in.
    pub boot: Option<BootId>,
    /// When the daemon that runs, or ran last, began.
    pub started_at: Option<Timestamp>,
    /// Requests and leases that have not ended.
    pub leases: BTreeMap<LeaseId, Lease>,
    /// Slices migd made and has not taken away.
    #[serde(with = "slice_list")]
    pub slices: BTreeMap<SliceKey, SliceRecord>,
    /// Plans that have not ended.
    pub plans: BTreeMap<PlanId, OpenPlan>,
    /// GPUs out of use.
    pub maintenance: BTreeSet<GpuUuid>,
    /// What ended plans may have left behind.
    pub orphans: Vec<Orphan>,
    /// GPUs that were tried to be made ready for slices, without success so far.
    pub prepared: BTreeMap<GpuUuid, Attempts>,
    /// GPUs on which the driver refused a step lately: nothing new is placed there.
    pub avoided: BTreeSet<GpuUuid>,
    /// Steps the driver refused, per GPU, since the last plan that succeeded there.
    pub refusals: BTreeMap<GpuUuid, Attempts>,
    /// GPUs that get no new lease.
    pub cordons: BTreeMap<GpuUuid, Cordon>,
    /// GPUs that are lost or failing, with what is wrong.
    pub quarantine: BTreeMap<GpuUuid, String>,
    /// GPUs that fail, or that failed and are still kept out of use.
    pub health: BTreeMap<GpuUuid, Condition>,
    /// When the mode of a GPU was last changed by us, or a lease of all of it ended.
    pub turned: BTreeMap<GpuUuid, Timestamp>,
    /// The number of the next booking.
    pub next_booking: u64,
    /// Bookings that are not over.
    pub bookings: BTreeMap<BookingId, Booking>,
    /// The one request for which room is kept free.
    pub reservation: Option<Reservation>,
    /// Charges and demand.
    pub usage: Usage,
    /// When idle room was last rearranged: the newest hundred times.
    pub rearranged: Vec<Timestamp>,
    /// The number of the next change.
    pub next_change: u64,
    /// Changes that are open, and the newest that ended.
    pub changes: BTreeMap<ChangeId, Change>,
    /// GPUs that stay as a file made them.
    pub fixed: BTreeMap<GpuUuid, Fixed>,
    /// What steps took on this machine.
    pub costs: Costs,
}

/// JSON objects want text keys, so the slices are written as a list.
mod slice_list {
    use super::{BTreeMap, SliceKey, SliceRecord, Vec};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        slices: &BTreeMap<SliceKey, SliceRecord>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        slices.values().collect::<Vec<_>>().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<SliceKey, SliceRecord>, D::Error> {
        let records = Vec::<SliceRecord>::deserialize(deserializer)?;
        Ok(records.into_iter().map(|record| (record.slice.key.clone(), record)).collect())
    }
}

impl State {
    /// The lease with this id.
    pub fn lease(&self, id: LeaseId) -> Option<&Lease> {
        self.leases.get(&id)
    }

    /// Requests that wait, in the order of their arrival.
    pub fn queue(&self) -> impl Iterator<Item = &Lease> {
        self.leases.values().filter(|lease| lease.phase == Phase::Queued)
    }

    /// The lease that has all of a GPU, or is about to.
    pub fn whole_lease(&self, gpu: &GpuUuid) -> Option<LeaseId> {
        let coming =
            self.plans.values().find_map(|open| open.asker().filter(|_| open.whole.contains(gpu)));
        let has = |lease: &&Lease| lease.whole.contains(gpu);
        coming.or_else(|| self.leases.values().find(has).map(|lease| lease.id))
    }

    /// What does not come back from the driver on a GPU, if anything does not. Nothing new is begun there
    /// meanwhile.
    pub fn hangs(&self, gpu: &GpuUuid) -> Option<&str> {
        let mut late = self.plans.values().filter(|open| open.late.is_some());
        late.find(|open| open.gpus().any(|of| of == gpu)).and_then(|open| open.late.as_deref())
    }

    /// Whether nobody waits for a plan any more that is at work: no further step of it is worth doing.
    pub fn is_late(&self, plan: PlanId) -> bool {
        self.plans.get(&plan).is_some_and(|open| open.late.is_some())
    }

    /// The request that waits for the slice a plan provides at `key`.
    pub(crate) fn promised_to(&self, key: &SliceKey) -> Option<LeaseId> {
        let provides = |open: &&OpenPlan| open.targets.iter().any(|target| target.key == *key);
        self.plans.values().filter(provides).find_map(OpenPlan::asker)
    }

    /// The slice a plan provides at `key`, if any open plan does.
    pub fn promised(&self, key: &SliceKey) -> Option<GpuInstanceProfileId> {
        let targets = self.plans.values().flat_map(|plan| &plan.targets);
        targets.filter(|target| target.key == *key).map(|target| target.profile).next()
    }
}
