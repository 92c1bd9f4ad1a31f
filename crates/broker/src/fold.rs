//! The fold: what each event does to the state.
//!
//! Must never decide: `apply` has no policy, no arithmetic on floats and no error. An event that
//! does not fit the state (which only a foreign journal could hold) changes nothing.

use alloc::vec::Vec;

use model::{GpuInstanceId, GpuUuid, LeaseId, Plan, PlanId, Purpose, Timestamp};

use crate::booking::Booking;
use crate::changes::{PlanEnd, note_cost};
use crate::event::{Event, GrantedSlice, SliceTarget, StepOutcome};
use crate::lifecycle::{Activity, HeldUp, Metered, NoticeReason, Receipt};
use crate::request::{Holder, RequestSpec};
use crate::state::{
    Attempts, Condition, Lease, OpenPlan, Orphan, Phase, SliceKey, SliceRecord, SliceUse, Stage,
    State,
};

/// Rearrangements remembered at most.
const REARRANGED_KEPT: usize = 100;

impl State {
    /// Folds one event in.
    pub fn apply(&mut self, at: Timestamp, event: &Event) {
        match event {
            Event::DaemonStarted { boot, numbers_from, .. } => {
                if self.boot.as_ref() != Some(boot) {
                    // Some boards forget their mode, and what was turned is as it came.
                    self.turned.clear();
                }
                self.boot = Some(boot.clone());
                self.started_at = Some(at);
                self.next_lease = self.next_lease.max(*numbers_from);
            }
            Event::Requested { lease, spec, counts_as } => {
                self.add_request(at, *lease, spec);
                if let Some(profile) = counts_as {
                    self.usage.count(at, *profile);
                }
            }
            Event::PlanOpened { plan, steps, targets, evicted, whole } => {
                self.open_plan(at, *plan, steps, targets, evicted, whole);
            }
            Event::StepDone { plan, outcome, .. } => self.step_done(at, *plan, outcome),
            Event::PlanFinished { plan } => {
                self.forgive(*plan);
                self.change_plan_ended(*plan, PlanEnd::Finished);
                self.close_plan(at, *plan);
            }
            Event::PlanFailed { plan, step, error } => {
                self.avoid(at, *plan, *step);
                // What a change did is taken back by the change.
                if !self.change_plan_ended(*plan, PlanEnd::Failed(error)) {
                    self.leave_orphans(*plan, true);
                }
                self.close_plan(at, *plan);
            }
            Event::PlanLate { plan, words } => {
                if let Some(open) = self.plans.get_mut(plan) {
                    open.late = Some(words.clone());
                }
            }
            Event::PlanAbandoned { plan } => {
                if !self.change_plan_ended(*plan, PlanEnd::Abandoned) {
                    self.leave_orphans(*plan, false);
                }
                self.close_plan(at, *plan);
            }
            Event::Granted { lease, slices } => {
                self.use_booking(*lease);
                self.grant(at, *lease, slices);
            }
            Event::GrantUndone { lease, error } => self.undo_grant(*lease, error),
            Event::HeldUp { lease, held } => {
                if let Some(lease) = self.leases.get_mut(lease) {
                    lease.phase = Phase::Queued;
                    let same = |known: &HeldUp| known.gpu == held.gpu && known.place == held.place;
                    lease.held_up.retain(|known| !same(known));
                    lease.held_up.push(held.clone());
                }
            }
            Event::Requeued { lease } => {
                if let Some(phase) = self.phase_mut(*lease) {
                    *phase = Phase::Queued;
                }
            }
            Event::GrantedWhole { lease, gpus } => {
                self.use_booking(*lease);
                if let Some(lease) = self.leases.get_mut(lease) {
                    lease.phase = Phase::Active { since: at };
                    lease.granted_at = Some(at);
                    lease.held_up.clear();
                    lease.whole.clone_from(gpus);
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
                    lease.notice = None;
                    lease.lingering_until = None;
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
            Event::Ended { lease, receipt, .. } => {
                self.charge(at, *lease, receipt.as_ref());
                self.turn(at, *lease);
                self.leases.remove(lease);
                self.free_slices(at, *lease);
            }
            Event::Displaced { lease, receipt, .. } => {
                self.charge(at, *lease, receipt.as_ref());
                self.turn(at, *lease);
                self.free_slices(at, *lease);
                self.displace(*lease);
            }
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
            Event::Predicted { lease, start } => {
                if let Some(lease) = self.leases.get_mut(lease) {
                    lease.predicted = Some(*start);
                }
            }
            Event::ActivityChanged { lease, activity } => {
                if let Some(lease) = self.leases.get_mut(lease) {
                    lease.activity = *activity;
                }
            }
            Event::Metered { lease, metered } => {
                if let Some(lease) = self.leases.get_mut(lease) {
                    lease.metered = *metered;
                }
            }
            Event::Noticed { lease, notice } => {
                if let Some(lease) = self.leases.get_mut(lease) {
                    lease.notice = Some(notice.clone());
                    if matches!(notice.reason, NoticeReason::Move { .. }) {
                        lease.asked_to_move = Some(at);
                    }
                    lease.agreed = false;
                }
            }
            Event::NoticeWithdrawn { lease } => {
                if let Some(lease) = self.leases.get_mut(lease) {
                    lease.notice = None;
                    lease.agreed = false;
                }
            }
            Event::Agreed { lease } => {
                if let Some(lease) = self.leases.get_mut(lease) {
                    lease.agreed = true;
                }
            }
            Event::Lingering { lease, until } => {
                if let Some(lease) = self.leases.get_mut(lease) {
                    lease.lingering_until = Some(*until);
                }
            }
            Event::HolderReplaced { lease, holder } => {
                if let Some(lease) = self.leases.get_mut(lease) {
                    lease.spec.holder = holder.clone();
                    lease.lingering_until = None;
                    lease.renewed_at = None;
                }
            }
            Event::Cordoned { gpu, cordon } => {
                self.cordons.insert(gpu.clone(), cordon.clone());
            }
            Event::Uncordoned { gpu } => {
                self.cordons.remove(gpu);
            }
            Event::Drained { gpu } => {
                if let Some(cordon) = self.cordons.get_mut(gpu) {
                    cordon.drained = true;
                }
            }
            Event::Quarantined { gpu, why } => {
                self.quarantine.insert(gpu.clone(), why.clone());
            }
            Event::QuarantineLifted { gpu } => {
                self.quarantine.remove(gpu);
                self.health.remove(gpu);
            }
            Event::HealthNoted { gpu, trouble } => {
                if trouble.is_none() && !self.quarantine.contains_key(gpu) {
                    self.health.remove(gpu);
                } else {
                    let condition = Condition { trouble: trouble.clone(), since: at };
                    self.health.insert(gpu.clone(), condition);
                }
            }
            Event::Booked { booking, spec, places, whole } => {
                self.next_booking = self.next_booking.max(booking.get() + 1);
                let (id, spec, places) = (*booking, spec.clone(), places.clone());
                let booking =
                    Booking { id, spec, places, whole: whole.clone(), booked_at: at, used: false };
                self.bookings.insert(id, booking);
            }
            Event::BookingMoved { booking, places, whole } => {
                if let Some(booking) = self.bookings.get_mut(booking) {
                    booking.places.clone_from(places);
                    booking.whole.clone_from(whole);
                }
            }
            Event::BookingEnded { booking, .. } => {
                self.bookings.remove(booking);
            }
            Event::Reserved { reservation, .. } => self.reservation = Some(reservation.clone()),
            Event::ReservationDropped => self.reservation = None,
            Event::Change(event) => self.apply_change(at, event),
            Event::RoomPromised { lease, places, whole } => {
                if let Some(lease) = self.leases.get_mut(lease) {
                    lease.promised.clone_from(places);
                    lease.promised_whole.clone_from(whole);
                }
            }
        }
    }

    /// The GPUs that a lease had all of are given back.
    fn turn(&mut self, at: Timestamp, id: LeaseId) {
        let whole = self.leases.get(&id).map(|lease| lease.whole.clone()).unwrap_or_default();
        self.turned.extend(whole.into_iter().map(|gpu| (gpu, at)));
    }

    /// A lease that makes use of a booking begins.
    fn use_booking(&mut self, id: LeaseId) {
        let booking = self.leases.get(&id).and_then(|lease| lease.spec.terms.booking);
        if let Some(booking) = booking.and_then(|id| self.bookings.get_mut(&id)) {
            booking.used = true;
        }
    }

    fn charge(&mut self, at: Timestamp, id: LeaseId, receipt: Option<&Receipt>) {
        if let (Some(lease), Some(receipt)) = (self.leases.get(&id), receipt) {
            self.usage.charge(&lease.spec.tenant, receipt.granted_at, at, receipt.gpu_time);
        }
    }

    /// A lease that gave its slices up is a request again, with the age it had.
    fn displace(&mut self, id: LeaseId) {
        let Some(lease) = self.leases.get_mut(&id) else { return };
        lease.phase = Phase::Queued;
        lease.granted_at = None;
        lease.slices = Vec::new();
        lease.whole = Vec::new();
        lease.activity = Activity::Unknown;
        lease.metered = Metered::default();
        lease.notice = None;
        lease.agreed = false;
        lease.displaced += 1;
        if let Holder::Process { command, .. } = &mut lease.spec.holder {
            *command = None;
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
            held_up: Vec::new(),
            whole: Vec::new(),
            activity: Activity::Unknown,
            metered: Metered::default(),
            notice: None,
            agreed: false,
            lingering_until: None,
            predicted: None,
            asked_to_move: None,
            displaced: 0,
            promised: Vec::new(),
            promised_whole: Vec::new(),
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
        whole: &[GpuUuid],
    ) {
        self.next_plan = self.next_plan.max(id.get() + 1);
        self.change_plan_opened(id, plan, evicted);
        if plan.purpose == Purpose::Defragment {
            let excess = (self.rearranged.len() + 1).saturating_sub(REARRANGED_KEPT);
            self.rearranged.drain(..excess);
            self.rearranged.push(at);
        }
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
            whole: whole.to_vec(),
            touched: at,
            late: None,
        };
        self.plans.insert(id, open);
    }

    fn step_done(&mut self, at: Timestamp, id: PlanId, outcome: &StepOutcome) {
        self.change_step_done(id, outcome);
        let Some(open) = self.plans.get_mut(&id) else { return };
        let step = open.plan.steps.get(open.done.len()).cloned();
        if let Some(step) = &step {
            note_cost(&mut self.costs, step, outcome, open.touched, at);
        }
        open.touched = at;
        if let (Some(model::Step::SetMigMode { gpu, .. }), StepOutcome::ModeSet(_)) =
            (&step, outcome)
        {
            self.prepared.remove(gpu);
        }
        if let (Some(step), StepOutcome::ModeSet(_) | StepOutcome::Reset) = (&step, outcome) {
            // What is made ready for slices for the first time was not turned back and forth.
            let back = *outcome == StepOutcome::ModeSet(model::MigMode::Disabled);
            if back || self.turned.contains_key(step.gpu()) {
                self.turned.insert(step.gpu().clone(), at);
            }
        }
        open.done.push(outcome.clone());
        if let (
            Some(model::Step::DestroyGpuInstance { gpu, placement, .. }),
            StepOutcome::Destroyed,
        ) = (step, outcome)
        {
            let key = SliceKey { gpu, placement };
            self.orphans.retain(|orphan| orphan.key != key);
            self.slices.remove(&key);
        }
    }

    /// Notes what an ended plan may have left in the driver: instances it made, and slices it began
    /// to take away. A plan that failed told what it did; after a crash the step it did not report
    /// on may have happened too, unless the plan had come to its end with a step in doubt.
    fn leave_orphans(&mut self, id: PlanId, failed: bool) {
        let Some(open) = self.plans.get(&id) else { return };
        let over = failed || open.done.last() == Some(&StepOutcome::Unsure);
        let reach = open.done.len() + usize::from(!over);
        let made = open.done.iter().map(|outcome| match outcome {
            StepOutcome::GpuInstanceCreated(id) => Some(*id),
            StepOutcome::ModeSet(_)
            | StepOutcome::ModePending(_)
            | StepOutcome::Reset
            | StepOutcome::ResetNotNeeded
            | StepOutcome::Destroyed
            | StepOutcome::Unsure
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
            lease.held_up.clear();
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

    /// The slices of a lease that no longer has them are idle.
    fn free_slices(&mut self, at: Timestamp, id: LeaseId) {
        for record in self.slices.values_mut() {
            if record.used == SliceUse::Leased(id) {
                record.used = SliceUse::Warm { since: at };
            }
        }
        if self.reservation.as_ref().is_some_and(|kept| kept.lease == id) {
            self.reservation = None;
        }
    }
}
