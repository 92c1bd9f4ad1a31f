//! GPUs that stay as a file made them.
//!
//! Must never let anything there be cut, retired or rearranged until an administrator hands the GPU
//! back.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use model::shape::InstanceShape;
use model::{ChangeId, GpuShape, GpuUuid, Timestamp, Uid};
use serde::{Deserialize, Serialize};

use crate::changes::event::ChangeEvent;
use crate::changes::refusal::ChangeRefusal;
use crate::command::{Peer, Refusal, Reply};
use crate::decide::Draft;
use crate::event::{Event, GrantedSlice};
use crate::reconcile::whole_slices;
use crate::state::State;
use crate::{bookings, grant};

/// How a GPU is fixed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fixed {
    /// By what, in words.
    pub by: String,
    /// Whose word it was.
    pub uid: Uid,
    /// Since when.
    pub since: Timestamp,
    /// By which change.
    pub change: ChangeId,
    /// Whether its idle slices are lent, as they are.
    pub lend: bool,
    /// What lay there then: that is migd's when the GPU is handed back, and nothing else is.
    #[serde(default)]
    pub instances: Vec<InstanceShape>,
}

impl State {
    /// Whether a GPU is left as it is: fixed, or under a change.
    pub(crate) fn is_left_alone(&self, gpu: &GpuUuid) -> bool {
        self.fixed.contains_key(gpu) || self.change_on(gpu).is_some()
    }

    /// Whether idle slices of a fixed GPU may be lent now.
    pub(crate) fn lends(&self, gpu: &GpuUuid) -> bool {
        self.fixed.get(gpu).is_some_and(|fixed| fixed.lend) && self.change_on(gpu).is_none()
    }
}

/// A GPU stays as it was made.
pub(crate) fn fix(draft: &mut Draft<'_>, gpu: &GpuUuid, change: ChangeId, lend: bool) {
    let Some(of) = draft.state.changes.get(&change) else { return };
    let since = draft.world.now;
    let seen = draft.world.observed.gpu(gpu);
    let instances = seen.map_or_else(Vec::new, |gpu| GpuShape::of(gpu).instances);
    let fixed = Fixed { by: of.words.clone(), uid: of.by, since, change, lend, instances };
    draft.emit(Event::Change(ChangeEvent::Fixed { gpu: gpu.clone(), fixed }));
    if lend {
        adopt(draft, gpu, |_| true);
    }
    bookings::rearrange(draft);
}

/// Whole slices that nobody's records know are ours to lend, as far as they are meant.
pub(crate) fn adopt(
    draft: &mut Draft<'_>,
    gpu: &GpuUuid,
    is_meant: impl Fn(&GrantedSlice) -> bool,
) {
    let Some(seen) = draft.world.observed.gpu(gpu) else { return };
    let slices: Vec<_> = whole_slices(seen);
    for slice in slices {
        if !draft.state.slices.contains_key(&slice.key) && is_meant(&slice) {
            draft.emit(Event::SliceAdopted { slice });
        }
    }
}

/// The machine was restarted: a GPU stays fixed, and nothing that lies there now is what lay there
/// when it was.
pub(crate) fn forget_instances(draft: &mut Draft<'_>) {
    let known = draft.state.fixed.iter().filter(|(_, fixed)| !fixed.instances.is_empty());
    let known: Vec<(GpuUuid, Fixed)> = known.map(|(gpu, of)| (gpu.clone(), of.clone())).collect();
    for (gpu, fixed) in known {
        let fixed = Fixed { instances: Vec::new(), ..fixed };
        draft.emit(Event::Change(ChangeEvent::Fixed { gpu, fixed }));
    }
}

/// An administrator hands a fixed GPU back to automatic management.
pub(crate) fn hand_back(draft: &mut Draft<'_>, gpu: GpuUuid, by: Peer) -> Result<Reply, Refusal> {
    if !by.admin {
        return Err(Refusal::AdminsOnly("hand a GPU back to automatic management"));
    }
    let Some(seen) = draft.world.observed.gpu(&gpu) else {
        return Err(Refusal::UnknownGpu(gpu));
    };
    if let Some(change) = draft.state.change_on(&gpu) {
        let busy = alloc::format!("{} is under way on GPU {}", change.id, seen.index);
        return Err(ChangeRefusal::Busy(busy).into());
    }
    let Some(fixed) = draft.state.fixed.get(&gpu).cloned() else {
        return Err(ChangeRefusal::NotFixed(seen.index.to_string()).into());
    };
    draft.emit(Event::Change(ChangeEvent::HandedBack { gpu: gpu.clone() }));
    // What somebody made there by hand since stays his.
    adopt(draft, &gpu, |slice| {
        fixed.instances.iter().any(|instance| {
            instance.id == slice.gpu_instance
                && instance.profile == slice.profile
                && instance.placement == slice.key.placement
        })
    });
    bookings::rearrange(draft);
    grant::schedule(draft);
    Ok(Reply::Done)
}
