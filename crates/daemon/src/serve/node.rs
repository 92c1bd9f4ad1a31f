//! Who answers, and the machine.
//!
//! Must never start anything: these are read by everybody, often.

use api::{NodeView, VersionView};
use axum::Json;
use axum::extract::State;

use model::NodeSnapshot;

use crate::serve::{App, Caller};
use crate::views;

/// Tell who answers
#[utoipa::path(
    get, path = "/v1/version", tag = "node",
    responses((status = OK, body = VersionView))
)]
pub(super) async fn version(State(app): State<App>) -> Json<VersionView> {
    Json(VersionView {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        api: api::API_VERSION,
        pid: std::process::id(),
        simulated: app.simulated.clone(),
    })
}

/// Show the machine: its GPUs, their slices, live leases
#[utoipa::path(get, path = "/v1/node", tag = "node", responses((status = OK, body = NodeView)))]
pub(super) async fn node(State(app): State<App>, caller: Caller) -> Json<NodeView> {
    let picture = app.picture();
    let mut view = views::node(&picture, app.simulated.clone(), caller.peer());
    view.warnings.extend(app.access.warnings(&picture.observed));
    Json(view)
}

/// Show what the driver tells of the machine, geometry included, without records
///
/// For whoever plans on this machine: the shapes are those of the driver's facts and may grow.
#[utoipa::path(
    get, path = "/v1/snapshot", tag = "node", operation_id = "show_snapshot",
    responses((status = OK, description = "The newest snapshot", body = serde_json::Value))
)]
pub(super) async fn snapshot(State(app): State<App>, _caller: Caller) -> Json<NodeSnapshot> {
    Json(NodeSnapshot::clone(&app.picture().observed))
}
