//! Carries plans out: proved first, one driver call at a time, each outcome committed, the end read
//! back.
//!
//! Must never choose: a step that does not fit what it finds is refused, not adapted. Must never own
//! a thread, a channel or a clock: whoever drives an [`Execution`] has them, so that a daemon and a
//! simulation drive the same code.

mod looks;
mod perform;
mod reading;

use std::sync::Arc;

use broker::{GrantedSlice, SliceTarget, State, StepOutcome};
use checker::Proof;
use driver::Driver;
use host::Reset;
use model::{GpuSnapshot, GpuUuid, NodeSnapshot, Plan, PlanId, Step};

pub use looks::{Looks, changes};
pub use perform::chain;
pub use reading::look_or_distrust;

/// The machine as a plan needs it.
pub trait Machine {
    /// Its driver.
    fn driver(&self) -> &Driver;

    /// The way to reset one of its GPUs.
    fn reset(&self) -> &dyn Reset;

    /// Waits a moment before something is tried again.
    fn pause(&self);

    /// Hears of something that went wrong beside a plan, and leaves it to whoever reads the log.
    fn warn(&self, _words: &str) {}
}

/// What one act of an execution came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The checker proved the plan against the machine as it is.
    Proven,
    /// A driver call changed something. The next act may come only when this is in the journal; if
    /// it cannot be written, the plan ends here as failed.
    Commit {
        /// Which step, from 0.
        step: u32,
        /// What it brought about.
        outcome: StepOutcome,
    },
    /// Every step is done and the end was read back.
    Finished(Vec<GrantedSlice>),
    /// The plan is given up.
    Failed {
        /// The step that failed; `None` if it was none of them.
        step: Option<u32>,
        /// Why.
        error: String,
    },
}

/// Why a plan was given up.
#[derive(Debug, Clone)]
struct GivenUp {
    step: Option<u32>,
    error: String,
}

impl GivenUp {
    fn before(error: impl Into<String>) -> Self {
        Self { step: None, error: error.into() }
    }
}

/// How far an execution is.
#[derive(Debug)]
enum Reached {
    /// Nothing is done yet.
    Decided,
    /// The proof holds and so many steps are done; what the last of them came to.
    Steps { before: NodeSnapshot, proof: Box<Proof>, done: u32, last: Option<StepOutcome> },
    /// What a failed step left is told; the plan ends next.
    Failing(GivenUp),
    /// It has ended.
    Over(Progress),
}

/// A plan under way. Dropping it at any moment is what a crash does.
#[derive(Debug)]
pub struct Execution {
    id: PlanId,
    plan: Plan,
    targets: Vec<SliceTarget>,
    /// GPUs it hands over as a whole.
    whole: Vec<GpuUuid>,
    gpus: Vec<GpuUuid>,
    state: Arc<State>,
    reached: Reached,
}

impl Execution {
    /// A plan that was opened in the journal, with the records as they were then.
    pub fn new(id: PlanId, plan: Plan, state: Arc<State>) -> Self {
        let open = state.plans.get(&id).map(|open| (open.targets.clone(), open.whole.clone()));
        let (targets, whole) = open.unwrap_or_default();
        let gpus = gpus_of(&plan, &targets, &whole);
        Self { id, plan, targets, whole, gpus, state, reached: Reached::Decided }
    }

    /// The plan's number.
    pub const fn id(&self) -> PlanId {
        self.id
    }

    /// The plan.
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The GPUs it changes or hands something over on, each once, in order. Nobody else may change
    /// them until the execution has ended and they were looked at.
    pub fn gpus(&self) -> &[GpuUuid] {
        &self.gpus
    }

    /// Whether it closes the NVML session, so that nobody else may use it meanwhile.
    pub fn resets(&self) -> bool {
        self.plan.steps.iter().any(|step| matches!(step, Step::ResetGpu { .. }))
    }

    /// Whether the plan was proved; until then nothing was changed.
    pub const fn has_begun(&self) -> bool {
        !matches!(self.reached, Reached::Decided)
    }

    /// One act: the proof, one step, or the reading back. After [`Progress::Finished`] or
    /// [`Progress::Failed`] nothing more happens, and the same is answered again.
    pub fn advance(&mut self, machine: &dyn Machine) -> Progress {
        let reached = std::mem::replace(&mut self.reached, Reached::Decided);
        let (next, progress) = self.act(machine, reached);
        self.reached = next;
        progress
    }

    fn act(&self, machine: &dyn Machine, reached: Reached) -> (Reached, Progress) {
        match reached {
            Reached::Decided => match self.begin(machine) {
                Ok((before, proof)) => {
                    let proof = Box::new(proof);
                    (Reached::Steps { before, proof, done: 0, last: None }, Progress::Proven)
                }
                Err(error) => over(Err(error)),
            },
            Reached::Steps { before, proof, done, last } => {
                let Some((step, then)) = self.step(done) else {
                    return over(self.end(machine, &proof));
                };
                match perform::perform(machine, &before, step, then, last.as_ref()) {
                    Ok(outcome) => {
                        let last = Some(outcome.clone());
                        let next = Reached::Steps { before, proof, done: done + 1, last };
                        (next, Progress::Commit { step: done, outcome })
                    }
                    Err(error) => {
                        let words = chain(error.as_ref());
                        let given_up = GivenUp { step: Some(done), error: words };
                        match perform::what_stands(machine, step, &error) {
                            Some(outcome) => {
                                let progress = Progress::Commit { step: done, outcome };
                                (Reached::Failing(given_up), progress)
                            }
                            None => over(Err(given_up)),
                        }
                    }
                }
            }
            Reached::Failing(given_up) => over(Err(given_up)),
            Reached::Over(progress) => (Reached::Over(progress.clone()), progress),
        }
    }

    /// A step and the one that follows it.
    fn step(&self, index: u32) -> Option<(&Step, Option<&Step>)> {
        let mut steps = self.plan.steps.iter().skip(index as usize);
        steps.next().map(|step| (step, steps.next()))
    }

    /// The end of a plan without steps, read back from looks at its GPUs that began after it was
    /// opened. Nothing is changed, so others may be at work on those GPUs meanwhile.
    ///
    /// # Errors
    /// Why the plan must be given up, or carried out act by act, in words.
    pub fn handed_over(&self, seen: Vec<GpuSnapshot>) -> Result<Vec<GrantedSlice>, String> {
        if !self.plan.steps.is_empty() {
            return Err("it has steps".to_owned());
        }
        let node = reading::node_of(seen);
        let words = |given_up: GivenUp| given_up.error;
        reading::prove(&self.state, &self.plan, &node).map_err(words)?;
        reading::prove_whole(&self.state, &self.whole, &node).map_err(words)?;
        let read = |target| reading::read_back(&node, target).map_err(words);
        self.targets.iter().map(read).collect()
    }

    fn begin(&self, machine: &dyn Machine) -> Result<(NodeSnapshot, Proof), GivenUp> {
        let before = reading::look(machine, &self.gpus)?;
        let proof = reading::prove(&self.state, &self.plan, &before)?;
        reading::prove_whole(&self.state, &self.whole, &before)?;
        Ok((before, proof))
    }

    fn end(&self, machine: &dyn Machine, proof: &Proof) -> Result<Vec<GrantedSlice>, GivenUp> {
        let after = reading::look(machine, &self.gpus)?;
        if !self.plan.steps.is_empty() {
            proof.matches(&after).map_err(|differences| {
                let words: Vec<String> = differences.iter().map(ToString::to_string).collect();
                GivenUp::before(format!("reading back shows otherwise: {}", words.join("; ")))
            })?;
        }
        reading::prove_whole(&self.state, &self.whole, &after)?;
        self.targets.iter().map(|target| reading::read_back(&after, target)).collect()
    }
}

fn over(result: Result<Vec<GrantedSlice>, GivenUp>) -> (Reached, Progress) {
    let progress = match result {
        Ok(slices) => Progress::Finished(slices),
        Err(GivenUp { step, error }) => Progress::Failed { step, error },
    };
    (Reached::Over(progress.clone()), progress)
}

fn gpus_of(plan: &Plan, targets: &[SliceTarget], whole: &[GpuUuid]) -> Vec<GpuUuid> {
    let targets = targets.iter().map(|target| &target.key.gpu);
    let mut gpus: Vec<GpuUuid> =
        plan.gpus().into_iter().chain(targets).chain(whole).cloned().collect();
    gpus.sort();
    gpus.dedup();
    gpus
}
