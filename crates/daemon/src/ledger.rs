//! The keeper of the ledger: one thread that writes for everybody, many calls in one commit.
//!
//! Must never be waited for by the actor.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use host::DaemonClock;
use model::Timestamp;
use store::{AuditRecord, Durability, KeptAnswer, Ledger, Slot, StoreError, TokenRecord, UnderWay};
use tokio::sync::{oneshot, watch};

use crate::hands::lock;

/// The code of a call whose daemon ended before it could answer.
const CUT_OFF: &str = "E-CUT-OFF";
/// How long a key leads to the answer that was given first.
const KEYS_LIVE: Duration = Duration::from_secs(3600);
/// How often old calls and answers are forgotten.
const TIDY_EVERY: Duration = Duration::from_secs(600);
/// The most calls that are written in one commit.
const BATCH: usize = 256;
/// From how many calls in one commit on there is a crowd, and how long a crowd's next calls are
/// gathered for one.
const CROWD: usize = 4;
const GATHER: Duration = Duration::from_micros(250);

/// The tokens by number.
pub(crate) type Tokens = Arc<BTreeMap<u64, Arc<TokenRecord>>>;

/// What a call with a key meets.
#[derive(Debug)]
pub(crate) enum Begun {
    /// It is the first; its end must be told.
    First,
    /// It was answered before.
    Again(KeptAnswer),
    /// The key was used for another call.
    Other,
}

/// A call with a key.
#[derive(Debug, Clone)]
pub(crate) struct Keyed {
    /// The key, unique among callers.
    pub(crate) key: String,
    /// Digest of method, path and body.
    pub(crate) digest: Vec<u8>,
}

/// What the keeper can be asked.
#[derive(Debug)]
enum Entry {
    Begin { call: Keyed, reply: oneshot::Sender<Begun> },
    Finish(Box<Finished>, Done),
    Audit { before: Option<u64>, limit: u32, reply: Reply<Vec<(u64, AuditRecord)>> },
    KeepToken { token: Box<TokenRecord>, reply: Reply<u64> },
    RevokeToken { id: u64, at: Timestamp, reply: Reply<()> },
}

/// A call that was answered.
#[derive(Debug)]
struct Finished {
    audit: AuditRecord,
    /// The key of a call that was begun.
    key: Option<String>,
    /// What is given again for it.
    answer: Option<KeptAnswer>,
}

type Done = oneshot::Sender<()>;
type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// The way to the keeper.
#[derive(Debug, Clone)]
pub(crate) struct Keeper {
    inbox: Sender<Entry>,
    tokens: watch::Receiver<Tokens>,
    under_way: Arc<Mutex<UnderWay>>,
}

/// The keeper ended; so does the daemon.
#[derive(Debug, thiserror::Error)]
#[error("the keeper of the ledger ended")]
pub(crate) struct KeeperGone;

impl Keeper {
    /// Opens the ledger and starts its thread. Audited calls are kept for `audit_kept`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn start(
        path: &Path,
        audit_kept: Duration,
        clock: Arc<DaemonClock>,
    ) -> Result<Self, StoreError> {
        let mut ledger = Ledger::open(path, Durability::default(), clock.now())?;
        let under_way = Arc::new(Mutex::new(cut_off(&mut ledger, path)?));
        let (publish, tokens) = watch::channel(by_number(ledger.tokens()?));
        let (inbox, outbox) = channel();
        let desk = Desk { ledger, clock, audit_kept, publish, running: BTreeMap::new() };
        let thread = std::thread::Builder::new().name("ledger".to_owned());
        let unusable = |error: std::io::Error| StoreError::Unusable {
            path: path.to_owned(),
            what: "kept",
            reason: error.to_string(),
        };
        thread.spawn(move || desk.serve(&outbox)).map_err(unusable)?;
        Ok(Self { inbox, tokens, under_way })
    }

    /// The tokens, revoked and expired ones too.
    pub(crate) fn tokens(&self) -> Tokens {
        Arc::clone(&self.tokens.borrow())
    }

    /// Notes a call that is about to be carried out: should the daemon be killed before the answer, the
    /// next one knows of it.
    pub(crate) fn note(&self, call: &AuditRecord) -> Option<Slot> {
        let noted = lock(&self.under_way).begin(call);
        noted.inspect_err(|error| tracing::warn!(%error, ?call, "not noted as under way")).ok()
    }

    /// A call that was noted is in the audit.
    pub(crate) fn over(&self, slot: Slot) {
        if let Err(error) = lock(&self.under_way).end(slot) {
            tracing::warn!(%error, "a call that is over still counts as under way");
        }
    }

    /// Tells what a call with a key meets; waits while the same call is being carried out.
    pub(crate) async fn begin(&self, call: Keyed) -> Result<Begun, KeeperGone> {
        self.ask(|reply| Entry::Begin { call, reply }).await
    }

    /// Writes down a call that was answered, and its answer if that is to be given again. `key` is
    /// that of a call that was begun.
    pub(crate) async fn finish(
        &self,
        audit: AuditRecord,
        key: Option<String>,
        answer: Option<KeptAnswer>,
    ) -> Result<(), KeeperGone> {
        let finished = Box::new(Finished { audit, key, answer });
        self.ask(|reply| Entry::Finish(finished, reply)).await
    }

    /// Audited calls, newest first.
    pub(crate) async fn audit(
        &self,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Result<Vec<(u64, AuditRecord)>, StoreError>, KeeperGone> {
        self.ask(|reply| Entry::Audit { before, limit, reply }).await
    }

    /// Keeps a token; its number.
    pub(crate) async fn keep_token(
        &self,
        token: TokenRecord,
    ) -> Result<Result<u64, StoreError>, KeeperGone> {
        let token = Box::new(token);
        self.ask(|reply| Entry::KeepToken { token, reply }).await
    }

    /// Revokes a token.
    pub(crate) async fn revoke_token(
        &self,
        id: u64,
        at: Timestamp,
    ) -> Result<Result<(), StoreError>, KeeperGone> {
        self.ask(|reply| Entry::RevokeToken { id, at, reply }).await
    }

    async fn ask<T>(
        &self,
        entry: impl FnOnce(oneshot::Sender<T>) -> Entry,
    ) -> Result<T, KeeperGone> {
        let (reply, answer) = oneshot::channel();
        self.inbox.send(entry(reply)).map_err(|_| KeeperGone)?;
        answer.await.map_err(|_| KeeperGone)
    }
}

/// Writes down the calls that the daemon before did not come to answer.
fn cut_off(ledger: &mut Ledger, path: &Path) -> Result<UnderWay, StoreError> {
    let path = path.with_extension("db-calls");
    let unusable = |error: std::io::Error| StoreError::Unusable {
        path: path.clone(),
        what: "opened",
        reason: error.to_string(),
    };
    let (mut under_way, found) = UnderWay::open(&path).map_err(unusable)?;
    let code = Some(CUT_OFF.to_owned());
    let found = found.into_iter().map(|call| AuditRecord { code: code.clone(), ..call });
    ledger.write(&found.collect::<Vec<_>>(), &[])?;
    under_way.forget().map_err(unusable)?;
    Ok(under_way)
}

fn by_number(tokens: Vec<TokenRecord>) -> Tokens {
    Arc::new(tokens.into_iter().map(|token| (token.id, Arc::new(token))).collect())
}

/// A call with a key that is being carried out, and its like that wait for the answer.
struct Running {
    digest: Vec<u8>,
    waiting: Vec<oneshot::Sender<Begun>>,
}

/// The thread's side.
struct Desk {
    ledger: Ledger,
    clock: Arc<DaemonClock>,
    audit_kept: Duration,
    publish: watch::Sender<Tokens>,
    running: BTreeMap<String, Running>,
}

/// What is written in one commit, and who is told then.
#[derive(Default)]
struct Batch {
    audits: Vec<AuditRecord>,
    answers: Vec<KeptAnswer>,
    ends: Vec<(Option<String>, Option<KeptAnswer>, Done)>,
}

impl Desk {
    fn serve(mut self, outbox: &Receiver<Entry>) {
        self.tidy();
        let mut tidied = Instant::now();
        let mut crowded = false;
        loop {
            match outbox.recv_timeout(TIDY_EVERY) {
                Ok(first) => {
                    if crowded {
                        std::thread::sleep(GATHER);
                    }
                    let more = std::iter::from_fn(|| outbox.try_recv().ok()).take(BATCH - 1);
                    let entries: Vec<Entry> = std::iter::once(first).chain(more).collect();
                    let mut batch = Batch::default();
                    for entry in entries {
                        self.take(entry, &mut batch);
                    }
                    crowded = batch.ends.len() >= CROWD;
                    self.commit(batch);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if tidied.elapsed() >= TIDY_EVERY {
                self.tidy();
                tidied = Instant::now();
            }
        }
    }

    fn take(&mut self, entry: Entry, batch: &mut Batch) {
        match entry {
            // A call whose answer is in this batch still counts as being carried out: its like wait
            // for the commit.
            Entry::Begin { call, reply } => self.begin(call, reply),
            Entry::Finish(finished, reply) => {
                let Finished { audit, key, answer } = *finished;
                batch.audits.push(audit);
                batch.answers.extend(answer.clone());
                batch.ends.push((key, answer, reply));
            }
            Entry::Audit { before, limit, reply } => {
                self.commit(std::mem::take(batch));
                let _ = reply.send(self.ledger.audit(before, limit));
            }
            Entry::KeepToken { token, reply } => {
                let kept = self.ledger.keep_token(&token);
                self.tell_tokens();
                let _ = reply.send(kept);
            }
            Entry::RevokeToken { id, at, reply } => {
                let revoked = self.ledger.revoke_token(id, at);
                self.tell_tokens();
                let _ = reply.send(revoked);
            }
        }
    }

    fn begin(&mut self, call: Keyed, reply: oneshot::Sender<Begun>) {
        if let Some(running) = self.running.get_mut(&call.key) {
            if running.digest == call.digest {
                running.waiting.push(reply);
            } else {
                let _ = reply.send(Begun::Other);
            }
            return;
        }
        let kept = self.ledger.answer(&call.key, self.before(KEYS_LIVE)).unwrap_or_else(|error| {
            tracing::error!(%error, "answers of keys cannot be read");
            None
        });
        let begun = match kept {
            Some(kept) if kept.digest == call.digest => Begun::Again(kept),
            Some(_) => Begun::Other,
            None => {
                let running = Running { digest: call.digest, waiting: Vec::new() };
                self.running.insert(call.key, running);
                Begun::First
            }
        };
        let _ = reply.send(begun);
    }

    fn commit(&mut self, batch: Batch) {
        if batch.ends.is_empty() {
            return;
        }
        if let Err(error) = self.ledger.write(&batch.audits, &batch.answers) {
            // What was done is done and in the journal; the log keeps what the ledger could not.
            tracing::error!(%error, "the ledger does not take entries");
            for audit in &batch.audits {
                tracing::warn!(?audit, "not in the ledger");
            }
        }
        for (key, answer, reply) in batch.ends {
            if let Some(key) = key {
                self.end(&key, answer);
            }
            let _ = reply.send(());
        }
    }

    /// A call with a key was answered: its like are answered the same, or the next one begins.
    fn end(&mut self, key: &str, answer: Option<KeptAnswer>) {
        let Some(mut running) = self.running.remove(key) else { return };
        if let Some(answer) = answer {
            for waiting in running.waiting {
                let _ = waiting.send(Begun::Again(answer.clone()));
            }
            return;
        }
        while !running.waiting.is_empty() {
            if running.waiting.remove(0).send(Begun::First).is_ok() {
                self.running.insert(key.to_owned(), running);
                return;
            }
        }
    }

    fn tell_tokens(&self) {
        match self.ledger.tokens() {
            Ok(tokens) => drop(self.publish.send_replace(by_number(tokens))),
            Err(error) => tracing::error!(%error, "tokens cannot be read"),
        }
    }

    fn tidy(&mut self) {
        let forgotten = self.ledger.forget(self.before(self.audit_kept), self.before(KEYS_LIVE));
        if let Err(error) = forgotten {
            tracing::error!(%error, "the ledger cannot be tidied");
        }
    }

    /// The moment so long ago.
    fn before(&self, span: Duration) -> Timestamp {
        let now = self.clock.now().as_millis();
        Timestamp::from_millis(now.saturating_sub(span.as_millis() as u64))
    }
}
