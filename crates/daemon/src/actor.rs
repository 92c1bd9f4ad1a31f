//! The actor: the one owner of the state and the journal.
//!
//! Commands come in, are decided in batches, committed once, published, answered; then their
//! effects run. Must never do anything that waits for a GPU or a process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use ::executor::{Looks, changes};
use broker::event::Stamped;
use broker::{Command, Decision, Effect, Event, Policy, Refusal, Reply, State, World};
use host::DaemonClock;
use model::{ChangeId, GpuSnapshot, GpuUuid, Health, LeaseId, NodeSnapshot};
use planner::Planner;
use store::{Journal, Recorded, StoreError};
use tokio::sync::{oneshot, watch};

use crate::changes;
use crate::hands::Hands;
use crate::published::Published;
use crate::recent::Recent;
use crate::retention::Retention;
use crate::settings::Settings;
use crate::waiting::Waiting;

/// Commands decided before one commit: enough to share the cost of a commit among a crowd, few
/// enough that the first of them does not wait noticeably.
const BATCH: usize = 64;
/// From how many commands in one commit on there is a crowd, and how long a crowd's next commands
/// are gathered: what a commit costs besides its commands is shared by more of them then, and nobody
/// who calls alone waits for others.
const CROWD: usize = 4;
const GATHER: Duration = Duration::from_micros(250);
/// How often time is looked at while something waits for it, and how often otherwise.
const BRISK: Duration = Duration::from_millis(200);
const CALM: Duration = Duration::from_secs(1);
/// How long commands that could not be committed rest before they are tried again.
const AFTER_FULL_DISK: Duration = Duration::from_secs(1);

/// How long an idempotency key leads to the same lease.
const KEYS_LIVE: Duration = Duration::from_secs(3600);

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Rejected {
    /// The broker said no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It could not be written down.
    #[error("it cannot be written down")]
    NotWritten(#[source] Arc<StoreError>),
}

/// The answer to a command: what the broker says and the picture after the commit.
pub(crate) type Answer = Result<(Reply, Published), Rejected>;

/// What the actor can be asked.
#[derive(Debug)]
pub(crate) enum Message {
    /// Decide a command.
    Command(Box<Envelope>),
    /// One GPU was looked at. `epoch` is the actor's when the looking began.
    Observed { epoch: u64, gpu: Box<GpuSnapshot> },
    /// A GPU does not answer; the words say how.
    Silent { gpu: GpuUuid, words: String },
    /// The configuration was read anew; these are the rules from now on.
    Configured { settings: Arc<Settings>, policy: Arc<Policy> },
    /// An administrator should know this.
    Warn(String),
    /// Answer, to show that somebody is there.
    Alive(oneshot::Sender<()>),
    /// Leave.
    Stop,
}

/// A command with its return address.
#[derive(Debug)]
pub(crate) struct Envelope {
    pub(crate) command: Command,
    /// The idempotency key, and whose.
    pub(crate) key: Option<(u32, String)>,
    /// Where the answer goes; without it the command is the daemon's own and is never given up.
    pub(crate) reply: Option<oneshot::Sender<Answer>>,
}

impl Envelope {
    /// A command of the daemon itself.
    pub(crate) const fn own(command: Command) -> Self {
        Self { command, key: None, reply: None }
    }
}

/// The owner of state and journal.
pub(crate) struct Actor {
    pub(crate) state: Arc<State>,
    pub(crate) journal: Journal,
    pub(crate) observed: Arc<NodeSnapshot>,
    pub(crate) policy: Arc<Policy>,
    pub(crate) clock: Arc<DaemonClock>,
    pub(crate) planner: Planner,
    pub(crate) hands: Hands,
    pub(crate) publish: watch::Sender<Published>,
    pub(crate) waiting: Waiting,
    pub(crate) revisions: BTreeMap<LeaseId, u64>,
    /// For each known change, the number of its newest event.
    pub(crate) changes: BTreeMap<ChangeId, u64>,
    /// Leases that ended lately.
    pub(crate) recent: Recent,
    pub(crate) warnings: Arc<Vec<String>>,
    /// Which looks still count.
    pub(crate) looks: Looks,
    pub(crate) settings: Arc<Settings>,
    pub(crate) retention: Retention,
    /// Whether something is known that the others have not been told.
    pub(crate) unpublished: bool,
    /// Whether the last commit was that of a crowd.
    pub(crate) crowded: bool,
}

impl Actor {
    /// Serves until told to stop or everybody has hung up.
    pub(crate) fn serve(mut self, inbox: &Receiver<Message>) {
        let mut unwritten: Vec<Envelope> = Vec::new();
        let mut last_tick = Instant::now();
        loop {
            let until_tick = if !unwritten.is_empty() {
                AFTER_FULL_DISK
            } else if self.is_brisk() {
                BRISK
            } else {
                CALM
            };
            // Counted from the last tick, so that no amount of messages keeps time from passing.
            let pause = until_tick.saturating_sub(last_tick.elapsed());
            let mut batch = Vec::new();
            match inbox.recv_timeout(pause) {
                Ok(first) => {
                    if self.crowded {
                        std::thread::sleep(GATHER);
                    }
                    let more = std::iter::from_fn(|| inbox.try_recv().ok()).take(BATCH - 1);
                    let messages: Vec<Message> = std::iter::once(first).chain(more).collect();
                    for message in messages {
                        if matches!(message, Message::Stop) {
                            self.end();
                            return;
                        }
                        self.take(message, &mut batch);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if last_tick.elapsed() >= until_tick {
                last_tick = Instant::now();
                batch.splice(0..0, unwritten.drain(..));
                batch.push(Envelope::own(Command::Tick));
            }
            self.crowded = batch.len() >= CROWD;
            unwritten.extend(self.decide_all(batch));
            let kept = self.settings.config.journal.retention;
            self.retention.turn(&mut self.journal, &self.state, kept, self.clock.now());
        }
    }

    /// The next start need not check the journal, unless something is left to it.
    fn end(&mut self) {
        if !self.state.plans.is_empty() || self.state.changes.values().any(broker::Change::is_open)
        {
            return;
        }
        if let Err(error) = self.journal.end() {
            tracing::debug!(%error, "the end cannot be noted");
        }
    }

    /// Whether something is due soon.
    fn is_brisk(&self) -> bool {
        self.state.leases.values().any(|lease| {
            matches!(lease.phase, broker::Phase::Ending { .. })
                || lease.deadline().is_some()
                || lease.token_expires().is_some()
                || matches!(lease.spec.patience, broker::Patience::AtMost(_))
        })
    }

    fn take(&mut self, message: Message, batch: &mut Vec<Envelope>) {
        match message {
            Message::Command(envelope) => batch.push(*envelope),
            Message::Observed { epoch, mut gpu } => {
                self.hands.access.overlay(&mut gpu);
                if self.learn(epoch, *gpu) {
                    batch.push(Envelope::own(Command::Observed));
                }
            }
            Message::Silent { gpu, words } => {
                if let Some(known) = self.observed.gpu(&gpu) {
                    let distrusted =
                        GpuSnapshot { health: Health::Failing(words), ..known.clone() };
                    if self.learn(u64::MAX, distrusted) {
                        batch.push(Envelope::own(Command::Observed));
                    }
                }
            }
            Message::Configured { settings, policy } => {
                self.hands.access.set_mode(settings.config.access.enforce);
                self.settings = settings;
                self.policy = policy;
                self.retention.hurry();
                // Whoever waits may be served by the new rules at once.
                self.unpublished = true;
                batch.push(Envelope::own(Command::Tick));
            }
            Message::Warn(warning) => {
                Arc::make_mut(&mut self.warnings).push(warning);
                self.unpublished = true;
                batch.push(Envelope::own(Command::Tick));
            }
            Message::Alive(reply) => {
                let _ = reply.send(());
            }
            Message::Stop => {}
        }
    }

    /// Replaces what is known of one GPU; whether anything changed.
    fn learn(&mut self, epoch: u64, gpu: GpuSnapshot) -> bool {
        if !self.looks.is_news(epoch, &gpu.uuid) {
            return false;
        }
        let observed = Arc::make_mut(&mut self.observed);
        match observed.gpus.iter_mut().find(|known| known.uuid == gpu.uuid) {
            Some(known) if *known == gpu => return false,
            Some(known) => *known = gpu,
            None => {
                observed.gpus.push(gpu);
                observed.gpus.sort_by_key(|gpu| gpu.index);
            }
        }
        self.unpublished = true;
        let observed = Arc::clone(&self.observed);
        self.learn_geometries(&observed);
        true
    }

    pub(crate) fn learn_geometries(&mut self, node: &NodeSnapshot) {
        for geometry in node.gpus.iter().filter_map(|gpu| gpu.geometry.as_ref()) {
            self.planner.learn(geometry);
        }
    }

    /// Decides a batch and commits it; returns the daemon's own commands that could not be
    /// written.
    fn decide_all(&mut self, batch: Vec<Envelope>) -> Vec<Envelope> {
        if batch.is_empty() {
            return Vec::new();
        }
        let now = self.clock.now();
        let mut draft = (*self.state).clone();
        let forecast = broker::forecast(&self.state.usage, now);
        let mut decided: Vec<(Envelope, Decision)> = Vec::new();
        for mut envelope in self.with_last_words(batch) {
            if let Some(lease) = self.twin(now, &envelope, &decided) {
                // Answered like its twin, after the commit that the twin is part of.
                envelope.key = None;
                let reply = Reply::Lease(lease);
                let decision = Decision { events: Vec::new(), effects: Vec::new(), reply };
                decided.push((envelope, decision));
                continue;
            }
            let world = World {
                observed: &self.observed,
                policy: &self.policy,
                planner: &self.planner,
                forecast: &forecast,
                now,
                protected: self.settings.protects(now),
            };
            match broker::decide(&mut draft, &world, envelope.command.clone()) {
                Ok(decision) => decided.push((envelope, decision)),
                Err(refusal) => {
                    if let Some(reply) = envelope.reply {
                        let _ = reply.send(Err(refusal.into()));
                    }
                }
            }
        }
        match self.commit(now, draft, &decided) {
            Ok(()) => {
                self.finish(decided);
                Vec::new()
            }
            Err(error) => give_back(decided, error),
        }
    }

    /// Leases that are found empty are measured a last time, so that their receipts are exact.
    fn with_last_words(&self, batch: Vec<Envelope>) -> Vec<Envelope> {
        let mut full = Vec::with_capacity(batch.len());
        for envelope in batch {
            if let Command::Looked { lease, found } = &envelope.command
                && found.held_by.is_empty()
            {
                full.extend(self.hands.meter.last_words(*lease).map(Envelope::own));
            }
            full.push(envelope);
        }
        full
    }

    /// The lease that an idempotency key led to before, in this batch or earlier.
    fn twin(
        &self,
        now: model::Timestamp,
        envelope: &Envelope,
        decided: &[(Envelope, Decision)],
    ) -> Option<LeaseId> {
        let (uid, key) = envelope.key.as_ref()?;
        let in_batch = decided.iter().find(|(other, _)| other.key == envelope.key);
        if let Some((_, Decision { reply: Reply::Lease(lease), .. })) = in_batch {
            return Some(*lease);
        }
        let lived = KEYS_LIVE.as_millis() as u64;
        let not_before = model::Timestamp::from_millis(now.as_millis().saturating_sub(lived));
        self.journal.lease_of_key(*uid, key, not_before).ok().flatten()
    }

    fn commit(
        &mut self,
        now: model::Timestamp,
        draft: State,
        decided: &[(Envelope, Decision)],
    ) -> Result<(), StoreError> {
        let events = decided.iter().flat_map(|(_, decision)| &decision.events);
        let stamped: Vec<Stamped> =
            events.map(|event| Stamped { at: now, event: event.clone() }).collect();
        let keys: Vec<_> = decided
            .iter()
            .filter_map(|(envelope, decision)| match (&envelope.key, decision.reply) {
                (Some((uid, key)), Reply::Lease(lease)) => Some((*uid, key.clone(), lease)),
                _ => None,
            })
            .collect();
        let recorded = self.journal.append(&stamped, &keys, &draft)?;
        let before = std::mem::replace(&mut self.state, Arc::new(draft));
        self.recent.note(&before, &recorded);
        for event in &recorded {
            self.note(event);
            if let Some(change) = changes::touched(&event.event, &before, &self.state) {
                self.changes.insert(change, event.seq);
            }
        }
        self.changes.retain(|change, _| self.state.changes.contains_key(change));
        if self.unpublished || !recorded.is_empty() {
            self.publish.send_replace(self.picture(now));
            self.unpublished = false;
            self.waiting.tell(recorded.iter().filter_map(|recorded| recorded.event.lease()));
        }
        Ok(())
    }

    /// Keeps what the actor derives from events beside the state.
    fn note(&mut self, recorded: &Recorded) {
        if let Some(lease) = recorded.event.lease() {
            self.revisions.insert(lease, recorded.seq);
        }
        match &recorded.event {
            Event::Ended { lease, .. } => {
                self.revisions.remove(lease);
                self.hands.watcher.forget(*lease);
            }
            Event::PlanOpened { steps, targets, whole, .. } => {
                let reused = targets.iter().map(|target| &target.key.gpu).chain(whole);
                if changes(steps, whole) {
                    self.looks.opened(steps.gpus().into_iter().chain(reused));
                }
            }
            Event::PlanFinished { .. } | Event::PlanFailed { .. } => {
                self.looks.ended(&self.state);
            }
            Event::DaemonStarted { .. }
            | Event::Requested { .. }
            | Event::StepDone { .. }
            | Event::PlanLate { .. }
            | Event::PlanAbandoned { .. }
            | Event::Granted { .. }
            | Event::GrantUndone { .. }
            | Event::HeldUp { .. }
            | Event::Requeued { .. }
            | Event::HolderAttached { .. }
            | Event::Renewed { .. }
            | Event::Ending { .. }
            | Event::Escalated { .. }
            | Event::StillHeld { .. }
            | Event::SliceAdopted { .. }
            | Event::OrphanCleared { .. }
            | Event::SliceGone { .. }
            | Event::MaintenanceBegan { .. }
            | Event::GpuTriedAgain { .. }
            | Event::GrantedWhole { .. }
            | Event::Predicted { .. }
            | Event::ActivityChanged { .. }
            | Event::Metered { .. }
            | Event::Noticed { .. }
            | Event::NoticeWithdrawn { .. }
            | Event::Agreed { .. }
            | Event::Displaced { .. }
            | Event::Lingering { .. }
            | Event::HolderReplaced { .. }
            | Event::Cordoned { .. }
            | Event::Uncordoned { .. }
            | Event::Drained { .. }
            | Event::Quarantined { .. }
            | Event::QuarantineLifted { .. }
            | Event::HealthNoted { .. }
            | Event::Booked { .. }
            | Event::BookingMoved { .. }
            | Event::BookingEnded { .. }
            | Event::Reserved { .. }
            | Event::ReservationDropped
            | Event::RoomPromised { .. }
            | Event::Change(_)
            | Event::MaintenanceEnded { .. } => {}
        }
        tracing::debug!(seq = recorded.seq, event = ?recorded.event, "committed");
    }

    fn all_warnings(&self) -> Arc<Vec<String>> {
        let of_settings = self.settings.warnings();
        if of_settings.is_empty() {
            return Arc::clone(&self.warnings);
        }
        Arc::new(self.warnings.iter().cloned().chain(of_settings).collect())
    }

    pub(crate) fn picture(&self, now: model::Timestamp) -> Published {
        Published {
            state: Arc::clone(&self.state),
            observed: Arc::clone(&self.observed),
            revisions: Arc::new(self.revisions.clone()),
            changes: Arc::new(self.changes.clone()),
            recent: self.recent.clone(),
            last_seq: self.journal.last_seq(),
            now,
            planner: self.planner.clone(),
            policy: Arc::clone(&self.policy),
            warnings: self.all_warnings(),
            settings: Arc::clone(&self.settings),
            steps: Arc::clone(&self.hands.steps),
        }
    }

    fn finish(&mut self, decided: Vec<(Envelope, Decision)>) {
        let published = self.publish.borrow().clone();
        let mut effects: Vec<Effect> = Vec::new();
        for (envelope, decision) in decided {
            if let Some(reply) = envelope.reply {
                let _ = reply.send(Ok((decision.reply, published.clone())));
            }
            for effect in decision.effects {
                if !effects.contains(&effect) {
                    effects.push(effect);
                }
            }
        }
        for effect in effects {
            self.hands.run(effect, &published);
        }
    }
}

/// Answers the callers of a batch that could not be written, and keeps the daemon's own part.
fn give_back(decided: Vec<(Envelope, Decision)>, error: StoreError) -> Vec<Envelope> {
    tracing::error!(%error, "the journal does not take events; nothing was changed");
    let error = Arc::new(error);
    let mut own = Vec::new();
    for (envelope, _) in decided {
        match (envelope.reply, &envelope.command) {
            (None, Command::Tick | Command::Observed) => {}
            (None, _) => own.push(Envelope { reply: None, ..envelope }),
            (Some(reply), Command::StepDone { .. }) => {
                own.push(Envelope { reply: Some(reply), ..envelope });
            }
            (Some(reply), _) => {
                let _ = reply.send(Err(Rejected::NotWritten(Arc::clone(&error))));
            }
        }
    }
    own
}
