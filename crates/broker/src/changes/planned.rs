//! What would have to be done on one GPU for a wish, beside what leases have there.
//!
//! Must never plan to touch what a lease has.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use model::{DesiredGpu, GpuInstanceId, GpuSnapshot, LeaseId, Plan, Purpose, Step};
use planner::{GpuReport, Impossible, Rules, Why};

use crate::command::World;
use crate::rooms::{Use, uses};
use crate::state::State;

/// Something in the way of a wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// The GPU instance; `None` where it is all of the GPU.
    pub instance: Option<GpuInstanceId>,
    /// Who has it or is on it, in words.
    pub by: String,
    /// The lease, if it is one.
    pub lease: Option<LeaseId>,
}

/// What a wish for one GPU comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Planned {
    /// It can be met, like this.
    Steps(Plan, Box<GpuReport>),
    /// It cannot be met now.
    Blocked {
        /// Why, in one sentence.
        sentence: String,
        /// What is in the way; nothing where no end of anything would help.
        by: Vec<Obstacle>,
        /// Whether it can be met once all that has ended.
        passes: bool,
        /// Whether the GPU can never hold it, whatever ends or is destroyed there.
        never: bool,
    },
}

/// What records say must stay on a GPU, in words.
pub fn protected(state: &State, gpu: &GpuSnapshot) -> BTreeMap<GpuInstanceId, Why> {
    let held = gpu.instances.iter().zip(uses(state, gpu)).filter_map(|(instance, used)| {
        let words = match used {
            Use::Leased(lease) => of_lease(state, lease, ""),
            Use::Ending(lease) => of_lease(state, lease, ", which is ending"),
            Use::Warm | Use::Changing | Use::Foreign => return None,
        };
        Some((instance.id, Why::new(words)))
    });
    held.collect()
}

fn of_lease(state: &State, id: LeaseId, more: &str) -> String {
    match state.lease(id) {
        Some(lease) => alloc::format!("{id} of {}{more}", lease.spec.tenant),
        None => alloc::format!("{id}{more}"),
    }
}

/// The plan for a wish, or why there is none. `rules` say what else it may do.
pub fn planned(
    state: &State,
    world: &World<'_>,
    gpu: &GpuSnapshot,
    desired: &DesiredGpu,
    rules: &Rules,
    purpose: Purpose,
) -> Planned {
    let protected = protected(state, gpu);
    match world.planner.plan_gpu(gpu, &protected, desired, rules, purpose) {
        Ok((plan, report)) => match state.whole_lease(&gpu.uuid) {
            Some(lease) if !plan.steps.is_empty() => whole(state, gpu, lease),
            Some(_) | None => Planned::Steps(plan, Box::new(report)),
        },
        Err(Impossible::Blocked { gpu: uuid, blockers, best }) => {
            let by = blockers.iter().map(|blocker| obstacle(state, gpu, blocker)).collect();
            let error = Impossible::Blocked { gpu: uuid, blockers, best };
            Planned::Blocked { sentence: named(gpu, &error), by, passes: true, never: false }
        }
        Err(error) => {
            let in_the_way: &[_] =
                if let Impossible::NoRoom { in_the_way, .. } = &error { in_the_way } else { &[] };
            let by = in_the_way.iter().map(|one| obstacle(state, gpu, one)).collect();
            let never = error.is_for_ever();
            Planned::Blocked { sentence: named(gpu, &error), by, passes: false, never }
        }
    }
}

/// The steps of what can be done now of a wish that somebody is in the way of, if there are any.
pub(crate) fn possible_now(
    state: &State,
    world: &World<'_>,
    gpu: &GpuSnapshot,
    desired: &DesiredGpu,
    rules: &Rules,
) -> Option<Vec<Step>> {
    if state.whole_lease(&gpu.uuid).is_some() {
        return None;
    }
    let (protected, purpose) = (protected(state, gpu), Purpose::Apply(String::new()));
    let part = world.planner.plan_part(gpu, &protected, desired, rules, purpose).ok()?;
    Some(part.plan.steps).filter(|steps| !steps.is_empty())
}

/// The sentence of an error, with the GPU as people call it.
fn named(gpu: &GpuSnapshot, error: &Impossible) -> String {
    alloc::format!("{error}").replace(gpu.uuid.as_str(), &alloc::format!("GPU {}", gpu.index))
}

fn whole(state: &State, gpu: &GpuSnapshot, lease: LeaseId) -> Planned {
    let by = of_lease(state, lease, "");
    let sentence = alloc::format!("{by} has all of GPU {}", gpu.index);
    let obstacle = Obstacle { instance: None, by, lease: Some(lease) };
    Planned::Blocked { sentence, by: alloc::vec![obstacle], passes: true, never: false }
}

fn obstacle(state: &State, gpu: &GpuSnapshot, blocker: &planner::Obstacle) -> Obstacle {
    let lease = blocker.instance.and_then(|id| {
        let found = gpu.instances.iter().zip(uses(state, gpu)).find(|(i, _)| i.id == id);
        match found.map(|(_, used)| used) {
            Some(Use::Leased(lease) | Use::Ending(lease)) => Some(lease),
            Some(Use::Warm | Use::Changing | Use::Foreign) | None => None,
        }
    });
    Obstacle { instance: blocker.instance, by: alloc::format!("{blocker}"), lease }
}
