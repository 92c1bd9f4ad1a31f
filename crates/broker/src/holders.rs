//! Who holds a lease: given back, known by its command, renewed, gone, lingering, taken over.
//!
//! Must never end a lease because of a process that does not hold it.

use alloc::vec::Vec;

use model::{LeaseId, Millis, ProcessId};

use crate::command::{Effect, Peer, Refusal, Reply, guard};
use crate::decide::{Draft, live};
use crate::endings::begin_end;
use crate::event::{EndReason, Event};
use crate::lifecycle::Notice;
use crate::moves;
use crate::request::{Holder, RequestSpec};
use crate::state::{Lease, Phase, Stage};

/// How long after the grace what a dead holder of a lingering lease left is killed again and again:
/// long enough for what forks meanwhile, short enough that nothing is searched for all the while
/// that a lease lingers.
const KILLING: Millis = Millis::from_secs(3);

/// What must be watched for a lease.
pub(crate) fn watches(lease: &Lease) -> Vec<Effect> {
    let id = lease.id;
    if lease.lingering_until.is_some() {
        return Vec::new();
    }
    match &lease.spec.holder {
        Holder::Process { client, command, .. } => {
            let processes = core::iter::once(*client).chain(*command);
            processes.map(|process| Effect::Watch { lease: id, process }).collect()
        }
        Holder::Container { cgroup, .. } => {
            alloc::vec![Effect::WatchContainer { lease: id, cgroup: cgroup.clone() }]
        }
        Holder::Token { .. } | Holder::Engine { .. } => Vec::new(),
    }
}

/// A daemon took over. While none was there, nobody could renew, take a lease over or be told
/// anything: whoever would be late because of that is given the time once more.
pub(crate) fn started(draft: &mut Draft<'_>) {
    let soon = draft.world.now.plus(draft.world.policy.notice);
    let active = |lease: &&Lease| matches!(lease.phase, Phase::Active { .. });
    let leases: Vec<Lease> = draft.state.leases.values().filter(active).cloned().collect();
    for Lease { id, spec, lingering_until, notice, .. } in &leases {
        let lease = *id;
        let life = draft.state.lease(lease).and_then(Lease::token_expires);
        if life.is_some_and(|at| at <= soon) {
            draft.emit(Event::Renewed { lease });
        }
        if let (Some(until), Some(span)) = (lingering_until, spec.terms.linger)
            && *until <= soon
        {
            draft.emit(Event::Lingering { lease, until: draft.world.now.plus(span) });
        }
        if let Some(Notice { reason, until }) = notice {
            let until = (*until).max(soon);
            moves::notice(draft, lease, Notice { reason: reason.clone(), until });
        }
    }
}

/// Somebody gives a lease back, or cancels a request.
pub(crate) fn end(
    draft: &mut Draft<'_>,
    id: LeaseId,
    by: Peer,
    holder: bool,
) -> Result<Reply, Refusal> {
    let lease = live(draft.state, id)?;
    guard(lease, by)?;
    // Nobody but its owner holds it, so the owner's word is the holder's.
    let on_its_word = matches!(lease.spec.holder, Holder::Token { .. } | Holder::Engine { .. })
        || lease.lingering_until.is_some();
    let own_word = on_its_word && by.uid == lease.spec.uid;
    let reason = match &lease.phase {
        Phase::Queued | Phase::Granting { .. } => EndReason::Cancelled,
        Phase::Active { .. } if holder && lingers(lease) => {
            linger(draft, id);
            return Ok(Reply::Lease(id));
        }
        Phase::Active { .. } if holder || own_word => EndReason::Released,
        Phase::Ending { .. } if holder => EndReason::Released,
        // Asked again while processes still hold the slice: they are told to end.
        Phase::Active { .. } | Phase::Ending { .. } => EndReason::Revoked,
    };
    begin_end(draft, id, reason);
    Ok(Reply::Lease(id))
}

/// A holder started its command.
pub(crate) fn attach(
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

/// The command of a lease turned out to be a container: the lease follows that from here on.
pub(crate) fn contain(
    draft: &mut Draft<'_>,
    id: LeaseId,
    by: Peer,
    container: alloc::string::String,
    cgroup: alloc::string::String,
) -> Result<Reply, Refusal> {
    let lease = live(draft.state, id)?;
    guard(lease, by)?;
    if !matches!(lease.phase, Phase::Active { .. }) {
        return Err(Refusal::WrongPhase { lease: id, why: "is not active" });
    }
    match &lease.spec.holder {
        Holder::Process { .. } => {}
        Holder::Container { id: known, .. } if *known == container => return Ok(Reply::Lease(id)),
        Holder::Container { .. } | Holder::Token { .. } | Holder::Engine { .. } => {
            return Err(Refusal::WrongPhase { lease: id, why: "is not held by a process" });
        }
    }
    let holder = Holder::Container { id: container, cgroup };
    replace(draft, id, holder);
    Ok(Reply::Lease(id))
}

/// A token is renewed.
pub(crate) fn renew(draft: &mut Draft<'_>, id: LeaseId, by: Peer) -> Result<Reply, Refusal> {
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
pub(crate) fn exited(draft: &mut Draft<'_>, id: LeaseId, process: ProcessId) {
    let Some(lease) = draft.state.lease(id) else { return };
    let asked = matches!(&lease.spec.holder, Holder::Process { client, .. } if *client == process);
    let ending = matches!(lease.phase, Phase::Ending { .. });
    // Whoever gave a lease back may end: what it left running holds the lease, and is not killed.
    let released = matches!(lease.phase, Phase::Ending { reason: EndReason::Released, .. });
    if asked && !released {
        holder_ended(draft, id);
    } else if ending {
        draft.effect(Effect::Look { lease: id });
    }
}

/// The container that held a lease has no process left.
pub(crate) fn gone(draft: &mut Draft<'_>, id: LeaseId) {
    let held = draft.state.lease(id).map(|lease| &lease.spec.holder);
    if matches!(held, Some(Holder::Container { .. } | Holder::Engine { .. })) {
        holder_ended(draft, id);
    }
}

fn holder_ended(draft: &mut Draft<'_>, id: LeaseId) {
    let Some(lease) = draft.state.lease(id) else { return };
    if lease.lingering_until.is_some() {
        return;
    }
    if lingers(lease) {
        linger(draft, id);
    } else {
        begin_end(draft, id, EndReason::HolderDied);
    }
}

/// Whether a lease outlives its holder.
fn lingers(lease: &Lease) -> bool {
    let agreed = lease.spec.terms.linger.is_some() && lease.spec.name.is_some();
    agreed && matches!(lease.phase, Phase::Active { .. })
}

/// The lease waits for its next holder; what the last one left is told to end, since it would
/// share the slice with the next one.
fn linger(draft: &mut Draft<'_>, id: LeaseId) {
    let Some(lease) = draft.state.lease(id) else { return };
    let Some(span) = lease.spec.terms.linger else { return };
    if lease.lingering_until.is_some() {
        return;
    }
    let noticed = lease.notice.is_some();
    if noticed {
        draft.emit(Event::NoticeWithdrawn { lease: id });
    }
    draft.emit(Event::Lingering { lease: id, until: draft.world.now.plus(span) });
    draft.effect(Effect::Signal { lease: id, stage: Stage::Term });
}

/// Time passed for a lease that waits for its next holder.
pub(crate) fn tick_lingering(draft: &mut Draft<'_>, id: LeaseId) {
    let (now, grace) = (draft.world.now, draft.world.policy.grace);
    let Some(lease) = draft.state.lease(id) else { return };
    let (Some(until), Some(span)) = (lease.lingering_until, lease.spec.terms.linger) else {
        return;
    };
    if until <= now {
        begin_end(draft, id, EndReason::HolderDied);
        return;
    }
    let lingered = Millis::new(span.get().saturating_sub(until.since(now).get()));
    if lingered >= grace && lingered.get() < grace.get().saturating_add(KILLING.get()) {
        draft.effect(Effect::Signal { lease: id, stage: Stage::Kill });
    }
}

/// The lease that a request takes over: its user's, of the same name, waiting for a holder, and
/// for the same slices.
pub(crate) fn heir(draft: &Draft<'_>, spec: &RequestSpec) -> Option<LeaseId> {
    let name = spec.name.as_ref()?;
    let mut lingering = draft.state.leases.values().filter(|lease| {
        lease.lingering_until.is_some() && matches!(lease.phase, Phase::Active { .. })
    });
    let found = lingering.find(|lease| {
        let theirs = &lease.spec;
        theirs.name.as_ref() == Some(name)
            && (theirs.uid, &theirs.tenant) == (spec.uid, &spec.tenant)
            && (theirs.wanted, theirs.count, &theirs.gpu) == (spec.wanted, spec.count, &spec.gpu)
    });
    found.map(|lease| lease.id)
}

/// Gives a lease to another holder.
pub(crate) fn replace(draft: &mut Draft<'_>, id: LeaseId, holder: Holder) {
    let token = matches!(holder, Holder::Token { .. });
    draft.emit(Event::HolderReplaced { lease: id, holder });
    if token {
        // Its life begins now, and not with the grant.
        draft.emit(Event::Renewed { lease: id });
    }
    let watches = draft.state.lease(id).map(watches).unwrap_or_default();
    draft.effects.extend(watches);
}
