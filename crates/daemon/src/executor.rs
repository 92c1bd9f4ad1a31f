//! Plans in threads: the GPUs of a plan are locked, its steps are done one after the other, each
//! outcome is committed before the next.
//!
//! Must never do a step of its own: what a plan does on the machine is `executor`'s.

use std::collections::BTreeMap;
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError,
};
use std::time::{Duration, Instant};

use ::executor::{Execution, Progress};
use broker::{Command, GrantedSlice, HeldUp, StepOutcome};
use driver::Driver;
use host::Reset;
use model::{GpuUuid, Plan, PlanId};
use tokio::sync::oneshot;

use crate::access::NotHandedOver;
use crate::actor::{Envelope, Message};
use crate::hands::{Hands, lock};
use crate::machine::Machine;
use crate::modes;
use crate::published::Published;
use crate::steps::At;

pub(crate) use ::executor::chain;

/// The pause before something is tried again.
const BETWEEN_TRIES: Duration = Duration::from_millis(200);

/// Why a plan ends early whose change is being taken back.
const GIVEN_UP: &str = "the change that it was for is being taken back";
/// Why a plan ends early that nobody waits for any more.
const TOO_LATE: &str = "it came back from the driver too late for whoever it was for";
/// How long a reset waits until nobody is in a driver call.
const FOR_SESSION: Duration = Duration::from_secs(30);
const SESSION_IN_USE: &str = "the driver must be let go of for a reset, and a call on another GPU does not \
                              come back from it";

/// One lock per GPU: driver calls that change a GPU come one after the other, and a GPU that hangs
/// holds up only what concerns it.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    gpus: Mutex<BTreeMap<GpuUuid, Arc<Mutex<()>>>>,
    /// Held for writing while the NVML session is closed around a reset.
    session: RwLock<()>,
}

impl Locks {
    fn of(&self, gpu: &GpuUuid) -> Arc<Mutex<()>> {
        Arc::clone(lock(&self.gpus).entry(gpu.clone()).or_default())
    }

    /// Takes the session for a reset, which closes it, once nobody is in a driver call; `None` if somebody
    /// stays in one. Never waits in line: whoever waits in line for a lock like this one keeps out those
    /// who come later, and a GPU that hangs would then hold up all of them.
    fn take_session(&self) -> Option<RwLockWriteGuard<'_, ()>> {
        let begun = Instant::now();
        loop {
            match self.session.try_write() {
                Ok(guard) => return Some(guard),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if begun.elapsed() > FOR_SESSION => return None,
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// Keeps the session open while the answer lives; `None` if it is closed or about to be.
    pub(crate) fn session_is_open(&self) -> Option<RwLockReadGuard<'_, ()>> {
        match self.session.try_read() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// Takes all of the locks or waits holding none, so that a GPU that hangs holds up nothing but the
/// plans that concern it.
fn take_all(locks: &[Arc<Mutex<()>>]) -> Vec<MutexGuard<'_, ()>> {
    loop {
        let taken: Option<Vec<_>> = locks
            .iter()
            .map(|mutex| match mutex.try_lock() {
                Ok(guard) => Some(guard),
                Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => None,
            })
            .collect();
        match taken {
            Some(guards) => return guards,
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

impl ::executor::Machine for Machine {
    fn driver(&self) -> &Driver {
        &self.driver
    }

    fn reset(&self) -> &dyn Reset {
        self.reset.as_ref()
    }

    fn pause(&self) {
        std::thread::sleep(BETWEEN_TRIES);
    }

    fn warn(&self, words: &str) {
        tracing::warn!("{words}");
    }
}

/// Why a plan was given up.
enum GivenUp {
    /// Something failed.
    Failed { step: Option<u32>, error: String },
    /// Somebody holds what it was to hand over.
    Held(HeldUp),
}

/// Carries out a plan and reports how it ended.
pub(crate) fn execute(hands: &Hands, published: &Published, id: PlanId, plan: &Plan) {
    let mut execution = Execution::new(id, plan.clone(), Arc::clone(&published.state));
    let locks: Vec<_> = execution.gpus().iter().map(|gpu| hands.locks.of(gpu)).collect();
    hands.steps.begin(published, id, plan, At::Line);
    let guards = take_all(&locks);
    let resets = execution.resets();
    let alone = resets.then(|| hands.locks.take_session());
    let _shared =
        (!resets).then(|| hands.locks.session.read().unwrap_or_else(PoisonError::into_inner));
    if resets {
        hands.meter.let_go();
    }
    tracing::info!(plan = %id, purpose = ?plan.purpose, steps = plan.steps.len(), "executing");
    let result = match alone {
        Some(None) => Err(GivenUp::Failed { step: None, error: SESSION_IN_USE.to_owned() }),
        Some(Some(_)) | None => carry_out(hands, published, &mut execution),
    };
    hands.steps.end(id);
    // Whatever happened, the actor sees the GPUs as they are before it hears of the end.
    for gpu in execution.gpus() {
        let machine = hands.machine.as_ref();
        if let Some(seen) = ::executor::look_or_distrust(machine, &published.observed, gpu) {
            let _ = hands.inbox.send(Message::Observed { epoch: u64::MAX, gpu: Box::new(seen) });
        }
    }
    let command = match result {
        Ok(slices) => Command::PlanFinished { plan: id, slices },
        Err(GivenUp::Failed { step, error }) => {
            tracing::warn!(plan = %id, step, error, "plan given up");
            Command::PlanFailed { plan: id, step, error }
        }
        Err(GivenUp::Held(held)) => {
            tracing::warn!(plan = %id, by = held.by, "held up by somebody");
            Command::PlanHeldUp { plan: id, held }
        }
    };
    hands.tell(command);
    drop(guards);
}

fn carry_out(
    hands: &Hands,
    published: &Published,
    execution: &mut Execution,
) -> Result<Vec<GrantedSlice>, GivenUp> {
    let mut making = hands.access.making(published, execution.id(), execution.plan());
    let mut next = At::Look;
    loop {
        hands.steps.begin(published, execution.id(), execution.plan(), next);
        match execution.advance(hands.machine.as_ref()) {
            Progress::Proven => next = At::Step(0),
            Progress::Commit { step, outcome } => {
                next = At::Step(step + 1);
                commit(hands, execution.id(), step, outcome.clone())?;
                if let Some(done) = execution.plan().steps.get(step as usize) {
                    let refused = |error| GivenUp::Failed { step: Some(step), error };
                    making.made(done, &outcome).map_err(refused)?;
                }
            }
            Progress::Finished(slices) => {
                making.hand_over(&slices).map_err(|refused| match refused {
                    NotHandedOver::Failed(error) => GivenUp::Failed { step: None, error },
                    NotHandedOver::Held(held) => GivenUp::Held(held),
                })?;
                return Ok(slices);
            }
            Progress::Failed { step, error } => {
                let error = explained(hands, published, execution, step, error);
                return Err(GivenUp::Failed { step, error });
            }
        }
    }
}

/// The error of a failed step, with what may be behind it.
fn explained(
    hands: &Hands,
    published: &Published,
    execution: &Execution,
    step: Option<u32>,
    error: String,
) -> String {
    let step = step.and_then(|index| execution.plan().steps.get(index as usize));
    let behind = step.and_then(|step| {
        modes::behind(&hands.machine, published, published.observed.gpu(step.gpu())?, step)
    });
    match behind {
        Some(words) if !error.contains(&words) => format!("{error}; {words}"),
        Some(_) | None => error,
    }
}

/// Waits until the outcome of a step is in the journal. The next driver call comes only then.
fn commit(hands: &Hands, plan: PlanId, step: u32, outcome: StepOutcome) -> Result<(), GivenUp> {
    let (reply, answer) = oneshot::channel();
    let command = Command::StepDone { plan, step, outcome };
    let envelope = Box::new(Envelope { command, key: None, reply: Some(reply) });
    let failed = |error| GivenUp::Failed { step: Some(step), error };
    let gone = || failed("the daemon is ending".to_owned());
    hands.inbox.send(Message::Command(envelope)).map_err(|_| gone())?;
    match answer.blocking_recv() {
        Ok(Ok((_, now))) if now.state.is_given_up(plan) => {
            Err(GivenUp::Failed { step: None, error: GIVEN_UP.to_owned() })
        }
        Ok(Ok((_, now))) if now.state.is_late(plan) => Err(failed(TOO_LATE.to_owned())),
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(failed(chain(&error))),
        Err(_) => Err(gone()),
    }
}
