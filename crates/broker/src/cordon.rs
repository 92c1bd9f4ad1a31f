//! GPUs that an administrator takes out of use, and empties.
//!
//! Must never end a lease whose holder did not agree to that.

use alloc::string::String;
use alloc::vec::Vec;

use model::{GpuUuid, LeaseId};

use crate::command::{Peer, Refusal, Reply};
use crate::decide::Draft;
use crate::endings::begin_end;
use crate::event::{EndReason, Event};
use crate::lifecycle::{Notice, NoticeReason};
use crate::state::{Cordon, Lease, Phase, State};
use crate::{bookings, grant, moves, reconcile};

/// Takes a GPU out of use for new leases.
pub(crate) fn cordon(
    draft: &mut Draft<'_>,
    gpu: GpuUuid,
    drain: bool,
    why: String,
    by: Peer,
) -> Result<Reply, Refusal> {
    if !by.admin {
        return Err(Refusal::AdminsOnly("take a GPU out of use"));
    }
    if draft.world.observed.gpu(&gpu).is_none() {
        return Err(Refusal::UnknownGpu(gpu));
    }
    let known = draft.state.cordons.get(&gpu);
    let since = known.map_or(draft.world.now, |cordon| cordon.since);
    let why = if why.is_empty() { known.map_or(why, |cordon| cordon.why.clone()) } else { why };
    let same = known.is_some_and(|cordon| cordon.drain == drain && cordon.why == why);
    if !same {
        let cordon = Cordon { drain, why, by: by.uid, since, drained: false };
        draft.emit(Event::Cordoned { gpu: gpu.clone(), cordon });
    }
    if !drain {
        withdraw(draft, &gpu);
    }
    bookings::rearrange(draft);
    advance(draft);
    reconcile::retire(draft);
    Ok(Reply::Done)
}

/// Takes a cordon back.
pub(crate) fn uncordon(draft: &mut Draft<'_>, gpu: GpuUuid, by: Peer) -> Result<Reply, Refusal> {
    if !by.admin {
        return Err(Refusal::AdminsOnly("put a GPU back into use"));
    }
    if draft.state.cordons.contains_key(&gpu) {
        draft.emit(Event::Uncordoned { gpu: gpu.clone() });
        withdraw(draft, &gpu);
        grant::schedule(draft);
    } else if draft.world.observed.gpu(&gpu).is_none() {
        return Err(Refusal::UnknownGpu(gpu));
    }
    Ok(Reply::Done)
}

/// Whether a GPU is to be emptied.
pub(crate) fn is_draining(state: &State, gpu: &GpuUuid) -> bool {
    state.cordons.get(gpu).is_some_and(|cordon| cordon.drain)
}

/// Leases that have something on a GPU, or are about to.
pub fn leases_on(state: &State, gpu: &GpuUuid) -> Vec<LeaseId> {
    let coming = |lease: &Lease| {
        let Phase::Granting { plan } = lease.phase else { return false };
        state.plans.get(&plan).is_some_and(|open| open.gpus().any(|on| on == gpu))
    };
    let on = |lease: &&Lease| lease.is_on(gpu) || coming(lease);
    state.leases.values().filter(on).map(|lease| lease.id).collect()
}

/// The notices of a drain that is not wanted any more are void.
pub(crate) fn withdraw(draft: &mut Draft<'_>, gpu: &GpuUuid) {
    let told = |lease: &&Lease| {
        let notice = lease.notice.as_ref().map(|notice| &notice.reason);
        matches!(notice, Some(NoticeReason::Drained { gpu: of }) if of == gpu)
            && matches!(lease.phase, Phase::Active { .. })
    };
    let told: Vec<LeaseId> = draft.state.leases.values().filter(told).map(|l| l.id).collect();
    for lease in told {
        draft.emit(Event::NoticeWithdrawn { lease });
    }
}

/// Asks those who may be asked to leave the GPUs that are to be emptied, and notes when they are.
pub(crate) fn advance(draft: &mut Draft<'_>) {
    let cordons = draft.state.cordons.iter().filter(|(_, cordon)| cordon.drain);
    let emptied: Vec<GpuUuid> =
        cordons.filter(|(_, cordon)| !cordon.drained).map(|(gpu, _)| gpu.clone()).collect();
    for gpu in emptied {
        for lease in leases_on(draft.state, &gpu) {
            ask_to_leave(draft, lease, &gpu);
        }
        if is_empty_of_ours(draft.state, &gpu) {
            draft.emit(Event::Drained { gpu });
        }
    }
}

/// Gives notice to a lease that may be ended or moved, and acts on one that is due or agreed to.
pub(crate) fn ask_to_leave(draft: &mut Draft<'_>, id: LeaseId, gpu: &GpuUuid) {
    let now = draft.world.now;
    let Some(lease) = draft.state.lease(id) else { return };
    let terms = &lease.spec.terms;
    let (preemptible, restartable) = (terms.preemptible, terms.restartable);
    if !matches!(lease.phase, Phase::Active { .. }) || !(preemptible || restartable) {
        return;
    }
    let reason = NoticeReason::Drained { gpu: gpu.clone() };
    match &lease.notice {
        None => {
            let until = now.plus(draft.world.policy.notice);
            moves::notice(draft, id, Notice { reason, until });
        }
        Some(notice) if notice.reason == reason => {
            if preemptible && notice.until <= now {
                begin_end(draft, id, EndReason::Drained);
            }
        }
        // What it was told for another reason frees the GPU as well, or is withdrawn.
        Some(_) => {}
    }
}

/// Whether nothing of ours is on a GPU: no slice, no lease, no change under way, nothing left over.
fn is_empty_of_ours(state: &State, gpu: &GpuUuid) -> bool {
    state.slices.keys().all(|key| key.gpu != *gpu)
        && state.orphans.iter().all(|orphan| orphan.key.gpu != *gpu)
        && state.plans.values().all(|open| open.gpus().all(|on| on != gpu))
        && leases_on(state, gpu).is_empty()
}
