//! Fresh looks at GPUs for whoever needs one: a thread per GPU, and one look for all who asked
//! before it began.
//!
//! Must never answer with a look that began before the question, nor let a GPU that hangs hold up
//! the answers about another.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use model::{GpuSnapshot, GpuUuid};

use crate::actor::Message;
use crate::executor::chain;
use crate::hands::lock;
use crate::machine::Machine;

/// What a look at a GPU came to, or why there is none.
pub(crate) type Look = Result<GpuSnapshot, String>;
type Answer = Box<dyn FnOnce(&Look) + Send>;

/// The way to ask.
#[derive(Debug, Clone)]
pub(crate) struct Readers {
    machine: Arc<Machine>,
    inbox: Sender<Message>,
    epoch: Arc<AtomicU64>,
    questions: Arc<Mutex<BTreeMap<GpuUuid, Sender<Answer>>>>,
}

impl Readers {
    /// Readers of a machine, who tell the actor what they see.
    pub(crate) fn new(
        machine: Arc<Machine>,
        inbox: Sender<Message>,
        epoch: Arc<AtomicU64>,
    ) -> Self {
        Self { machine, inbox, epoch, questions: Arc::default() }
    }

    /// Has a GPU looked at from now on; `answer` is called once, from another thread. It must not
    /// wait for anything.
    pub(crate) fn ask(&self, gpu: &GpuUuid, answer: impl FnOnce(&Look) + Send + 'static) {
        let mut questions = lock(&self.questions);
        let mut answer: Answer = Box::new(answer);
        // A thread that broke down has hung up; the next one takes its place.
        for _ in 0..2 {
            if !questions.contains_key(gpu) {
                let Some(sender) = self.start(gpu) else { break };
                questions.insert(gpu.clone(), sender);
            }
            let Some(sender) = questions.get(gpu) else { break };
            match sender.send(answer) {
                Ok(()) => return,
                Err(unsent) => answer = unsent.0,
            }
            questions.remove(gpu);
        }
        drop(questions);
        answer(&Err("no thread could be started to look at the GPU".to_owned()));
    }

    fn start(&self, gpu: &GpuUuid) -> Option<Sender<Answer>> {
        let (sender, questions) = channel();
        let (readers, gpu) = (self.clone(), gpu.clone());
        let spawned = std::thread::Builder::new()
            .name("reader".to_owned())
            .spawn(move || readers.serve(&gpu, &questions));
        if let Err(error) = &spawned {
            tracing::error!(%error, "no thread could be started");
        }
        spawned.ok().map(|_| sender)
    }

    fn serve(&self, gpu: &GpuUuid, questions: &Receiver<Answer>) {
        while let Ok(first) = questions.recv() {
            let mut askers = vec![first];
            askers.extend(questions.try_iter());
            let epoch = self.epoch.load(Ordering::Acquire);
            let work = AssertUnwindSafe(|| self.machine.driver.gpu_snapshot(gpu));
            let look: Look = match catch_unwind(work) {
                Ok(Ok(seen)) => Ok(seen),
                Ok(Err(error)) => Err(chain(&error)),
                Err(_) => Err("looking at the GPU broke down".to_owned()),
            };
            // What was seen is news for the actor, too, and before anything that is done about it.
            if let Ok(seen) = &look {
                let _ = self.inbox.send(Message::Observed { epoch, gpu: Box::new(seen.clone()) });
            }
            for answer in askers {
                answer(&look);
            }
        }
    }
}
