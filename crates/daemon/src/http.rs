//! HTTP on the unix socket: who speaks is who the kernel says it is.
//!
//! Must never act for a user id, or follow a process, that a body names.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use api::{AttachCommand, EventView, LeaseRequest, LeaseView, NodeView, VersionView};
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use axum::{Json, Router};
use broker::{Command, Event, Holder, Lease, Peer, Reply};
use host::{DaemonClock, Users};
use model::{BootId, LeaseId, ProcessId, Tenant, Uid};
use serde::Deserialize;
use tokio::net::UnixListener;
use tokio::sync::{oneshot, watch};

use crate::actor::{Envelope, Message};
use crate::problem::Failure;
use crate::published::Published;
use crate::requests::{self, Asker};
use crate::{sentence, views};

/// The longest a reader may wait for news in one call.
const PATIENCE_MAX: Duration = Duration::from_secs(60);
/// The most events one answer holds.
const EVENTS_MAX: u32 = 1000;

/// What handlers share.
#[derive(Debug, Clone)]
pub(crate) struct App {
    pub(crate) inbox: Sender<Message>,
    pub(crate) published: watch::Receiver<Published>,
    pub(crate) boot: BootId,
    pub(crate) clock: Arc<DaemonClock>,
    pub(crate) simulated: Option<String>,
    pub(crate) own_uid: Uid,
    /// When the last call came, on the daemon's clock.
    pub(crate) last_call: Arc<AtomicU64>,
}

/// The process at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PeerInfo {
    uid: Option<Uid>,
    process: Option<ProcessId>,
}

impl Connected<IncomingStream<'_, UnixListener>> for PeerInfo {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        let Ok(credentials) = stream.io().peer_cred() else {
            return Self { uid: None, process: None };
        };
        let pid = credentials.pid().and_then(|pid| u32::try_from(pid).ok());
        Self {
            uid: Some(Uid::new(credentials.uid())),
            process: pid.and_then(host::processes::process_id),
        }
    }
}

type Caller = ConnectInfo<PeerInfo>;

/// The routes.
pub(crate) fn router(app: App) -> Router {
    Router::new()
        .route("/v1/version", get(version))
        .route("/v1/node", get(node))
        .route("/v1/leases", get(list).post(request))
        .route("/v1/leases/{lease}", get(read).delete(release))
        .route("/v1/leases/{lease}/command", post(attach))
        .route("/v1/leases/{lease}/renew", post(renew))
        .route("/v1/events", get(events))
        .fallback(|| async {
            Failure::new(StatusCode::NOT_FOUND, "E-NO-SUCH-PATH", "there is nothing at this path")
        })
        .method_not_allowed_fallback(|| async {
            Failure::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "E-METHOD",
                "this path does not take that method",
            )
        })
        .layer(DefaultBodyLimit::max(64 * 1024))
        .with_state(app)
}

impl App {
    /// Somebody needs this daemon.
    fn called(&self) {
        self.last_call.store(self.clock.now().as_millis(), Ordering::Relaxed);
    }

    fn peer(&self, caller: PeerInfo) -> Result<Peer, Failure> {
        self.called();
        let uid = caller.uid.ok_or_else(|| {
            Failure::new(StatusCode::FORBIDDEN, "E-NO-PEER", "the kernel does not say who you are")
        })?;
        Ok(Peer { uid, admin: uid.get() == 0 || uid == self.own_uid })
    }

    fn picture(&self) -> Published {
        let mut picture = self.published.borrow().clone();
        picture.now = self.clock.now();
        picture
    }

    async fn ask(
        &self,
        command: Command,
        key: Option<(u32, String)>,
    ) -> Result<(Reply, Published), Failure> {
        let (reply, answer) = oneshot::channel();
        let envelope = Box::new(Envelope { command, key, reply: Some(reply) });
        self.inbox.send(Message::Command(envelope)).map_err(|_| Failure::ending())?;
        Ok(answer.await.map_err(|_| Failure::ending())??)
    }

    /// The view of a lease, live or over.
    async fn view(&self, name: &str, by: Peer) -> Result<LeaseView, Failure> {
        let published = self.picture();
        if let Some(lease) = find(&published, name, by) {
            return Ok(views::live_lease(&published, &lease, by));
        }
        let id = name.parse::<LeaseId>().map_err(|_| no_such_lease(name))?;
        let (reply, answer) = oneshot::channel();
        self.inbox.send(Message::History { lease: id, reply }).map_err(|_| Failure::ending())?;
        let history = answer.await.map_err(|_| Failure::ending())?;
        let history = history.map_err(|error| Failure::from(&error))?;
        let mut fold = broker::State::default();
        for recorded in &history {
            if let Event::Ended { lease, reason } = &recorded.event
                && let Some(last) = fold.lease(*lease)
            {
                return Ok(views::ended_lease(&published, last, reason, recorded.seq, by));
            }
            fold.apply(recorded.at, &recorded.event);
        }
        // It ended between the two looks and its end is not in the picture yet, or never was.
        Err(no_such_lease(name))
    }
}

/// The live lease a path names by id or by name.
fn find(published: &Published, name: &str, by: Peer) -> Option<Lease> {
    if let Ok(id) = name.parse::<LeaseId>() {
        return published.state.lease(id).cloned();
    }
    let named = |lease: &&Lease| lease.spec.name.as_deref() == Some(name);
    let mut of_name = published.state.leases.values().filter(named);
    let own = of_name.clone().find(|lease| lease.spec.uid == by.uid);
    own.or_else(|| if by.admin { of_name.next() } else { None }).cloned()
}

fn no_such_lease(name: &str) -> Failure {
    Failure::new(
        StatusCode::NOT_FOUND,
        "E-LEASE-UNKNOWN",
        format!("there is no lease or request {name}"),
    )
    .hint("`migctl status` and `migctl queue` list what there is")
}

async fn version(State(app): State<App>) -> Json<VersionView> {
    app.called();
    Json(VersionView {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        api: api::API_VERSION,
        pid: std::process::id(),
        simulated: app.simulated.clone(),
    })
}

async fn node(
    State(app): State<App>,
    ConnectInfo(caller): Caller,
) -> Result<Json<NodeView>, Failure> {
    let by = app.peer(caller)?;
    Ok(Json(views::node(&app.picture(), app.simulated.clone(), by)))
}

async fn list(
    State(app): State<App>,
    ConnectInfo(caller): Caller,
) -> Result<Json<Vec<LeaseView>>, Failure> {
    let by = app.peer(caller)?;
    Ok(Json(views::leases(&app.picture(), by)))
}

async fn request(
    State(app): State<App>,
    ConnectInfo(caller): Caller,
    headers: HeaderMap,
    body: Result<Json<LeaseRequest>, JsonRejection>,
) -> Result<(StatusCode, Json<LeaseView>), Failure> {
    let by = app.peer(caller)?;
    let Json(body) = body.map_err(|error| Failure::bad_request(error.body_text()))?;
    let tenant = Tenant::new(Users::load().label(by.uid));
    let asker = Asker { tenant, uid: by.uid, process: caller.process };
    let picture = app.picture();
    let spec = requests::parse(body, asker, &app.boot, &picture.policy, &picture.observed)?;
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok());
    if key.is_some_and(|key| key.len() > 200) {
        return Err(Failure::bad_request("an idempotency key has at most 200 characters"));
    }
    let key = key.map(|key| (by.uid.get(), key.to_owned()));
    let (reply, published) = app.ask(Command::Request(spec), key).await?;
    let view = answer(&app, reply, &published, by).await?;
    Ok((StatusCode::CREATED, Json(view)))
}

async fn answer(
    app: &App,
    reply: Reply,
    published: &Published,
    by: Peer,
) -> Result<LeaseView, Failure> {
    let Reply::Lease(id) = reply else {
        return Err(Failure::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "E-INTERNAL",
            "the broker named no lease",
        ));
    };
    match published.state.lease(id) {
        Some(lease) => Ok(views::live_lease(published, lease, by)),
        None => app.view(&id.to_string(), by).await,
    }
}

#[derive(Debug, Deserialize)]
struct Since {
    after: Option<u64>,
    wait_ms: Option<u64>,
}

impl Since {
    fn patience(&self) -> Duration {
        Duration::from_millis(self.wait_ms.unwrap_or(0)).min(PATIENCE_MAX)
    }
}

async fn read(
    State(app): State<App>,
    ConnectInfo(caller): Caller,
    Path(name): Path<String>,
    Query(since): Query<Since>,
) -> Result<Json<LeaseView>, Failure> {
    let by = app.peer(caller)?;
    let mut news = app.published.clone();
    let deadline = tokio::time::Instant::now() + since.patience();
    loop {
        if is_news(&news.borrow_and_update(), &name, since.after) {
            return Ok(Json(app.view(&name, by).await?));
        }
        match tokio::time::timeout_at(deadline, news.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(Failure::ending()),
            Err(_) => return Ok(Json(app.view(&name, by).await?)),
        }
    }
}

/// Whether there is more to tell of a lease than whoever asks has seen. Cheap: many wait at once.
fn is_news(published: &Published, name: &str, seen: Option<u64>) -> bool {
    let Ok(id) = name.parse::<LeaseId>() else { return true };
    let revision = published.revisions.get(&id);
    seen.is_none_or(|seen| revision.is_none_or(|revision| *revision > seen))
}

/// The lease a mutating path names; acting on another user's is the broker's to refuse.
fn id_of(app: &App, name: &str, by: Peer) -> Result<Lease, Failure> {
    let published = app.picture();
    find(&published, name, by).ok_or_else(|| no_such_lease(name))
}

async fn release(
    State(app): State<App>,
    ConnectInfo(caller): Caller,
    Path(name): Path<String>,
) -> Result<Json<LeaseView>, Failure> {
    let by = app.peer(caller)?;
    let lease = id_of(&app, &name, by)?;
    let holder = match &lease.spec.holder {
        Holder::Process { client, .. } => caller.process == Some(*client),
        Holder::Token { .. } => false,
    };
    let command = Command::End { lease: lease.id, by, holder };
    let (reply, published) = app.ask(command, None).await?;
    Ok(Json(answer(&app, reply, &published, by).await?))
}

async fn attach(
    State(app): State<App>,
    ConnectInfo(caller): Caller,
    Path(name): Path<String>,
    body: Result<Json<AttachCommand>, JsonRejection>,
) -> Result<Json<LeaseView>, Failure> {
    let by = app.peer(caller)?;
    let Json(body) = body.map_err(|error| Failure::bad_request(error.body_text()))?;
    let lease = id_of(&app, &name, by)?;
    let users = Users::load();
    let found = host::processes::describe(body.pid, &users, host::processes::Arguments::Hidden);
    let found = found.filter(|found| {
        // Only a child of the caller: a lease must not reach out for somebody else's process.
        Some(found.parent) == caller.process.map(|process| process.pid)
    });
    let command = found.map(|found| found.process).ok_or_else(|| {
        Failure::new(
            StatusCode::CONFLICT,
            "E-NOT-A-CHILD",
            format!("pid {} is not a running child of the calling process", body.pid),
        )
    })?;
    let (reply, published) =
        app.ask(Command::Attach { lease: lease.id, by, command }, None).await?;
    Ok(Json(answer(&app, reply, &published, by).await?))
}

async fn renew(
    State(app): State<App>,
    ConnectInfo(caller): Caller,
    Path(name): Path<String>,
) -> Result<Json<LeaseView>, Failure> {
    let by = app.peer(caller)?;
    let lease = id_of(&app, &name, by)?;
    let (reply, published) = app.ask(Command::Renew { lease: lease.id, by }, None).await?;
    Ok(Json(answer(&app, reply, &published, by).await?))
}

#[derive(Debug, Deserialize)]
struct Window {
    after: Option<u64>,
    last: Option<u32>,
    limit: Option<u32>,
    wait_ms: Option<u64>,
}

async fn events(
    State(app): State<App>,
    ConnectInfo(caller): Caller,
    Query(window): Query<Window>,
) -> Result<Json<Vec<EventView>>, Failure> {
    app.peer(caller)?;
    if let Some(after) = window.after {
        let patience = Since { after: None, wait_ms: window.wait_ms }.patience();
        let mut news = app.published.clone();
        let _ = tokio::time::timeout(patience, news.wait_for(|now| now.last_seq > after)).await;
    }
    let limit = window.limit.unwrap_or(100).min(EVENTS_MAX);
    let (reply, answer) = oneshot::channel();
    let message = match (window.after, window.last) {
        (Some(after), _) => Message::Events { after, limit, reply },
        (None, last) => Message::Newest { limit: last.unwrap_or(limit).min(EVENTS_MAX), reply },
    };
    app.inbox.send(message).map_err(|_| Failure::ending())?;
    let found = answer.await.map_err(|_| Failure::ending())?;
    let found = found.map_err(|error| Failure::from(&error))?;
    let observed = app.picture().observed;
    Ok(Json(found.iter().map(|recorded| sentence::view(recorded, &observed)).collect()))
}
