//! A command on slices: ask, start, follow, give back.
//!
//! Must never end without giving the lease back or saying who still holds it.

pub(crate) mod ask;
mod child;
pub(crate) mod container;
pub(crate) mod environment;
mod limit;
mod lookup;
pub(crate) mod notices;
pub(crate) mod private;
mod rank;
mod signals;
pub(crate) mod summary;
mod terminal;
pub(crate) mod terms;
mod watch;
pub(crate) mod wish;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use api::{Client, ClientError, EndKind, HolderKind, LeaseState, LeaseView, NoticeView};
use jiff::tz::TimeZone;
use model::Millis;
use rustix::process::{Signal, getpid, kill_process};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::draw::text::clean;
use crate::verbs::release::holders;
use crate::{Context, Failure, autostart, connect};
use child::{Exited, Held, News};
use container::{Followed, Marked};
use environment::Simulation;
use limit::{Due, Limit};
use private::View;
use terminal::Terminal;
use watch::Heard;
use wish::WishArgs;

/// How long the end of a lease is waited for before its holders are named.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long the daemon may take to hear that a lease is given back: it finds out by itself too.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How long the daemon may take to hear of the command until the user is told what is waited for.
const SILENCE: Duration = Duration::from_secs(3);

/// How a command is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// As it is.
    Plain,
    /// It starts a container, which the lease follows.
    Container,
    /// In a view that has no nodes but those of its slices.
    Private,
}

/// Runs `command` on a lease of its own and passes its status on.
///
/// # Errors
/// [`Failure`] for everything that is not the command's.
pub(crate) fn run(
    context: &Context,
    wish: &WishArgs,
    command: &[OsString],
    manner: Manner,
) -> Result<ExitCode, Failure> {
    if context.json() {
        return Err(Failure::usage("--json is for verbs that print data; this one runs a program")
            .hint("`migctl status --json` shows the lease while it runs"));
    }
    let Some(program) = command.first() else {
        return Err(Failure::usage("a command is needed"));
    };
    connect::runtime()?.block_on(async {
        let client = autostart::started(context).await?;
        let simulation = Simulation::of(context)?;
        let path = std::env::var_os("PATH");
        let also = simulation.as_ref().and_then(Simulation::programs);
        lookup::check(program, path.as_deref(), also)?;
        if manner == Manner::Private {
            View::check()?;
        }
        let container = manner == Manner::Container;
        let marked = if container { Some(Marked::of(command)?) } else { None };
        let mut request = wish.request(HolderKind::Process);
        request.one_process = request.count > 1;
        request.command = Some(words(command));
        let command = marked.as_ref().map_or(command, |marked| &marked.command);
        let mut lease = ask::ask(context, &client, &request).await?;
        loop {
            for line in summary::granted(&lease) {
                context.output.say(&format!("migctl: {line}"));
            }
            let followed = marked.as_ref().map(|marked| marked.follow(&client, lease.id));
            let ended = {
                let simulation = simulation.as_ref();
                on_slice(context, &client, &lease, simulation, command, manner).await
            };
            if let (Some(marked), Some(followed)) = (&marked, followed)
                && lives_on(context, &lease, marked, followed).await
            {
                return ended.map(|exited| ExitCode::from(exited.code()));
            }
            if let Ok(Left::Moves) = ended {
                let moves = lease.life.displaced + 1;
                let view = look_again(&client, &lease).await;
                lease = ask::again(context, &client, view, moves).await?;
                let line = format!("migctl: {}: the command starts anew", lease.id);
                context.output.say(&line);
                continue;
            }
            give_back(context, &client, &lease).await;
            return ended.map(|left| ExitCode::from(left.code()));
        }
    })
}

/// The lease as it stands; as it was if the daemon does not answer.
async fn look_again(client: &Client, lease: &LeaseView) -> LeaseView {
    client.lease(&lease.id.to_string()).await.unwrap_or_else(|_| lease.clone())
}

/// Whether the lease goes on with the container that the command left.
async fn lives_on(
    context: &Context,
    lease: &LeaseView,
    marked: &Marked,
    followed: Followed,
) -> bool {
    let (known, refused) = followed.known(marked.detached).await;
    if let Some(why) = refused {
        let line = format!("migctl: {}: the container is not followed: {}", lease.id, clean(&why));
        context.output.warn(&line);
    }
    let on = known && marked.detached;
    if on {
        context.output.say(&format!(
            "migctl: {0} lives as long as its container; `migctl release {0}` ends both",
            lease.id
        ));
    }
    on
}

/// How a command was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// It ended.
    Ended(Exited),
    /// It was stopped, and starts anew on another slice.
    Moves,
}

impl Left {
    const fn code(self) -> u8 {
        match self {
            Self::Ended(exited) => exited.code(),
            Self::Moves => 0,
        }
    }
}

/// A command as listings show it.
fn words(command: &[OsString]) -> String {
    let words: Vec<String> = command.iter().map(|word| clean(&word.to_string_lossy())).collect();
    words.join(" ")
}

async fn on_slice(
    context: &Context,
    client: &Client,
    lease: &LeaseView,
    simulation: Option<&Simulation>,
    command: &[OsString],
    manner: Manner,
) -> Result<Left, Failure> {
    let read_at = Instant::now();
    let arrivals = signals::stream(&signals::SESSION)
        .map_err(|error| Failure::caused("E-SIGNALS", "cannot watch for signals", &error))?;
    let variables =
        environment::of(lease, client.socket(), simulation, |name: &str| std::env::var_os(name));
    let view = match manner {
        Manner::Private => Some(View::of(context, lease)?),
        Manner::Plain | Manner::Container => None,
    };
    let held = Held::start(&environment::filled(command, lease), &variables, view.as_ref())?;
    // The command is in it now, and keeps it.
    drop(view);
    let pid = u32::try_from(held.pid().as_raw_nonzero().get()).unwrap_or(0);
    let session = Session {
        context,
        client,
        lease,
        heard: watch::watch(client.clone(), lease, pid),
        arrivals,
        limit: Limit::of(lease, read_at),
        terminal: Terminal::of_stdin(),
        held,
        begun: false,
        silence: Some(read_at + SILENCE),
        daemon_ends: false,
        away: false,
        time_over: false,
        rejected: None,
        noticed: None,
        agreed: None,
    };
    session.follow().await
}

/// A command and everything that bears on it.
struct Session<'c> {
    context: &'c Context,
    client: &'c Client,
    lease: &'c LeaseView,
    heard: UnboundedReceiver<Heard>,
    arrivals: UnboundedReceiver<Signal>,
    limit: Limit,
    terminal: Option<Terminal>,
    held: Held,
    begun: bool,
    /// When to say that the daemon is waited for.
    silence: Option<Instant>,
    daemon_ends: bool,
    away: bool,
    time_over: bool,
    rejected: Option<String>,
    /// The notice the user was told of last.
    noticed: Option<NoticeView>,
    /// Our agreement to a move, under way.
    agreed: Option<JoinHandle<()>>,
}

impl Session<'_> {
    async fn follow(mut self) -> Result<Left, Failure> {
        let exited = loop {
            if let Some(News::Ended(exited)) = self.held.news() {
                break exited;
            }
            tokio::select! {
                Some(signal) = self.arrivals.recv() => {
                    if let Some(exited) = self.arrived(signal) {
                        break exited;
                    }
                }
                Some(heard) = self.heard.recv() => self.heard(heard),
                due = self.limit.next() => self.due(due),
                () = at(self.silence) => self.waits(),
            }
        };
        if let Some(terminal) = &mut self.terminal {
            terminal.take_back();
            if matches!(exited, Exited::Signal(_)) {
                terminal.restore_modes();
            }
        }
        if let Some(why) = self.rejected {
            return Err(Failure::new(
                "E-LEASE-ENDED",
                format!("{} ended before the command began: {why}", self.lease.id),
            ));
        }
        if self.time_over {
            self.tell(&format!("its time{} was over", self.limit_words()));
        }
        if self.moves().await { Ok(Left::Moves) } else { Ok(Left::Ended(exited)) }
    }

    /// Whether the command was stopped because we agreed to a move, and not for another reason.
    async fn moves(&mut self) -> bool {
        let Some(agreed) = self.agreed.take() else { return false };
        let _ = agreed.await;
        let view = look_again(self.client, self.lease).await;
        match view.state {
            LeaseState::Ending => view.end == Some(EndKind::Moving),
            LeaseState::Ended => false,
            LeaseState::Queued | LeaseState::Granting | LeaseState::Active => {
                view.life.displaced > self.lease.life.displaced
            }
        }
    }

    /// Tells of a new notice, or that the last one is void; agrees to what may be agreed to.
    fn notice(&mut self, lease: &LeaseView) {
        let notice = lease.life.notice.clone();
        if notice == self.noticed {
            return;
        }
        match &notice {
            Some(notice) => {
                let words = notices::sentence(lease, notice, &TimeZone::system());
                self.context.output.warn(&format!("migctl: {words}"));
                if notice.may_agree && self.agreed.is_none() {
                    let (client, id) = (self.client.clone(), lease.id);
                    self.agreed = Some(tokio::spawn(async move {
                        // Refused if the notice was withdrawn meanwhile; the command goes on then.
                        let _ = client.agree(id).await;
                    }));
                }
            }
            None if lease.state == LeaseState::Active => self.tell("the notice is void"),
            None => {}
        }
        self.noticed = notice;
    }

    fn tell(&self, words: &str) {
        self.context.output.say(&format!("migctl: {}: {words}", self.lease.id));
    }

    /// The daemon has heard nothing of the command yet, so it could not end it: it stays held.
    fn waits(&mut self) {
        self.silence = None;
        self.tell(
            "the daemon runs and does not answer; the command begins once it does \
             (Ctrl-C gives up)",
        );
    }

    fn limit_words(&self) -> String {
        summary::limit(self.lease).map_or_else(String::new, |limit| format!(" ({limit})"))
    }

    /// Lets the command begin; the terminal is its own unless others in a pipeline use it too.
    fn begin(&mut self) {
        self.silence = None;
        if !std::mem::replace(&mut self.begun, true) {
            if let Some(terminal) = &mut self.terminal
                && !terminal::is_part_of_pipeline()
            {
                terminal.give(self.held.pid());
            }
            self.held.let_go();
        }
    }

    fn heard(&mut self, heard: Heard) {
        match heard {
            Heard::Attached => self.begin(),
            Heard::Rejected(why) if self.begun => self.tell(&format!("the lease is gone: {why}")),
            Heard::Rejected(why) => {
                self.rejected = Some(clean(&why));
                self.held.signal(Signal::KILL);
            }
            Heard::Lost => {
                self.away = true;
                self.context.output.detail("migctl: the daemon does not answer; going on");
                self.begin();
            }
            Heard::Back => {
                self.away = false;
                self.context.output.detail("migctl: the daemon answers again");
            }
            Heard::Gone => self.tell("the daemon no longer knows this lease"),
            Heard::Changed(lease) => self.changed(&lease),
        }
    }

    fn changed(&mut self, lease: &LeaseView) {
        self.notice(lease);
        // The end of a container is its command's, too.
        let contained = lease.holder == HolderKind::Container;
        if lease.end == Some(EndKind::Moving) || contained && lease.end == Some(EndKind::HolderDied)
        {
            return;
        }
        if !matches!(lease.state, LeaseState::Ending | LeaseState::Ended) {
            return;
        }
        if !std::mem::replace(&mut self.daemon_ends, true) {
            if lease.end == Some(EndKind::TimeLimit) {
                self.time_over = true;
            } else {
                self.tell(&format!("must end: {}", summary::ended(lease)));
            }
        }
    }

    fn due(&mut self, due: Due) {
        match due {
            Due::Warn => {
                let left =
                    self.lease.deadline_ms.zip(summary::limit(self.lease)).map(|(_, all)| {
                        Millis::new(Millis::from_secs(30).get().min(all.get() / 10))
                    });
                let left = left.unwrap_or_default();
                self.context.output.warn(&format!(
                    "migctl: {}: {left} left of its time{}; the command is told to end then",
                    self.lease.id,
                    self.limit_words()
                ));
            }
            Due::Over => self.time_over = true,
            Due::Term if !self.daemon_ends => {
                self.held.signal(Signal::TERM);
                self.held.let_go();
            }
            Due::Kill if !self.daemon_ends || self.away => self.held.signal(Signal::KILL),
            Due::Term | Due::Kill => {}
        }
    }

    /// What a signal of ours means for the command; its end, if the signal tells of that.
    fn arrived(&mut self, signal: Signal) -> Option<Exited> {
        match signal {
            Signal::CHILD => {
                while let Some(news) = self.held.news() {
                    match news {
                        News::Ended(exited) => return Some(exited),
                        News::Stopped(number) => self.stopped(number),
                    }
                }
            }
            Signal::CONT if self.begun => self.held.let_go(),
            Signal::CONT => {}
            // It never ran, and must not without the daemon's knowledge.
            ending if !self.begun && signals::ENDING.contains(&ending) => {
                self.held.signal(Signal::KILL);
                return Some(Exited::Signal(u8::try_from(ending.as_raw()).unwrap_or(0)));
            }
            other => {
                self.begin();
                self.held.signal(other);
            }
        }
        None
    }

    /// The command stopped: it wants the terminal, or the user wants the shell.
    fn stopped(&mut self, number: i32) {
        let wants_terminal = number == Signal::TTIN.as_raw() || number == Signal::TTOU.as_raw();
        let Some(terminal) = &mut self.terminal else { return };
        if wants_terminal && terminal.is_ours() {
            terminal.give(self.held.pid());
            self.held.let_go();
            return;
        }
        if wants_terminal || number == Signal::TSTP.as_raw() {
            terminal.take_back();
            // The shell sees this process stop, as it would see the command. The call returns when
            // the shell continues us.
            let _ = kill_process(getpid(), Signal::STOP);
            if !terminal::is_part_of_pipeline() {
                terminal.give(self.held.pid());
            }
            self.held.let_go();
        }
    }
}

/// That moment; never without one.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Gives the lease back, and names whoever keeps its slice from being granted again. A signal or a
/// daemon that does not answer cuts it short: the daemon notices the end of the holder by itself.
async fn give_back(context: &Context, client: &Client, lease: &LeaseView) {
    let id = lease.id.to_string();
    let arrivals = signals::stream(&signals::ENDING);
    let interrupted = async {
        match arrivals {
            Ok(mut arrivals) => arrivals.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    let released = async {
        let view = client.release(&id).await?;
        Ok(settled(client, view).await)
    };
    let released = tokio::select! {
        released = tokio::time::timeout(LAST_WORDS, released) => released.ok(),
        _ = interrupted => None,
    };
    let view = match released {
        Some(Ok(view)) => view,
        // The daemon ended it before us.
        Some(Err(ClientError::Refused(problem))) if problem.status == 404 => {
            look_again(client, lease).await
        }
        Some(Err(error)) => {
            let what = format!("{id} was not given back, the daemon does so by itself");
            context.output.detail(&Failure::of_client(&what, &error).text());
            return;
        }
        None => {
            context.output.warn(&format!(
                "migctl: {id} was not given back: the daemon does not answer; it does so by itself"
            ));
            return;
        }
    };
    for line in view.life.receipt.iter().flat_map(|receipt| notices::receipt(&view, receipt)) {
        context.output.say(&format!("migctl: {line}"));
    }
    if let (LeaseState::Active, Some(until)) = (view.state, view.life.lingers_until_ms) {
        let until = crate::draw::time::clock(until, &TimeZone::system());
        let line = format!("migctl: {id} keeps its slice for the next holder until {until}");
        context.output.say(&line);
    }
    if view.state == LeaseState::Ending && !view.held_by.is_empty() {
        context.output.warn(&format!(
            "migctl: {id}: the slice is still used, and granted again once these end:{}",
            holders(&view)
        ));
    }
}

/// The lease once it has ended or the daemon names who holds its slice; as it is after a second if
/// neither comes about.
pub(crate) async fn settled(client: &Client, mut view: LeaseView) -> LeaseView {
    let patience = Instant::now() + FAREWELL;
    while view.state == LeaseState::Ending && view.held_by.is_empty() {
        let left = patience.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let call = client.lease_after(view.id, view.revision, left);
        let Ok(answer) = tokio::time::timeout(left + FAREWELL, call).await else { break };
        match answer {
            Ok(changed) => view = changed,
            Err(ClientError::Refused(problem)) if problem.status == 404 => {
                view.state = LeaseState::Ended;
            }
            Err(_) => break,
        }
    }
    view
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn a_command_is_shown_without_control_characters() {
        let command = [OsStr::new("python"), OsStr::new("a\u{1b}b.py")].map(OsStr::to_owned);
        assert_eq!(words(&command), "python a?b.py");
    }
}
