//! A client over the unix socket: connections are kept and used again.
//!
//! Must never talk to a socket whose owner it does not trust: whoever owns it could hand out
//! slices that are not the caller's.

mod pool;
mod stream;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode, header};
use model::LeaseId;
use serde::Serialize;
use serde::de::DeserializeOwned;

use pool::Pool;
pub use stream::EventStream;

use crate::life::{ContainerRef, PastLease, UsageView};
use crate::nodes::{AccessView, StockRequest};
use crate::remote::Remote;
use crate::v1::{
    AttachCommand, EventView, LeaseRequest, LeaseView, NodeView, Page, Problem, VersionView,
};
use crate::waiting::WhyView;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no daemon answers on {}", socket.display())]
    NotRunning {
        /// Where it was looked for.
        socket: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The socket belongs to a stranger.
    #[error("{} is served by uid {uid}, which is neither root nor you; refusing to talk to it", socket.display())]
    Untrusted {
        /// Which socket.
        socket: PathBuf,
        /// Whose process answers.
        uid: u32,
    },
    /// The daemon said no.
    #[error("{}", .0.detail)]
    Refused(Problem),
    /// The conversation broke.
    #[error("the daemon on {} ended the conversation: {reason}", socket.display())]
    Broken {
        /// Which socket.
        socket: PathBuf,
        /// What happened.
        reason: String,
    },
}

impl ClientError {
    /// Whether the daemon is not there, as opposed to refusing.
    pub const fn is_not_running(&self) -> bool {
        matches!(self, Self::NotRunning { .. })
    }
}

/// A caller of one daemon. Clones share their connections, so they belong into one runtime.
#[derive(Debug, Clone)]
pub struct Client {
    pool: Arc<Pool>,
}

impl Client {
    /// A client of the daemon that listens on `socket`; it trusts daemons of `trusted` users.
    pub fn new(socket: impl Into<PathBuf>, trusted: impl IntoIterator<Item = u32>) -> Self {
        Self { pool: Arc::new(Pool::new(socket.into(), trusted.into_iter().collect(), None)) }
    }

    /// A client of a daemon over the network.
    pub fn remote(remote: Remote) -> Self {
        Self { pool: Arc::new(Pool::remote(remote)) }
    }

    /// The same, for the user behind sudo: requests are charged to that user. The daemon believes
    /// root alone.
    #[must_use]
    pub fn acting_for(&self, uid: u32) -> Self {
        Self { pool: Arc::new(self.pool.acting_for(uid)) }
    }

    /// The socket, or the address over the network.
    pub fn socket(&self) -> &Path {
        self.pool.socket()
    }

    /// Asks who answers.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn version(&self) -> Result<VersionView, ClientError> {
        self.get("/v1/version").await
    }

    /// Reads the machine.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn node(&self) -> Result<NodeView, ClientError> {
        self.get("/v1/node").await
    }

    /// Reads what the driver tells of the machine, without records.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn snapshot(&self) -> Result<model::NodeSnapshot, ClientError> {
        self.get("/v1/snapshot").await
    }

    /// Asks for slices. `key` makes the call idempotent: the same key within an hour gives the
    /// same lease.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn request(
        &self,
        request: &LeaseRequest,
        key: &str,
    ) -> Result<LeaseView, ClientError> {
        self.call(Method::POST, "/v1/leases", Some(request), Some(key)).await
    }

    /// As [`Client::request`], and waits up to `patience` for the slices or for the end of the
    /// request.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn request_and_wait(
        &self,
        request: &LeaseRequest,
        key: &str,
        patience: Duration,
    ) -> Result<LeaseView, ClientError> {
        let path = format!("/v1/leases?wait_ms={}", patience.as_millis());
        self.call(Method::POST, &path, Some(request), Some(key)).await
    }

    /// Lists live requests and leases, page by page.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn leases(&self) -> Result<Vec<LeaseView>, ClientError> {
        self.all("/v1/leases?limit=1000").await
    }

    /// Reads a lease by id or name.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn lease(&self, lease: &str) -> Result<LeaseView, ClientError> {
        self.get(&format!("/v1/leases/{}", escape(lease))).await
    }

    /// Reads a lease once its revision exceeds `seen`, or after `patience` as it is then.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn lease_after(
        &self,
        lease: LeaseId,
        seen: u64,
        patience: Duration,
    ) -> Result<LeaseView, ClientError> {
        self.get(&format!("/v1/leases/{lease}?after={seen}&wait_ms={}", patience.as_millis())).await
    }

    /// Asks why a request waits, by id or name.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn why(&self, lease: &str) -> Result<WhyView, ClientError> {
        self.get(&format!("/v1/leases/{}/why", escape(lease))).await
    }

    /// Tells the daemon the command that uses the lease.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn attach(&self, lease: LeaseId, pid: u32) -> Result<LeaseView, ClientError> {
        let body = AttachCommand { pid };
        self.call(Method::POST, &format!("/v1/leases/{lease}/command"), Some(&body), None).await
    }

    /// Renews a token.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn renew(&self, lease: &str) -> Result<LeaseView, ClientError> {
        let path = format!("/v1/leases/{}/renew", escape(lease));
        self.call(Method::POST, &path, None::<&()>, None).await
    }

    /// Gives a lease back, or cancels a request; by id or name.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn release(&self, lease: &str) -> Result<LeaseView, ClientError> {
        self.call(Method::DELETE, &format!("/v1/leases/{}", escape(lease)), None::<&()>, None).await
    }

    /// As [`Client::release`], and waits up to `patience` until the slices are proven empty.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn release_and_wait(
        &self,
        lease: &str,
        patience: Duration,
    ) -> Result<LeaseView, ClientError> {
        let path = format!("/v1/leases/{}?wait_ms={}", escape(lease), patience.as_millis());
        self.call(Method::DELETE, &path, None::<&()>, None).await
    }

    /// Agrees to be stopped and started anew on another slice.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn agree(&self, lease: LeaseId) -> Result<LeaseView, ClientError> {
        self.call(Method::POST, &format!("/v1/leases/{lease}/agree"), None::<&()>, None).await
    }

    /// Tells that the command of a lease is a container, which holds the lease from here on.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn contain(
        &self,
        lease: LeaseId,
        container: &ContainerRef,
    ) -> Result<LeaseView, ClientError> {
        let path = format!("/v1/leases/{lease}/container");
        self.call(Method::POST, &path, Some(container), None).await
    }

    /// Leases that are over, newest first: a page of at most `limit`, from `cursor` on. `filter` is
    /// what else stands in the query (`tenant=…&since_ms=…`).
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn history(
        &self,
        filter: &str,
        limit: u32,
        cursor: Option<&str>,
    ) -> Result<Page<PastLease>, ClientError> {
        let cursor = cursor.map(|cursor| format!("&cursor={}", escape(cursor)));
        let cursor = cursor.unwrap_or_default();
        self.get(&format!("/v1/history?limit={limit}{cursor}&{filter}")).await
    }

    /// What was used since a moment, by `tenant`, `user` or `day`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn usage(&self, by: &str, since_ms: u64) -> Result<Vec<UsageView>, ClientError> {
        let path = format!("/v1/usage?by={}&since_ms={since_ms}&limit=1000", escape(by));
        Ok(self.get::<Page<UsageView>>(&path).await?.items)
    }

    /// Events with a number above `after`, at most `limit`; waits up to `patience` for one.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn events(
        &self,
        after: u64,
        limit: u32,
        patience: Duration,
    ) -> Result<Vec<EventView>, ClientError> {
        let wait = patience.as_millis();
        let path = format!("/v1/events?after={after}&limit={limit}&wait_ms={wait}");
        Ok(self.get::<Page<EventView>>(&path).await?.items)
    }

    /// The newest `limit` events, oldest first.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn last_events(&self, limit: u32) -> Result<Vec<EventView>, ClientError> {
        Ok(self.get::<Page<EventView>>(&format!("/v1/events?last={limit}")).await?.items)
    }

    /// All pages of a list; `path` has a query.
    pub(crate) async fn all<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, ClientError> {
        let mut page: Page<T> = self.get(path).await?;
        let mut items = page.items;
        while let Some(next) = page.next {
            page = self.get(&format!("{path}&cursor={}", escape(&next))).await?;
            items.append(&mut page.items);
        }
        Ok(items)
    }

    /// Shows who may open the slices.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn access(&self) -> Result<AccessView, ClientError> {
        self.get("/v1/access").await
    }

    /// Gives everybody access to the slices of a GPU, or of all, as without migd.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn stock_access(&self, request: &StockRequest) -> Result<AccessView, ClientError> {
        self.call(Method::POST, "/v1/access/stock", Some(request), None).await
    }

    /// Ends what [`Client::stock_access`] began.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn enforce_access(&self) -> Result<AccessView, ClientError> {
        self.call(Method::POST, "/v1/access/enforce", None::<&()>, None).await
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::GET, path, None::<&()>, None).await
    }

    pub(crate) async fn call<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
        key: Option<&str>,
    ) -> Result<T, ClientError> {
        let request = request(method, path, body, key).map_err(|e| self.pool.broken(e))?;
        let (status, bytes) = self.pool.send(request).await?;
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(|e| self.pool.broken(e));
        }
        Err(refusal(status, &bytes))
    }

    /// Follows events behind the one with the number `after`, of one lease or of all. A daemon
    /// that ends ends the stream; [`EventStream::last`] tells where to go on.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn follow(
        &self,
        after: u64,
        lease: Option<LeaseId>,
    ) -> Result<EventStream, ClientError> {
        let mut path = format!("/v1/events/stream?after={after}");
        if let Some(lease) = lease {
            path = format!("{path}&lease={lease}");
        }
        let call = request(Method::GET, &path, None::<&()>, None);
        let response = self.pool.open(call.map_err(|e| self.pool.broken(e))?).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(EventStream::new(response.into_body(), after, Arc::clone(&self.pool)));
        }
        let body = response.into_body().collect().await.map_err(|e| self.pool.broken(e))?;
        Err(refusal(status, &body.to_bytes()))
    }
}

fn request<B: Serialize>(
    method: Method,
    path: &str,
    body: Option<&B>,
    key: Option<&str>,
) -> Result<Request<Full<Bytes>>, String> {
    let bytes = body.map(serde_json::to_vec).transpose().map_err(|error| error.to_string())?;
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, "migd");
    if bytes.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    let body = Full::new(Bytes::from(bytes.unwrap_or_default()));
    request.body(body).map_err(|error| error.to_string())
}

fn unexplained(status: StatusCode, detail: String) -> Problem {
    let title = status.canonical_reason().unwrap_or("error");
    Problem::new(status.as_u16(), "E-UNEXPLAINED", title, detail)
}

/// The refusal that an answer is.
fn refusal(status: StatusCode, bytes: &[u8]) -> ClientError {
    ClientError::Refused(
        serde_json::from_slice(bytes).unwrap_or_else(|_| {
            unexplained(status, String::from_utf8_lossy(bytes).trim().to_owned())
        }),
    )
}

/// Percent-encodes what may not stand in a path segment.
pub fn escape(segment: &str) -> String {
    use std::fmt::Write as _;
    let mut escaped = String::new();
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            escaped.push(byte as char);
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}
