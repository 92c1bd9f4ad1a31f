//! Changes in words: what a GPU holds, what differs, what is waited for.
//!
//! Must never say more than was read from the driver or is in the records.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use model::{GpuShape, GpuSnapshot, GpuUuid, InstanceShape, MigMode, MigState, Purpose};

use crate::changes::begin::rules;
use crate::changes::planned::{Planned, planned};
use crate::changes::spec::{Change, Progress};
use crate::command::World;
use crate::rooms::join;
use crate::state::State;

/// What lies on a GPU: `MIG on, 3g.20gb at 0-3 (GPU instance 1), 1g.5gb at 4`.
pub fn shape_words(gpu: &GpuSnapshot, shape: &GpuShape) -> String {
    let mut parts = alloc::vec![mode_words(shape.mig)];
    if shape.instances.is_empty() && shape.mig.is_enabled() {
        parts.push("no instance".to_string());
    }
    parts.extend(shape.instances.iter().map(|instance| instance_words(gpu, instance)));
    parts.join(", ")
}

fn mode_words(mig: MigState) -> String {
    let word = |mode| match mode {
        MigMode::Disabled => "off",
        MigMode::Enabled => "on",
    };
    match mig {
        MigState::Unsupported => "no MIG".to_string(),
        MigState::Supported { current, pending } if current == pending => {
            alloc::format!("MIG {}", word(current))
        }
        MigState::Supported { current, pending } => {
            alloc::format!("MIG {} and {} after a reset", word(current), word(pending))
        }
    }
}

fn instance_words(gpu: &GpuSnapshot, instance: &InstanceShape) -> String {
    let known = gpu.geometry.as_ref().and_then(|geometry| geometry.profile(instance.profile));
    let name = known.map_or_else(
        || alloc::format!("profile {}", instance.profile),
        |profile| profile.name.to_string(),
    );
    let whole = known.and_then(|profile| profile.whole_compute_profile()).map(|whole| whole.id);
    let inside = match instance.computes.as_slice() {
        [only] if Some(only.profile) == whole => String::new(),
        [] => ", without a compute instance".to_string(),
        several => alloc::format!(", with {} compute instances", several.len()),
    };
    alloc::format!("{name} at {} (GPU instance {}{inside})", instance.placement, instance.id)
}

/// What of `now` was not so `before`, in words.
pub(crate) fn difference(gpu: &GpuSnapshot, before: &GpuShape, now: &GpuShape) -> String {
    let mut parts = Vec::new();
    if before.mig != now.mig {
        parts.push(alloc::format!("{}, not {}", mode_words(now.mig), mode_words(before.mig)));
    }
    let gone = before.instances.iter().filter(|instance| !now.instances.contains(instance));
    parts.extend(gone.map(|instance| alloc::format!("no {}", instance_words(gpu, instance))));
    let new = now.instances.iter().filter(|instance| !before.instances.contains(instance));
    parts.extend(new.map(|instance| alloc::format!("now {}", instance_words(gpu, instance))));
    if parts.is_empty() { "nothing differs".to_string() } else { parts.join("; ") }
}

/// What a change waits for on a GPU, in one sentence; `None` where it waits for nothing.
pub fn waits_for(
    state: &State,
    world: &World<'_>,
    change: &Change,
    gpu: &GpuUuid,
) -> Option<String> {
    let part = change.gpus.get(gpu).filter(|_| change.is_open() && change.turned.is_none())?;
    if part.progress != Progress::Waiting {
        return None;
    }
    let Some(seen) = world.observed.gpu(gpu) else { return Some("the GPU to come back".into()) };
    let plans = state.plans.iter().filter(|(_, open)| open.gpus().any(|on| on == gpu));
    let plans: Vec<String> = plans.map(|(id, _)| alloc::format!("plan {id}")).collect();
    if !plans.is_empty() {
        return Some(alloc::format!("{} to end", join(&plans)));
    }
    let rules = rules(&change.leaving, change.reset);
    let purpose = Purpose::Apply(change.words.clone());
    match planned(state, world, seen, &part.spec.desired, &rules, purpose) {
        Planned::Steps(..) => None,
        Planned::Blocked { sentence, .. } => Some(sentence),
    }
}

/// Why nothing is granted on a GPU that is under a change or fixed, as what is waited for.
pub(crate) fn left_alone_words(state: &State, gpu: &GpuUuid) -> Option<String> {
    if let Some(change) = state.change_on(gpu) {
        return Some(alloc::format!("to be changed ({}: {})", change.id, change.words));
    }
    let fixed = state.fixed.get(gpu)?;
    Some(if fixed.lend {
        alloc::format!("for an idle slice (it is fixed by {})", fixed.by)
    } else {
        alloc::format!("to be handed back (it is fixed by {})", fixed.by)
    })
}
