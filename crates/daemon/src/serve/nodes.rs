//! Who may open what, and the break-glass.
//!
//! Must never let anybody but an administrator see or change it: it names other users' processes.

use std::sync::Arc;

use api::{AccessView, StockRequest};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use broker::GpuSelector;
use model::GpuUuid;

use crate::access;
use crate::executor::chain;
use crate::serve::extract::Body;
use crate::serve::{App, Caller, Failure};

/// Show who may open the slices
#[utoipa::path(
    get, path = "/v1/access", tag = "access", operation_id = "show_access",
    responses((status = OK, body = AccessView), (status = FORBIDDEN, description = "E-ADMINS-ONLY"))
)]
pub(super) async fn show(
    State(app): State<App>,
    caller: Caller,
) -> Result<Json<AccessView>, Failure> {
    caller.admin()?;
    answer(&app, |_, _| Ok(())).await
}

/// Give everybody access, as without migd
#[utoipa::path(
    post, path = "/v1/access/stock", tag = "access", operation_id = "stock_access",
    request_body = StockRequest,
    responses(
        (status = OK, body = AccessView),
        (status = FORBIDDEN, description = "E-ADMINS-ONLY"),
        (status = UNPROCESSABLE_ENTITY, description = "E-GPU-SELECTOR, E-GPU-UNKNOWN"),
    )
)]
pub(super) async fn stock(
    State(app): State<App>,
    caller: Caller,
    Body(body): Body<StockRequest>,
) -> Result<Json<AccessView>, Failure> {
    caller.admin()?;
    let gpu = body.gpu.map(|text| one_gpu(&app, &text)).transpose()?;
    answer(&app, move |access, app| access.break_glass(gpu.as_ref(), &app.published)).await
}

/// Let only the user of a lease open its slice again
#[utoipa::path(
    post, path = "/v1/access/enforce", tag = "access", operation_id = "enforce_access",
    responses((status = OK, body = AccessView), (status = FORBIDDEN, description = "E-ADMINS-ONLY"))
)]
pub(super) async fn enforce(
    State(app): State<App>,
    caller: Caller,
) -> Result<Json<AccessView>, Failure> {
    caller.admin()?;
    answer(&app, |access, app| access.mend_glass(&app.published)).await
}

/// Does something about access, then shows it. It touches files and every process, so it has a
/// thread of its own.
async fn answer(
    app: &App,
    act: impl FnOnce(&access::Access, &App) -> Result<(), access::GlassError> + Send + 'static,
) -> Result<Json<AccessView>, Failure> {
    let app = app.clone();
    let work = move || {
        let access = Arc::clone(&app.access);
        act(&access, &app).map_err(|error| {
            Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "E-ACCESS", chain(&error))
        })?;
        let picture = app.picture();
        access.view(&picture.state, &picture.observed).map_err(|error| {
            Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "E-ACCESS", chain(&error))
        })
    };
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Failure::internal("the look at the nodes broke down"))?.map(Json)
}

fn one_gpu(app: &App, text: &str) -> Result<GpuUuid, Failure> {
    let invalid = |code: &str, words: String| {
        Failure::new(StatusCode::UNPROCESSABLE_ENTITY, code, words)
            .hint("`migctl gpus` lists the GPUs")
    };
    let selector = text.parse::<GpuSelector>();
    let selector = selector.map_err(|error| invalid("E-GPU-SELECTOR", error.to_string()))?;
    let observed = app.picture().observed;
    let mut meant = observed.gpus.iter().filter(|gpu| selector.matches(gpu));
    match (meant.next(), meant.next()) {
        (Some(gpu), None) => Ok(gpu.uuid.clone()),
        (None, _) => Err(invalid("E-GPU-UNKNOWN", format!("there is no {selector} here"))),
        (Some(_), Some(_)) => {
            Err(invalid("E-GPU-UNKNOWN", format!("`{text}` means several GPUs; name one")))
        }
    }
}
