//! The API: routes, and what their handlers share.
//!
//! Each noun has a file. A handler takes a [`Caller`], whom the [gate](gate) has let in, and what
//! the extractors of [`extract`] make of body, query and path; every refusal is a [`Failure`].
//! `#[utoipa::path]` describes the route, and `routes!` takes path and method from there, so that
//! no route can be served without being described. A call that is not safe (POST, DELETE, …) is
//! audited, limited and idempotent by key without its handler doing anything for it.
//!
//! Must never decide anything about leases.

#![allow(unused_qualifications, reason = "what utoipa's macros write names types in full")]

mod audit;
mod bookings;
mod caller;
mod changes;
mod edge;
mod events;
mod extract;
mod gate;
mod gpus;
mod history;
mod holders;
mod hosts;
mod leases;
mod life;
mod limits;
mod listen;
mod network;
mod node;
mod nodes;
mod openapi;
mod page;
mod patient;
mod problem;
mod stream;
mod tokens;
pub(crate) mod why;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, StatusCode};
use broker::{Command, Reply};
use host::DaemonClock;
use model::{BootId, LeaseId, Uid};
use store::{Reader, StoreError};
use tokio::sync::{Mutex, oneshot, watch};
use utoipa::openapi::path::PathItem;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::Access;
use crate::actor::{Envelope, Message};
use crate::machine::Machine;
use crate::published::Published;
use crate::waiting::Waiting;

pub(crate) use caller::Caller;
pub(crate) use edge::Edge;
pub(crate) use gate::Guard;
pub(crate) use hosts::Hosts;
pub(crate) use limits::Rates;
pub(crate) use listen::{Doors, serve};
pub(crate) use network::NetworkDoor;
pub use openapi::openapi;
pub(crate) use problem::Failure;
pub(crate) use stream::{news, tell};

/// The largest body any call needs, several times over.
const BODY_MAX: usize = 64 * 1024;
/// The same for plans, which name every step: sixteen GPUs take some hundred kilobytes.
const PLAN_MAX: usize = 2 * 1024 * 1024;

/// The largest body that a path takes.
pub(crate) fn body_max(path: &str) -> usize {
    if path.starts_with("/v1/changes") { PLAN_MAX } else { BODY_MAX }
}

/// What handlers share.
#[derive(Debug, Clone)]
pub(crate) struct App {
    pub(crate) inbox: Sender<Message>,
    pub(crate) published: watch::Receiver<Published>,
    /// Those who wait for a lease.
    pub(crate) waiting: Waiting,
    pub(crate) boot: BootId,
    pub(crate) clock: Arc<DaemonClock>,
    pub(crate) simulated: Option<String>,
    pub(crate) own_uid: Uid,
    /// The socket as holders know it, without links.
    pub(crate) socket: Arc<std::path::Path>,
    /// The journal's file, for long readings beside its writer.
    pub(crate) journal_file: Arc<std::path::Path>,
    /// When the last call came, on the daemon's clock.
    pub(crate) last_call: Arc<AtomicU64>,
    pub(crate) guard: Arc<Guard>,
    pub(crate) news: stream::News,
    pub(crate) access: Arc<Access>,
    pub(crate) machine: Arc<Machine>,
    pub(crate) journal: Arc<Mutex<Reader>>,
}

impl App {
    /// Somebody needs this daemon.
    fn called(&self) {
        self.last_call.store(self.clock.now().as_millis(), Ordering::Relaxed);
    }

    /// The newest picture, with the time of now.
    pub(crate) fn picture(&self) -> Published {
        let mut picture = self.published.borrow().clone();
        picture.now = self.clock.now();
        picture
    }

    /// Has a command decided and committed.
    pub(crate) async fn ask(&self, command: Command) -> Result<(Reply, Published), Failure> {
        self.ask_once(command, None).await
    }

    /// As [`App::ask`]; the lease a key led to before is the answer again, even if the daemon was
    /// killed in between. Only for commands that are answered with a lease.
    pub(crate) async fn ask_once(
        &self,
        command: Command,
        key: Option<(u32, String)>,
    ) -> Result<(Reply, Published), Failure> {
        let (reply, answer) = oneshot::channel();
        let envelope = Box::new(Envelope { command, key, reply: Some(reply) });
        self.inbox.send(Message::Command(envelope)).map_err(|_| Failure::ending())?;
        Ok(answer.await.map_err(|_| Failure::ending())??)
    }

    /// The first picture in which something is so about a lease, or the newest one when it is late.
    pub(crate) async fn once(
        &self,
        lease: LeaseId,
        until: tokio::time::Instant,
        is_so: impl Fn(&Published) -> bool,
    ) -> Result<Published, Failure> {
        let waiter = self.waiting.join(lease);
        loop {
            let news = waiter.news();
            {
                let now = self.published.borrow();
                if is_so(&now) {
                    return Ok(now.clone());
                }
            }
            if self.published.has_changed().is_err() {
                return Err(Failure::ending());
            }
            if tokio::time::timeout_at(until, news).await.is_err() {
                return Ok(self.picture());
            }
        }
    }

    /// What the processes of a lease carry in their environment.
    pub(crate) fn lease_key(&self, lease: LeaseId) -> String {
        crate::holders::lease_key(&self.socket, lease)
    }

    /// Reads the journal, beside the actor: nobody who reads makes it wait.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Failure> {
        // One at a time: a crowd of readers takes one thread.
        let journal = Arc::clone(&self.journal).lock_owned().await;
        let found = tokio::task::spawn_blocking(move || read(&journal)).await;
        found.map_err(|_| Failure::ending())?.map_err(|error| Failure::from(&error))
    }
}

/// The routes, each with its description.
fn described() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(node::version))
        .routes(routes!(node::node))
        .routes(routes!(node::snapshot))
        .routes(routes!(openapi::document))
        .routes(routes!(leases::list, leases::request))
        .routes(routes!(leases::read, leases::release))
        .routes(routes!(leases::attach))
        .routes(routes!(leases::renew))
        .routes(routes!(history::list))
        .routes(routes!(history::usage))
        .routes(routes!(why::show))
        .routes(routes!(life::agree))
        .routes(routes!(life::contain))
        .routes(routes!(gpus::cordon))
        .routes(routes!(gpus::drain))
        .routes(routes!(gpus::uncordon))
        .routes(routes!(gpus::hand_back))
        .routes(routes!(holders::show))
        .routes(routes!(bookings::list, bookings::book))
        .routes(routes!(bookings::cancel))
        .routes(routes!(events::list))
        .routes(routes!(stream::follow))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::revoke))
        .routes(routes!(audit::list))
        .routes(routes!(nodes::show))
        .routes(routes!(nodes::stock))
        .routes(routes!(nodes::enforce))
        .merge(with_plans())
}

/// The routes of changes, whose bodies are larger than the others'.
fn with_plans() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(changes::plan))
        .routes(routes!(changes::list, changes::begin))
        .routes(routes!(changes::read))
        .routes(routes!(changes::cancel))
        .layer(DefaultBodyLimit::max(PLAN_MAX))
}

/// Whether a path takes a method that changes something.
fn takes(path: &str, method: &Method) -> bool {
    static TAKEN: LazyLock<BTreeSet<(String, Method)>> = LazyLock::new(|| {
        let paths = described().into_openapi().paths.paths;
        let of = |(path, item): (String, PathItem)| {
            let methods = [
                (Method::PUT, item.put.is_some()),
                (Method::POST, item.post.is_some()),
                (Method::DELETE, item.delete.is_some()),
                (Method::PATCH, item.patch.is_some()),
            ];
            let there = methods.into_iter().filter(|(_, there)| *there);
            there.map(move |(method, _)| (path.clone(), method)).collect::<Vec<_>>()
        };
        paths.into_iter().flat_map(of).collect()
    });
    TAKEN.contains(&(path.to_owned(), method.clone()))
}

/// The first words of all paths, which scopes of tokens name.
fn nouns() -> BTreeSet<String> {
    let document = described().into_openapi();
    let paths = document.paths.paths.keys();
    paths.filter_map(|path| path.split('/').nth(2)).map(str::to_owned).collect()
}

/// The routes behind the gate.
pub(crate) fn router(app: App) -> Router {
    let (routes, _) = described().split_for_parts();
    routes
        .fallback(|| async {
            Failure::new(StatusCode::NOT_FOUND, "E-NO-SUCH-PATH", "there is nothing at this path")
                .hint("/v1/openapi.json describes every path")
        })
        .method_not_allowed_fallback(|| async {
            Failure::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "E-METHOD",
                "this path does not take that method",
            )
        })
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(axum::middleware::from_fn_with_state(app.clone(), gate::pass))
        .with_state(app)
}
