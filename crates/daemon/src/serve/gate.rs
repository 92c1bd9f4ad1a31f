//! The gate: every call passes it, and a handler is reached by nobody else.
//!
//! Must never let a call through whose caller it does not know.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::serve::App;
use crate::serve::caller::{Caller, Door, Origin, Role};
use crate::serve::problem::Failure;

/// Establishes who calls, and carries the call out or refuses it.
pub(crate) async fn pass(State(app): State<App>, mut request: Request, next: Next) -> Response {
    app.called();
    let path = request.uri().path().to_owned();
    let response = match admit(&app, &request) {
        Ok(caller) if request.method().is_safe() => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            carry_out(request, next).await
        }
        Err(failure) => failure.into_response(),
    };
    match response.extensions().get::<Failure>() {
        Some(failure) => rename(failure.clone().instance(&path), &response),
        None => response,
    }
}

/// The same refusal with the path in it; headers that were added on the way stay.
fn rename(failure: Failure, old: &Response) -> Response {
    let mut response = failure.into_response();
    for (name, value) in old.headers() {
        if !response.headers().contains_key(name) && name != axum::http::header::CONTENT_LENGTH {
            response.headers_mut().insert(name.clone(), value.clone());
        }
    }
    response
}

/// Carries out a call that changes something. It goes on to its end even if the caller leaves.
async fn carry_out(request: Request, next: Next) -> Response {
    let work = tokio::spawn(async move { next.run(request).await });
    work.await.unwrap_or_else(|_| Failure::internal("the call broke down").into_response())
}

/// Who calls, if the call may be made at all.
fn admit(app: &App, request: &Request) -> Result<Caller, Failure> {
    let origin = request
        .extensions()
        .get::<Origin>()
        .copied()
        .ok_or_else(|| Failure::internal("a call without an origin"))?;
    let uid = origin.uid.ok_or_else(|| {
        Failure::new(StatusCode::FORBIDDEN, "E-NO-PEER", "the kernel does not say who you are")
    })?;
    let administrates = origin.door == Door::Admins || uid.get() == 0 || uid == app.own_uid;
    let role = if administrates { Role::Admin } else { Role::User };
    Ok(Caller { origin, uid, role, tenant: None, token: None, key: None })
}
