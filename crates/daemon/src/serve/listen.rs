//! Doors: where connections come in, and what is known of their other end.
//!
//! Must never let one user take every connection, or one connection every descriptor.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use model::Uid;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{UnixListener, UnixStream};
use tower::ServiceExt as _;

use crate::serve::caller::{Door, Origin};

/// After a failure to accept (no descriptors left, say).
const REST: Duration = Duration::from_millis(100);

/// What the daemon listens on.
#[derive(Debug)]
pub(crate) struct Doors {
    pub(crate) users: UnixListener,
    pub(crate) admins: UnixListener,
}

/// Serves until dropped.
pub(crate) async fn serve(doors: Doors, router: Router) {
    tokio::join!(
        unix(doors.users, Door::Users, router.clone()),
        unix(doors.admins, Door::Admins, router),
    );
}

async fn unix(listener: UnixListener, door: Door, router: Router) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let origin = peer(&stream, door);
                tokio::spawn(converse(stream, origin, router.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(REST).await;
            }
        }
    }
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

/// Speaks HTTP on one connection until it ends.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    origin: Origin,
    router: Router,
) {
    let service = router.map_request(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(origin);
        request
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(None);
    let service = TowerToHyperService::new(service);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a connection ended early");
    }
}
