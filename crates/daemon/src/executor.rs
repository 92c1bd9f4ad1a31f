//! Carries plans out: proved first, one driver call at a time, each outcome committed, the end read
//! back.
//!
//! Must never choose: a step that does not fit what it finds is refused, not adapted.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, TryLockError};
use std::time::Duration;

use broker::{Command, GrantedSlice, SliceTarget, StepOutcome, Use};
use checker::{InstanceProtection, Proof, Protected};
use driver::{DriverError, ModeChange, Outcome};
use model::{GpuSnapshot, GpuUuid, Health, NodeSnapshot, Plan, PlanId, Step, Timestamp};
use tokio::sync::oneshot;

use crate::actor::{Envelope, Message};
use crate::hands::{Hands, lock};
use crate::published::Published;

/// How often, and after which pauses, a GPU is looked at before it is distrusted.
const LOOKS: u32 = 5;
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
/// How often it is tried to close the NVML session before a reset is given up.
const CLOSING_TRIES: u32 = 50;

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

/// Why a plan was given up.
struct GivenUp {
    step: Option<u32>,
    error: String,
}

impl GivenUp {
    fn before(error: impl Into<String>) -> Self {
        Self { step: None, error: error.into() }
    }
}

/// Carries out a plan and reports how it ended.
pub(crate) fn execute(hands: &Hands, published: &Published, id: PlanId, plan: &Plan) {
    let targets = published.state.plans.get(&id).map(|open| open.targets.clone());
    let targets = targets.unwrap_or_default();
    let gpus = gpus_of(plan, &targets);
    let locks: Vec<_> = gpus.iter().map(|gpu| hands.locks.of(gpu)).collect();
    let guards = take_all(&locks);
    let resets = plan.steps.iter().any(|step| matches!(step, Step::ResetGpu { .. }));
    let session = &hands.locks.session;
    let _alone = resets.then(|| session.write().unwrap_or_else(PoisonError::into_inner));
    let _shared = (!resets).then(|| session.read().unwrap_or_else(PoisonError::into_inner));
    tracing::info!(plan = %id, purpose = ?plan.purpose, steps = plan.steps.len(), "executing");
    let result = carry_out(hands, published, id, plan, &targets, &gpus);
    // Whatever happened, the actor sees the GPUs as they are before it hears of the end.
    for gpu in &gpus {
        if let Some(seen) = look_or_distrust(hands, published, gpu) {
            let _ = hands.inbox.send(Message::Observed { epoch: u64::MAX, gpu: Box::new(seen) });
        }
    }
    let command = match result {
        Ok(slices) => Command::PlanFinished { plan: id, slices },
        Err(GivenUp { step, error }) => {
            tracing::warn!(plan = %id, step, error, "plan given up");
            Command::PlanFailed { plan: id, step, error }
        }
    };
    hands.tell(command);
    drop(guards);
}

/// The GPU as it is; where the driver does not tell even after some tries, as it was but not to be
/// trusted, so that nobody takes the old picture for the new truth.
fn look_or_distrust(hands: &Hands, published: &Published, gpu: &GpuUuid) -> Option<GpuSnapshot> {
    for _ in 0..LOOKS {
        match hands.machine.driver.gpu_snapshot(gpu) {
            Ok(seen) => return Some(seen),
            Err(error) => tracing::warn!(%gpu, error = chain(&error), "cannot be read back"),
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
    let known = published.observed.gpu(gpu)?.clone();
    Some(GpuSnapshot { health: Health::Failing("it cannot be read".to_owned()), ..known })
}

fn gpus_of(plan: &Plan, targets: &[SliceTarget]) -> Vec<GpuUuid> {
    let targets = targets.iter().map(|target| &target.key.gpu);
    let mut gpus: Vec<GpuUuid> = plan.gpus().into_iter().chain(targets).cloned().collect();
    gpus.sort();
    gpus.dedup();
    gpus
}

fn carry_out(
    hands: &Hands,
    published: &Published,
    id: PlanId,
    plan: &Plan,
    targets: &[SliceTarget],
    gpus: &[GpuUuid],
) -> Result<Vec<GrantedSlice>, GivenUp> {
    let before = look(hands, gpus)?;
    let proof = prove(published, plan, &before)?;
    for (index, step) in (0u32..).zip(&plan.steps) {
        match perform(hands, &before, step) {
            Ok(outcome) => commit(hands, id, index, outcome)?,
            Err(error) => {
                if let Some(outcome) = what_stands(hands, step, &error) {
                    commit(hands, id, index, outcome)?;
                }
                return Err(GivenUp { step: Some(index), error: chain(error.as_ref()) });
            }
        }
    }
    let after = look(hands, gpus)?;
    if !plan.steps.is_empty() {
        proof.matches(&after).map_err(|differences| {
            let words: Vec<String> = differences.iter().map(ToString::to_string).collect();
            GivenUp::before(format!("reading back shows otherwise: {}", words.join("; ")))
        })?;
    }
    targets.iter().map(|target| read_back(&after, target)).collect()
}

fn look(hands: &Hands, gpus: &[GpuUuid]) -> Result<NodeSnapshot, GivenUp> {
    let read = |gpu| hands.machine.driver.gpu_snapshot(gpu);
    let gpus = gpus.iter().map(read).collect::<Result<Vec<GpuSnapshot>, _>>();
    let gpus = gpus.map_err(|error| GivenUp::before(chain(&error)))?;
    Ok(NodeSnapshot {
        taken_at: Timestamp::default(),
        driver_version: String::new(),
        cuda_version: None,
        gpus,
    })
}

/// Has the checker prove the plan against the machine as it is now.
fn prove(published: &Published, plan: &Plan, before: &NodeSnapshot) -> Result<Proof, GivenUp> {
    let mut protected = Protected::nothing();
    for gpu in &before.gpus {
        for (instance, used) in gpu.instances.iter().zip(broker::uses(&published.state, gpu)) {
            let why = match used {
                Use::Leased(lease) | Use::Ending(lease) => InstanceProtection::Leased(lease),
                Use::Foreign => InstanceProtection::Foreign,
                Use::Warm | Use::Changing => continue,
            };
            protected = protected.with_instance(gpu.uuid.clone(), instance.id, why);
        }
    }
    checker::check(plan, before, &protected).map_err(|violations| {
        let words: Vec<String> = violations.iter().map(ToString::to_string).collect();
        GivenUp::before(format!("the plan does not hold any more: {}", words.join("; ")))
    })
}

type Failed = Box<dyn Error + Send + Sync>;

fn perform(hands: &Hands, before: &NodeSnapshot, step: &Step) -> Result<StepOutcome, Failed> {
    if let Step::ResetGpu { gpu } = step {
        let gpu = before.gpu(gpu).ok_or("the GPU is not on this machine")?;
        reset(hands, gpu)?;
        return Ok(StepOutcome::Reset);
    }
    let outcome = hands.machine.driver.execute(step)?;
    translate(step, outcome)
}

/// What a failed step left in the driver all the same, so that it is ours to undo.
fn what_stands(hands: &Hands, step: &Step, error: &Failed) -> Option<StepOutcome> {
    let stands = matches!(
        error.downcast_ref::<DriverError>(),
        Some(DriverError::Unverified { stands: true, .. })
    );
    let Step::CreateGpuInstance { gpu, profile, placement } = step else { return None };
    if !stands {
        return None;
    }
    let seen = hands.machine.driver.gpu_snapshot(gpu).ok()?;
    let instance = seen.instance_at(*placement).filter(|found| found.profile == *profile)?;
    Some(StepOutcome::GpuInstanceCreated(instance.id))
}

/// Resets a GPU with our own NVML session closed: an open one is a client like any other, and keeps
/// the GPU from being reset.
fn reset(hands: &Hands, gpu: &GpuSnapshot) -> Result<(), Failed> {
    let driver = &hands.machine.driver;
    let mut closed = driver.close();
    for _ in 0..CLOSING_TRIES {
        // Looks that are under way end by themselves.
        if closed.is_ok() {
            break;
        }
        std::thread::sleep(BETWEEN_LOOKS);
        closed = driver.close();
    }
    let result = match closed {
        Ok(()) => hands.machine.reset.reset(gpu).map_err(Failed::from),
        Err(error) => Err(error.into()),
    };
    driver.reopen()?;
    result
}

fn translate(step: &Step, outcome: Outcome) -> Result<StepOutcome, Failed> {
    Ok(match outcome {
        Outcome::MigMode { change: ModeChange::Active, .. } => match step {
            Step::SetMigMode { mode, .. } => StepOutcome::ModeSet(*mode),
            Step::ResetGpu { .. }
            | Step::DestroyComputeInstance { .. }
            | Step::DestroyGpuInstance { .. }
            | Step::CreateGpuInstance { .. }
            | Step::CreateComputeInstance { .. } => {
                return Err("the driver answered another step than was asked".into());
            }
        },
        Outcome::MigMode { change: ModeChange::Pending { reason }, .. } => {
            return Err(format!(
                "the mode is accepted but not in force ({reason}); the GPU must be reset"
            )
            .into());
        }
        Outcome::GpuInstanceCreated { id } => StepOutcome::GpuInstanceCreated(id),
        Outcome::ComputeInstanceCreated { id, uuid: Some(uuid), .. } => {
            StepOutcome::ComputeInstanceCreated { id, uuid }
        }
        Outcome::ComputeInstanceCreated { uuid: None, .. } => {
            return Err("the driver made a MIG device and does not tell its UUID".into());
        }
        Outcome::ComputeInstanceDestroyed | Outcome::GpuInstanceDestroyed => StepOutcome::Destroyed,
    })
}

/// Waits until the outcome of a step is in the journal. The next driver call comes only then.
fn commit(hands: &Hands, plan: PlanId, step: u32, outcome: StepOutcome) -> Result<(), GivenUp> {
    let (reply, answer) = oneshot::channel();
    let command = Command::StepDone { plan, step, outcome };
    let envelope = Box::new(Envelope { command, key: None, reply: Some(reply) });
    let gone = || GivenUp { step: Some(step), error: "the daemon is ending".to_owned() };
    hands.inbox.send(Message::Command(envelope)).map_err(|_| gone())?;
    match answer.blocking_recv() {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(GivenUp { step: Some(step), error: chain(&error) }),
        Err(_) => Err(gone()),
    }
}

/// The slice at a target as the driver shows it: one compute instance over the whole GPU instance,
/// with a UUID, and nobody on it.
fn read_back(after: &NodeSnapshot, target: &SliceTarget) -> Result<GrantedSlice, GivenUp> {
    let place = target.key.placement;
    let gpu = after.gpu(&target.key.gpu).ok_or_else(|| GivenUp::before("the GPU is gone"))?;
    let wrong = |found: &str| {
        GivenUp::before(format!("reading back GPU {} at {place}: {found}", gpu.index))
    };
    let instance = gpu
        .instance_at(place)
        .filter(|instance| instance.profile == target.profile)
        .ok_or_else(|| wrong("the instance is not there"))?;
    let [compute] = instance.compute_instances.as_slice() else {
        return Err(wrong("it does not have exactly one compute instance"));
    };
    if let Some(process) = compute.processes.first() {
        return Err(wrong(&format!("pid {} is on it", process.pid)));
    }
    Ok(GrantedSlice {
        key: target.key.clone(),
        profile: instance.profile,
        gpu_instance: instance.id,
        compute_instance: compute.id,
        uuid: compute.uuid.clone().ok_or_else(|| wrong("its MIG device has no UUID"))?,
    })
}

/// An error with all its causes, one after the other.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !words.contains(&text) {
            words = format!("{words}: {text}");
        }
        cause = error.source();
    }
    words
}
