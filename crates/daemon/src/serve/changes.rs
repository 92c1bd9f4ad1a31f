//! Changes of layout and mode: planned, begun, followed, cancelled.
//!
//! Must never let anybody but administrators do that, nor decide whether a plan still holds.

use std::time::Duration;

use api::{ChangeView, PLAN_FORMAT, Page, PlanDocument, PlanRequest};
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse};
use broker::{ChangeSpec, Command, GpuChangeSpec, Reply};
use model::clients::StopClients;
use model::{ChangeId, Step, UnitName};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::changes::of_units;
use crate::executor::chain;
use crate::modes;
use crate::planning::{self, Halting, NotPlanned};
use crate::published::Published;
use crate::serve::extract::{Body, Params, Segment};
use crate::serve::page::{Paging, page};
use crate::serve::{App, Caller, Failure};
use crate::views;

/// The longest a reader of a change may wait in one call.
const PATIENCE_MAX: Duration = Duration::from_secs(60);

/// Plan a change of layout or mode
///
/// Nothing is changed. The answer says what would stay, go and come, what is in the way and what it
/// would stop; give it to `POST /v1/changes` to have exactly that done.
#[utoipa::path(
    post, path = "/v1/changes/plan", tag = "changes", operation_id = "plan_change",
    request_body = PlanRequest,
    responses(
        (status = OK, body = PlanDocument),
        (status = FORBIDDEN, description = "E-ADMINS-ONLY"),
        (status = NOT_FOUND, description = "E-GPU-UNKNOWN"),
        (status = UNPROCESSABLE_ENTITY, description = "E-REQUEST, E-UNITS"),
    )
)]
pub(super) async fn plan(
    State(app): State<App>,
    caller: Caller,
    Body(body): Body<PlanRequest>,
) -> Result<Json<PlanDocument>, Failure> {
    caller.admin()?;
    let configured = app.picture().settings.config.mode.stop_clients.clone();
    let allowed = planning::allowed(&body.allow, &configured).map_err(not_planned)?;
    let made = tokio::task::spawn_blocking(move || {
        let halting = Halting::look(app.machine.units.as_ref(), &allowed);
        planning::document(&app.picture(), &app.machine, body, &halting)
    });
    let made = made.await.map_err(|_| Failure::internal("the planning broke down"))?;
    made.map(Json).map_err(not_planned)
}

fn not_planned(error: NotPlanned) -> Failure {
    let (status, code) = match &error {
        NotPlanned::NoSuchGpu(_) => (StatusCode::NOT_FOUND, "E-GPU-UNKNOWN"),
        NotPlanned::Units(_) => (StatusCode::UNPROCESSABLE_ENTITY, "E-UNITS"),
        NotPlanned::Nothing => (StatusCode::UNPROCESSABLE_ENTITY, "E-REQUEST"),
    };
    Failure::new(status, code, error.to_string())
}

/// Change layout or mode, exactly as planned
///
/// Refused if the machine is no longer as it was planned for. All GPUs are changed, or, if one of
/// them fails, all are as before; what could not be taken back is in the report.
#[utoipa::path(
    post, path = "/v1/changes", tag = "changes", operation_id = "change",
    request_body = PlanDocument,
    responses(
        (status = CREATED, body = ChangeView),
        (status = FORBIDDEN, description = "E-ADMINS-ONLY"),
        (status = CONFLICT, description = "E-MACHINE-CHANGED, E-BUSY"),
        (status = UNPROCESSABLE_ENTITY, description = "E-REQUEST, E-PLAN, E-UNITS, E-KEY-REUSED"),
    )
)]
pub(super) async fn begin(
    State(app): State<App>,
    caller: Caller,
    Body(plan): Body<PlanDocument>,
) -> Result<impl IntoResponse, Failure> {
    let by = caller.admin()?;
    if plan.format > PLAN_FORMAT {
        return Err(Failure::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "E-PLAN",
            format!("this plan has format {}; this daemon reads up to {PLAN_FORMAT}", plan.format),
        )
        .hint("plan again with the version of migctl that the daemon has"));
    }
    let names = units(&app.picture(), &plan, by)?;
    let halt = {
        let app = app.clone();
        tokio::task::spawn_blocking(move || halting(&app, names))
    };
    let names = halt.await.map_err(|_| Failure::internal("the look at the units broke down"))??;
    let plan = unheld(&app, plan, names.clone()).await?;
    let spec = spec(&app.picture(), plan, &names);
    let (reply, picture) = app.ask(Command::Change { spec, by }).await?;
    let Reply::Change(id) = reply else {
        return Err(Failure::internal("the broker named no change"));
    };
    let location = format!("/v1/changes/{id}");
    let view = view(&picture, id)?;
    Ok((StatusCode::CREATED, AppendHeaders([(header::LOCATION, location)]), Json(view)))
}

/// The units that a plan document stops. Others than those known to hold GPUs, and those that the
/// configuration names, are root's to stop.
fn units(
    picture: &Published,
    plan: &PlanDocument,
    by: broker::Peer,
) -> Result<Vec<UnitName>, Failure> {
    let refused =
        |detail: String| Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "E-UNITS", detail);
    let names: Result<Vec<UnitName>, _> = plan.units.iter().map(|stop| stop.unit.parse()).collect();
    let names = names.map_err(|error| refused(model::clients::UnitNameError::to_string(&error)))?;
    StopClients::named(names.clone()).map_err(|error| refused(error.to_string()))?;
    let configured = &picture.settings.config.mode.stop_clients;
    let may = |unit: &UnitName| {
        by.uid.get() == 0 || StopClients::Known.allows(unit) || configured.allows(unit)
    };
    match names.iter().find(|unit| !may(unit)) {
        None => Ok(names),
        Some(unit) => Err(refused(format!("{unit} is not known to hold GPUs"))
            .hint("name it in mode.stop_clients of the configuration, or ask as root")),
    }
}

/// Those of them that run now, in the order in which they stop: what does not run is not started
/// afterwards.
fn halting(app: &App, names: Vec<UnitName>) -> Result<Vec<UnitName>, Failure> {
    if names.is_empty() {
        return Ok(names);
    }
    let allowed = StopClients::Named(names);
    let found = host::units::Halt::of(app.machine.units.as_ref(), &allowed);
    let (halt, kept) = found
        .map_err(|error| Failure::new(StatusCode::SERVICE_UNAVAILABLE, "E-UNITS", chain(&error)))?;
    let needs = kept.iter().find(|kept| allowed.allows(&kept.unit));
    match needs {
        None => Ok(halt.units),
        Some(kept) => Err(Failure::new(StatusCode::CONFLICT, "E-UNITS", kept.why.clone())
            .hint("plan again; the units of the machine have changed")),
    }
}

/// Gives a plan back if nobody holds a GPU whose mode it changes.
async fn unheld(
    app: &App,
    plan: PlanDocument,
    stopping: Vec<UnitName>,
) -> Result<PlanDocument, Failure> {
    let turns = |part: &api::GpuPlan| {
        let turns = |step: &Step| matches!(step, Step::SetMigMode { .. } | Step::ResetGpu { .. });
        part.steps.iter().any(turns)
    };
    if plan.wait_idle || !plan.gpus.iter().any(turns) {
        return Ok(plan);
    }
    let app = app.clone();
    let look = move || {
        let picture = app.picture();
        for part in plan.gpus.iter().filter(|part| turns(part)) {
            let Some(seen) = picture.observed.gpu(&part.gpu) else { continue };
            let names = modes::holders(&app.machine, &picture, seen, &stopping);
            if !names.is_empty() {
                let words = modes::sentence(seen, &names);
                return Err(Failure::new(StatusCode::CONFLICT, "E-BUSY", words));
            }
        }
        Ok(plan)
    };
    let looked = tokio::task::spawn_blocking(look).await;
    looked.map_err(|_| Failure::internal("the search for holders broke down"))?
}

/// What of a plan document is decided.
fn spec(picture: &Published, plan: PlanDocument, names: &[UnitName]) -> ChangeSpec {
    let seen = plan.gpus.iter().filter_map(|part| picture.observed.gpu(&part.gpu));
    let leaving = seen.flat_map(|gpu| of_units(gpu, names)).collect();
    let part = |part: api::GpuPlan| GpuChangeSpec {
        gpu: part.gpu,
        desired: part.desired,
        before: part.before,
        steps: part.steps,
        fix: part.fix.map(|fix| fix.lend),
    };
    ChangeSpec {
        words: plan.words,
        gpus: plan.gpus.into_iter().map(part).collect(),
        units: names.iter().map(|name| name.as_str().to_owned()).collect(),
        leaving,
        reset: plan.allow.reset,
        wait_idle: plan.wait_idle,
    }
}

fn view(picture: &Published, id: ChangeId) -> Result<ChangeView, Failure> {
    let change = picture.state.changes.get(&id);
    change.map(|change| views::changes::change(picture, change)).ok_or_else(|| unknown(id))
}

fn unknown(id: ChangeId) -> Failure {
    Failure::from(broker::Refusal::from(broker::ChangeRefusal::Unknown(id)))
}

/// List changes: those under way and the newest that ended
#[utoipa::path(
    get, path = "/v1/changes", tag = "changes", operation_id = "list_changes",
    params(Paging),
    responses((status = OK, body = Page<ChangeView>))
)]
pub(super) async fn list(
    State(app): State<App>,
    _caller: Caller,
    Params(paging): Params<Paging>,
) -> Result<Json<Page<ChangeView>>, Failure> {
    let limit = paging.limit()?;
    let after = paging.after("changes")?.unwrap_or(0);
    let picture = app.picture();
    let later = picture.state.changes.values().filter(|change| change.id.get() > after);
    let found = later.map(|change| views::changes::change(&picture, change)).collect();
    Ok(Json(page("changes", found, limit, |change: &ChangeView| change.id.get())))
}

/// What a reader of a change has seen.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Seen {
    /// Answer once the change's revision exceeds this one, or it is over.
    after: Option<u64>,
    /// With `after`: at the latest after so many milliseconds, at most a minute.
    wait_ms: Option<u64>,
}

/// Read a change
#[utoipa::path(
    get, path = "/v1/changes/{change}", tag = "changes", operation_id = "read_change",
    params(("change" = String, Path, description = "Its id", example = "C4"), Seen),
    responses(
        (status = OK, body = ChangeView),
        (status = NOT_FOUND, description = "E-CHANGE-UNKNOWN"),
    )
)]
pub(super) async fn read(
    State(app): State<App>,
    _caller: Caller,
    Segment(id): Segment<String>,
    Params(seen): Params<Seen>,
) -> Result<Json<ChangeView>, Failure> {
    let id = named(&id)?;
    let patience = Duration::from_millis(seen.wait_ms.unwrap_or(0)).min(PATIENCE_MAX);
    let mut news = app.published.clone();
    let deadline = tokio::time::Instant::now() + patience;
    loop {
        let is_news = {
            let picture = news.borrow_and_update();
            let revision = picture.changes.get(&id).copied().unwrap_or(u64::MAX);
            let open = picture.state.changes.get(&id).is_some_and(broker::Change::is_open);
            !open || seen.after.is_none_or(|after| revision > after)
        };
        if is_news {
            return view(&app.picture(), id).map(Json);
        }
        match tokio::time::timeout_at(deadline, news.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(Failure::ending()),
            Err(_) => return view(&app.picture(), id).map(Json),
        }
    }
}

fn named(text: &str) -> Result<ChangeId, Failure> {
    text.parse().map_err(|error: model::ids::ChangeIdError| {
        Failure::new(StatusCode::NOT_FOUND, "E-CHANGE-UNKNOWN", error.to_string())
    })
}

/// Cancel a change
///
/// The step that is at work goes on to its end; then everything that was done is taken back.
#[utoipa::path(
    post, path = "/v1/changes/{change}/cancel", tag = "changes", operation_id = "cancel_change",
    params(("change" = String, Path, description = "Its id", example = "C4")),
    responses(
        (status = OK, body = ChangeView),
        (status = FORBIDDEN, description = "E-ADMINS-ONLY"),
        (status = NOT_FOUND, description = "E-CHANGE-UNKNOWN"),
        (status = CONFLICT, description = "E-CHANGE-OVER"),
    )
)]
pub(super) async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Segment(id): Segment<String>,
) -> Result<Json<ChangeView>, Failure> {
    let by = caller.admin()?;
    let change = named(&id)?;
    let (_, picture) = app.ask(Command::CancelChange { change, by }).await?;
    view(&picture, change).map(Json)
}
