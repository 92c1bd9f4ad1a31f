//! The gate: every call passes it, and a handler is reached by nobody else.
//!
//! It establishes who calls, holds them to their rate and scope, answers a repeated key as before,
//! and writes down every call that was to change something before its answer goes out. Must never
//! let a call through whose caller it does not know.

use std::sync::Arc;
use std::time::{Duration, Instant};

use api::Role;
use axum::body::{Body, to_bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use host::Users;
use model::{Tenant, Uid};
use sha2::{Digest as _, Sha256};
use store::{AuditRecord, KeptAnswer};

use crate::ledger::{Begun, Keeper, Keyed};
use crate::serve::caller::{Caller, Door, Origin};
use crate::serve::extract::too_large;
use crate::serve::hosts::Hosts;
use crate::serve::limits::{Rates, Who};
use crate::serve::problem::Failure;
use crate::serve::{App, body_max, takes, tokens};

/// The header of the key that makes a call idempotent.
const KEY: &str = "idempotency-key";
/// The longest key.
const KEY_MAX: usize = 200;
/// The header that marks an answer as one that was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// The header in which a client of root names the user behind sudo.
const SUDO: &str = "migd-sudo-uid";

/// What the gate knows.
#[derive(Debug)]
pub(crate) struct Guard {
    pub(crate) keeper: Keeper,
    pub(crate) rates: Rates,
    /// What a caller over the network may call this host.
    pub(crate) hosts: Hosts,
}

/// An answer that holds what may be told once: given again, the caller learns that alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ToldOnce;

/// Lets a call through, or refuses it.
pub(crate) async fn pass(State(app): State<App>, mut request: Request, next: Next) -> Response {
    app.called();
    let path = request.uri().path().to_owned();
    let safe = request.method().is_safe();
    let response = match admit(&app, &request) {
        Ok(caller) if safe => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Ok(caller) => {
            // It goes on to its end even if the caller leaves: what is done is written down.
            let work = tokio::spawn(carry_out(app, caller, request, next));
            work.await.unwrap_or_else(|_| broke_down())
        }
        Err(failure) => {
            let response = failure.into_response();
            // A flood is not written down call by call: nothing of it was looked at.
            if !safe && response.status() != StatusCode::TOO_MANY_REQUESTS {
                let record = Record::of(&request, None).finish(&app, &response);
                let _ = app.guard.keeper.finish(record, None, None).await;
            }
            response
        }
    };
    name_call(response, &path)
}

/// A refusal with the path in it; headers that were added on the way stay.
fn name_call(old: Response, path: &str) -> Response {
    let Some(failure) = old.extensions().get::<Failure>() else { return old };
    if failure.problem().instance.is_some() {
        return old;
    }
    let mut response = failure.clone().instance(path).into_response();
    for (name, value) in old.headers() {
        if !response.headers().contains_key(name) && name != header::CONTENT_LENGTH {
            response.headers_mut().insert(name.clone(), value.clone());
        }
    }
    response
}

fn broke_down() -> Response {
    Failure::internal("the call broke down").into_response()
}

/// What of a call goes into the audit, before its outcome is known.
#[derive(Debug, Clone)]
struct Record {
    uid: Option<u32>,
    token: Option<String>,
    verb: String,
    object: String,
    origin: Option<Origin>,
    key: Option<String>,
}

impl Record {
    fn of(request: &Request, caller: Option<&Caller>) -> Self {
        let origin = request.extensions().get::<Origin>().copied();
        let path = request.uri().path();
        let route = request.extensions().get::<MatchedPath>().map_or(path, MatchedPath::as_str);
        let uid = caller.map(|caller| caller.uid).or(origin.and_then(|origin| origin.uid));
        Self {
            uid: uid.map(Uid::get),
            token: caller.and_then(|c| c.token.as_ref()).map(|token| token.name.clone()),
            verb: format!("{} {}", request.method(), short(route)),
            object: short(path),
            origin,
            key: key_of(request.headers()).ok().flatten(),
        }
    }

    /// The call as long as nothing came of it.
    fn begun(self, app: &App) -> AuditRecord {
        AuditRecord {
            at: app.clock.now(),
            uid: self.uid,
            token: self.token,
            verb: self.verb,
            object: self.object,
            door: self.origin.map_or("", |origin| origin.door.name()).to_owned(),
            address: self.origin.and_then(|o| o.address).map(|address| address.to_string()),
            status: 0,
            code: None,
            key: self.key,
        }
    }

    fn finish(self, app: &App, response: &Response) -> AuditRecord {
        let made = response.headers().get(header::LOCATION).and_then(|path| path.to_str().ok());
        let call = self.begun(app);
        AuditRecord {
            object: made.map_or(call.object, str::to_owned),
            status: response.status().as_u16(),
            code: response.extensions().get::<Failure>().map(|f| f.code().to_owned()),
            ..call
        }
    }
}

/// A path as long as a line of the audit bears.
fn short(path: &str) -> String {
    path.chars().take(200).collect()
}

/// The key of a call.
fn key_of(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let Some(value) = headers.get(KEY) else { return Ok(None) };
    let key = value.to_str().ok().filter(|key| (1..=KEY_MAX).contains(&key.len()));
    key.map(|key| Some(key.to_owned())).ok_or_else(|| {
        let words = format!("an idempotency key has 1 to {KEY_MAX} printable ASCII characters");
        Failure::new(StatusCode::BAD_REQUEST, "E-KEY", words)
    })
}

/// Carries out a call that is to change something, once per key, and writes it down.
async fn carry_out(app: App, mut caller: Caller, request: Request, next: Next) -> Response {
    let record = Record::of(&request, Some(&caller));
    let (call, request) = match keyed(&mut caller, request).await {
        Ok(found) => found,
        Err(failure) => return written(&app, record, None, failure.into_response()).await,
    };
    if let Some(call) = &call {
        match app.guard.keeper.begin(call.clone()).await {
            Ok(Begun::First) => {}
            Ok(Begun::Again(answer)) => {
                return written(&app, record, None, replay(answer)).await;
            }
            Ok(Begun::Other) => {
                let failure = Failure::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "E-KEY-REUSED",
                    "this idempotency key was used for another call within the hour",
                )
                .hint("make a new key for each thing to be done; repeat one only to repeat a call");
                return written(&app, record, None, failure.into_response()).await;
            }
            Err(_) => return Failure::ending().into_response(),
        }
    }
    let mut request = request;
    request.extensions_mut().insert(caller);
    let noted = app.guard.keeper.note(&record.clone().begun(&app));
    // A task of its own: a call that breaks down must end for those that wait for its answer.
    let work = tokio::spawn(async move { next.run(request).await });
    let response = work.await.unwrap_or_else(|_| broke_down());
    let response = written(&app, record, call, response).await;
    if let Some(noted) = noted {
        app.guard.keeper.over(noted);
    }
    response
}

/// Takes the key and, if there is one, the digest of the call.
async fn keyed(caller: &mut Caller, request: Request) -> Result<(Option<Keyed>, Request), Failure> {
    let Some(key) = key_of(request.headers())? else { return Ok((None, request)) };
    let route = request.extensions().get::<MatchedPath>();
    if !route.is_some_and(|route| takes(route.as_str(), request.method())) {
        // It is refused whatever its key was used for.
        return Ok((None, request));
    }
    // Tokens that act as one user do not know of each other's keys.
    let key = match &caller.token {
        Some(token) => format!("token {}/{key}", token.id),
        None => key,
    };
    let (parts, body) = request.into_parts();
    let max = body_max(parts.uri.path());
    let body = to_bytes(body, max).await.map_err(|error| {
        let text = error.to_string();
        if text.contains("length limit") { too_large() } else { Failure::bad_request(text) }
    })?;
    let mut digest = Sha256::new();
    digest.update(parts.method.as_str());
    digest.update(b"\n");
    digest.update(parts.uri.path_and_query().map_or("", |path| path.as_str()));
    digest.update(b"\n");
    digest.update(&body);
    let call =
        Keyed { key: format!("{}/{key}", caller.uid.get()), digest: digest.finalize().to_vec() };
    caller.key = Some(Arc::from(key));
    Ok((Some(call), Request::from_parts(parts, Body::from(body))))
}

/// Writes a call down, then lets its answer go.
async fn written(app: &App, record: Record, call: Option<Keyed>, response: Response) -> Response {
    // Named before it is kept: given again, it is the same.
    let response = name_call(response, &record.object);
    let audit = record.finish(app, &response);
    let (response, answer) = match &call {
        Some(call) => keep(app, call, response).await,
        None => (response, None),
    };
    match app.guard.keeper.finish(audit, call.map(|call| call.key), answer).await {
        Ok(()) => response,
        Err(_) => Failure::ending().into_response(),
    }
}

/// Whether an answer is what the call led to, as opposed to a trouble that passes.
fn is_outcome(status: StatusCode) -> bool {
    !status.is_server_error() && status != StatusCode::TOO_MANY_REQUESTS
}

/// The answer, and what is kept of it for a repetition of the call.
async fn keep(app: &App, call: &Keyed, response: Response) -> (Response, Option<KeptAnswer>) {
    if !is_outcome(response.status()) {
        return (response, None);
    }
    let (parts, body) = response.into_parts();
    let Ok(body) = to_bytes(body, usize::MAX).await else { return (broke_down(), None) };
    let text = |name| {
        let value: Option<&HeaderValue> = parts.headers.get(name);
        value.and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    let mut answer = KeptAnswer {
        key: call.key.clone(),
        digest: call.digest.clone(),
        status: parts.status.as_u16(),
        location: text(header::LOCATION),
        kind: text(header::CONTENT_TYPE).unwrap_or_default(),
        body: body.to_vec(),
        at: app.clock.now(),
    };
    if parts.extensions.get::<ToldOnce>().is_some() {
        answer.status = StatusCode::CONFLICT.as_u16();
        super::problem::PROBLEM_JSON.clone_into(&mut answer.kind);
        answer.body = told_once();
    }
    (Response::from_parts(parts, Body::from(body)), Some(answer))
}

fn told_once() -> Vec<u8> {
    let title = StatusCode::CONFLICT.canonical_reason().unwrap_or("error");
    let words = "the call was carried out, and its answer holds a secret that is told once";
    let mut problem = api::Problem::new(409, "E-TOLD-ONCE", title, words);
    problem.hint = Some("revoke what it made and make another one".to_owned());
    serde_json::to_vec(&problem).unwrap_or_default()
}

fn replay(answer: KeptAnswer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let mut response = (status, answer.body).into_response();
    let headers = response.headers_mut();
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    if let Ok(kind) = HeaderValue::from_str(&answer.kind) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    if let Some(Ok(location)) = answer.location.map(|path| HeaderValue::from_str(&path)) {
        headers.insert(header::LOCATION, location);
    }
    response
}

/// Who calls, if the call may be made at all.
fn admit(app: &App, request: &Request) -> Result<Caller, Failure> {
    let origin = request.extensions().get::<Origin>().copied();
    let origin = origin.ok_or_else(|| Failure::internal("a call without an origin"))?;
    let now = Instant::now();
    let caller = match origin.door {
        Door::Network => tokens::show(app, origin, request, now)?,
        Door::Users | Door::Admins => local(app, origin, request.headers())?,
    };
    let who = match &caller.token {
        Some(token) => Some(Who::Token(token.id)),
        None => (caller.role != Role::Admin).then_some(Who::User(caller.uid)),
    };
    if let Some(who) = who {
        app.guard.rates.take(who, now).map_err(too_fast)?;
    }
    if !request.method().is_safe() && caller.role < Role::User {
        return Err(Failure::new(
            StatusCode::FORBIDDEN,
            "E-ROLE",
            "a viewer may look and change nothing",
        ));
    }
    Ok(caller)
}

/// A caller on this machine, as the kernel tells.
fn local(app: &App, origin: Origin, headers: &HeaderMap) -> Result<Caller, Failure> {
    let uid = origin.uid.ok_or_else(|| {
        Failure::new(StatusCode::FORBIDDEN, "E-NO-PEER", "the kernel does not say who you are")
    })?;
    let members = Arc::clone(&app.published.borrow().settings);
    let members = &members.members;
    let administrates = origin.door == Door::Admins
        || uid.get() == 0
        || uid == app.own_uid
        || members.administers(uid);
    let role = if administrates { Role::Admin } else { Role::User };
    // Root alone is believed: it could become that user.
    let behind = headers.get(SUDO).filter(|_| uid.get() == 0);
    let behind = behind.and_then(|text| text.to_str().ok()?.parse().ok()).map(Uid::new);
    let own = |uid| Tenant::new(Users::load().label(uid));
    let tenant = members.tenant_of(behind.unwrap_or(uid)).or_else(|| behind.map(own));
    Ok(Caller { origin, uid, role, tenant, token: None, key: None })
}

/// The refusal of a call that came too soon after others.
pub(super) fn too_fast(wait: Duration) -> Failure {
    Failure::new(StatusCode::TOO_MANY_REQUESTS, "E-TOO-FAST", "you call too often")
        .hint(
            "wait for the span that `Retry-After` names, and call with `wait_ms` to wait for news",
        )
        .retry_after(wait.as_secs() + 1)
}
