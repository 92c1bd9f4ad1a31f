//! Planning one GPU, by hand or by file: from what lies on it to what is desired, with the least
//! disruption, at the level of GPU instances and of the compute instances in them.
//!
//! The search is exhaustive, so its answer is the best there is. Must never take anything from a
//! process or from whoever holds an instance, and never leave a placement open.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use model::{DesiredGpu, GpuInstanceId, GpuSnapshot, Plan, Purpose};

use self::present::Present;
use self::write::Settled;
use crate::room::Planner;

mod by_hand;
mod compute;
mod exactly;
mod impossible;
mod mode;
mod present;
mod report;
mod search;
mod shortfall;
mod wanted;
mod write;

pub use impossible::{Best, Impossible, Missing, Obstacle};
pub use report::{
    Calls, ComputeReport, Fate, GpuReport, Held, InstanceReport, ModeReport, Reset, Why,
};

/// What a plan may do beside instances, and what will be out of its way when it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Whether MIG mode may be changed.
    pub mode: bool,
    /// Whether the GPU may be reset where a mode comes into force with a reset only.
    pub reset: bool,
    /// Processes that will be gone before the first step: those of units that are stopped for it.
    pub leaving: BTreeSet<u32>,
}

impl Default for Rules {
    /// Everything is allowed, and nobody leaves.
    fn default() -> Self {
        Self { mode: true, reset: true, leaving: BTreeSet::new() }
    }
}

/// What of a desire can be done at once, where somebody is in the way of the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What to do now.
    pub plan: Plan,
    /// What that does.
    pub report: GpuReport,
    /// What is in the way of the rest; nothing where the plan does all of it.
    pub rest: Vec<Obstacle>,
}

impl Planner {
    /// The plan that brings one GPU to what is desired. Of all legal layouts that meet it and leave
    /// alone what is busy or in `protected`, it is the one that destroys the fewest GPU instances,
    /// then the fewest compute instances in those that stay, then creates the fewest of each, and
    /// then leaves the most room for what may come.
    ///
    /// Towards the shape a GPU had before ([`model::GpuShape::desired`]) it is the way back from
    /// wherever a plan broke off, a mode that is pending included; undoing step by step is not, since
    /// a reset cannot be undone.
    ///
    /// # Errors
    /// [`Impossible`], with what is in the way, who that is, and the best that can be met.
    pub fn plan_gpu(
        &self,
        gpu: &GpuSnapshot,
        protected: &BTreeMap<GpuInstanceId, Why>,
        desired: &DesiredGpu,
        rules: &Rules,
        purpose: Purpose,
    ) -> Result<(Plan, GpuReport), Impossible> {
        let present = Present::of(gpu, protected, rules)?;
        match self.settle(&present, desired)? {
            Settled::Free(decided) => Ok(decided.write(&present, purpose)),
            Settled::Blocked { against, best, .. } => {
                Err(Impossible::Blocked { gpu: gpu.uuid.clone(), blockers: against, best })
            }
        }
    }

    /// As much of the same as can be done now, for whoever waits until the rest is idle: what must
    /// go and is idle goes, and what fits beside those in the way comes. Asked again when they are
    /// gone, it does the rest.
    ///
    /// # Errors
    /// [`Impossible`], where waiting does not help.
    pub fn plan_part(
        &self,
        gpu: &GpuSnapshot,
        protected: &BTreeMap<GpuInstanceId, Why>,
        desired: &DesiredGpu,
        rules: &Rules,
        purpose: Purpose,
    ) -> Result<Part, Impossible> {
        let present = Present::of(gpu, protected, rules)?;
        let (decided, rest) = match self.settle(&present, desired)? {
            Settled::Free(decided) => (decided, Vec::new()),
            Settled::Blocked { now, against, .. } => (now, against),
        };
        let (plan, report) = decided.write(&present, purpose);
        Ok(Part { plan, report, rest })
    }

    fn settle(&self, present: &Present<'_>, desired: &DesiredGpu) -> Result<Settled, Impossible> {
        match desired {
            DesiredGpu::Whole => present.whole(),
            DesiredGpu::Sliced => present.sliced(),
            DesiredGpu::Exactly(instances) => self.exactly(present, instances),
            DesiredGpu::Beside { instances, computes } => {
                self.beside(present, instances, computes).map(Settled::Free)
            }
            DesiredGpu::Without { instances, computes } => present.without(instances, computes),
        }
    }
}
