//! Looks at every GPU again and again, each from a thread of its own.
//!
//! Must never let one GPU that hangs keep the others from being seen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use driver::{DriverError, NvmlReturn};
use model::{GpuUuid, NodeSnapshot, Timestamp};

use crate::actor::Message;
use crate::executor::chain;
use crate::hands::{Hands, lock};
use crate::machine::Machine;

/// How old knowledge of a GPU may be. What others do to the driver is seen within this time;
/// looking costs about a millisecond a GPU.
const EVERY: Duration = Duration::from_secs(2);
/// How long a look may take before its GPU is distrusted. Real drivers take seconds for a GPU they
/// must wake up first.
const PATIENCE: Duration = Duration::from_secs(15);
/// Failed looks in a row before a GPU is distrusted.
const TRIES: u32 = 3;
/// How often GPUs that came are looked for.
const ROLL_CALL: u32 = 15;

/// When the looks that are under way began.
type UnderWay = Arc<Mutex<BTreeMap<GpuUuid, Instant>>>;

/// Looks at the whole machine for the first time. GPUs that do not answer in time are left out;
/// they join when they do.
///
/// # Errors
/// If the driver cannot name its GPUs or its version.
pub(crate) fn first_look(
    machine: &Arc<Machine>,
    now: Timestamp,
) -> Result<NodeSnapshot, DriverError> {
    let versions = machine.driver.versions()?;
    let gpus = machine.driver.gpus()?;
    let (found, looks) = channel();
    for gpu in gpus.clone() {
        let (machine, found) = (Arc::clone(machine), found.clone());
        spawn("first look", move || {
            let _ = found.send(machine.driver.gpu_snapshot(&gpu));
        });
    }
    drop(found);
    let deadline = Instant::now() + PATIENCE;
    let mut seen = Vec::new();
    while let Ok(look) = looks.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        match look {
            Ok(gpu) => seen.push(gpu),
            Err(error) => tracing::error!(error = chain(&error), "cannot be looked at"),
        }
    }
    if seen.len() < gpus.len() {
        tracing::error!(missing = gpus.len() - seen.len(), "some GPUs do not answer");
    }
    seen.sort_by_key(|gpu| gpu.index);
    Ok(NodeSnapshot {
        taken_at: now,
        driver_version: versions.driver,
        cuda_version: versions.cuda,
        gpus: seen,
    })
}

/// Starts the threads.
pub(crate) fn start(hands: &Hands, first: &NodeSnapshot) {
    let under_way = UnderWay::default();
    let known: BTreeSet<GpuUuid> = first.gpus.iter().map(|gpu| gpu.uuid.clone()).collect();
    for gpu in &known {
        watch_gpu(hands.clone(), gpu.clone(), Arc::clone(&under_way));
    }
    let (own, looks) = (hands.clone(), Arc::clone(&under_way));
    spawn("sentinel", move || distrust_silent(&own, &looks));
    let hands = hands.clone();
    spawn("roll call", move || roll_call(&hands, known, &under_way));
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) {
    if let Err(error) = std::thread::Builder::new().name(name.to_owned()).spawn(work) {
        tracing::error!(%error, name, "no thread could be started");
    }
}

fn watch_gpu(hands: Hands, gpu: GpuUuid, under_way: UnderWay) {
    spawn("observer", move || {
        let mut failures = 0;
        loop {
            std::thread::sleep(EVERY);
            let epoch = hands.epoch.load(Ordering::Acquire);
            lock(&under_way).insert(gpu.clone(), Instant::now());
            let look = hands.machine.driver.gpu_snapshot(&gpu);
            lock(&under_way).remove(&gpu);
            let mut well = None;
            let message = match look {
                Ok(seen) => {
                    failures = 0;
                    well = Some(seen.clone());
                    Message::Observed { epoch, gpu: Box::new(seen) }
                }
                // Closed by ourselves around a reset.
                Err(DriverError::Closed) => continue,
                Err(error) => {
                    failures += 1;
                    reopen_if_needed(&hands, &error);
                    if failures != TRIES {
                        continue;
                    }
                    let words = chain(&error);
                    tracing::warn!(%gpu, error = words, "cannot be looked at");
                    Message::Silent { gpu: gpu.clone(), words }
                }
            };
            if hands.inbox.send(message).is_err() {
                return;
            }
            if let Some(seen) = well {
                // Measuring asks the driver too, and may hang as any call.
                lock(&under_way).insert(gpu.clone(), Instant::now());
                hands.meter.looked(&hands, &seen);
                lock(&under_way).remove(&gpu);
            }
        }
    });
}

/// A driver that was loaded anew knows nothing of our session.
fn reopen_if_needed(hands: &Hands, error: &DriverError) {
    if error.nvml_return() == Some(NvmlReturn::Uninitialized)
        && let Err(error) = hands.machine.driver.reopen()
    {
        tracing::warn!(error = chain(&error), "no new NVML session");
    }
}

/// Tells the actor of looks that do not end.
fn distrust_silent(hands: &Hands, under_way: &UnderWay) {
    let mut told: BTreeMap<GpuUuid, Instant> = BTreeMap::new();
    loop {
        std::thread::sleep(EVERY);
        let looks = lock(under_way).clone();
        for (gpu, begun) in looks {
            if begun.elapsed() < PATIENCE || told.get(&gpu) == Some(&begun) {
                continue;
            }
            told.insert(gpu.clone(), begun);
            tracing::error!(%gpu, "does not answer");
            let words = "the driver does not answer for it".to_owned();
            if hands.inbox.send(Message::Silent { gpu, words }).is_err() {
                return;
            }
        }
    }
}

fn roll_call(hands: &Hands, mut known: BTreeSet<GpuUuid>, under_way: &UnderWay) {
    loop {
        std::thread::sleep(EVERY * ROLL_CALL);
        let Ok(present) = hands.machine.driver.gpus() else { continue };
        for gpu in present {
            if known.insert(gpu.clone()) {
                tracing::info!(%gpu, "a GPU came");
                watch_gpu(hands.clone(), gpu, Arc::clone(under_way));
            }
        }
    }
}
