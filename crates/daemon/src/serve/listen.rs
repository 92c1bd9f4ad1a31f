//! Doors: where connections come in, and what is known of their other end.
//!
//! Must never let one user take every connection, or one connection every descriptor.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::IntoResponse as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use model::Uid;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{UnixListener, UnixStream};
use tower::ServiceExt as _;

use crate::serve::caller::{Door, Origin};
use crate::serve::network::NetworkDoor;
use crate::serve::patient::Patient;
use crate::serve::problem::Failure;

/// After a failure to accept (no descriptors left, say).
const REST: Duration = Duration::from_millis(100);
/// How long a stranger may take for the TLS handshake, and for the head of a request.
const HANDSHAKE: Duration = Duration::from_secs(10);
const HEAD: Duration = Duration::from_secs(30);
/// How long a connection that is one too many is spoken with.
const REFUSAL: Duration = Duration::from_secs(2);
/// The most connections over the network at a time.
const NETWORK_MAX: u32 = 512;

/// What the daemon listens on.
pub(crate) struct Doors {
    pub(crate) users: UnixListener,
    pub(crate) admins: UnixListener,
    pub(crate) network: Option<NetworkDoor>,
    /// Connections of one user, or from one address, at a time.
    pub(crate) each: u32,
    /// Users whose connections are not counted.
    pub(crate) free: Vec<Uid>,
}

/// Whose connections are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    User(Uid),
    Address(IpAddr),
    Network,
}

/// How many connections are open.
#[derive(Debug, Default)]
struct Count(Mutex<BTreeMap<Owner, u32>>);

/// One of them; it counts until it is dropped.
#[derive(Debug)]
struct Seat {
    count: Arc<Count>,
    owner: Owner,
}

impl Count {
    fn sit(self: &Arc<Self>, owner: Owner, most: u32) -> Option<Seat> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = open.entry(owner).or_default();
        if *taken >= most {
            return None;
        }
        *taken += 1;
        Some(Seat { count: Arc::clone(self), owner })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.count.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = open.get_mut(&self.owner) {
            *taken -= 1;
            if *taken == 0 {
                open.remove(&self.owner);
            }
        }
    }
}

/// Serves until dropped.
pub(crate) async fn serve(doors: Doors, router: Router) {
    let count = Arc::<Count>::default();
    let Doors { users, admins, network, each, free } = doors;
    let sit = |origin: &Origin| match origin.uid.filter(|uid| !free.contains(uid)) {
        Some(uid) => count.sit(Owner::User(uid), each).map(Some),
        None => Some(None),
    };
    tokio::join!(
        unix(users, Door::Users, router.clone(), sit),
        unix(admins, Door::Admins, router.clone(), sit),
        async {
            match network {
                Some(door) => tcp(door, router.clone(), &count, each).await,
                None => std::future::pending().await,
            }
        }
    );
}

async fn unix(
    listener: UnixListener,
    door: Door,
    router: Router,
    sit: impl Fn(&Origin) -> Option<Option<Seat>>,
) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let origin = peer(&stream, door);
                match sit(&origin) {
                    Some(seat) => {
                        let router = router.clone();
                        tokio::spawn(async move {
                            converse(stream, origin, router, None).await;
                            drop(seat);
                        });
                    }
                    None => drop(tokio::spawn(turn_away(stream))),
                }
            }
            Err(error) => rest(&error).await,
        }
    }
}

async fn tcp(door: NetworkDoor, router: Router, count: &Arc<Count>, each: u32) {
    let each = each.min(NETWORK_MAX / 2);
    loop {
        let (stream, address) = match door.listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                rest(&error).await;
                continue;
            }
        };
        let seats = count.sit(Owner::Network, NETWORK_MAX);
        let seats = seats.zip(count.sit(Owner::Address(address.ip()), each));
        let Some(seats) = seats else {
            if door.tls.is_none() {
                tokio::spawn(turn_away(stream));
            }
            continue;
        };
        let (router, tls) = (router.clone(), door.tls.clone());
        let origin =
            Origin { door: Door::Network, uid: None, process: None, address: Some(address) };
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            match tls {
                None => converse(stream, origin, router, Some(HEAD)).await,
                Some(tls) => match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
                    Ok(Ok(stream)) => converse(stream, origin, router, Some(HEAD)).await,
                    Ok(Err(error)) => tracing::debug!(%error, %address, "no TLS"),
                    Err(_) => tracing::debug!(%address, "no TLS in time"),
                },
            }
            drop(seats);
        });
    }
}

async fn rest(error: &std::io::Error) {
    tracing::warn!(%error, "cannot accept a connection");
    tokio::time::sleep(REST).await;
}

fn peer(stream: &UnixStream, door: Door) -> Origin {
    let Ok(credentials) = stream.peer_cred() else {
        return Origin { door, uid: None, process: None, address: None };
    };
    let pid = credentials.pid().and_then(|pid| u32::try_from(pid).ok());
    Origin {
        door,
        uid: Some(Uid::new(credentials.uid())),
        process: pid.and_then(host::processes::process_id),
        address: None,
    }
}

/// Speaks HTTP on one connection until it ends. `head` is how long the next request may take to
/// begin; without it for ever, which a client that keeps its connection needs.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    origin: Origin,
    router: Router,
    head: Option<Duration>,
) {
    let service = router.map_request(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(origin);
        request
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(head);
    let service = TowerToHyperService::new(service);
    let io = TokioIo::new(Patient::new(stream));
    if let Err(error) = builder.serve_connection(io, service).await {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Answers one call of a connection that is one too many, and closes it.
async fn turn_away(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let service = tower::service_fn(|_: Request<Incoming>| async {
        let words = "too many of your connections are open";
        let failure = Failure::new(StatusCode::TOO_MANY_REQUESTS, "E-TOO-MANY-CONNECTIONS", words)
            .hint("close some, or use one for several calls");
        Ok::<_, std::convert::Infallible>(failure.into_response())
    });
    let mut builder = http1::Builder::new();
    builder.keep_alive(false);
    let service = TowerToHyperService::new(service);
    let talk = builder.serve_connection(TokioIo::new(stream), service);
    let _ = tokio::time::timeout(REFUSAL, talk).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_counted_for_each_and_given_back() {
        let count = Arc::<Count>::default();
        let (kim, lee) = (Owner::User(Uid::new(1)), Owner::User(Uid::new(2)));
        let first = count.sit(kim, 2);
        let second = count.sit(kim, 2);
        assert!(first.is_some() && second.is_some());
        assert!(count.sit(kim, 2).is_none());
        assert!(count.sit(lee, 2).is_some());
        drop(first);
        assert!(count.sit(kim, 2).is_some());
        drop(second);
        assert!(count.0.lock().unwrap().is_empty());
    }
}
