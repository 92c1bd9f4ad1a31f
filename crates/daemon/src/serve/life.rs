//! Holders: what they agree to, and containers that take a lease over.
//!
//! Must never follow a container that nothing shows to be the lease's or its user's.

use api::{ContainerRef, LeaseView};
use axum::Json;
use axum::extract::State;
use broker::Command;

use crate::requests::{foreign_container, no_container, owner};
use crate::serve::extract::{Body, Segment};
use crate::serve::leases::{answer, named};
use crate::serve::{App, Caller, Failure};

/// Agree to be stopped and started anew on another slice
///
/// What the notice of a restartable lease proposes. The command is told to end; once its slices
/// are proven empty, the same lease waits for others, with the age it has.
#[utoipa::path(
    post, path = "/v1/leases/{lease}/agree", tag = "leases", operation_id = "agree_to_move",
    params(("lease" = String, Path, description = "Its id or name")),
    responses(
        (status = OK, body = LeaseView),
        (status = FORBIDDEN, description = "E-NOT-YOURS"),
        (status = NOT_FOUND, description = "E-LEASE-UNKNOWN"),
        (status = CONFLICT, description = "E-WRONG-PHASE"),
    )
)]
pub(super) async fn agree(
    State(app): State<App>,
    caller: Caller,
    Segment(name): Segment<String>,
) -> Result<Json<LeaseView>, Failure> {
    let by = caller.peer();
    let lease = named(&app, &name, by)?;
    let (reply, published) = app.ask(Command::Agree { lease: lease.id, by }).await?;
    Ok(Json(answer(&app, reply, &published, by).await?))
}

/// Tell which container uses the lease
///
/// The lease lives as long as the container from here on. The process must be in a control group of
/// that container, and must carry the lease's key in its environment or belong to the lease's user.
#[utoipa::path(
    post, path = "/v1/leases/{lease}/container", tag = "leases", operation_id = "contain_lease",
    params(("lease" = String, Path, description = "Its id or name")),
    request_body = ContainerRef,
    responses(
        (status = OK, body = LeaseView),
        (status = FORBIDDEN, description = "E-NOT-YOURS, E-NOT-YOUR-CONTAINER"),
        (status = NOT_FOUND, description = "E-LEASE-UNKNOWN"),
        (status = CONFLICT, description = "E-NOT-A-CONTAINER, E-WRONG-PHASE"),
    )
)]
pub(super) async fn contain(
    State(app): State<App>,
    caller: Caller,
    Segment(name): Segment<String>,
    Body(body): Body<ContainerRef>,
) -> Result<Json<LeaseView>, Failure> {
    let by = caller.peer();
    let lease = named(&app, &name, by)?;
    let (Some(id), Some(pid)) = (body.id.as_deref(), body.pid) else {
        return Err(Failure::bad_request("a container is named by its id and its process"));
    };
    let found = host::cgroups::container_of(pid, Some(id)).ok_or_else(|| no_container(Some(id)))?;
    let marked =
        || host::processes::carries(pid, crate::holders::LEASE_VARIABLE, &app.lease_key(lease.id));
    if !by.admin && owner(pid) != Some(lease.spec.uid) && !marked() {
        return Err(foreign_container(id));
    }
    let command =
        Command::Contain { lease: lease.id, by, container: found.id, cgroup: found.cgroup };
    let (reply, published) = app.ask(command).await?;
    Ok(Json(answer(&app, reply, &published, by).await?))
}
