//! Decisions: every command, one function each.
//!
//! Must never leave a trace of a refused command, and must fold each event at the moment it is
//! decided, so that the next choice of the same command sees it.

use alloc::string::String;
use alloc::vec::Vec;

use model::{BootId, LeaseId, Millis, ProcessId};

use crate::command::{Command, Decision, Effect, Emptiness, Peer, Refusal, Reply, World, guard};
use crate::event::{EndReason, Event};
use crate::receipt::receipt;
use crate::request::{Holder, Patience};
use crate::state::{Lease, Phase, Stage, State};
use crate::{bookings, cordon, grant, moves, reclaim, reconcile};

/// How often it is noted at most who still holds the slice of a lease that must end. Who it is may
/// change many times a second (a program that keeps forking), and every note stays in the journal.
const BETWEEN_NOTES: Millis = Millis::from_secs(10);

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
        Command::End { lease, by, holder } => end(&mut draft, lease, by, holder)?,
        Command::Attach { lease, by, command } => attach(&mut draft, lease, by, command)?,
        Command::Renew { lease, by } => renew(&mut draft, lease, by)?,
        Command::HolderExited { lease, process } => {
            holder_exited(&mut draft, lease, process);
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
        Command::Looked { lease, found } => {
            looked(&mut draft, lease, found);
            Reply::Done
        }
        Command::HolderGone { lease } => {
            begin_end(&mut draft, lease, EndReason::HolderDied);
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
    let mut effects = Vec::new();
    for lease in state.leases.values() {
        if let Holder::Process { client, command, .. } = &lease.spec.holder {
            effects.push(Effect::Watch { lease: lease.id, process: *client });
            if let Some(command) = command {
                effects.push(Effect::Watch { lease: lease.id, process: *command });
            }
        }
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
    if rebooted {
        let leases: Vec<LeaseId> = draft.state.leases.keys().copied().collect();
        for lease in leases {
            draft.end(lease, EndReason::Rebooted);
        }
        reconcile::forget_instances(draft);
    }
    draft.effects.extend(resume(draft.state));
    reconcile::observed(draft);
    Reply::Done
}

pub(crate) fn live(state: &State, id: LeaseId) -> Result<&Lease, Refusal> {
    state.lease(id).ok_or(Refusal::NoSuchLease(id))
}

fn end(draft: &mut Draft<'_>, id: LeaseId, by: Peer, holder: bool) -> Result<Reply, Refusal> {
    let lease = live(draft.state, id)?;
    guard(lease, by)?;
    let own_token = matches!(lease.spec.holder, Holder::Token { .. }) && by.uid == lease.spec.uid;
    let reason = match &lease.phase {
        Phase::Queued | Phase::Granting { .. } => EndReason::Cancelled,
        Phase::Active { .. } if holder || own_token => EndReason::Released,
        Phase::Ending { .. } if holder => EndReason::Released,
        // Asked again while processes still hold the slice: they are told to end.
        Phase::Active { .. } | Phase::Ending { .. } => EndReason::Revoked,
    };
    begin_end(draft, id, reason);
    Ok(Reply::Lease(id))
}

fn attach(
    draft: &mut Draft<'_>,
    id: LeaseId,
    by: Peer,
    command: ProcessId,
) -> Result<Reply, Refusal> {
    let lease = live(draft.state, id)?;
    guard(lease, by)?;
    let Holder::Process { command: known, .. } = &lease.spec.holder else {
        return Err(Refusal::WrongPhase { lease: id, why: "is not held by a process" });
    };
    if !lease.holds_slices() {
        return Err(Refusal::WrongPhase { lease: id, why: "has no slice yet" });
    }
    if *known == Some(command) {
        return Ok(Reply::Lease(id));
    }
    draft.emit(Event::HolderAttached { lease: id, command });
    draft.effect(Effect::Watch { lease: id, process: command });
    // The lease may have begun to end between the grant and this call; its processes are signalled
    // now that they are known.
    if let Some(Phase::Ending { stage, .. }) = draft.state.lease(id).map(|l| l.phase.clone())
        && stage != Stage::Waiting
    {
        draft.effect(Effect::Signal { lease: id, stage });
    }
    Ok(Reply::Lease(id))
}

fn renew(draft: &mut Draft<'_>, id: LeaseId, by: Peer) -> Result<Reply, Refusal> {
    let lease = live(draft.state, id)?;
    guard(lease, by)?;
    match (&lease.spec.holder, &lease.phase) {
        (Holder::Token { .. }, Phase::Active { .. }) => {
            draft.emit(Event::Renewed { lease: id });
            Ok(Reply::Lease(id))
        }
        (Holder::Token { .. }, _) => {
            Err(Refusal::WrongPhase { lease: id, why: "is not active, so it cannot be renewed" })
        }
        (Holder::Process { .. } | Holder::Container { .. } | Holder::Engine { .. }, _) => {
            Err(Refusal::WrongPhase {
                lease: id,
                why: "lives as long as what holds it and needs no renewal",
            })
        }
    }
}

/// The process that asked is what a lease lives by. The end of the command alone is no news: the
/// process that started it gives the lease back.
fn holder_exited(draft: &mut Draft<'_>, id: LeaseId, process: ProcessId) {
    let Some(lease) = draft.state.lease(id) else { return };
    let asked = matches!(&lease.spec.holder, Holder::Process { client, .. } if *client == process);
    let ending = matches!(lease.phase, Phase::Ending { .. });
    // Whoever gave a lease back may end: what it left running holds the lease, and is not killed.
    let released = matches!(lease.phase, Phase::Ending { reason: EndReason::Released, .. });
    if asked && !released {
        begin_end(draft, id, EndReason::HolderDied);
    } else if ending {
        draft.effect(Effect::Look { lease: id });
    }
}

/// Brings a request or lease towards its end: at once if it has no slices, else by way of
/// [`Phase::Ending`] until its slices are proven empty.
pub(crate) fn begin_end(draft: &mut Draft<'_>, id: LeaseId, reason: EndReason) {
    let Some(lease) = draft.state.lease(id) else { return };
    match &lease.phase {
        Phase::Queued | Phase::Granting { .. } => {
            draft.end(id, reason);
            grant::schedule(draft);
        }
        Phase::Active { .. } => enter_ending(draft, id, reason),
        Phase::Ending { reason: present, .. } => {
            if reason.ends_processes() && !present.ends_processes() {
                enter_ending(draft, id, reason);
            }
        }
    }
}

fn enter_ending(draft: &mut Draft<'_>, id: LeaseId, reason: EndReason) {
    let signal = reason.ends_processes();
    draft.emit(Event::Ending { lease: id, reason });
    if signal {
        escalate(draft, id, Stage::Term);
    }
    draft.effect(Effect::Look { lease: id });
}

fn escalate(draft: &mut Draft<'_>, id: LeaseId, stage: Stage) {
    draft.emit(Event::Escalated { lease: id, stage });
    draft.effect(Effect::Signal { lease: id, stage });
}

fn looked(draft: &mut Draft<'_>, id: LeaseId, found: Emptiness) {
    let Some(Phase::Ending { reason, held_by, told_at, .. }) =
        draft.state.lease(id).map(|l| &l.phase)
    else {
        return;
    };
    if found.held_by.is_empty() {
        let reason = reason.clone();
        draft.end(id, reason);
        grant::schedule(draft);
    } else if *held_by != found.held_by
        && told_at.is_none_or(|told| told.plus(BETWEEN_NOTES) <= draft.world.now)
    {
        draft.emit(Event::StillHeld { lease: id, by: found.held_by });
    }
}

fn tick(draft: &mut Draft<'_>) {
    let ids: Vec<LeaseId> = draft.state.leases.keys().copied().collect();
    for id in ids {
        tick_lease(draft, id);
    }
    reconcile::tick(draft);
}

fn tick_lease(draft: &mut Draft<'_>, id: LeaseId) {
    let now = draft.world.now;
    let Some(lease) = draft.state.lease(id) else { return };
    match &lease.phase {
        Phase::Queued => {
            let waited_enough = match lease.spec.patience {
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
            }
        }
        Phase::Ending { stage, since, .. } => {
            let patience_over = since.plus(draft.world.policy.grace) <= now;
            match stage {
                Stage::Waiting if lease.deadline().is_some_and(|at| at <= now) => {
                    begin_end(draft, id, EndReason::TimeLimit);
                }
                Stage::Term if patience_over => escalate(draft, id, Stage::Kill),
                // Whatever was forked meanwhile is told too; once noted is enough.
                Stage::Kill if patience_over => {
                    draft.effect(Effect::Signal { lease: id, stage: Stage::Kill });
                }
                Stage::Waiting | Stage::Term | Stage::Kill => {}
            }
            draft.effect(Effect::Look { lease: id });
        }
    }
}
