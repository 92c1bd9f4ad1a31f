//! Errors as RFC 9457 problems, with stable codes.
//!
//! Must never show one user another's commands or arguments.

use api::Problem;
use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use broker::Refusal;
use store::StoreError;

use crate::actor::Rejected;

/// A problem on its way out.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) Box<Problem>);

impl Failure {
    pub(crate) fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self(Box::new(Problem {
            status: status.as_u16(),
            code: code.to_owned(),
            title: status.canonical_reason().unwrap_or("error").to_owned(),
            detail: detail.into(),
            hint: None,
        }))
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "E-REQUEST", detail)
    }

    pub(crate) fn ending() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "E-ENDING", "the daemon is ending")
            .hint("try again in a moment")
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        (status, kind, Json(*self.0)).into_response()
    }
}

impl From<Rejected> for Failure {
    fn from(rejected: Rejected) -> Self {
        match rejected {
            Rejected::Refused(refusal) => Self::from(refusal),
            Rejected::NotWritten(error) => Self::from(error.as_ref()),
        }
    }
}

impl From<&StoreError> for Failure {
    fn from(error: &StoreError) -> Self {
        let status = StatusCode::INSUFFICIENT_STORAGE;
        match error {
            StoreError::Full { .. } => {
                Self::new(status, "E-DISK-FULL", format!("{error}; nothing was changed"))
                    .hint("free some space; running slices are not affected")
            }
            StoreError::Unusable { .. } | StoreError::TooNew { .. } => {
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                Self::new(status, "E-JOURNAL", format!("{error}; nothing was changed"))
            }
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let status = match &refusal {
            Refusal::NoSuchSlice(_)
            | Refusal::NoSuchGpu { .. }
            | Refusal::NeverFits { .. }
            | Refusal::BadCount(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Refusal::NoSuchLease(_) => StatusCode::NOT_FOUND,
            Refusal::NotYours(_) => StatusCode::FORBIDDEN,
            Refusal::TooManyWaiting(_) => StatusCode::TOO_MANY_REQUESTS,
            Refusal::NoRoomNow { .. }
            | Refusal::MigOff(_)
            | Refusal::NameTaken { .. }
            | Refusal::WrongPhase { .. } => StatusCode::CONFLICT,
        };
        let mut failure = Self::new(status, refusal.code(), refusal.to_string());
        failure.0.hint = refusal.hint();
        failure
    }
}
