//! Where effects are carried out: each in a thread or task of its own, so that the actor never
//! waits for a GPU or a process.
//!
//! Must never decide whether an effect is right.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

use broker::{Command, Effect};
use host::DaemonClock;
use model::LeaseId;

use crate::actor::{Envelope, Message};
use crate::executor::{self, Locks};
use crate::holders;
use crate::machine::Machine;
use crate::published::Published;
use crate::watch::Watcher;

/// What effects need.
#[derive(Debug, Clone)]
pub(crate) struct Hands {
    pub(crate) machine: Arc<Machine>,
    pub(crate) inbox: Sender<Message>,
    pub(crate) watcher: Watcher,
    pub(crate) locks: Arc<Locks>,
    pub(crate) epoch: Arc<AtomicU64>,
    pub(crate) clock: Arc<DaemonClock>,
    /// The socket as holders know it, without links.
    pub(crate) socket: PathBuf,
    /// Leases whose slices are being looked at.
    pub(crate) looking: Arc<Mutex<BTreeSet<LeaseId>>>,
    /// Whether a process that cannot be looked into counts as a holder. Not on a simulated machine:
    /// its driver knows every process on it, and its daemon need not be root.
    pub(crate) others: bool,
}

impl Hands {
    /// Starts an effect; returns at once.
    pub(crate) fn run(&self, effect: Effect, published: &Published) {
        let hands = self.clone();
        let picture = published.clone();
        match effect {
            Effect::Execute { id, plan } => {
                in_thread("plan", move || executor::execute(&hands, &picture, id, &plan));
            }
            Effect::Watch { lease, process } => {
                self.watcher.add(lease, process);
            }
            Effect::Signal { lease, stage } => {
                in_thread("signal", move || holders::signal(&hands, &picture, lease, stage));
            }
            Effect::Look { lease } => {
                if lock(&self.looking).insert(lease) {
                    in_thread("look", move || {
                        let found = holders::look(&hands, &picture, lease);
                        lock(&hands.looking).remove(&lease);
                        if let Some(found) = found {
                            hands.tell(Command::Looked { lease, found });
                        }
                    });
                }
            }
        }
    }

    /// Sends the actor a command of the daemon's own.
    pub(crate) fn tell(&self, command: Command) {
        // The actor hangs up only when the daemon ends, and then nothing is lost: the next daemon
        // reads the driver.
        let _ = self.inbox.send(Message::Command(Box::new(Envelope::own(command))));
    }
}

fn in_thread(what: &'static str, work: impl FnOnce() + Send + 'static) {
    let spawned = std::thread::Builder::new().name(what.to_owned()).spawn(work);
    if let Err(error) = spawned {
        tracing::error!(%error, what, "no thread could be started");
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
