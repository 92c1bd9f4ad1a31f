//! The broker's state: a fold over events and nothing else.
//!
//! Must never decide: `apply` has no policy, no arithmetic on floats and no error. An event that
//! does not fit the state (which only a foreign journal could hold) changes nothing.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use model::{
    BootId, GpuInstanceId, GpuInstanceProfileId, GpuUuid, LeaseId, Millis, Placement, Plan, PlanId,
    Purpose, Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::event::{EndReason, Event, GrantedSlice, SliceTarget, StepOutcome};
use crate::request::{Holder, RequestSpec};

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
}

impl Lease {
    /// When its hard limit strikes.
    pub fn deadline(&self) -> Option<Timestamp> {
        Some(self.granted_at?.plus(self.spec.time?))
    }

    /// When its token expires.
    pub fn token_expires(&self) -> Option<Timestamp> {
        match (&self.spec.holder, self.renewed_at.or(self.granted_at)) {
            (Holder::Token { life }, Some(from)) => Some(from.plus(*life)),
            _ => None,
        }
    }

    /// Whether it has slices that nobody else may get.
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
}

impl OpenPlan {
    /// The GPUs it changes, and those where it hands over what is there; some more than once.
    pub fn gpus(&self) -> impl Iterator<Item = &GpuUuid> {
        self.plan.gpus().into_iter().chain(self.targets.iter().map(|target| &target.key.gpu))
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
    fn again(earlier: Option<Self>, at: Timestamp) -> Self {
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

/// Everything the broker knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The number of the next request.
    pub next_lease: u64,
    /// The number of the next plan.
    pub next_plan: u64,
    /// The boot the journal was last written in.
    pub boot: Option<BootId>,
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

    /// The slice a plan provides at `key`, if any open plan does.
    pub fn promised(&self, key: &SliceKey) -> Option<GpuInstanceProfileId> {
        let targets = self.plans.values().flat_map(|plan| &plan.targets);
        targets.filter(|target| target.key == *key).map(|target| target.profile).next()
    }

    /// Folds one event in.
    pub fn apply(&mut self, at: Timestamp, event: &Event) {
        match event {
            Event::DaemonStarted { boot, numbers_from, .. } => {
                self.boot = Some(boot.clone());
                self.next_lease = self.next_lease.max(*numbers_from);
            }
            Event::Requested { lease, spec } => self.add_request(at, *lease, spec),
            Event::PlanOpened { plan, steps, targets, evicted } => {
                self.open_plan(at, *plan, steps, targets, evicted);
            }
            Event::StepDone { plan, outcome, .. } => self.step_done(*plan, outcome),
            Event::PlanFinished { plan } => {
                self.forgive(*plan);
                self.close_plan(at, *plan);
            }
            Event::PlanFailed { plan, step, .. } => {
                self.avoid(at, *plan, *step);
                self.leave_orphans(*plan, true);
                self.close_plan(at, *plan);
            }
            Event::PlanAbandoned { plan } => {
                self.leave_orphans(*plan, false);
                self.close_plan(at, *plan);
            }
            Event::Granted { lease, slices } => self.grant(at, *lease, slices),
            Event::GrantUndone { lease, error } => self.undo_grant(*lease, error),
            Event::Requeued { lease } => {
                if let Some(phase) = self.phase_mut(*lease) {
                    *phase = Phase::Queued;
                }
            }
            Event::HolderAttached { lease, command } => {
                if let Some(Holder::Process { command: slot, .. }) =
                    self.leases.get_mut(lease).map(|lease| &mut lease.spec.holder)
                {
                    *slot = Some(*command);
                }
            }
            Event::Renewed { lease } => {
                if let Some(lease) = self.leases.get_mut(lease) {
                    lease.renewed_at = Some(at);
                }
            }
            Event::Ending { lease, reason } => {
                if let Some(lease) = self.leases.get_mut(lease) {
                    lease.phase = Phase::Ending {
                        reason: reason.clone(),
                        stage: Stage::Waiting,
                        since: at,
                        held_by: Vec::new(),
                        told_at: None,
                    };
                }
            }
            Event::Escalated { lease, stage: next } => {
                if let Some(Phase::Ending { stage, since, .. }) = self.phase_mut(*lease) {
                    *stage = *next;
                    *since = at;
                }
            }
            Event::StillHeld { lease, by } => {
                if let Some(Phase::Ending { held_by, told_at, .. }) = self.phase_mut(*lease) {
                    held_by.clone_from(by);
                    *told_at = Some(at);
                }
            }
            Event::Ended { lease, .. } => self.end(at, *lease),
            Event::SliceAdopted { slice } => {
                self.put_slice(slice.clone(), SliceUse::Warm { since: at });
            }
            Event::OrphanCleared { key } => self.orphans.retain(|orphan| orphan.key != *key),
            Event::SliceGone { key, .. } => self.lose_slice(key),
            Event::MaintenanceBegan { gpu } => {
                self.maintenance.insert(gpu.clone());
                let attempts = Attempts::again(self.prepared.get(gpu).copied(), at);
                self.prepared.insert(gpu.clone(), attempts);
            }
            Event::GpuTriedAgain { gpu } => {
                self.avoided.remove(gpu);
            }
            Event::MaintenanceEnded { gpu } => {
                self.maintenance.remove(gpu);
            }
        }
    }

    fn phase_mut(&mut self, lease: LeaseId) -> Option<&mut Phase> {
        self.leases.get_mut(&lease).map(|lease| &mut lease.phase)
    }

    fn put_slice(&mut self, slice: GrantedSlice, used: SliceUse) {
        self.orphans.retain(|orphan| orphan.key != slice.key);
        self.slices.insert(slice.key.clone(), SliceRecord { slice, used });
    }

    fn add_request(&mut self, at: Timestamp, id: LeaseId, spec: &RequestSpec) {
        self.next_lease = self.next_lease.max(id.get() + 1);
        let lease = Lease {
            id,
            spec: spec.clone(),
            requested_at: at,
            granted_at: None,
            renewed_at: None,
            phase: Phase::Queued,
            slices: Vec::new(),
            failures: 0,
            last_failure: None,
        };
        self.leases.insert(id, lease);
    }

    fn open_plan(
        &mut self,
        at: Timestamp,
        id: PlanId,
        plan: &Plan,
        targets: &[SliceTarget],
        evicted: &[SliceKey],
    ) {
        self.next_plan = self.next_plan.max(id.get() + 1);
        let reused = targets.iter().filter(|target| target.reuse).map(|target| &target.key);
        for key in evicted.iter().chain(reused) {
            if let Some(record) = self.slices.get_mut(key) {
                record.used = SliceUse::InPlan(id);
            }
        }
        if let Purpose::Grant(lease) = &plan.purpose
            && let Some(phase) = self.phase_mut(*lease)
        {
            *phase = Phase::Granting { plan: id };
        }
        for orphan in &mut self.orphans {
            if plan.steps.iter().any(|step| step.names(&orphan.key.gpu, orphan.key.placement)) {
                orphan.attempts = Some(Attempts::again(orphan.attempts, at));
            }
        }
        let open = OpenPlan {
            plan: plan.clone(),
            targets: targets.to_vec(),
            evicted: evicted.to_vec(),
            done: Vec::new(),
        };
        self.plans.insert(id, open);
    }

    fn step_done(&mut self, id: PlanId, outcome: &StepOutcome) {
        let Some(open) = self.plans.get_mut(&id) else { return };
        let step = open.plan.steps.get(open.done.len()).cloned();
        if let (Some(model::Step::SetMigMode { gpu, .. }), StepOutcome::ModeSet(_)) =
            (&step, outcome)
        {
            self.prepared.remove(gpu);
        }
        open.done.push(outcome.clone());
        if let Some(model::Step::DestroyGpuInstance { gpu, placement, .. }) = step {
            let key = SliceKey { gpu, placement };
            self.orphans.retain(|orphan| orphan.key != key);
            self.slices.remove(&key);
        }
    }

    /// Notes what an ended plan may have left in the driver: instances it made, and slices it began
    /// to take away. A plan that failed told what it did; after a crash the step it did not report
    /// on may have happened too.
    fn leave_orphans(&mut self, id: PlanId, failed: bool) {
        let Some(open) = self.plans.get(&id) else { return };
        let reach = open.done.len() + usize::from(!failed);
        let made = open.done.iter().map(|outcome| match outcome {
            StepOutcome::GpuInstanceCreated(id) => Some(*id),
            StepOutcome::ModeSet(_)
            | StepOutcome::Reset
            | StepOutcome::Destroyed
            | StepOutcome::ComputeInstanceCreated { .. } => None,
        });
        let steps: Vec<(model::Step, Option<GpuInstanceId>)> = open
            .plan
            .steps
            .iter()
            .take(reach)
            .cloned()
            .zip(made.chain(core::iter::repeat(None)))
            .collect();
        for (step, made) in steps {
            let (key, profile, instance) = match step {
                model::Step::CreateGpuInstance { gpu, profile, placement } => {
                    let key = SliceKey { gpu, placement };
                    if self.slices.contains_key(&key) {
                        continue;
                    }
                    (key, profile, made)
                }
                model::Step::DestroyComputeInstance { gpu, at, .. } => {
                    let key = SliceKey { gpu, placement: at };
                    let Some(record) = self.slices.get(&key) else { continue };
                    if record.used != SliceUse::InPlan(id) {
                        continue;
                    }
                    let (profile, instance) = (record.slice.profile, record.slice.gpu_instance);
                    self.slices.remove(&key);
                    (key, profile, Some(instance))
                }
                model::Step::SetMigMode { .. }
                | model::Step::ResetGpu { .. }
                | model::Step::DestroyGpuInstance { .. }
                | model::Step::CreateComputeInstance { .. } => continue,
            };
            // A plan was made where nothing lay, so an older orphan of that place is gone.
            self.orphans.retain(|orphan| orphan.key != key);
            let (plan, undo) = (id, failed);
            self.orphans.push(Orphan { key, profile, plan, undo, instance, attempts: None });
        }
    }

    /// The GPU of a step that the driver refused is avoided for a while, so that the next choice
    /// is another one.
    fn avoid(&mut self, at: Timestamp, id: PlanId, step: Option<u32>) {
        let Some(open) = self.plans.get(&id) else { return };
        if open.plan.purpose == Purpose::Prepare {
            return;
        }
        let Some(step) = step.and_then(|step| open.plan.steps.get(step as usize)) else { return };
        let gpu = step.gpu().clone();
        let attempts = Attempts::again(self.refusals.get(&gpu).copied(), at);
        self.refusals.insert(gpu.clone(), attempts);
        self.avoided.insert(gpu);
    }

    /// A plan that changed a GPU shows that the driver does as it is told there.
    fn forgive(&mut self, id: PlanId) {
        let Some(open) = self.plans.get(&id) else { return };
        for gpu in open.plan.gpus() {
            self.refusals.remove(gpu);
            self.avoided.remove(gpu);
        }
    }

    /// Slices that the ended plan did not take away are idle again.
    fn close_plan(&mut self, at: Timestamp, id: PlanId) {
        self.plans.remove(&id);
        for record in self.slices.values_mut() {
            if record.used == SliceUse::InPlan(id) {
                record.used = SliceUse::Warm { since: at };
            }
        }
    }

    fn grant(&mut self, at: Timestamp, id: LeaseId, slices: &[GrantedSlice]) {
        for slice in slices {
            self.put_slice(slice.clone(), SliceUse::Leased(id));
        }
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.phase = Phase::Active { since: at };
            lease.granted_at = Some(at);
            lease.slices = slices.to_vec();
        }
    }

    fn undo_grant(&mut self, id: LeaseId, error: &str) {
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.phase = Phase::Queued;
            lease.failures += 1;
            lease.last_failure = Some(error.into());
        }
    }

    fn lose_slice(&mut self, key: &SliceKey) {
        self.slices.remove(key);
        for lease in self.leases.values_mut() {
            lease.slices.retain(|slice| slice.key != *key);
        }
    }

    fn end(&mut self, at: Timestamp, id: LeaseId) {
        self.leases.remove(&id);
        for record in self.slices.values_mut() {
            if record.used == SliceUse::Leased(id) {
                record.used = SliceUse::Warm { since: at };
            }
        }
    }
}
