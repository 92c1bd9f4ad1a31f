//! Requests and leases.
//!
//! Must never act on a lease that belongs to another user than the caller without the broker
//! agreeing.

use std::sync::Arc;
use std::time::Duration;

use api::{AttachCommand, LeaseRequest, LeaseView, Page};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use broker::{Command, Event, Holder, Lease, Peer, Phase, Reply};
use host::Users;
use model::LeaseId;
use serde::Deserialize;
use tokio::time::Instant;
use utoipa::IntoParams;

use crate::published::Published;
use crate::requests::{self, Asker};
use crate::serve::events::{PATIENCE_MAX, SEQ_MAX};
use crate::serve::extract::{Body, Params, Segment};
use crate::serve::page::{Paging, page};
use crate::serve::{App, Caller, Failure};
use crate::views;

/// The view of a lease, live or over.
pub(super) async fn view(app: &App, name: &str, by: Peer) -> Result<LeaseView, Failure> {
    let published = app.picture();
    if let Some(lease) = find(&published, name, by) {
        return Ok(views::live_lease(&published, &lease, by));
    }
    let id = name.parse::<LeaseId>().ok().filter(|id| id.get() <= SEQ_MAX);
    let id = id.ok_or_else(|| no_such_lease(name))?;
    if let Some(ended) = published.recent.get(id) {
        let (lease, reason, receipt) = (&ended.lease, &ended.reason, ended.receipt.as_ref());
        return Ok(views::ended_lease(&published, lease, reason, receipt, ended.seq, by));
    }
    let history = app.read(move |journal| journal.of_lease(id)).await?;
    let mut fold = broker::State::default();
    for recorded in &history {
        if let Event::Ended { lease, reason, receipt } = &recorded.event
            && let Some(last) = fold.lease(*lease)
        {
            let receipt = receipt.as_ref();
            return Ok(views::ended_lease(&published, last, reason, receipt, recorded.seq, by));
        }
        fold.apply(recorded.at, &recorded.event);
    }
    // It ended between the two looks and its end is not in the picture yet, or never was.
    Err(no_such_lease(name))
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

/// List live requests and leases
#[utoipa::path(
    get, path = "/v1/leases", tag = "leases", operation_id = "list_leases",
    params(Paging),
    responses((status = OK, body = Page<LeaseView>))
)]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(paging): Params<Paging>,
) -> Result<Json<Page<LeaseView>>, Failure> {
    let limit = paging.limit()?;
    let after = paging.after("leases")?.unwrap_or(0);
    let mut found = views::leases(&app.picture(), caller.peer());
    found.retain(|lease| lease.id.get() > after);
    Ok(Json(page("leases", found, limit, |lease| lease.id.get())))
}

/// Ask for slices
///
/// Without `wait_ms` the answer comes at once, and need not have slices yet: read the lease with
/// `after` its revision and `wait_ms` until it is active.
#[utoipa::path(
    post, path = "/v1/leases", tag = "leases", operation_id = "request_lease",
    params(Patience),
    request_body = LeaseRequest,
    responses(
        (status = CREATED, body = LeaseView, headers(("location" = String, description = "Its path"))),
        (status = BAD_REQUEST, description = "E-REQUEST"),
        (status = CONFLICT, description = "E-NO-ROOM, E-MIG-OFF, E-NAME-TAKEN"),
        (status = UNPROCESSABLE_ENTITY, description = "E-REQUEST, E-PROFILE-SYNTAX, \
            E-PROFILE-UNKNOWN, E-MEMORY-SYNTAX, E-COMPUTE-SYNTAX, E-COUNT, E-SEVERAL-SLICES, \
            E-GPU-SELECTOR, E-GPU-UNKNOWN, E-NEVER-FITS, E-KEY-REUSED"),
        (status = TOO_MANY_REQUESTS, description = "E-TOO-MANY-WAITING, E-TOO-FAST"),
    )
)]
pub(super) async fn request(
    State(app): State<App>,
    caller: Caller,
    Params(patience): Params<Patience>,
    Body(body): Body<LeaseRequest>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<LeaseView>), Failure> {
    let by = caller.peer();
    let asker =
        Asker { tenant: caller.tenant(), uid: by.uid, process: caller.process(), admin: by.admin };
    let picture = app.picture();
    let spec = requests::parse(
        body,
        asker,
        &app.boot,
        &picture.policy,
        &picture.observed,
        &picture.state,
    )?;
    let key = caller.key.as_deref().map(|key| (by.uid.get(), key.to_owned()));
    let (reply, published) = app.ask_once(Command::Request(spec), key).await?;
    let waits = |phase: &Phase| matches!(phase, Phase::Queued | Phase::Granting { .. });
    let published = patience.settled(&app, reply, published, waits).await?;
    let view = answer(&app, reply, &published, by).await?;
    let location = format!("/v1/leases/{}", view.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(view)))
}

pub(super) async fn answer(
    app: &App,
    reply: Reply,
    published: &Published,
    by: Peer,
) -> Result<LeaseView, Failure> {
    let Reply::Lease(id) = reply else {
        return Err(Failure::internal("the broker named no lease"));
    };
    match published.state.lease(id) {
        Some(lease) => Ok(views::live_lease(published, lease, by)),
        None => view(app, &id.to_string(), by).await,
    }
}

/// How long an answer may take.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Patience {
    /// Answer once the lease is active or over (when it is asked for) or over (when it is given
    /// back), at the latest after so many milliseconds, at most a minute.
    wait_ms: Option<u64>,
}

impl Patience {
    /// The first picture in which the lease waits for nothing more, or the last one before patience
    /// ran out.
    async fn settled(
        &self,
        app: &App,
        reply: Reply,
        published: Published,
        waits: impl Fn(&Phase) -> bool,
    ) -> Result<Published, Failure> {
        let (Some(patience), Reply::Lease(id)) = (self.wait_ms, reply) else {
            return Ok(published);
        };
        let is_settled =
            |now: &Published| now.state.lease(id).is_none_or(|lease| !waits(&lease.phase));
        if is_settled(&published) {
            return Ok(published);
        }
        let until = Instant::now() + Duration::from_millis(patience).min(PATIENCE_MAX);
        app.once(id, until, is_settled).await
    }
}

/// What a reader of a lease has seen.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Since {
    /// Answer once the lease's revision exceeds this one.
    after: Option<u64>,
    /// With `after`: at the latest after so many milliseconds, at most a minute.
    wait_ms: Option<u64>,
}

/// Read a request or lease, live or over
#[utoipa::path(
    get, path = "/v1/leases/{lease}", tag = "leases", operation_id = "read_lease",
    params(("lease" = String, Path, description = "Its id, or the name of a live one"), Since),
    responses(
        (status = OK, body = LeaseView),
        (status = NOT_FOUND, description = "E-LEASE-UNKNOWN"),
    )
)]
pub(super) async fn read(
    State(app): State<App>,
    caller: Caller,
    Segment(name): Segment<String>,
    Params(since): Params<Since>,
) -> Result<Json<LeaseView>, Failure> {
    let by = caller.peer();
    // A name leads to a lease that is there already: nothing is waited for.
    if let (Ok(id), Some(seen)) = (name.parse::<LeaseId>(), since.after) {
        let patience = Duration::from_millis(since.wait_ms.unwrap_or(0)).min(PATIENCE_MAX);
        let is_news = |now: &Published| now.revisions.get(&id).is_none_or(|now| *now > seen);
        app.once(id, Instant::now() + patience, is_news).await?;
    }
    Ok(Json(view(&app, &name, by).await?))
}

/// The lease a mutating path names; acting on another user's is the broker's to refuse.
pub(super) fn named(app: &App, name: &str, by: Peer) -> Result<Lease, Failure> {
    let published = app.picture();
    find(&published, name, by).ok_or_else(|| no_such_lease(name))
}

/// Give a lease back, or withdraw a request
#[utoipa::path(
    delete, path = "/v1/leases/{lease}", tag = "leases", operation_id = "release_lease",
    params(("lease" = String, Path, description = "Its id or name"), Patience),
    responses(
        (status = OK, body = LeaseView),
        (status = FORBIDDEN, description = "E-NOT-YOURS"),
        (status = NOT_FOUND, description = "E-LEASE-UNKNOWN"),
        (status = CONFLICT, description = "E-WRONG-PHASE"),
    )
)]
pub(super) async fn release(
    State(app): State<App>,
    caller: Caller,
    Segment(name): Segment<String>,
    Params(patience): Params<Patience>,
) -> Result<Json<LeaseView>, Failure> {
    let by = caller.peer();
    let lease = named(&app, &name, by)?;
    let holder = match &lease.spec.holder {
        Holder::Process { client, .. } => caller.process() == Some(*client),
        Holder::Token { .. } | Holder::Container { .. } | Holder::Engine { .. } => false,
    };
    let command = Command::End { lease: lease.id, by, holder };
    let (reply, published) = app.ask(command).await?;
    let published = patience.settled(&app, reply, published, |_| true).await?;
    Ok(Json(answer(&app, reply, &published, by).await?))
}

/// Tell which process uses the lease
///
/// It must be a running child of the calling process, so this works over the unix sockets alone.
#[utoipa::path(
    post, path = "/v1/leases/{lease}/command", tag = "leases", operation_id = "attach_command",
    params(("lease" = String, Path, description = "Its id or name")),
    request_body = AttachCommand,
    responses(
        (status = OK, body = LeaseView),
        (status = FORBIDDEN, description = "E-NOT-YOURS"),
        (status = NOT_FOUND, description = "E-LEASE-UNKNOWN"),
        (status = CONFLICT, description = "E-NOT-A-CHILD, E-WRONG-PHASE"),
    )
)]
pub(super) async fn attach(
    State(app): State<App>,
    caller: Caller,
    Segment(name): Segment<String>,
    Body(body): Body<AttachCommand>,
) -> Result<Json<LeaseView>, Failure> {
    let by = caller.peer();
    let lease = named(&app, &name, by)?;
    let users = Users::load();
    let found = host::processes::describe(body.pid, &users, host::processes::Arguments::Hidden);
    let found = found.filter(|found| {
        // Only a child of the caller: a lease must not reach out for somebody else's process.
        Some(found.parent) == caller.process().map(|process| process.pid)
    });
    let command = found.map(|found| found.process).ok_or_else(|| {
        Failure::new(
            StatusCode::CONFLICT,
            "E-NOT-A-CHILD",
            format!("pid {} is not a running child of the calling process", body.pid),
        )
    })?;
    let (reply, published) = app.ask(Command::Attach { lease: lease.id, by, command }).await?;
    // Before the answer, which lets the command begin.
    let (access, picture) = (Arc::clone(&app.access), published.clone());
    let confine = move || access.confine(&picture, lease.id, command.pid);
    let _ = tokio::task::spawn_blocking(confine).await;
    Ok(Json(answer(&app, reply, &published, by).await?))
}

/// Renew the token of a lease
#[utoipa::path(
    post, path = "/v1/leases/{lease}/renew", tag = "leases", operation_id = "renew_lease",
    params(("lease" = String, Path, description = "Its id or name")),
    responses(
        (status = OK, body = LeaseView),
        (status = FORBIDDEN, description = "E-NOT-YOURS"),
        (status = NOT_FOUND, description = "E-LEASE-UNKNOWN"),
        (status = CONFLICT, description = "E-WRONG-PHASE"),
    )
)]
pub(super) async fn renew(
    State(app): State<App>,
    caller: Caller,
    Segment(name): Segment<String>,
) -> Result<Json<LeaseView>, Failure> {
    let by = caller.peer();
    let lease = named(&app, &name, by)?;
    let (reply, published) = app.ask(Command::Renew { lease: lease.id, by }).await?;
    Ok(Json(answer(&app, reply, &published, by).await?))
}
