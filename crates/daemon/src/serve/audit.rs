//! The audit: who changed what, from where, and what came of it.
//!
//! Must never be read by anybody but administrators, or changed by anybody.

use api::{AuditView, Page};
use axum::Json;
use axum::extract::State;
use host::Users;
use model::Uid;

use crate::serve::extract::Params;
use crate::serve::page::{Paging, page};
use crate::serve::{App, Caller, Failure};

/// List calls that were to change something, newest first
#[utoipa::path(
    get, path = "/v1/audit", tag = "audit", operation_id = "list_audit",
    params(Paging),
    responses((status = OK, body = Page<AuditView>))
)]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(paging): Params<Paging>,
) -> Result<Json<Page<AuditView>>, Failure> {
    caller.admin()?;
    let limit = paging.limit()?;
    let before = paging.after("audit")?;
    let found = app.guard.keeper.audit(before, limit + 1).await.map_err(|_| Failure::ending())?;
    let found = found.map_err(|error| Failure::from(&error))?;
    let users = Users::load();
    let views = found.into_iter().map(|(id, record)| AuditView {
        id,
        at_ms: record.at.as_millis(),
        uid: record.uid,
        user: record.uid.map(|uid| users.label(Uid::new(uid))),
        token: record.token,
        verb: record.verb,
        object: record.object,
        door: record.door,
        address: record.address,
        status: record.status,
        code: record.code,
        key: record.key,
    });
    Ok(Json(page("audit", views.collect(), limit, |call| call.id)))
}
