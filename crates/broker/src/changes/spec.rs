//! What a change is, and how far it is.
//!
//! Must never hold anything that the events do not lead to.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use model::{ChangeId, DesiredGpu, GpuShape, GpuUuid, PlacedProfile, PlanId, Step, Timestamp, Uid};
use serde::{Deserialize, Serialize};

use crate::changes::event::Turn;
use crate::event::GrantedSlice;
use crate::state::{Attempts, SliceKey, State};

/// What is wanted of one GPU, as it was planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuChangeSpec {
    /// Which.
    pub gpu: GpuUuid,
    /// What is wanted.
    pub desired: DesiredGpu,
    /// The GPU as it was when that was planned.
    pub before: GpuShape,
    /// The driver calls, in order. None where the wish is met, or where it waits for somebody.
    pub steps: Vec<Step>,
    /// Whether it stays as it is made, and then whether its idle slices are lent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<bool>,
}

/// A change as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeSpec {
    /// The words of whoever asks.
    pub words: String,
    /// GPU by GPU.
    pub gpus: Vec<GpuChangeSpec>,
    /// Units that hold these GPUs: stopped before, started again after, in this order and the
    /// other way round.
    #[serde(default)]
    pub units: Vec<String>,
    /// Processes of those units.
    #[serde(default)]
    pub leaving: Vec<u32>,
    /// Whether GPUs may be reset.
    #[serde(default)]
    pub reset: bool,
    /// Whether it waits for what is in the way.
    #[serde(default)]
    pub wait_idle: bool,
}

/// How far a change is on one GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// Nothing is done yet, or the rest waits for somebody.
    Waiting,
    /// A plan is at work.
    Running {
        /// Which.
        plan: PlanId,
        /// Whether it does what can be done now, and the rest waits.
        part: bool,
    },
    /// As wanted, and read back.
    Done,
    /// A plan failed or was interrupted, and some of it may stand.
    Broken {
        /// Why, in words.
        error: String,
        /// Attempts to take it back.
        tries: Option<Attempts>,
    },
    /// What was done is being taken back.
    Undoing {
        /// By which plan.
        plan: PlanId,
        /// Which attempt it is.
        tries: Attempts,
    },
    /// As before, and read back.
    Undone,
    /// It could not be taken back.
    Stands {
        /// What is there, and why, in words.
        found: String,
    },
}

/// A change on one GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuChange {
    /// What is wanted.
    pub spec: GpuChangeSpec,
    /// How far it is.
    pub progress: Progress,
    /// The GPU as it was before its first step; from here on what a failure leads back to.
    pub before: GpuShape,
    /// Idle slices of ours that its plan takes away; they are ours again if it is taken back.
    pub ours: Vec<GrantedSlice>,
    /// Places of those that are gone for sure.
    pub gone: Vec<SliceKey>,
    /// What its plan makes.
    pub made: Vec<PlacedProfile>,
    /// The newest plan that did what is wanted, or a part of it.
    pub plan: Option<PlanId>,
    /// Steps done of the newest plan.
    pub steps_done: u32,
    /// Steps of the newest plan.
    pub steps_total: u32,
}

/// Whether the units of a change run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnitsState {
    /// As they were.
    Untouched,
    /// They are being stopped; any of them may be stopped already.
    Stopping,
    /// Stopped.
    Stopped,
    /// They are being started again.
    Starting,
    /// Started again.
    Started,
}

impl UnitsState {
    /// Whether any of them may be stopped now.
    pub const fn is_down(self) -> bool {
        matches!(self, Self::Stopping | Self::Stopped | Self::Starting)
    }
}

/// The units of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Units {
    /// Their names.
    pub names: Vec<String>,
    /// Whether they run.
    pub state: UnitsState,
    /// What the system said against it, unit by unit.
    pub trouble: Vec<String>,
}

/// How a change ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeEnd {
    /// When.
    pub at: Timestamp,
    /// Why it was not done; `None` if it was.
    pub turned: Option<Turn>,
}

/// A change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Its number.
    pub id: ChangeId,
    /// The words of whoever asked.
    pub words: String,
    /// Who asked.
    pub by: Uid,
    /// When it began.
    pub began: Timestamp,
    /// Its GPUs.
    pub gpus: BTreeMap<GpuUuid, GpuChange>,
    /// Its units.
    pub units: Units,
    /// Processes of those units.
    pub leaving: Vec<u32>,
    /// Whether GPUs may be reset.
    pub reset: bool,
    /// Whether it waits for what is in the way.
    pub wait_idle: bool,
    /// Why everything is taken back; `None` while it is not.
    pub turned: Option<Turn>,
    /// How it ended.
    pub end: Option<ChangeEnd>,
}

impl GpuChange {
    /// The plan that is at work on the GPU, doing what is wanted or taking it back.
    pub const fn at_work(&self) -> Option<PlanId> {
        match self.progress {
            Progress::Running { plan, .. } | Progress::Undoing { plan, .. } => Some(plan),
            Progress::Waiting
            | Progress::Done
            | Progress::Broken { .. }
            | Progress::Undone
            | Progress::Stands { .. } => None,
        }
    }

    /// Whether a plan is at work after which something is left to do.
    pub(crate) const fn is_at_a_part(&self) -> bool {
        matches!(self.progress, Progress::Running { part: true, .. })
    }
}

impl Change {
    /// Whether something may still happen.
    pub const fn is_open(&self) -> bool {
        self.end.is_none()
    }

    /// Whether it has units to stop that still run.
    pub fn needs_units_stopped(&self) -> bool {
        self.units.state == UnitsState::Untouched && !self.units.names.is_empty()
    }

    /// The GPU whose plan this is.
    pub(crate) fn with_plan(&self, plan: PlanId) -> Option<&GpuUuid> {
        let of = |(_, gpu): &(&GpuUuid, &GpuChange)| gpu.at_work() == Some(plan);
        self.gpus.iter().find(of).map(|(gpu, _)| gpu)
    }
}

impl State {
    /// The change that has something to do on a GPU. One that is taken back has not, where the GPU is as
    /// before: another of its GPUs may hang, and nobody knows for how long.
    pub fn change_on(&self, gpu: &GpuUuid) -> Option<&Change> {
        let concerns = |change: &&Change| {
            let part = change.gpus.get(gpu);
            change.is_open() && part.is_some_and(|part| part.progress != Progress::Undone)
        };
        self.changes.values().find(concerns)
    }

    /// Whether a plan at work does something for a change that is being taken back: no further step of
    /// it is worth doing.
    pub fn is_given_up(&self, plan: PlanId) -> bool {
        let mut turned = self.changes.values().filter(|c| c.is_open() && c.turned.is_some());
        let runs = |part: &GpuChange| matches!(part.progress, Progress::Running { plan: at_work, .. } if at_work == plan);
        turned.any(|change| change.gpus.values().any(runs))
    }

    /// The change that a plan at work belongs to, and the GPU.
    pub fn change_of(&self, plan: PlanId) -> Option<(ChangeId, &GpuUuid)> {
        let mut open = self.changes.values().filter(|change| change.is_open());
        open.find_map(|change| Some((change.id, change.with_plan(plan)?)))
    }
}
