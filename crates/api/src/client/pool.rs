//! Connections to one daemon, kept for the next call.
//!
//! Must never send a call twice that may have been carried out, unless carrying it out twice is the
//! same as once.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use crate::client::ClientError;
use crate::remote::{Remote, Stream};

/// Connections that are kept at most: as many as calls a busy program makes at once.
const KEPT: usize = 64;

type Call = Request<Full<Bytes>>;
type Connection = SendRequest<Full<Bytes>>;

/// The connections of a client.
#[derive(Debug)]
pub(crate) struct Pool {
    socket: PathBuf,
    trusted: Vec<u32>,
    remote: Option<Remote>,
    acting_for: Option<u32>,
    idle: Mutex<Vec<Connection>>,
}

impl Pool {
    pub(crate) const fn new(socket: PathBuf, trusted: Vec<u32>, acting_for: Option<u32>) -> Self {
        Self { socket, trusted, remote: None, acting_for, idle: Mutex::new(Vec::new()) }
    }

    /// To a daemon over the network; its address stands where the socket does.
    pub(crate) fn remote(remote: Remote) -> Self {
        let pool = Self::new(PathBuf::from(remote.url()), Vec::new(), None);
        Self { remote: Some(remote), ..pool }
    }

    /// The same daemon as a user whom root stands for.
    pub(crate) fn acting_for(&self, uid: u32) -> Self {
        Self {
            remote: self.remote.clone(),
            ..Self::new(self.socket.clone(), self.trusted.clone(), Some(uid))
        }
    }

    /// Says to whom and for whom a call is.
    fn address(&self, call: &mut Call) {
        let mut say = |name: HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                call.headers_mut().insert(name, value);
            }
        };
        if let Some(remote) = &self.remote {
            say(header::HOST, remote.authority());
            say(header::AUTHORIZATION, &remote.authorization());
        }
        if let Some(uid) = self.acting_for {
            say(HeaderName::from_static("migd-sudo-uid"), &uid.to_string());
        }
    }

    /// Makes a call whose answer has no end, over a connection of its own.
    pub(crate) async fn open(&self, call: Call) -> Result<Response<Incoming>, ClientError> {
        let mut call = call;
        self.address(&mut call);
        let mut connection = self.connect().await?;
        connection.send_request(call).await.map_err(|e| self.broken(e))
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Makes a call, over a kept connection if there is one.
    pub(crate) async fn send(&self, call: Call) -> Result<(StatusCode, Bytes), ClientError> {
        let mut call = call;
        self.address(&mut call);
        // A kept connection may have died with its daemon, or with the runtime that drove it.
        while let Some(mut connection) = self.kept() {
            if connection.ready().await.is_err() {
                continue;
            }
            let again = repeatable(&call).then(|| call.clone());
            match connection.try_send_request(call).await {
                Ok(response) => return self.answer(connection, response).await,
                Err(mut error) => match error.take_message().or(again) {
                    Some(unsent) => call = unsent,
                    None => return Err(self.broken(error.into_error())),
                },
            }
        }
        let mut connection = self.connect().await?;
        let response = connection.send_request(call).await.map_err(|e| self.broken(e))?;
        self.answer(connection, response).await
    }

    async fn answer(
        &self,
        connection: Connection,
        response: Response<Incoming>,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|e| self.broken(e))?;
        let mut idle = self.idle();
        if idle.len() < KEPT && !connection.is_closed() {
            idle.push(connection);
        }
        Ok((status, body.to_bytes()))
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A kept connection that seems to live, the one that was used last.
    fn kept(&self) -> Option<Connection> {
        let mut idle = self.idle();
        std::iter::from_fn(|| idle.pop()).find(|connection| !connection.is_closed())
    }

    async fn connect(&self) -> Result<Connection, ClientError> {
        let absent = |source| ClientError::NotRunning { socket: self.socket.clone(), source };
        let stream: Box<dyn Stream> = if let Some(remote) = &self.remote {
            remote.connect().await.map_err(absent)?
        } else {
            let stream = UnixStream::connect(&self.socket).await.map_err(absent)?;
            let uid = stream.peer_cred().map_err(|e| self.broken(e))?.uid();
            if !self.trusted.contains(&uid) {
                return Err(ClientError::Untrusted { socket: self.socket.clone(), uid });
            }
            Box::new(stream)
        };
        let (sender, driver) = handshake(TokioIo::new(stream)).await.map_err(|e| self.broken(e))?;
        tokio::spawn(driver);
        Ok(sender)
    }

    pub(crate) fn broken(&self, reason: impl std::fmt::Display) -> ClientError {
        ClientError::Broken { socket: self.socket.clone(), reason: reason.to_string() }
    }
}

/// Whether doing it twice is the same as once: it changes nothing, or its key tells.
fn repeatable(call: &Call) -> bool {
    call.method().is_safe() || call.headers().contains_key("idempotency-key")
}
