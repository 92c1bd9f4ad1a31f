//! Bodies, queries and paths, refused as problems where they make no sense.
//!
//! Must never let a rejection of the framework reach a caller as plain text.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::serve::problem::Failure;

/// The body, as JSON.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        match Json::<T>::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(rejection) => Err(refuse_body(&rejection)),
        }
    }
}

fn refuse_body(rejection: &JsonRejection) -> Failure {
    let status = rejection.status();
    let text = rejection.body_text();
    match status {
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Failure::new(
            status,
            "E-MEDIA-TYPE",
            "the body must be JSON with `content-type: application/json`",
        ),
        StatusCode::PAYLOAD_TOO_LARGE => too_large(),
        // What is no JSON, and JSON that is not what the call takes, are told apart by status.
        StatusCode::UNPROCESSABLE_ENTITY => Failure::new(status, "E-REQUEST", text),
        _ => Failure::bad_request(text),
    }
}

/// The body is larger than any call needs.
pub(crate) fn too_large() -> Failure {
    Failure::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "E-TOO-LARGE",
        "the body is larger than this call takes",
    )
}

/// The query.
#[derive(Debug)]
pub(crate) struct Params<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let found: Result<Query<T>, QueryRejection> = Query::from_request_parts(parts, state).await;
        match found {
            Ok(Query(params)) => Ok(Self(params)),
            Err(rejection) => Err(Failure::bad_request(rejection.body_text())),
        }
    }
}

/// What stands in the path.
#[derive(Debug)]
pub(crate) struct Segment<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Segment<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let found: Result<Path<T>, PathRejection> = Path::from_request_parts(parts, state).await;
        match found {
            Ok(Path(segment)) => Ok(Self(segment)),
            Err(rejection) => Err(Failure::bad_request(rejection.body_text())),
        }
    }
}
