//! Plans without steps: warm slices that are handed over as they are, after one fresh look at each
//! GPU that all grants of a moment share.
//!
//! Must never change anything on the machine, and must never hand over what was not read back after
//! the plan was opened.

use std::sync::{Arc, Mutex};

use broker::Command;
use executor::Execution;
use model::{GpuSnapshot, GpuUuid, Plan, PlanId};

use crate::hands::{Hands, lock};
use crate::published::Published;

/// The looks a plan waits for.
struct Gathering {
    hands: Hands,
    picture: Published,
    execution: Execution,
    looks: Mutex<Looks>,
}

struct Looks {
    left: usize,
    seen: Vec<GpuSnapshot>,
    failed: bool,
}

/// Has the GPUs of a plan looked at and reports the slices; whatever is in the way, the plan takes
/// the ordinary way, which waits for others' work on those GPUs and tells failures.
pub(crate) fn hand_over(hands: &Hands, picture: &Published, id: PlanId, plan: &Plan) {
    let execution = Execution::new(id, plan.clone(), Arc::clone(&picture.state));
    let gpus = execution.gpus().to_vec();
    // Nodes that must be proven free and opened for somebody take the ordinary way, too.
    let kept = gpus.iter().any(|gpu| hands.access.enforces(gpu));
    if gpus.is_empty() || kept || gpus.iter().any(|gpu| is_changing(picture, id, gpu)) {
        hands.execute(picture, id, plan.clone());
        return;
    }
    let looks = Looks { left: gpus.len(), seen: Vec::new(), failed: false };
    let gathering = Arc::new(Gathering {
        hands: hands.clone(),
        picture: picture.clone(),
        execution,
        looks: Mutex::new(looks),
    });
    for gpu in &gpus {
        let gathering = Arc::clone(&gathering);
        hands.readers.ask(gpu, move |look| gathering.heard(look.as_ref().ok()));
    }
}

/// Whether another plan changes the GPU.
fn is_changing(picture: &Published, id: PlanId, gpu: &GpuUuid) -> bool {
    let others = picture.state.plans.iter().filter(|(other, _)| **other != id);
    others.map(|(_, open)| open).any(|open| open.plan.gpus().contains(&gpu))
}

impl Gathering {
    fn heard(&self, seen: Option<&GpuSnapshot>) {
        let seen = {
            let mut looks = lock(&self.looks);
            looks.left -= 1;
            looks.failed |= seen.is_none();
            looks.seen.extend(seen.cloned());
            if looks.left > 0 {
                return;
            }
            if looks.failed { None } else { Some(std::mem::take(&mut looks.seen)) }
        };
        let (hands, id) = (&self.hands, self.execution.id());
        match seen.map(|seen| self.execution.handed_over(seen)) {
            Some(Ok(slices)) => hands.tell(Command::PlanFinished { plan: id, slices }),
            Some(Err(_)) | None => {
                hands.execute(&self.picture, id, self.execution.plan().clone());
            }
        }
    }
}
