//! Asking for slices and waiting for them.
//!
//! Must never leave a request behind that nobody waits for.

use std::time::{Duration, Instant};

use api::{Client, ClientError, EndKind, HolderKind, LeaseRequest, LeaseState, LeaseView};
use rustix::process::Signal;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::context::Machine;
use crate::draw::Page;
use crate::draw::text::{clean, clip};
use crate::failure::{Exit, Failure};
use crate::session::{LAST_WORDS, signals, summary};
use crate::{Context, autostart};

/// How long one call waits for a change.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between attempts while the daemon is away.
const PAUSE: Duration = Duration::from_millis(250);
/// After how long a daemon that went away is started again on a simulated machine.
const ABSENCE: Duration = Duration::from_secs(10);
/// How often a call that never succeeded is made at most.
const ATTEMPTS: u32 = 8;
/// How often a service asks for its name: for two seconds.
const HEIRS_ATTEMPTS: u32 = 8;
/// How long a call may take until the user is told that the daemon does not answer.
const SILENCE: Duration = Duration::from_secs(2);

/// Asks, waits, and gives the lease once it is active. A signal that would end this process
/// withdraws the request first.
///
/// # Errors
/// [`Failure`]: the request was refused, withdrawn, or waited long enough (exit code 124).
pub(crate) async fn ask(
    context: &Context,
    client: &Client,
    request: &LeaseRequest,
) -> Result<LeaseView, Failure> {
    let mut arrivals = signals::stream(&signals::ENDING)
        .map_err(|error| Failure::caused("E-SIGNALS", "cannot watch for signals", &error))?;
    let mut teller = Teller::new(context);
    let key = key();
    let asked = tokio::select! {
        biased;
        Some(signal) = arrivals.recv() => Err(signal),
        asked = post(context, client, request, &key, &mut teller) => Ok(asked?),
    };
    let lease = match asked {
        Ok(lease) => lease,
        Err(signal) => {
            teller.done();
            return Err(unask(context, client, request, &key, signal, &mut arrivals).await);
        }
    };
    wait(context, client, lease, 0, &mut arrivals, teller).await
}

/// Waits until a lease that moves has its next slices: the `moves`th time that it gave some up.
///
/// # Errors
/// [`Failure`]: it was withdrawn, or ended on the way.
pub(crate) async fn again(
    context: &Context,
    client: &Client,
    lease: LeaseView,
    moves: u32,
) -> Result<LeaseView, Failure> {
    let mut arrivals = signals::stream(&signals::ENDING)
        .map_err(|error| Failure::caused("E-SIGNALS", "cannot watch for signals", &error))?;
    wait(context, client, lease, moves, &mut arrivals, Teller::new(context)).await
}

async fn wait(
    context: &Context,
    client: &Client,
    mut lease: LeaseView,
    moves: u32,
    arrivals: &mut UnboundedReceiver<Signal>,
    mut teller: Teller<'_>,
) -> Result<LeaseView, Failure> {
    loop {
        match lease.state {
            LeaseState::Active if lease.life.displaced >= moves => {
                teller.done();
                return Ok(lease);
            }
            // It agreed to move, and the daemon has not begun yet.
            LeaseState::Active => {}
            LeaseState::Ending if lease.end == Some(EndKind::Moving) => {
                teller.tell(&summary::moving(&lease));
            }
            LeaseState::Ending | LeaseState::Ended => {
                teller.done();
                return Err(over(&lease));
            }
            LeaseState::Queued | LeaseState::Granting => teller.tell(&summary::waiting(&lease)),
        }
        tokio::select! {
            biased;
            Some(signal) = arrivals.recv() => {
                teller.done();
                return Err(withdraw(context, client, &lease, signal, arrivals).await);
            }
            changed = after(context, client, &lease, &mut teller) => lease = changed?,
        }
    }
}

/// The key makes a repeated call harmless: the daemon gives the same lease again. A simulated
/// machine's daemon that left between our greeting and this call is started once more.
async fn post(
    context: &Context,
    client: &Client,
    request: &LeaseRequest,
    key: &str,
    teller: &mut Teller<'_>,
) -> Result<LeaseView, Failure> {
    let mut attempt = 1;
    let mut key = key.to_owned();
    loop {
        let error = match heard(teller, client.request(request, &key)).await {
            Ok(lease) => return Ok(lease),
            Err(error) => error,
        };
        let simulated = matches!(context.machine()?, Machine::Simulated(_));
        match error {
            ClientError::NotRunning { .. } if simulated && attempt < ATTEMPTS => {
                attempt += 1;
                autostart::started(context).await?;
            }
            // The last holder of the name has just ended, and the daemon is about to notice.
            ClientError::Refused(ref problem)
                if request.linger_ms.is_some()
                    && problem.code == "E-NAME-TAKEN"
                    && attempt < HEIRS_ATTEMPTS =>
            {
                attempt += 1;
                // The refusal is the answer to its key.
                key = self::key();
                tokio::time::sleep(PAUSE).await;
            }
            ClientError::Broken { .. } | ClientError::NotRunning { .. } if attempt < ATTEMPTS => {
                attempt += 1;
                tokio::time::sleep(PAUSE).await;
            }
            ClientError::Refused(_)
            | ClientError::Untrusted { .. }
            | ClientError::NotRunning { .. }
            | ClientError::Broken { .. } => return Err(refused(request, &error)),
        }
    }
}

/// The answer of a call; the user is told if it takes long.
async fn heard<T>(teller: &mut Teller<'_>, call: impl Future<Output = T>) -> T {
    let mut call = std::pin::pin!(call);
    if let Ok(answer) = tokio::time::timeout(SILENCE, &mut call).await {
        return answer;
    }
    teller.tell("waits for the daemon, which runs and does not answer");
    call.await
}

fn refused(request: &LeaseRequest, error: &ClientError) -> Failure {
    let failure = match error {
        // The daemon's sentence says it all: no profile 9g here.
        ClientError::Refused(problem) if !problem.detail.is_empty() => {
            Failure { message: problem.detail.clone(), ..Failure::of_client("", error) }
        }
        ClientError::Refused(_)
        | ClientError::NotRunning { .. }
        | ClientError::Untrusted { .. }
        | ClientError::Broken { .. } => Failure::of_client("cannot ask for a slice", error),
    };
    let now_or_never = request.max_wait_ms == Some(0);
    if now_or_never && failure.exit == Exit::Busy {
        failure.exit(Exit::WaitExpired)
    } else {
        failure
    }
}

/// A key that no other call has.
pub(crate) fn key() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/uuid").map_or_else(
        |_| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            format!("{}-{}", std::process::id(), now.map_or(0, |now| now.as_nanos()))
        },
        |uuid| uuid.trim().to_owned(),
    )
}

/// The lease after its next change. A daemon that goes away is waited for: the request is in its
/// journal.
async fn after(
    context: &Context,
    client: &Client,
    lease: &LeaseView,
    teller: &mut Teller<'_>,
) -> Result<LeaseView, Failure> {
    let mut away = None;
    loop {
        let call = client.lease_after(lease.id, lease.revision, PATIENCE);
        let Ok(answer) = tokio::time::timeout(PATIENCE + SILENCE, call).await else {
            teller.tell(&format!("{} waits: the daemon does not answer", lease.id));
            continue;
        };
        match answer {
            Ok(changed) => return Ok(changed),
            Err(ClientError::Refused(problem)) if problem.status == 404 => {
                return Err(Failure::new(
                    "E-LEASE-GONE",
                    format!("the request {} is gone: {}", lease.id, clean(&problem.detail)),
                )
                .hint("look with `migctl events`"));
            }
            Err(ClientError::NotRunning { .. } | ClientError::Broken { .. }) => {
                let since = *away.get_or_insert_with(Instant::now);
                teller.tell(&format!("{} waits: the daemon does not answer", lease.id));
                let simulated = matches!(context.machine()?, Machine::Simulated(_));
                if simulated && since.elapsed() >= ABSENCE {
                    autostart::started(context).await?;
                    away = None;
                }
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(Failure::of_client("cannot wait", &error)),
        }
    }
}

/// A signal came before the daemon had answered: the request may be in its journal or not. The same
/// key tells, if it answers soon.
async fn unask(
    context: &Context,
    client: &Client,
    request: &LeaseRequest,
    key: &str,
    signal: Signal,
    arrivals: &mut UnboundedReceiver<Signal>,
) -> Failure {
    let asked = tokio::select! {
        asked = tokio::time::timeout(LAST_WORDS, client.request(request, key)) => asked.ok(),
        _ = arrivals.recv() => None,
    };
    match asked {
        Some(Ok(lease)) => withdraw(context, client, &lease, signal, arrivals).await,
        // It is not there, or said no: nothing was asked.
        Some(Err(_)) => ended_by(signal),
        None => {
            context.output.warn(match request.holder {
                HolderKind::Process => {
                    "migctl: left; the daemon does not answer and drops the request by itself"
                }
                HolderKind::Token | HolderKind::Container | HolderKind::Engine => {
                    "migctl: left; the daemon does not answer, and may have got the request: \
                     look with `migctl status` and `migctl queue` once it does"
                }
            });
            ended_by(signal)
        }
    }
}

/// Leaves the queue; a second signal leaves without waiting for the daemon's answer, and so do we
/// when it takes long.
async fn withdraw(
    context: &Context,
    client: &Client,
    lease: &LeaseView,
    signal: Signal,
    arrivals: &mut UnboundedReceiver<Signal>,
) -> Failure {
    let id = lease.id.to_string();
    let answer = tokio::select! {
        answer = tokio::time::timeout(LAST_WORDS, client.release(&id)) => answer.ok(),
        _ = arrivals.recv() => None,
    };
    match answer {
        Some(Ok(_)) => context.output.say(&format!("migctl: {id} was withdrawn")),
        Some(Err(error)) => context
            .output
            .warn(&Failure::of_client(&format!("cannot withdraw {id}"), &error).text()),
        None if lease.holder == HolderKind::Process => {
            context.output.warn(&format!("migctl: left; the daemon drops {id} by itself"));
        }
        None => context.output.warn(&format!(
            "migctl: left; the daemon does not answer and keeps {id}: `migctl release {id}` later"
        )),
    }
    ended_by(signal)
}

/// The silent end by a signal.
fn ended_by(signal: Signal) -> Failure {
    let number = u8::try_from(signal.as_raw()).unwrap_or(0);
    let mut failure = Failure::new("E-SIGNAL", "").exit(Exit::Signal(number));
    failure.silent = true;
    failure
}

/// Why a request ended without a slice.
fn over(lease: &LeaseView) -> Failure {
    let failure = |code: &str, what: &str| {
        Failure::new(code, format!("{} {what}: {}", lease.id, summary::ended(lease)))
    };
    match lease.end {
        Some(EndKind::WaitExpired) => failure("E-WAIT-EXPIRED", "got no slice")
            .exit(Exit::WaitExpired)
            .hint("wait longer with --max-wait, or ask for less; see `migctl queue`"),
        Some(EndKind::Cancelled | EndKind::Revoked | EndKind::Released) => {
            failure("E-CANCELLED", "was withdrawn").exit(Exit::Negative)
        }
        Some(EndKind::GrantFailed) => failure("E-GRANT-FAILED", "could not be granted")
            .hint("look with `migctl events` and `migctl status`"),
        Some(
            EndKind::HolderDied
            | EndKind::TimeLimit
            | EndKind::NotRenewed
            | EndKind::SliceLost
            | EndKind::Rebooted
            | EndKind::Idle
            | EndKind::Preempted
            | EndKind::GpuLost
            | EndKind::Drained
            | EndKind::BookingOver
            | EndKind::Moving,
        )
        | None => failure("E-LEASE-ENDED", "ended before it began"),
    }
}

/// Says what is waited for: on a terminal in one line that is written over.
struct Teller<'c> {
    context: &'c Context,
    last: String,
    live: bool,
}

impl<'c> Teller<'c> {
    fn new(context: &'c Context) -> Self {
        let live = context.output.is_watched() && context.options.verbosity() == 0;
        Self { context, last: String::new(), live }
    }

    fn tell(&mut self, words: &str) {
        if words == self.last {
            return;
        }
        words.clone_into(&mut self.last);
        let line = format!("migctl: {words}");
        if self.live {
            let page = Page::current();
            let line = clip(&line, page.width - 1, page.glyphs);
            self.context.output.say_over(&line);
        } else {
            self.context.output.say(&line);
        }
    }

    /// Takes the line away: what follows says more.
    fn done(&mut self) {
        if self.live && !self.last.is_empty() {
            self.context.output.say_over("");
        }
        self.last.clear();
    }
}

impl Drop for Teller<'_> {
    fn drop(&mut self) {
        self.done();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::summary::tests::lease;

    #[test]
    fn the_end_of_a_wait_is_124_and_of_a_withdrawal_1() {
        let mut ended = lease();
        ended.state = LeaseState::Ended;
        ended.end_reason = Some("it waited 5s".into());
        ended.end = Some(EndKind::WaitExpired);
        assert_eq!(over(&ended).exit, Exit::WaitExpired);
        assert_eq!(over(&ended).message, "L7 got no slice: it waited 5s");
        ended.end = Some(EndKind::Cancelled);
        assert_eq!(over(&ended).exit, Exit::Negative);
        ended.end = Some(EndKind::GrantFailed);
        assert_eq!(over(&ended).exit, Exit::Failure);
    }

    #[test]
    fn keys_differ() {
        assert_ne!(key(), key());
    }
}
