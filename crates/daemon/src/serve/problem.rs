//! Errors as RFC 9457 problems, with stable codes.
//!
//! Must never show one user another's commands or arguments.

use api::Problem;
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use broker::{ChangeRefusal, Refusal};
use store::StoreError;

use crate::actor::Rejected;

/// The media type of problems.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// A problem on its way out.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    problem: Box<Problem>,
    /// When trying again may help, in seconds.
    retry_after: Option<u64>,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("error");
        let passes =
            matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        Self {
            problem: Box::new(Problem::new(status.as_u16(), code, title, detail)),
            retry_after: passes.then_some(1),
        }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.problem.hint = Some(hint.into());
        self
    }

    /// Says after how many seconds trying again may help.
    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Names the call that failed.
    pub(crate) fn instance(mut self, path: &str) -> Self {
        self.problem.instance = Some(path.to_owned());
        self
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "E-REQUEST", detail)
    }

    pub(crate) fn ending() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "E-ENDING", "the daemon is ending")
            .hint("try again in a moment")
    }

    pub(crate) fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "E-INTERNAL", detail)
            .hint("please report it with the daemon's log")
    }

    /// The document.
    pub(crate) fn problem(&self) -> &Problem {
        &self.problem
    }

    /// The code.
    pub(crate) fn code(&self) -> &str {
        &self.problem.code
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self.problem.as_ref())).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // The gate names the call and the audit the code: neither is known here.
        response.extensions_mut().insert(self);
        response
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
            Refusal::Change(refusal) => of_change(refusal),
            Refusal::NoSuchSlice(_)
            | Refusal::NoSuchGpu { .. }
            | Refusal::NeverFits { .. }
            | Refusal::BadCount(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Refusal::NoSuchLease(_) | Refusal::UnknownGpu(_) | Refusal::NoSuchBooking(_) => {
                StatusCode::NOT_FOUND
            }
            Refusal::NotYours(_)
            | Refusal::NotAllowed { .. }
            | Refusal::OverCap { .. }
            | Refusal::AdminsOnly(_) => StatusCode::FORBIDDEN,
            Refusal::TooManyWaiting(_) => StatusCode::TOO_MANY_REQUESTS,
            Refusal::NoRoomNow { .. }
            | Refusal::MigOff(_)
            | Refusal::MigOn(_)
            | Refusal::BookingInUse { .. }
            | Refusal::NameTaken { .. }
            | Refusal::CannotBook(_)
            | Refusal::WrongPhase { .. } => StatusCode::CONFLICT,
        };
        let mut failure = Self::new(status, refusal.code(), refusal.to_string());
        failure.problem.hint = refusal.hint();
        failure
    }
}

const fn of_change(refusal: &ChangeRefusal) -> StatusCode {
    match refusal {
        ChangeRefusal::BadPlan(_) => StatusCode::UNPROCESSABLE_ENTITY,
        ChangeRefusal::Unknown(_) => StatusCode::NOT_FOUND,
        ChangeRefusal::MachineChanged { .. }
        | ChangeRefusal::Busy(_)
        | ChangeRefusal::Over { .. }
        | ChangeRefusal::NotFixed(_) => StatusCode::CONFLICT,
    }
}
