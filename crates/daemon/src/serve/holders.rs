//! Who holds a GPU or a slice.
//!
//! Must never tell a process's arguments to anybody but its user and administrators.

use api::BusyView;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use model::{ComputeInstanceId, GpuInstanceId};
use serde::Deserialize;
use utoipa::IntoParams;

use super::gpus::named;
use crate::busy::{self, BusyPlace, Scene};
use crate::serve::extract::{Params, Segment};
use crate::serve::{App, Caller, Failure};

/// Which part of the GPU.
#[derive(Debug, Clone, Copy, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Part {
    /// This GPU instance alone.
    gpu_instance: Option<u32>,
    /// This compute instance of it alone.
    compute_instance: Option<u32>,
}

/// Show who holds a GPU or a slice
///
/// What the driver lists, who has the device nodes open, leases, virtual machines and kernel
/// modules. Arguments of processes are told to their own users and to administrators alone.
#[utoipa::path(
    get, path = "/v1/gpus/{gpu}/holders", tag = "gpus", operation_id = "gpu_holders",
    params(("gpu" = String, Path, description = "Index, UUID or PCI address"), Part),
    responses(
        (status = OK, body = BusyView),
        (status = BAD_REQUEST, description = "E-REQUEST"),
        (status = NOT_FOUND, description = "E-GPU-UNKNOWN, E-NO-SUCH-INSTANCE"),
    )
)]
pub(super) async fn show(
    State(app): State<App>,
    caller: Caller,
    Segment(gpu): Segment<String>,
    Params(part): Params<Part>,
) -> Result<Json<BusyView>, Failure> {
    if part.compute_instance.is_some() && part.gpu_instance.is_none() {
        return Err(Failure::bad_request(
            "a compute instance is in a GPU instance: name that, too",
        ));
    }
    let place = BusyPlace {
        gpu: named(&app, &gpu)?,
        gpu_instance: part.gpu_instance.map(GpuInstanceId::new),
        compute_instance: part.compute_instance.map(ComputeInstanceId::new),
    };
    let by = caller.peer();
    // It reads the descriptors of every process.
    let look = move || {
        let picture = app.picture();
        let root = app.access.root();
        let folder = app.simulated.as_ref().and_then(|_| root.as_path().parent());
        let invented = busy::invented(folder)
            .map_err(|error| Failure::internal(crate::executor::chain(&error)))?;
        let scene = Scene {
            observed: &picture.observed,
            state: &picture.state,
            root,
            invented: &invented,
            by,
        };
        busy::look(&scene, &place).map_err(|error| {
            Failure::new(StatusCode::NOT_FOUND, "E-NO-SUCH-INSTANCE", error.to_string())
                .hint("`migctl instances` lists them")
        })
    };
    let found = tokio::task::spawn_blocking(look).await;
    found.map_err(|_| Failure::internal("the search for holders broke down"))?.map(Json)
}
