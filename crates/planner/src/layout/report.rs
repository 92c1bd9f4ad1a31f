//! What a plan does to a GPU, as data and in words.
//!
//! Must never hold anything that a plan file or the wire cannot carry.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use model::{
    ComputeInstanceId, ComputeInstanceProfileId, GpuInstanceId, GpuInstanceProfileId, GpuUuid,
    MigMode, MigState, MigUuid, PlacedProfile, Placement, Plan, Step,
};
use serde::{Deserialize, Serialize};

/// Why records forbid to touch an instance, in words that name who has it: `lease L3 of alice`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Why(String);

impl Why {
    /// Wraps the words.
    pub fn new(words: impl Into<String>) -> Self {
        Self(words.into())
    }

    /// The words.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who keeps something from being touched.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Processes on it, ascending.
    pub pids: Vec<u32>,
    /// Who has it by our records.
    pub by: Option<Why>,
}

impl Held {
    /// Whether nobody is on it and nobody has it.
    pub const fn is_nobody(&self) -> bool {
        self.pids.is_empty() && self.by.is_none()
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(by) = &self.by {
            write!(f, "{by}")?;
        }
        let between = if self.by.is_some() { ", " } else { "" };
        match self.pids.as_slice() {
            [] if self.by.is_none() => f.write_str("idle"),
            [] => Ok(()),
            [pid] => write!(f, "{between}process {pid}"),
            pids => {
                let pids: Vec<String> = pids.iter().map(|pid| alloc::format!("{pid}")).collect();
                write!(f, "{between}processes {}", pids.join(", "))
            }
        }
    }
}

/// What becomes of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It stays as it is; of a GPU instance: its compute instances may still differ.
    Stays,
    /// It is destroyed.
    Goes,
    /// It is created.
    Comes,
}

/// A compute instance in a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComputeReport {
    /// What becomes of it.
    pub fate: Fate,
    /// Its id; `None` for one that comes.
    pub id: Option<ComputeInstanceId>,
    /// Its profile.
    pub profile: ComputeInstanceProfileId,
    /// The name of its MIG device, `1c.3g.20gb` or `3g.20gb`; `profile N` where the driver reports a
    /// profile that it does not list.
    pub name: String,
    /// Where it lies, in compute slices of its GPU instance.
    pub placement: Placement,
    /// UUID of its MIG device, where known.
    pub uuid: Option<MigUuid>,
    /// Processes on it, ascending.
    pub pids: Vec<u32>,
}

/// A GPU instance in a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceReport {
    /// What becomes of it.
    pub fate: Fate,
    /// Its id; `None` for one that comes.
    pub id: Option<GpuInstanceId>,
    /// Its profile.
    pub profile: GpuInstanceProfileId,
    /// The name of its profile, `3g.20gb`; `profile N` where the driver reports a profile that it
    /// does not list.
    pub name: String,
    /// Where it lies on the grid.
    pub placement: Placement,
    /// Who makes it untouchable; `None` for one that could go.
    pub held: Option<Held>,
    /// Its compute instances: those there now by id, then those that come by placement.
    pub computes: Vec<ComputeReport>,
}

impl InstanceReport {
    /// What lies where.
    pub const fn part(&self) -> PlacedProfile {
        PlacedProfile { placement: self.placement, profile: self.profile }
    }

    /// Whether neither it nor anything in it changes.
    pub fn is_untouched(&self) -> bool {
        self.fate == Fate::Stays && self.computes.iter().all(|c| c.fate == Fate::Stays)
    }
}

/// Whether a mode change needs a reset of the GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reset {
    /// The mode comes into force at once: compute capability 9.0 and later, or a wish taken back.
    No,
    /// The mode comes into force with a reset: compute capability 8.x.
    Needed,
    /// The driver does not tell the compute capability; a reset is always safe, so there is one.
    Assumed,
}

/// A change of MIG mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModeReport {
    /// The mode as it was read.
    pub from: MigState,
    /// The mode afterwards.
    pub to: MigMode,
    /// Whether the GPU is reset.
    pub reset: Reset,
}

impl fmt::Display for ModeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let to = match self.to {
            MigMode::Disabled => "off",
            MigMode::Enabled => "on",
        };
        let taken_back =
            matches!(self.from, MigState::Supported { current, .. } if current == self.to);
        if taken_back {
            return write!(f, "MIG mode stays {to}; the pending change is taken back");
        }
        match self.reset {
            Reset::No => write!(f, "MIG mode goes {to}; no reset is needed"),
            Reset::Needed => write!(f, "MIG mode goes {to}; the GPU is reset for it"),
            Reset::Assumed => write!(
                f,
                "MIG mode goes {to}; the GPU is reset for it, since the driver does not tell \
                 whether it must be"
            ),
        }
    }
}

/// How many calls of the driver a plan makes, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calls {
    /// Settings of MIG mode.
    pub modes: u32,
    /// Resets of the GPU.
    pub resets: u32,
    /// Compute instances destroyed, those in GPU instances that go included.
    pub compute_instances_destroyed: u32,
    /// GPU instances destroyed.
    pub gpu_instances_destroyed: u32,
    /// GPU instances created.
    pub gpu_instances_created: u32,
    /// Compute instances created.
    pub compute_instances_created: u32,
}

impl Calls {
    /// The calls of some steps.
    pub fn of(steps: &[Step]) -> Self {
        let mut calls = Self::default();
        for step in steps {
            let count = match step {
                Step::SetMigMode { .. } => &mut calls.modes,
                Step::ResetGpu { .. } => &mut calls.resets,
                Step::DestroyComputeInstance { .. } => &mut calls.compute_instances_destroyed,
                Step::DestroyGpuInstance { .. } => &mut calls.gpu_instances_destroyed,
                Step::CreateGpuInstance { .. } => &mut calls.gpu_instances_created,
                Step::CreateComputeInstance { .. } => &mut calls.compute_instances_created,
            };
            *count += 1;
        }
        calls
    }

    /// All of them.
    pub const fn total(&self) -> u32 {
        self.modes
            + self.resets
            + self.compute_instances_destroyed
            + self.gpu_instances_destroyed
            + self.gpu_instances_created
            + self.compute_instances_created
    }
}

/// What a plan does to one GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuReport {
    /// Which GPU.
    pub gpu: GpuUuid,
    /// The change of MIG mode, if there is one.
    pub mode: Option<ModeReport>,
    /// Every GPU instance there is now or will be: those there now by id, then those that come by
    /// placement.
    pub instances: Vec<InstanceReport>,
    /// Calls of the driver.
    pub calls: Calls,
    /// For each step of the plan, whether it can be undone: all but a reset can.
    pub undoable: Vec<bool>,
}

impl GpuReport {
    pub(super) fn new(
        gpu: GpuUuid,
        mode: Option<ModeReport>,
        instances: Vec<InstanceReport>,
        plan: &Plan,
    ) -> Self {
        let undoable = |step: &Step| !matches!(step, Step::ResetGpu { .. });
        Self {
            gpu,
            mode,
            instances,
            calls: Calls::of(&plan.steps),
            undoable: plan.steps.iter().map(undoable).collect(),
        }
    }

    /// Whether the desire is met as things are.
    pub const fn is_nothing(&self) -> bool {
        self.calls.total() == 0
    }

    /// The GPU instances with one fate.
    pub fn with_fate(&self, fate: Fate) -> impl Iterator<Item = &InstanceReport> {
        self.instances.iter().filter(move |instance| instance.fate == fate)
    }

    /// Ids of the GPU instances that are destroyed, ascending.
    pub fn destroyed(&self) -> impl Iterator<Item = GpuInstanceId> + '_ {
        self.with_fate(Fate::Goes).filter_map(|instance| instance.id)
    }

    /// The GPU instances that are created, by placement.
    pub fn created(&self) -> impl Iterator<Item = PlacedProfile> + '_ {
        self.with_fate(Fate::Comes).map(InstanceReport::part)
    }
}
