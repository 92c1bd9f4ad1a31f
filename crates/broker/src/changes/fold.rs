//! The fold of the events of changes.
//!
//! Must never decide.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use model::{ChangeId, GpuShape, GpuUuid, PlacedProfile, Plan, PlanId, Step, Timestamp};

use crate::changes::event::ChangeEvent;
use crate::changes::spec::{
    Change, ChangeEnd, ChangeSpec, GpuChange, GpuChangeSpec, Progress, Units, UnitsState,
};
use crate::event::{GrantedSlice, StepOutcome};
use crate::state::{Attempts, Orphan, SliceKey, SliceUse, State};

/// Changes that ended and are remembered.
const ENDED_KEPT: usize = 20;

/// How a plan ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PlanEnd<'a> {
    /// Done and read back.
    Finished,
    /// Given up; why.
    Failed(&'a str),
    /// A crash interrupted it.
    Abandoned,
}

impl State {
    pub(crate) fn apply_change(&mut self, at: Timestamp, event: &ChangeEvent) {
        match event {
            ChangeEvent::Began { change, by, spec } => {
                self.next_change = self.next_change.max(change.get() + 1);
                let begun = begun(at, *change, *by, spec);
                self.changes.insert(*change, begun);
            }
            ChangeEvent::UnitsRunAs { change, leaving } => {
                if let Some(change) = self.changes.get_mut(change) {
                    change.leaving.clone_from(leaving);
                }
            }
            ChangeEvent::StoppingUnits { change } => {
                self.set_units(*change, UnitsState::Stopping, &[]);
            }
            ChangeEvent::UnitsStopped { change, trouble } => {
                self.set_units(*change, UnitsState::Stopped, trouble);
            }
            ChangeEvent::StartingUnits { change } => {
                self.set_units(*change, UnitsState::Starting, &[]);
            }
            ChangeEvent::UnitsStarted { change, trouble } => {
                self.set_units(*change, UnitsState::Started, trouble);
            }
            ChangeEvent::Opened { change, gpu, plan, before, part: in_part } => {
                if let Some(part) = self.part_mut(*change, gpu) {
                    part.progress = Progress::Running { plan: *plan, part: *in_part };
                    // What a failure leads back to is what was there before the first of them.
                    if part.plan.is_none() {
                        part.before = before.clone();
                    }
                    part.plan = Some(*plan);
                }
            }
            ChangeEvent::Undoing { change, gpu, plan } => {
                if let Some(part) = self.part_mut(*change, gpu) {
                    let tries = Attempts::again(tries(&part.progress), at);
                    part.progress = Progress::Undoing { plan: *plan, tries };
                }
            }
            ChangeEvent::AsWanted { change, gpu } => {
                self.set_progress(*change, gpu, Progress::Done);
            }
            ChangeEvent::AsBefore { change, gpu } => {
                self.set_progress(*change, gpu, Progress::Undone);
            }
            ChangeEvent::NotUndone { change, gpu, error } => {
                if let Some(part) = self.part_mut(*change, gpu) {
                    let tries = Some(Attempts::again(tries(&part.progress), at));
                    part.progress = Progress::Broken { error: error.clone(), tries };
                }
            }
            ChangeEvent::Stands { change, gpu, found } => {
                self.set_progress(*change, gpu, Progress::Stands { found: found.clone() });
                self.leave_ours(*change, gpu);
            }
            ChangeEvent::Turned { change, why } => {
                if let Some(change) = self.changes.get_mut(change) {
                    change.turned = Some(why.clone());
                }
            }
            ChangeEvent::Ended { change } => self.end_change(at, *change),
            ChangeEvent::Fixed { gpu, fixed } => {
                self.fixed.insert(gpu.clone(), fixed.clone());
            }
            ChangeEvent::HandedBack { gpu } => {
                self.fixed.remove(gpu);
            }
        }
    }

    /// A plan was opened: if it is a change's, this is what it does.
    pub(crate) fn change_plan_opened(&mut self, id: PlanId, plan: &Plan, evicted: &[SliceKey]) {
        let Some((change, gpu)) = self.change_of(id).map(|(id, gpu)| (id, gpu.clone())) else {
            return;
        };
        let records = evicted.iter().filter_map(|key| self.slices.get(key));
        let evicted: Vec<GrantedSlice> = records.map(|record| record.slice.clone()).collect();
        if let Some(part) = self.part_mut(change, &gpu) {
            (part.steps_done, part.steps_total) =
                (0, u32::try_from(plan.steps.len()).unwrap_or(u32::MAX));
            part.made.extend(plan.steps.iter().filter_map(made));
            for slice in evicted {
                if part.ours.iter().all(|known| known.key != slice.key) {
                    part.ours.push(slice);
                }
            }
        }
    }

    /// A step of a plan is done.
    pub(crate) fn change_step_done(&mut self, plan: PlanId, outcome: &StepOutcome) {
        let open = self.plans.get(&plan);
        let step = open.and_then(|open| open.plan.steps.get(open.done.len())).cloned();
        let Some((change, gpu)) = self.change_of(plan).map(|(id, gpu)| (id, gpu.clone())) else {
            return;
        };
        if let Some(part) = self.part_mut(change, &gpu) {
            part.steps_done = part.steps_done.saturating_add(1);
            if let (Some(Step::DestroyGpuInstance { gpu, placement, .. }), StepOutcome::Destroyed) =
                (step, outcome)
            {
                part.gone.push(SliceKey { gpu, placement });
            }
        }
    }

    /// A plan ended; false if it was not a change's.
    pub(crate) fn change_plan_ended(&mut self, plan: PlanId, how: PlanEnd<'_>) -> bool {
        let Some((change, gpu)) = self.change_of(plan).map(|(id, gpu)| (id, gpu.clone())) else {
            return false;
        };
        let Some(part) = self.part_mut(change, &gpu) else { return false };
        let broken = |error: String, tries| Progress::Broken { error, tries };
        let interrupted = || "a restart interrupted it".to_string();
        part.progress = match (&part.progress, how) {
            (Progress::Running { part: true, .. }, PlanEnd::Finished) => Progress::Waiting,
            (Progress::Running { part: false, .. }, PlanEnd::Finished) => Progress::Done,
            (Progress::Running { .. }, PlanEnd::Failed(error)) => broken(error.into(), None),
            (Progress::Running { .. }, PlanEnd::Abandoned) => broken(interrupted(), None),
            (Progress::Undoing { .. }, PlanEnd::Finished) => Progress::Undone,
            (Progress::Undoing { tries, .. }, PlanEnd::Failed(error)) => {
                broken(error.into(), Some(*tries))
            }
            (Progress::Undoing { tries, .. }, PlanEnd::Abandoned) => {
                broken(interrupted(), Some(*tries))
            }
            (
                Progress::Waiting
                | Progress::Done
                | Progress::Broken { .. }
                | Progress::Undone
                | Progress::Stands { .. },
                _,
            ) => return false,
        };
        true
    }

    fn part_mut(&mut self, change: ChangeId, gpu: &GpuUuid) -> Option<&mut GpuChange> {
        self.changes.get_mut(&change)?.gpus.get_mut(gpu)
    }

    fn set_progress(&mut self, change: ChangeId, gpu: &GpuUuid, progress: Progress) {
        if let Some(part) = self.part_mut(change, gpu) {
            part.progress = progress;
        }
    }

    /// Of our idle slices that a plan began to take away, what is whole stays ours, and what is not
    /// is cleared once the GPU can be looked at.
    fn leave_ours(&mut self, change: ChangeId, gpu: &GpuUuid) {
        let part = self.changes.get(&change).and_then(|change| change.gpus.get(gpu));
        let Some((part, plan)) = part.and_then(|part| Some((part.clone(), part.plan?))) else {
            return;
        };
        for slice in part.ours.into_iter().filter(|slice| !part.gone.contains(&slice.key)) {
            let kept = self.slices.get(&slice.key);
            if kept.is_some_and(|record| !matches!(record.used, SliceUse::Warm { .. })) {
                continue;
            }
            self.slices.remove(&slice.key);
            self.orphans.retain(|orphan| orphan.key != slice.key);
            let (key, profile, instance) = (slice.key, slice.profile, Some(slice.gpu_instance));
            self.orphans.push(Orphan { key, profile, plan, undo: false, instance, attempts: None });
        }
    }

    fn set_units(&mut self, change: ChangeId, state: UnitsState, trouble: &[String]) {
        if let Some(change) = self.changes.get_mut(&change) {
            change.units.state = state;
            change.units.trouble.extend_from_slice(trouble);
        }
    }

    fn end_change(&mut self, at: Timestamp, id: ChangeId) {
        if let Some(change) = self.changes.get_mut(&id) {
            change.end = Some(ChangeEnd { at, turned: change.turned.clone() });
        }
        let ended = self.changes.values().filter(|change| !change.is_open());
        let ended: Vec<ChangeId> = ended.map(|change| change.id).collect();
        for old in ended.iter().take(ended.len().saturating_sub(ENDED_KEPT)) {
            self.changes.remove(old);
        }
    }
}

const fn made(step: &Step) -> Option<PlacedProfile> {
    match step {
        Step::CreateGpuInstance { profile, placement, .. } => {
            Some(PlacedProfile { placement: *placement, profile: *profile })
        }
        Step::SetMigMode { .. }
        | Step::ResetGpu { .. }
        | Step::DestroyComputeInstance { .. }
        | Step::DestroyGpuInstance { .. }
        | Step::CreateComputeInstance { .. } => None,
    }
}

const fn tries(progress: &Progress) -> Option<Attempts> {
    match progress {
        Progress::Broken { tries, .. } => *tries,
        Progress::Undoing { tries, .. } => Some(*tries),
        Progress::Waiting
        | Progress::Running { .. }
        | Progress::Done
        | Progress::Undone
        | Progress::Stands { .. } => None,
    }
}

fn begun(at: Timestamp, id: ChangeId, by: model::Uid, spec: &ChangeSpec) -> Change {
    let part = |gpu: &GpuChangeSpec| {
        let before: GpuShape = gpu.before.clone();
        let part = GpuChange {
            spec: gpu.clone(),
            progress: Progress::Waiting,
            before,
            ours: Vec::new(),
            gone: Vec::new(),
            made: Vec::new(),
            plan: None,
            steps_done: 0,
            steps_total: u32::try_from(gpu.steps.len()).unwrap_or(u32::MAX),
        };
        (gpu.gpu.clone(), part)
    };
    Change {
        id,
        words: spec.words.clone(),
        by,
        began: at,
        gpus: spec.gpus.iter().map(part).collect(),
        units: Units {
            names: spec.units.clone(),
            state: UnitsState::Untouched,
            trouble: Vec::new(),
        },
        leaving: spec.leaving.clone(),
        reset: spec.reset,
        wait_idle: spec.wait_idle,
        turned: None,
        end: None,
    }
}
