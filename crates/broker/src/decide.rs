//! Decisions: every command, one function each.
//!
//! Must never leave a trace of a refused command, and must fold each event at the moment it is
//! decided, so that the next choice of the same command sees it.

use alloc::string::String;
use alloc::vec::Vec;

use model::{BootId, LeaseId};

use crate::command::{Command, Decision, Effect, Refusal, Reply, World};
use crate::event::{EndReason, Event};
use crate::receipt::receipt;
use crate::request::Patience;
use crate::state::{Lease, Phase, Stage, State};
use crate::{bookings, changes, cordon, endings, grant, holders, moves, reclaim, reconcile};

pub(crate) use crate::endings::begin_end;

/// A decision in the making.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) state: &'a mut State,
    pub(crate) world: &'a World<'a>,
    pub(crate) events: Vec<Event>,
    pub(crate) effects: Vec<Effect>,
}

impl Draft<'_> {
    /// Records an event and folds it in.
    pub(crate) fn emit(&mut self, event: Event) {
        self.state.apply(self.world.now, &event);
        self.events.push(event);
    }

    /// Records that a request or lease is over, with its receipt.
    pub(crate) fn end(&mut self, lease: LeaseId, reason: EndReason) {
        let World { observed, now, .. } = self.world;
        let receipt = self.state.lease(lease).and_then(|found| receipt(observed, found, *now));
        self.emit(Event::Ended { lease, reason, receipt });
    }

    /// Asks for something to be done after the commit.
    pub(crate) fn effect(&mut self, effect: Effect) {
        if !self.effects.contains(&effect) {
            self.effects.push(effect);
        }
    }
}

/// Decides a command and folds its events into `state`.
///
/// # Errors
/// A [`Refusal`]; then `state` is unchanged.
pub fn decide(state: &mut State, world: &World<'_>, command: Command) -> Result<Decision, Refusal> {
    let mut draft = Draft { state, world, events: Vec::new(), effects: Vec::new() };
    let reply = match command {
        Command::Started { version, boot, numbers_from } => {
            started(&mut draft, version, boot, numbers_from)
        }
        Command::Request(spec) => Reply::Lease(grant::request(&mut draft, spec)?),
        Command::End { lease, by, holder } => holders::end(&mut draft, lease, by, holder)?,
        Command::Attach { lease, by, command } => holders::attach(&mut draft, lease, by, command)?,
        Command::Contain { lease, by, container, cgroup } => {
            holders::contain(&mut draft, lease, by, container, cgroup)?
        }
        Command::Renew { lease, by } => holders::renew(&mut draft, lease, by)?,
        Command::HolderExited { lease, process } => {
            holders::exited(&mut draft, lease, process);
            Reply::Done
        }
        Command::StepDone { plan, step, outcome } => {
            draft.emit(Event::StepDone { plan, step, outcome });
            Reply::Done
        }
        Command::PlanFinished { plan, slices } => {
            grant::plan_finished(&mut draft, plan, slices);
            Reply::Done
        }
        Command::PlanFailed { plan, step, error } => {
            grant::plan_failed(&mut draft, plan, step, error);
            Reply::Done
        }
        Command::PlanLate { plan, words } => {
            grant::plan_late(&mut draft, plan, words);
            Reply::Done
        }
        Command::PlanHeldUp { plan, held } => {
            grant::plan_held_up(&mut draft, plan, held);
            Reply::Done
        }
        Command::Looked { lease, found } => {
            endings::looked(&mut draft, lease, found);
            Reply::Done
        }
        Command::HolderGone { lease } => {
            holders::gone(&mut draft, lease);
            Reply::Done
        }
        Command::Measured { lease, activity, metered } => {
            reclaim::measured(&mut draft, lease, activity, metered);
            Reply::Done
        }
        Command::Agree { lease, by } => moves::agree(&mut draft, lease, by)?,
        Command::Cordon { gpu, drain, why, by } => cordon::cordon(&mut draft, gpu, drain, why, by)?,
        Command::Uncordon { gpu, by } => cordon::uncordon(&mut draft, gpu, by)?,
        Command::Book { spec, by } => bookings::book(&mut draft, spec, by)?,
        Command::CancelBooking { booking, by } => bookings::cancel(&mut draft, booking, by)?,
        Command::Change { spec, by } => changes::begin(&mut draft, spec, by)?,
        Command::CancelChange { change, by } => changes::cancel(&mut draft, change, by)?,
        Command::HandBack { gpu, by } => changes::hand_back(&mut draft, gpu, by)?,
        Command::UnitsRunAs { change, leaving } => {
            changes::units_run_as(&mut draft, change, leaving);
            Reply::Done
        }
        Command::UnitsStopped { change, trouble } => {
            changes::units_stopped(&mut draft, change, trouble);
            Reply::Done
        }
        Command::UnitsStarted { change, trouble } => {
            changes::units_started(&mut draft, change, trouble);
            Reply::Done
        }
        Command::Tick => {
            tick(&mut draft);
            Reply::Done
        }
        Command::Observed => {
            reconcile::observed(&mut draft);
            Reply::Done
        }
    };
    Ok(Decision { events: draft.events, effects: draft.effects, reply })
}

/// What a daemon that takes over must watch and look at.
pub fn resume(state: &State) -> Vec<Effect> {
    let mut effects = changes::resume(state);
    for lease in state.leases.values() {
        effects.extend(holders::watches(lease));
        if let Phase::Ending { stage, .. } = &lease.phase {
            if *stage != Stage::Waiting {
                effects.push(Effect::Signal { lease: lease.id, stage: *stage });
            }
            effects.push(Effect::Look { lease: lease.id });
        }
    }
    effects
}

fn started(draft: &mut Draft<'_>, version: String, boot: BootId, numbers_from: u64) -> Reply {
    let rebooted = draft.state.boot.as_ref().is_some_and(|last| *last != boot);
    draft.emit(Event::DaemonStarted { version, boot, numbers_from });
    let plans: Vec<_> = draft.state.plans.keys().copied().collect();
    for plan in plans {
        reconcile::abandon(draft, plan);
    }
    changes::started(draft, rebooted);
    if rebooted {
        let leases: Vec<LeaseId> = draft.state.leases.keys().copied().collect();
        for lease in leases {
            draft.end(lease, EndReason::Rebooted);
        }
        reconcile::forget_instances(draft);
    }
    reclaim::started(draft);
    holders::started(draft);
    draft.effects.extend(resume(draft.state));
    reconcile::observed(draft);
    Reply::Done
}

pub(crate) fn live(state: &State, id: LeaseId) -> Result<&Lease, Refusal> {
    state.lease(id).ok_or(Refusal::NoSuchLease(id))
}

fn tick(draft: &mut Draft<'_>) {
    if !draft.world.policy.passive {
        bookings::tick(draft);
    }
    let ids: Vec<LeaseId> = draft.state.leases.keys().copied().collect();
    for id in ids {
        tick_lease(draft, id);
    }
    reconcile::tick(draft);
    // Requests get old, notices and limits come closer.
    if draft.state.queue().next().is_some() {
        grant::schedule(draft);
    }
}

fn tick_lease(draft: &mut Draft<'_>, id: LeaseId) {
    let now = draft.world.now;
    let Some(lease) = draft.state.lease(id) else { return };
    match &lease.phase {
        Phase::Queued => {
            // Whoever gave slices up for others waits until it gets new ones.
            let waited_enough = lease.displaced == 0
                && match lease.spec.patience {
                    Patience::Forever => false,
                    // Its grant failed, or a restart interrupted it; it did not agree to wait.
                    Patience::Immediate => true,
                    Patience::AtMost(span) => lease.requested_at.plus(span) <= now,
                };
            if waited_enough {
                begin_end(draft, id, EndReason::WaitExpired);
            }
        }
        Phase::Granting { .. } => {}
        Phase::Active { .. } => {
            if lease.deadline().is_some_and(|at| at <= now) {
                begin_end(draft, id, EndReason::TimeLimit);
            } else if lease.token_expires().is_some_and(|at| at <= now) {
                begin_end(draft, id, EndReason::NotRenewed);
            } else if lease.lingering_until.is_some() {
                holders::tick_lingering(draft, id);
                moves::tick(draft, id);
            } else if !draft.world.policy.passive {
                reclaim::tick(draft, id);
                moves::tick(draft, id);
            }
        }
        Phase::Ending { .. } => endings::tick(draft, id),
    }
}
