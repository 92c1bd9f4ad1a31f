//! GPUs that an administrator takes out of use.
//!
//! Must never end a lease whose holder did not agree to that.

use alloc::string::String;

use model::GpuUuid;

use crate::command::{Peer, Refusal, Reply};
use crate::decide::Draft;
use crate::event::Event;
use crate::grant;
use crate::state::Cordon;

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
    let (by, since) = (by.uid, draft.world.now);
    let cordon = Cordon { drain, why, by, since, drained: false };
    draft.emit(Event::Cordoned { gpu, cordon });
    Ok(Reply::Done)
}

/// Takes a cordon back.
pub(crate) fn uncordon(draft: &mut Draft<'_>, gpu: GpuUuid, by: Peer) -> Result<Reply, Refusal> {
    if !by.admin {
        return Err(Refusal::AdminsOnly("put a GPU back into use"));
    }
    if draft.state.cordons.contains_key(&gpu) {
        draft.emit(Event::Uncordoned { gpu });
        grant::schedule(draft);
    } else if draft.world.observed.gpu(&gpu).is_none() {
        return Err(Refusal::UnknownGpu(gpu));
    }
    Ok(Reply::Done)
}
