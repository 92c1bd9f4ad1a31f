//! A change is asked for: checked against the machine as it is, and accepted or refused.
//!
//! Must never accept a plan for a machine that is no longer as it was planned for.

use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};

use model::{ChangeId, ComputeInstance, GpuProcess, GpuShape, GpuSnapshot, Health, Purpose, Step};
use planner::Rules;

use crate::changes::advance::advance;
use crate::changes::event::ChangeEvent;
use crate::changes::meant;
use crate::changes::planned::{Planned, planned};
use crate::changes::refusal::ChangeRefusal;
use crate::changes::spec::{ChangeSpec, GpuChangeSpec};
use crate::changes::words::difference;
use crate::command::{Peer, Refusal, Reply};
use crate::decide::Draft;
use crate::event::Event;
use crate::rooms::{Use, uses};
use crate::state::OpenPlan;

/// The longest words of whoever asks.
const WORDS_MAX: usize = 500;

/// Accepts a change and begins it.
pub(crate) fn begin(
    draft: &mut Draft<'_>,
    mut spec: ChangeSpec,
    by: Peer,
) -> Result<Reply, Refusal> {
    if !by.admin {
        return Err(Refusal::AdminsOnly("change the layout or the mode of GPUs"));
    }
    if spec.gpus.is_empty() {
        return Err(ChangeRefusal::BadPlan("it names no GPU".into()).into());
    }
    let mut seen = BTreeSet::new();
    for part in &spec.gpus {
        if !seen.insert(&part.gpu) {
            return Err(
                ChangeRefusal::BadPlan(alloc::format!("it names {} twice", part.gpu)).into()
            );
        }
        admit(draft, &spec, part)?;
    }
    spec.words = spec.words.chars().take(WORDS_MAX).collect();
    let change = ChangeId::new(draft.state.next_change.max(1));
    draft.emit(Event::Change(ChangeEvent::Began { change, by: by.uid, spec }));
    // Room that was kept for others on these GPUs is looked for elsewhere.
    crate::bookings::rearrange(draft);
    advance(draft);
    Ok(Reply::Change(change))
}

/// What may be done to a GPU beside making and destroying instances.
pub(crate) fn rules(leaving: &[u32], reset: bool) -> Rules {
    Rules { mode: true, reset, leaving: leaving.iter().copied().collect() }
}

fn admit(draft: &Draft<'_>, spec: &ChangeSpec, part: &GpuChangeSpec) -> Result<(), ChangeRefusal> {
    let Some(gpu) = draft.world.observed.gpu(&part.gpu) else {
        let how = "it is not there".to_string();
        return Err(ChangeRefusal::MachineChanged { gpu: part.gpu.to_string(), how });
    };
    let index = gpu.index;
    if let Some(change) = draft.state.change_on(&gpu.uuid) {
        let words = alloc::format!("{} is under way on GPU {index} already", change.id);
        return Err(ChangeRefusal::Busy(words));
    }
    if part.steps.iter().any(|step| *step.gpu() != gpu.uuid) {
        let words = alloc::format!("a step for GPU {index} names another GPU");
        return Err(ChangeRefusal::BadPlan(words));
    }
    if !spec.reset && part.steps.iter().any(|step| matches!(step, Step::ResetGpu { .. })) {
        let words = alloc::format!("it resets GPU {index} and is not allowed to reset");
        return Err(ChangeRefusal::BadPlan(words));
    }
    if spec.wait_idle {
        let meant = meant::still(&part.desired, &part.before, gpu);
        meant.map_err(|how| ChangeRefusal::MachineChanged { gpu: index.to_string(), how })?;
        return Ok(());
    }
    if let Some(words) = at_work(draft, gpu) {
        return Err(ChangeRefusal::Busy(words));
    }
    if gpu.health != Health::Ok {
        return Err(ChangeRefusal::Busy(alloc::format!("GPU {index} is not well")));
    }
    let now = GpuShape::of(gpu);
    if now != part.before {
        let how = difference(gpu, &part.before, &now);
        return Err(ChangeRefusal::MachineChanged { gpu: index.to_string(), how });
    }
    if part.steps.is_empty() {
        already_met(draft, spec, part, gpu)
    } else {
        free(draft, spec, part, gpu)
    }
}

/// What we do on a GPU at the moment, in words.
pub(crate) fn at_work(draft: &Draft<'_>, gpu: &GpuSnapshot) -> Option<String> {
    let state = &draft.state;
    let on = |open: &OpenPlan| open.gpus().any(|of| *of == gpu.uuid);
    if let Some((id, _)) = state.plans.iter().find(|(_, open)| on(open)) {
        return Some(alloc::format!("plan {id} of migd is at work on GPU {}", gpu.index));
    }
    let left = state.orphans.iter().any(|orphan| orphan.key.gpu == gpu.uuid);
    left.then(|| {
        alloc::format!("what an interrupted plan left on GPU {} is being cleared", gpu.index)
    })
}

/// A plan without steps is one whose wish is met.
fn already_met(
    draft: &Draft<'_>,
    spec: &ChangeSpec,
    part: &GpuChangeSpec,
    gpu: &GpuSnapshot,
) -> Result<(), ChangeRefusal> {
    let rules = rules(&spec.leaving, spec.reset);
    let purpose = Purpose::Apply(spec.words.clone());
    match planned(draft.state, draft.world, gpu, &part.desired, &rules, purpose) {
        Planned::Steps(plan, _) if plan.steps.is_empty() => Ok(()),
        Planned::Steps(..) => {
            let words = alloc::format!("it does nothing on GPU {}, where it should", gpu.index);
            Err(ChangeRefusal::BadPlan(words))
        }
        Planned::Blocked { sentence, .. } => Err(ChangeRefusal::Busy(sentence)),
    }
}

/// Nothing that a step takes away, and no GPU whose mode it changes, is anybody's.
fn free(
    draft: &Draft<'_>,
    spec: &ChangeSpec,
    part: &GpuChangeSpec,
    gpu: &GpuSnapshot,
) -> Result<(), ChangeRefusal> {
    let stays = |process: &&GpuProcess| !spec.leaving.contains(&process.pid);
    let turns = |step: &Step| matches!(step, Step::SetMigMode { .. } | Step::ResetGpu { .. });
    if let Some(process) = gpu.processes.iter().find(stays).filter(|_| part.steps.iter().any(turns))
    {
        let words = alloc::format!("process {} uses GPU {}", process.pid, gpu.index);
        return Err(ChangeRefusal::Busy(words));
    }
    if let Some(lease) = draft.state.whole_lease(&gpu.uuid) {
        let words = alloc::format!("{lease} has all of GPU {}", gpu.index);
        return Err(ChangeRefusal::Busy(words));
    }
    for (instance, used) in gpu.instances.iter().zip(uses(draft.state, gpu)) {
        let goes = |step: &Step| step.is_destructive() && step.names(&gpu.uuid, instance.placement);
        if !part.steps.iter().any(goes) {
            continue;
        }
        let named = |compute: &&ComputeInstance| {
            part.steps.iter().any(|step| match step {
                Step::DestroyComputeInstance { gpu_instance, compute_instance, .. } => {
                    (*gpu_instance, *compute_instance) == (instance.id, compute.id)
                }
                Step::SetMigMode { .. }
                | Step::ResetGpu { .. }
                | Step::DestroyGpuInstance { .. }
                | Step::CreateGpuInstance { .. }
                | Step::CreateComputeInstance { .. } => false,
            })
        };
        let mut on_it = instance.compute_instances.iter().filter(named).flat_map(|c| &c.processes);
        if let Some(process) = on_it.find(stays) {
            let (id, pid) = (instance.id, process.pid);
            let words = alloc::format!("process {pid} uses GPU instance {id} on GPU {}", gpu.index);
            return Err(ChangeRefusal::Busy(words));
        }
        if let Use::Leased(lease) | Use::Ending(lease) = used {
            let words =
                alloc::format!("GPU instance {} on GPU {} is {lease}'s", instance.id, gpu.index);
            return Err(ChangeRefusal::Busy(words));
        }
    }
    Ok(())
}
