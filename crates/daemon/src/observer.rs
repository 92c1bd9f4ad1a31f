//! Looks at every GPU again and again, each from a thread of its own.
//!
//! Must never let one GPU that hangs keep the others from being seen.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use host::DaemonClock;
use model::{GpuUuid, NodeSnapshot};

use crate::actor::Message;
use crate::executor::chain;
use crate::hands::Hands;

/// How old knowledge of a GPU may be. What others do to the driver is seen within this time;
/// looking costs about a millisecond a GPU.
const EVERY: Duration = Duration::from_secs(2);
/// How often GPUs that came or went are looked for.
const ROLL_CALL: u32 = 15;

/// Starts the threads.
pub(crate) fn start(hands: &Hands, clock: &std::sync::Arc<DaemonClock>, first: &NodeSnapshot) {
    let known: BTreeSet<GpuUuid> = first.gpus.iter().map(|gpu| gpu.uuid.clone()).collect();
    for gpu in &known {
        watch_gpu(hands.clone(), gpu.clone());
    }
    let (hands, clock) = (hands.clone(), std::sync::Arc::clone(clock));
    spawn("roll call", move || roll_call(&hands, &clock, known));
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) {
    if let Err(error) = std::thread::Builder::new().name(name.to_owned()).spawn(work) {
        tracing::error!(%error, name, "no thread could be started");
    }
}

fn watch_gpu(hands: Hands, gpu: GpuUuid) {
    spawn("observer", move || {
        let mut silent = false;
        loop {
            std::thread::sleep(EVERY);
            let epoch = hands.epoch.load(Ordering::Acquire);
            match hands.machine.driver.gpu_snapshot(&gpu) {
                Ok(seen) => {
                    silent = false;
                    let gpu = Box::new(seen);
                    if hands.inbox.send(Message::Observed { epoch, gpu }).is_err() {
                        return;
                    }
                }
                Err(error) if !silent => {
                    silent = true;
                    tracing::warn!(%gpu, error = chain(&error), "cannot be looked at");
                }
                Err(_) => {}
            }
        }
    });
}

fn roll_call(hands: &Hands, clock: &DaemonClock, mut known: BTreeSet<GpuUuid>) {
    loop {
        std::thread::sleep(EVERY * ROLL_CALL);
        let Ok(present) = hands.machine.driver.gpus() else { continue };
        let new: Vec<GpuUuid> = present.into_iter().filter(|gpu| !known.contains(gpu)).collect();
        if new.is_empty() {
            continue;
        }
        let epoch = hands.epoch.load(Ordering::Acquire);
        let Ok(node) = hands.machine.driver.snapshot(clock.now()) else { continue };
        if hands.inbox.send(Message::ObservedAll { epoch, node: Box::new(node) }).is_err() {
            return;
        }
        for gpu in new {
            tracing::info!(%gpu, "a GPU came");
            watch_gpu(hands.clone(), gpu.clone());
            known.insert(gpu);
        }
    }
}
