//! A daemon from start to end.
//!
//! Must never take the place of another one: the lock is held before anything is touched.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use ::executor::Looks;
use broker::{Command, Progress};
use host::{ClockRecord, DaemonClock};
use model::{BootId, NodeSnapshot, PlanId, Timestamp, Uid};
use planner::Planner;
use rustix::fs::{FlockOperation, flock};
use store::{Durability, Opened};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, oneshot, watch};

use crate::access::{self, Access};
use crate::actor::{Actor, Envelope, Message};
use crate::changes;
use crate::executor::Locks;
use crate::hands::Hands;
use crate::ledger::Keeper;
use crate::log::Log;
use crate::machine::Machine;
use crate::notify::{self, Inherited};
use crate::observer;
use crate::options::{DaemonError, GpuSource, Options};
use crate::published::Published;
use crate::readers::Readers;
use crate::recent::Recent;
use crate::retention::Retention;
use crate::searcher::{self, Searcher};
use crate::serve::{self, App, Doors, Edge, Guard, Hosts, NetworkDoor, Rates};
use crate::settings::{self, Reloader, Settings};
use crate::steps;
use crate::waiting::{LastBell, Waiting};
use crate::watch::Watcher;
use crate::windows::Windows;

/// Where the clock's record is kept in the journal.
const CLOCK: &str = "clock";

/// Runs a daemon until it is told to stop (SIGTERM, SIGINT) or leaves by itself.
///
/// # Errors
/// [`DaemonError`] when it cannot start.
pub fn run(options: &Options) -> Result<(), DaemonError> {
    let log = Log::start(options.config.config.daemon.log);
    let file = |source| DaemonError::File { path: options.state_dir.clone(), source };
    fs::create_dir_all(&options.state_dir).map_err(file)?;
    let _lock = take_lock(&options.state_dir)?;
    let machine = Arc::new(Machine::open(&options.gpus)?);
    let boot = host::processes::boot_id()
        .map_err(|source| DaemonError::System { what: "read the boot id", source })?;
    let journal = options.state_dir.join("journal.db");
    let wall = wall_clock();
    let mut opened = store::open(&journal, durability(options), wall)?;
    let clock = Arc::new(start_clock(&boot, &mut opened)?);
    let observed = observer::first_look(&machine, clock.now())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|source| DaemonError::System { what: "start the runtime", source })?;
    let (inbox, outbox) = channel();
    let parts = Parts { machine, boot, clock, observed, opened };
    runtime.block_on(serve(options, parts, log, inbox, outbox))?;
    // Threads that wait for a hung GPU must not keep the daemon from ending.
    runtime.shutdown_timeout(Duration::from_millis(200));
    Ok(())
}

const fn durability(options: &Options) -> Durability {
    match options.config.config.journal.durability {
        config::Durability::Process => Durability::Process,
        config::Durability::Power => Durability::Power,
    }
}

/// The wall clock, for the name of a damaged journal that is set aside.
fn wall_clock() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp::from_millis(since.map_or(0, |since| since.as_millis() as u64))
}

fn take_lock(state_dir: &Path) -> Result<File, DaemonError> {
    let path = state_dir.join("daemon.lock");
    let unusable = |source| DaemonError::File { path: path.clone(), source };
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(unusable)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| DaemonError::AlreadyRunning(state_dir.to_owned()))?;
    // The pid is for people; what counts is the lock.
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(unusable)?;
    Ok(file)
}

/// Starts the clock where the last daemon's stood, and keeps its record.
fn start_clock(boot: &BootId, opened: &mut Opened) -> Result<DaemonClock, DaemonError> {
    let kept = opened.journal.recall(CLOCK)?;
    let record = kept.and_then(|text| serde_json::from_str::<ClockRecord>(&text).ok());
    let record = record.map(|record| {
        let last = record.last.max(opened.last_at);
        ClockRecord { last, ..record }
    });
    let clock = DaemonClock::start(boot.clone(), record.as_ref());
    if let Ok(text) = serde_json::to_string(&clock.record()) {
        opened.journal.remember(CLOCK, &text)?;
    }
    Ok(clock)
}

struct Parts {
    machine: Arc<Machine>,
    boot: BootId,
    clock: Arc<DaemonClock>,
    observed: NodeSnapshot,
    opened: Opened,
}

async fn serve(
    options: &Options,
    parts: Parts,
    log: Log,
    inbox: Sender<Message>,
    outbox: Receiver<Message>,
) -> Result<(), DaemonError> {
    let Parts { machine, boot, clock, observed, opened } = parts;
    // Numbers of a journal that was lost may live on in processes; none of them comes again.
    let numbers_from = opened.set_aside.as_ref().map_or(1, |_| seconds_since_2025(clock.now()));
    let unchecked = opened.unchecked;
    let reader = opened.journal.reader()?;
    let others = matches!(options.gpus, GpuSource::Real);
    let epoch = Arc::new(AtomicU64::new(0));
    let ends = inbox.clone();
    let watcher = Watcher::start(move |command| {
        let _ = ends.send(Message::Command(Box::new(Envelope::own(command))));
    })
    .map_err(|source| DaemonError::System { what: "watch processes", source })?;
    let (searcher, orders) = Searcher::new();
    let root = machine.root.clone();
    let access = Arc::new(Access::new(
        options.config.config.access.enforce,
        root,
        others,
        &options.state_dir,
        options.config.config.cdi.path.as_deref(),
    ));
    let hands = Hands {
        machine: Arc::clone(&machine),
        access: Arc::clone(&access),
        inbox: inbox.clone(),
        watcher,
        locks: Arc::new(Locks::default()),
        epoch: Arc::clone(&epoch),
        clock: Arc::clone(&clock),
        socket: canonical(&options.socket),
        paced: Arc::default(),
        others,
        searcher,
        meter: Arc::default(),
        steps: Arc::default(),
        readers: Readers::new(Arc::clone(&machine), inbox.clone(), Arc::clone(&epoch)),
    };
    searcher::start(hands.clone(), orders)
        .map_err(|source| DaemonError::System { what: "search for processes", source })?;
    steps::watch(hands.clone())
        .map_err(|source| DaemonError::System { what: "watch over plans", source })?;
    let meter = Arc::clone(&hands.meter);
    observer::start(&hands, &observed);
    let waiting = Waiting::default();
    let (published, mut actor) =
        start_actor(options, opened, observed, hands, &waiting, epoch, outbox)?;
    meter.follow(published.clone());
    take_over(&inbox, boot.clone(), numbers_from).await?;
    let edge = Edge::of(&options.config.config);
    let network = match &edge.network {
        Some(network) if !options.passive => Some(NetworkDoor::open(network).await?),
        Some(_) | None => None,
    };
    access::start(&access, &published);
    let app = App {
        inbox: inbox.clone(),
        published: published.clone(),
        waiting,
        boot,
        clock: Arc::clone(&clock),
        simulated: machine.simulated.clone(),
        own_uid: Uid::new(rustix::process::geteuid().as_raw()),
        socket: canonical(&options.socket).into(),
        journal_file: options.state_dir.join("journal.db").into(),
        last_call: Arc::new(AtomicU64::new(clock.now().as_millis())),
        news: serve::news(),
        journal: Arc::new(Mutex::new(reader)),
        guard: Arc::new(guard(options, &edge, &clock, network.as_ref())?),
        access: Arc::clone(&access),
        machine: Arc::clone(&machine),
    };
    let refused = |source| DaemonError::System { what: "take over systemd's sockets", source };
    let inherited = Inherited::take().map_err(refused)?;
    let own = (inherited.users.is_none(), inherited.admins.is_none());
    let users = inherited
        .users
        .map_or_else(|| listen(&options.socket, if options.shared { 0o666 } else { 0o600 }), Ok)?;
    let admins = inherited.admins.map_or_else(|| listen(&options.admin_socket, 0o600), Ok)?;
    let doors = Doors {
        users,
        admins,
        each: edge.limits.connections,
        free: vec![Uid::new(0), app.own_uid],
        network,
    };
    if let Some(door) = &doors.network {
        tracing::info!(address = %door.address, "listening to the network");
    }
    let reloader = Reloader::new(
        options.sources.clone(),
        options.config.clone(),
        log,
        inbox.clone(),
        options.passive,
    )
    .map_err(|source| DaemonError::System { what: "listen for signals", source })?;
    tracing::info!(socket = %options.socket.display(), "listening");
    notify::ready("lends slices");
    if unchecked {
        check_meanwhile(options.state_dir.join("journal.db"), inbox.clone());
    }
    let reloads = tokio::spawn(reloader.serve());
    let watchdog = tokio::spawn(notify::watchdog(inbox.clone()));
    let passive = options.passive;
    let windows = Windows {
        inbox: inbox.clone(),
        published: published.clone(),
        clock: Arc::clone(&clock),
        by: app.own_uid,
    };
    let units = tokio::spawn(changes::follow_units(inbox.clone(), published.clone()));
    let windows = tokio::spawn(async move {
        if !passive {
            windows.serve().await;
        }
    });
    let (left, opened) = (left_alone(options.passive, published.clone()), published.clone());
    let idle = leave_when_idle(options.leave_when_idle, app.clone(), published);
    tokio::spawn(serve::tell(app.clone()));
    let server = tokio::spawn(serve::serve(doors, serve::router(app)));
    let result = tokio::select! {
        told = told_and_ready(options.passive.then_some(opened)) => told,
        _ = &mut actor.ended => Err(DaemonError::System {
            what: "go on",
            source: io::Error::other("the actor broke down; leases stay as they are"),
        }),
        () = idle => Ok(()),
        () = left => Ok(()),
        ended = server => ended.map_err(|error| DaemonError::System {
            what: "serve the socket",
            source: io::Error::other(error),
        }),
    };
    notify::stopping();
    reloads.abort();
    watchdog.abort();
    windows.abort();
    units.abort();
    // What systemd opened is systemd's: the next caller starts a daemon through it.
    for (socket, own) in [(&options.socket, own.0), (&options.admin_socket, own.1)] {
        if own {
            let _ = fs::remove_file(socket);
        }
    }
    let _ = inbox.send(Message::Stop);
    let _ = tokio::task::spawn_blocking(move || actor.thread.join()).await;
    tracing::info!("ending; leases stay as they are");
    result
}

/// Checks a large journal while it is in use.
fn check_meanwhile(journal: PathBuf, inbox: Sender<Message>) {
    std::thread::spawn(move || {
        let warning = match store::check(&journal) {
            Ok(Ok(())) => return,
            Ok(Err(damage)) => format!(
                "the journal is damaged ({damage}); the next start sets it aside if it cannot be read"
            ),
            Err(error) => format!("the journal could not be checked: {error}"),
        };
        tracing::error!("{warning}");
        let _ = inbox.send(Message::Warn(warning));
    });
}

/// What the API holds its callers to.
fn guard(
    options: &Options,
    edge: &Edge,
    clock: &Arc<DaemonClock>,
    network: Option<&NetworkDoor>,
) -> Result<Guard, DaemonError> {
    let path = options.state_dir.join("ledger.db");
    Ok(Guard {
        keeper: Keeper::start(&path, edge.audit_kept, Arc::clone(clock))?,
        rates: Rates::new(edge.limits),
        hosts: network.map_or_else(Hosts::default, |door| door.hosts.clone()),
    })
}

/// The actor's thread, and a channel that closes when it ends for whatever reason.
struct ActorThread {
    thread: std::thread::JoinHandle<()>,
    ended: oneshot::Receiver<()>,
}

fn start_actor(
    options: &Options,
    opened: Opened,
    observed: NodeSnapshot,
    hands: Hands,
    waiting: &Waiting,
    epoch: Arc<AtomicU64>,
    outbox: Receiver<Message>,
) -> Result<(watch::Receiver<Published>, ActorThread), DaemonError> {
    let clock = Arc::clone(&hands.clock);
    let policy = settings::policy(&options.config.config, options.passive);
    let mut warnings = Vec::new();
    if let Some(aside) = &opened.set_aside {
        let warning = format!(
            "the journal was damaged ({}) and is set aside as {}; slices it spoke of are shown as foreign and left alone",
            aside.reason,
            aside.path.display()
        );
        tracing::error!("{warning}");
        warnings.push(warning);
    }
    let first = Published {
        state: Arc::new(opened.state),
        observed: Arc::new(observed),
        revisions: Arc::default(),
        changes: Arc::default(),
        recent: Recent::default(),
        last_seq: opened.journal.last_seq(),
        now: clock.now(),
        planner: Planner::new(),
        policy: Arc::new(policy),
        warnings: Arc::new(warnings),
        settings: Arc::new(Settings::first(&options.config)),
        steps: Arc::clone(&hands.steps),
    };
    let (publish, published) = watch::channel(first.clone());
    let mut actor = Actor {
        revisions: first
            .state
            .leases
            .keys()
            .map(|lease| (*lease, first.last_seq))
            .collect::<BTreeMap<_, _>>(),
        changes: BTreeMap::new(),
        recent: Recent::default(),
        state: first.state,
        journal: opened.journal,
        observed: Arc::clone(&first.observed),
        policy: first.policy,
        clock,
        planner: Planner::new(),
        hands,
        publish,
        waiting: waiting.clone(),
        warnings: first.warnings,
        looks: Looks::new(epoch),
        settings: first.settings,
        retention: Retention::default(),
        unpublished: false,
        crowded: false,
    };
    actor.learn_geometries(&first.observed);
    let (alive, ended) = oneshot::channel::<()>();
    let last = LastBell(waiting.clone());
    let named = std::thread::Builder::new().name("actor".to_owned());
    let thread = named.spawn(move || {
        let _alive = alive;
        // After the actor and its pictures, so that whoever is woken sees that it has ended.
        let _last = last;
        actor.serve(&outbox);
    });
    let thread =
        thread.map_err(|source| DaemonError::System { what: "start the actor", source })?;
    Ok((published, ActorThread { thread, ended }))
}

/// Journals that this daemon took over, and has everything brought into agreement.
async fn take_over(
    inbox: &Sender<Message>,
    boot: BootId,
    numbers_from: u64,
) -> Result<(), DaemonError> {
    let (reply, answer) = oneshot::channel();
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let command = Command::Started { version, boot, numbers_from };
    let _ =
        inbox.send(Message::Command(Box::new(Envelope { command, key: None, reply: Some(reply) })));
    match answer.await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(DaemonError::System {
            what: "write the journal",
            source: io::Error::other(crate::executor::chain(&error)),
        }),
        Err(_) => Err(DaemonError::System {
            what: "start the actor",
            source: io::Error::other("it ended at once"),
        }),
    }
}

/// The path of the socket without links; it need not exist yet.
fn canonical(socket: &Path) -> PathBuf {
    let folder = socket.parent().and_then(|folder| folder.canonicalize().ok());
    match (folder, socket.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => socket.to_owned(),
    }
}

/// A number that grows by one a second, far above the number of any lease of a journal younger
/// than it.
const fn seconds_since_2025(now: Timestamp) -> u64 {
    (now.as_millis() / 1000).saturating_sub(1_735_689_600)
}

/// Binds the socket; one that a dead daemon left is replaced (the lock says that it is dead).
fn listen(socket: &Path, mode: u32) -> Result<UnixListener, DaemonError> {
    let file = |source| DaemonError::File { path: socket.to_owned(), source };
    if let Some(folder) = socket.parent() {
        fs::create_dir_all(folder).map_err(file)?;
    }
    // Bound under another name and moved into place, so that nobody meets it before its mode is
    // right.
    let mut fresh = socket.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = Path::new(&fresh);
    let _ = fs::remove_file(fresh);
    let listener = UnixListener::bind(fresh).map_err(file)?;
    fs::set_permissions(fresh, fs::Permissions::from_mode(mode)).map_err(file)?;
    fs::rename(fresh, socket).map_err(file)?;
    Ok(listener)
}

/// Told to stop; a daemon of one command brings what is in the middle to its end first, for no other
/// daemon follows that would.
async fn told_and_ready(passive: Option<watch::Receiver<Published>>) -> Result<(), DaemonError> {
    told_to_stop().await?;
    if let Some(published) = passive {
        nothing_open(published).await;
    }
    Ok(())
}

async fn told_to_stop() -> Result<(), DaemonError> {
    let refused = |source| DaemonError::System { what: "listen for signals", source };
    let mut terminate = signal(SignalKind::terminate()).map_err(refused)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(refused)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Of a daemon that runs for one command: ends when that command has gone (its end of our standard
/// input is closed) and no plan is open. What cannot end is journalled; the next daemon sees to it.
async fn left_alone(passive: bool, published: watch::Receiver<Published>) {
    if !passive {
        return std::future::pending().await;
    }
    let (gone, heard) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        let _ = gone.send(());
    });
    let _ = heard.await;
    nothing_open(published).await;
}

/// Waits until nothing is in the middle. A change that only waits goes on with the next daemon; one
/// with units stopped or something to take back is brought to its end.
async fn nothing_open(published: watch::Receiver<Published>) {
    let closed = async {
        while is_in_the_middle(&published.borrow()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(60), closed).await;
}

/// Whether something is under way that may still come to its end. What does not come back from the
/// driver may never do.
fn is_in_the_middle(now: &Published) -> bool {
    let hangs = |plan: &PlanId| now.steps.lasting(*plan).is_some_and(|lasting| lasting.late);
    let in_the_middle = |change: &broker::Change| {
        let begun = change.turned.is_some() || change.units.state.is_down();
        let mut parts = change.gpus.values();
        let hung = parts.clone().any(|part| part.at_work().as_ref().is_some_and(hangs));
        begun && (!hung || parts.any(|part| matches!(part.progress, Progress::Broken { .. })))
    };
    let mut changes = now.state.changes.values().filter(|change| change.is_open());
    now.state.plans.keys().any(|plan| !hangs(plan)) || changes.any(in_the_middle)
}

async fn leave_when_idle(limit: Option<Duration>, app: App, published: watch::Receiver<Published>) {
    let Some(limit) = limit else { return std::future::pending().await };
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let busy = {
            let now = published.borrow();
            !now.state.leases.is_empty()
                || !now.state.plans.is_empty()
                || now.state.changes.values().any(broker::Change::is_open)
        };
        if busy {
            app.last_call.store(app.clock.now().as_millis(), Ordering::Relaxed);
        }
        let last = Timestamp::from_millis(app.last_call.load(Ordering::Relaxed));
        if u128::from(app.clock.now().since(last).get()) > limit.as_millis() {
            tracing::info!("nobody needs this daemon; leaving");
            return;
        }
    }
}
