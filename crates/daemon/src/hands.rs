//! Where effects are carried out: each in a thread or task of its own, so that the actor never
//! waits for a GPU or a process.
//!
//! Must never decide whether an effect is right.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use broker::{Command, Effect, Phase, Stage};
use host::DaemonClock;
use model::{LeaseId, Plan, PlanId};

use crate::access::Access;
use crate::actor::{Envelope, Message};
use crate::changes;
use crate::executor::{self, Locks};
use crate::handover;
use crate::holders;
use crate::machine::Machine;
use crate::meter::Meter;
use crate::published::Published;
use crate::readers::Readers;
use crate::searcher::Searcher;
use crate::steps::Steps;
use crate::watch::Watcher;

/// What effects need.
#[derive(Debug, Clone)]
pub(crate) struct Hands {
    pub(crate) machine: Arc<Machine>,
    pub(crate) access: Arc<Access>,
    pub(crate) inbox: Sender<Message>,
    pub(crate) watcher: Watcher,
    pub(crate) locks: Arc<Locks>,
    pub(crate) epoch: Arc<AtomicU64>,
    pub(crate) clock: Arc<DaemonClock>,
    /// The socket as holders know it, without links.
    pub(crate) socket: PathBuf,
    /// When ending leases were last signalled, so that none is signalled all the time.
    pub(crate) paced: Arc<Mutex<Pace>>,
    /// Whether a process that cannot be looked into counts as a holder. Not on a simulated machine:
    /// its driver knows every process on it, and its daemon need not be root.
    pub(crate) others: bool,
    /// Looks at ending leases.
    pub(crate) searcher: Searcher,
    /// What plans are at in the driver.
    pub(crate) steps: Arc<Steps>,
    /// Looks at GPUs.
    pub(crate) readers: Readers,
    /// Adds up who uses what.
    pub(crate) meter: Arc<Meter>,
}

impl Hands {
    /// Starts an effect; returns at once.
    pub(crate) fn run(&self, effect: Effect, published: &Published) {
        let hands = self.clone();
        let picture = published.clone();
        match effect {
            Effect::Execute { id, plan } if plan.steps.is_empty() => {
                handover::hand_over(&hands, &picture, id, &plan);
            }
            Effect::Execute { id, plan } => {
                hands.execute(&picture, id, plan);
            }
            Effect::WatchContainer { lease, cgroup } => {
                self.watcher.add_container(lease, cgroup);
            }
            Effect::Notify { lease, signal } => {
                in_thread("notify", move || holders::notify(&hands, &picture, lease, signal));
            }
            Effect::Watch { lease, process } => {
                self.watcher.add(lease, process);
            }
            Effect::Signal { lease, stage } => {
                if !lock(&self.paced).may_signal(lease, stage, ending_for(published, lease)) {
                    return;
                }
                in_thread("signal", move || holders::signal(&hands, &picture, lease, stage));
            }
            Effect::StopUnits { change, units } => {
                let told = self.clone();
                let over = move |trouble| told.tell(Command::UnitsStopped { change, trouble });
                surely("units", over, move || changes::stop_units(&hands, change, &units));
            }
            Effect::StartUnits { change, units } => {
                let told = self.clone();
                let over = move |trouble| told.tell(Command::UnitsStarted { change, trouble });
                surely("units", over, move || changes::start_units(&hands, change, &units));
            }
            Effect::Look { lease } => self.searcher.look(lease, published),
        }
    }

    /// Carries a plan out in a thread of its own.
    pub(crate) fn execute(&self, picture: &Published, id: PlanId, plan: Plan) {
        let (hands, picture) = (self.clone(), picture.clone());
        let started = in_thread("plan", move || {
            let work = AssertUnwindSafe(|| executor::execute(&hands, &picture, id, &plan));
            if catch_unwind(work).is_err() {
                hands.tell(failed(id, "the executor broke down"));
            }
        });
        if !started {
            self.tell(failed(id, "no thread could be started"));
        }
    }

    /// Sends the actor a command of the daemon's own.
    pub(crate) fn tell(&self, command: Command) {
        // The actor hangs up only when the daemon ends, and then nothing is lost: the next daemon
        // reads the driver.
        let _ = self.inbox.send(Message::Command(Box::new(Envelope::own(command))));
    }
}

fn failed(plan: PlanId, error: &str) -> Command {
    Command::PlanFailed { plan, step: None, error: error.to_owned() }
}

/// How long a lease has been ending.
fn ending_for(published: &Published, lease: LeaseId) -> Duration {
    let phase = published.state.lease(lease).map(|lease| &lease.phase);
    match phase {
        Some(Phase::Ending { since, .. }) => {
            Duration::from_millis(published.now.since(*since).get())
        }
        _ => Duration::ZERO,
    }
}

/// Starts a thread; false if the system has none left.
fn in_thread(what: &'static str, work: impl FnOnce() + Send + 'static) -> bool {
    let spawned = std::thread::Builder::new().name(what.to_owned()).spawn(work);
    if let Err(error) = &spawned {
        tracing::error!(%error, what, "no thread could be started");
    }
    spawned.is_ok()
}

/// Work in a thread whose end somebody waits for: `over` is told why if it does not come to it.
fn surely(
    what: &'static str,
    over: impl Fn(Vec<String>) + Clone + Send + 'static,
    work: impl FnOnce() + Send + 'static,
) {
    let broken = over.clone();
    let started = in_thread(what, move || {
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            broken(vec!["it broke down; please report it with the daemon's log".to_owned()]);
        }
    });
    if !started {
        over(vec!["no thread could be started".to_owned()]);
    }
}

/// When the processes of ending leases were last signalled.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    signals: BTreeMap<LeaseId, (Stage, Instant)>,
}

impl Pace {
    /// Between two signals of the same stage.
    fn pause(ending_for: Duration) -> Duration {
        match ending_for.as_secs() {
            0..=4 => Duration::from_millis(150),
            5..=59 => Duration::from_secs(2),
            _ => Duration::from_secs(10),
        }
    }

    fn may_signal(&mut self, lease: LeaseId, stage: Stage, ending_for: Duration) -> bool {
        self.signals.retain(|_, (_, at)| at.elapsed().as_secs() < 60);
        let due = self
            .signals
            .get(&lease)
            .is_none_or(|(last, at)| *last != stage || at.elapsed() >= Self::pause(ending_for));
        if due {
            self.signals.insert(lease, (stage, Instant::now()));
        }
        due
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
