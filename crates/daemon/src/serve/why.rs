//! Why a request waits.
//!
//! Must never look for room itself: the broker says why.

use api::{StartView, WhyView};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use broker::Phase;

use crate::serve::extract::Segment;
use crate::serve::leases::named;
use crate::serve::{App, Caller, Failure};
use crate::views;

/// Ask why a request waits
///
/// One sentence, the leases in the way, its place in the order of service, and when it starts: at
/// the latest where hard limits tell, and probably.
#[utoipa::path(
    get, path = "/v1/leases/{lease}/why", tag = "leases", operation_id = "explain_request",
    params(("lease" = String, Path, description = "Its id or name")),
    responses(
        (status = OK, body = WhyView),
        (status = NOT_FOUND, description = "E-LEASE-UNKNOWN"),
        (status = CONFLICT, description = "E-NOT-WAITING"),
    )
)]
pub(super) async fn show(
    State(app): State<App>,
    caller: Caller,
    Segment(name): Segment<String>,
) -> Result<Json<WhyView>, Failure> {
    let lease = named(&app, &name, caller.peer())?;
    let view = views::why(&app.picture(), lease.id);
    view.map(Json).ok_or_else(|| {
        let state = match lease.phase {
            Phase::Queued | Phase::Granting { .. } => "its slices are being made",
            Phase::Active { .. } => "it has its slices",
            Phase::Ending { .. } => "it ends",
        };
        let detail = format!("{} does not wait: {state}", lease.id);
        Failure::new(StatusCode::CONFLICT, "E-NOT-WAITING", detail).hint("`migctl status` shows it")
    })
}

/// An estimate as the wire shows it.
pub(crate) fn start(said: &broker::StartEstimate) -> StartView {
    StartView {
        not_later_than_ms: said.not_later_than.map(model::Timestamp::as_millis),
        likely_ms: said.likely.map(model::Timestamp::as_millis),
    }
}
