//! GPUs that fail: kept out of use until they answer well again for a while.
//!
//! Must never end a lease for a GPU that it has nothing on.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use model::{GpuUuid, Health, LeaseId, Millis};

use crate::bookings;
use crate::cordon::leases_on;
use crate::decide::Draft;
use crate::endings::begin_end;
use crate::event::{EndReason, Event};
use crate::grant;
use crate::state::Phase;

/// How long a GPU must have answered well before it is used again. A GPU that is being reset, or
/// whose link flaps, answers in between; each of these ends within seconds.
const WELL_FOR: Millis = Millis::from_secs(30);

/// What is wrong with a GPU in words, and whether that is beyond doubt.
fn trouble(health: &Health) -> Option<(String, bool)> {
    match health {
        Health::Ok => None,
        Health::Lost => Some(("the driver no longer reaches it".to_string(), true)),
        Health::ResetRequired => Some(("it must be reset".to_string(), true)),
        Health::Failing(words) => Some((words.clone(), false)),
    }
}

/// Notes changes of the GPUs' health, and takes out of use or puts back what it is time for.
pub(crate) fn advance(draft: &mut Draft<'_>) {
    let now = draft.world.now;
    let gpus: Vec<(GpuUuid, u32, Health)> = draft
        .world
        .observed
        .gpus
        .iter()
        .map(|gpu| (gpu.uuid.clone(), gpu.index.get(), gpu.health.clone()))
        .collect();
    for (gpu, index, health) in gpus {
        let trouble = trouble(&health);
        let noted = draft.state.health.get(&gpu).map(|condition| condition.trouble.is_some());
        let ill = trouble.is_some();
        if noted.unwrap_or(false) != ill {
            let trouble = trouble.as_ref().map(|(words, _)| words.clone());
            draft.emit(Event::HealthNoted { gpu: gpu.clone(), trouble });
        }
        let since = draft.state.health.get(&gpu).map_or(now, |condition| condition.since);
        let out = draft.state.quarantine.contains_key(&gpu);
        match trouble {
            Some((words, certain))
                if !out && (certain || since.plus(draft.world.policy.failing_for) <= now) =>
            {
                let why = alloc::format!("GPU {index}: {words}");
                draft.emit(Event::Quarantined { gpu: gpu.clone(), why });
                end_leases(draft, &gpu);
                bookings::rearrange(draft);
            }
            // A grant that was under way may have succeeded all the same.
            Some(_) => end_leases(draft, &gpu),
            None if out && since.plus(WELL_FOR) <= now => {
                draft.emit(Event::QuarantineLifted { gpu });
                grant::schedule(draft);
            }
            None => {}
        }
    }
}

/// Every lease that has something on a GPU that is out of use ends as a whole.
fn end_leases(draft: &mut Draft<'_>, gpu: &GpuUuid) {
    let Some(why) = draft.state.quarantine.get(gpu).cloned() else { return };
    let hit: Vec<LeaseId> = leases_on(draft.state, gpu);
    for lease in hit {
        // A grant that is under way mostly fails by itself, and the request waits for another place.
        let phase = draft.state.lease(lease).map(|lease| &lease.phase);
        let moves = |reason: &EndReason| matches!(reason, EndReason::Moving(_));
        let ends = match phase {
            Some(Phase::Active { .. }) => true,
            Some(Phase::Ending { reason, .. }) => moves(reason) || !reason.ends_processes(),
            Some(Phase::Queued | Phase::Granting { .. }) | None => false,
        };
        if ends {
            begin_end(draft, lease, EndReason::GpuLost(why.clone()));
        }
    }
}
