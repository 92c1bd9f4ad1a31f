//! What steps cost on this machine, measured from the journal, for estimates.
//!
//! Must never be needed for a decision: estimates are for people.

use alloc::collections::BTreeMap;

use model::{Millis, Step, Timestamp};
use serde::{Deserialize, Serialize};

use crate::event::StepOutcome;

/// Steps that cost about the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// MIG mode is set.
    SetMode,
    /// A GPU is reset.
    Reset,
    /// A compute instance is destroyed.
    DestroyCompute,
    /// A GPU instance is destroyed.
    DestroyInstance,
    /// A GPU instance is made.
    CreateInstance,
    /// A compute instance is made.
    CreateCompute,
}

impl StepKind {
    /// The kind of a step.
    pub const fn of(step: &Step) -> Self {
        match step {
            Step::SetMigMode { .. } => Self::SetMode,
            Step::ResetGpu { .. } => Self::Reset,
            Step::DestroyComputeInstance { .. } => Self::DestroyCompute,
            Step::DestroyGpuInstance { .. } => Self::DestroyInstance,
            Step::CreateGpuInstance { .. } => Self::CreateInstance,
            Step::CreateComputeInstance { .. } => Self::CreateCompute,
        }
    }

    /// What it takes where none was measured: what drivers in public reports take, rounded up.
    pub const fn stated(self) -> Millis {
        Millis::new(match self {
            Self::SetMode | Self::DestroyInstance => 1_000,
            Self::Reset => 10_000,
            Self::DestroyCompute => 200,
            Self::CreateInstance | Self::CreateCompute => 250,
        })
    }
}

/// What steps of one kind took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// How many count. Older ones fade: at a hundred both numbers are halved.
    pub count: u64,
    /// What they took together, in milliseconds.
    pub total_ms: u64,
}

/// What steps took, by kind.
pub type Costs = BTreeMap<StepKind, Cost>;

const FADE_AT: u64 = 100;

/// One more step was done.
pub(crate) fn note_cost(
    costs: &mut Costs,
    step: &Step,
    outcome: &StepOutcome,
    from: Timestamp,
    until: Timestamp,
) {
    if matches!(outcome, StepOutcome::Unsure | StepOutcome::ResetNotNeeded) {
        return;
    }
    let cost = costs.entry(StepKind::of(step)).or_default();
    if cost.count >= FADE_AT {
        *cost = Cost { count: cost.count / 2, total_ms: cost.total_ms / 2 };
    }
    cost.count += 1;
    cost.total_ms = cost.total_ms.saturating_add(until.since(from).get());
}

/// How long steps take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// About so long.
    pub span: Millis,
    /// Whether every kind of step among them was measured here.
    pub measured: bool,
}

/// How long steps take one after the other.
pub fn estimate<'s>(costs: &Costs, steps: impl IntoIterator<Item = &'s Step>) -> Estimate {
    let (mut sum, mut measured) = (0u64, true);
    for step in steps {
        let kind = StepKind::of(step);
        let known = costs.get(&kind).filter(|cost| cost.count > 0);
        measured &= known.is_some();
        sum = sum.saturating_add(
            known.map_or_else(|| kind.stated().get(), |cost| cost.total_ms / cost.count),
        );
    }
    Estimate { span: Millis::new(sum), measured }
}
