//! GPUs taken out of use and put back.
//!
//! Must never let anybody but administrators do that.

use api::{CordonRequest, GpuView};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use broker::{Command, GpuSelector};
use model::GpuUuid;

use crate::serve::extract::{Body, Segment};
use crate::serve::{App, Caller, Failure};
use crate::views;

/// The GPU that a path names.
pub(super) fn named(app: &App, text: &str) -> Result<GpuUuid, Failure> {
    let unknown = |detail: String| {
        Failure::new(StatusCode::NOT_FOUND, "E-GPU-UNKNOWN", detail)
            .hint("`migctl gpus` lists the GPUs")
    };
    let selector: GpuSelector = text
        .parse()
        .map_err(|error: broker::request::GpuSelectorError| unknown(error.to_string()))?;
    let picture = app.picture();
    let mut found = picture.observed.gpus.iter().filter(|gpu| selector.matches(gpu));
    match (found.next(), found.next()) {
        (Some(gpu), None) => Ok(gpu.uuid.clone()),
        (None, _) => Err(unknown(format!("there is no {selector} here"))),
        (Some(_), Some(_)) => Err(unknown(format!("`{text}` names several GPUs; name one"))),
    }
}

async fn take_out(
    app: App,
    caller: Caller,
    gpu: &str,
    drain: bool,
    body: CordonRequest,
) -> Result<Json<GpuView>, Failure> {
    let by = caller.admin()?;
    let gpu = named(&app, gpu)?;
    let why: String = body.why.unwrap_or_default().chars().take(500).collect();
    let (_, picture) = app.ask(Command::Cordon { gpu: gpu.clone(), drain, why, by }).await?;
    view(&app, &picture, &gpu, by)
}

fn view(
    app: &App,
    picture: &crate::published::Published,
    gpu: &GpuUuid,
    by: broker::Peer,
) -> Result<Json<GpuView>, Failure> {
    let view = views::rooms::one(picture, gpu, app.simulated.clone(), by);
    view.map(Json).ok_or_else(|| Failure::internal("the GPU is gone"))
}

/// Take a GPU out of use for new leases
///
/// What runs there stays. `gpu` is an index, a UUID or a PCI address.
#[utoipa::path(
    post, path = "/v1/gpus/{gpu}/cordon", tag = "gpus", operation_id = "cordon_gpu",
    params(("gpu" = String, Path, description = "Index, UUID or PCI address")),
    request_body = CordonRequest,
    responses(
        (status = OK, body = GpuView),
        (status = FORBIDDEN, description = "E-ADMINS-ONLY"),
        (status = NOT_FOUND, description = "E-GPU-UNKNOWN"),
    )
)]
pub(super) async fn cordon(
    State(app): State<App>,
    caller: Caller,
    Segment(gpu): Segment<String>,
    Body(body): Body<CordonRequest>,
) -> Result<Json<GpuView>, Failure> {
    take_out(app, caller, &gpu, false, body).await
}

/// Take a GPU out of use and have it emptied
///
/// Preemptible leases get notice and then end, restartable ones are asked to move, the others are
/// waited for; nobody is killed who did not agree to it.
#[utoipa::path(
    post, path = "/v1/gpus/{gpu}/drain", tag = "gpus", operation_id = "drain_gpu",
    params(("gpu" = String, Path, description = "Index, UUID or PCI address")),
    request_body = CordonRequest,
    responses(
        (status = OK, body = GpuView),
        (status = FORBIDDEN, description = "E-ADMINS-ONLY"),
        (status = NOT_FOUND, description = "E-GPU-UNKNOWN"),
    )
)]
pub(super) async fn drain(
    State(app): State<App>,
    caller: Caller,
    Segment(gpu): Segment<String>,
    Body(body): Body<CordonRequest>,
) -> Result<Json<GpuView>, Failure> {
    take_out(app, caller, &gpu, true, body).await
}

/// Put a GPU back into use
#[utoipa::path(
    post, path = "/v1/gpus/{gpu}/uncordon", tag = "gpus", operation_id = "uncordon_gpu",
    params(("gpu" = String, Path, description = "Index, UUID or PCI address")),
    responses(
        (status = OK, body = GpuView),
        (status = FORBIDDEN, description = "E-ADMINS-ONLY"),
        (status = NOT_FOUND, description = "E-GPU-UNKNOWN"),
    )
)]
pub(super) async fn uncordon(
    State(app): State<App>,
    caller: Caller,
    Segment(gpu): Segment<String>,
) -> Result<Json<GpuView>, Failure> {
    let by = caller.admin()?;
    let gpu = named(&app, &gpu)?;
    let (_, picture) = app.ask(Command::Uncordon { gpu: gpu.clone(), by }).await?;
    view(&app, &picture, &gpu, by)
}

/// Hand a GPU that a file fixed back to automatic management
///
/// Whole slices that the file made are the daemon's to lend and to take away from here on; what was
/// made there by hand since stays its maker's.
#[utoipa::path(
    post, path = "/v1/gpus/{gpu}/auto", tag = "gpus", operation_id = "hand_back_gpu",
    params(("gpu" = String, Path, description = "Index, UUID or PCI address")),
    responses(
        (status = OK, body = GpuView),
        (status = FORBIDDEN, description = "E-ADMINS-ONLY"),
        (status = NOT_FOUND, description = "E-GPU-UNKNOWN"),
        (status = CONFLICT, description = "E-NOT-FIXED, E-BUSY"),
    )
)]
pub(super) async fn hand_back(
    State(app): State<App>,
    caller: Caller,
    Segment(gpu): Segment<String>,
) -> Result<Json<GpuView>, Failure> {
    let by = caller.admin()?;
    let gpu = named(&app, &gpu)?;
    let (_, picture) = app.ask(Command::HandBack { gpu: gpu.clone(), by }).await?;
    view(&app, &picture, &gpu, by)
}
