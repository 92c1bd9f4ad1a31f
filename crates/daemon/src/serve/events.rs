//! What happened, from the journal.
//!
//! Must never make the actor wait for a reader.

use std::time::Duration;

use api::{EventView, Page};
use axum::Json;
use axum::extract::State;
use model::LeaseId;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::sentence;
use crate::serve::extract::Params;
use crate::serve::page::{Paging, page};
use crate::serve::{App, Failure};

/// The longest a reader may wait for news in one call.
pub(super) const PATIENCE_MAX: Duration = Duration::from_secs(60);
/// Larger numbers than the journal holds mean its largest.
pub(super) const SEQ_MAX: u64 = i64::MAX as u64;

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Window {
    /// Events with a number above this one, oldest first.
    after: Option<u64>,
    /// The newest so many, oldest first; without `after`.
    #[param(minimum = 1, maximum = 1000)]
    last: Option<u32>,
    /// Events of this lease alone.
    #[param(value_type = Option<String>, example = "L7")]
    lease: Option<LeaseId>,
    /// With `after`: wait up to so many milliseconds for an event, at most a minute.
    wait_ms: Option<u64>,
}

/// List events
#[utoipa::path(
    get, path = "/v1/events", tag = "events", operation_id = "list_events",
    params(Window, Paging),
    responses((status = OK, body = Page<EventView>))
)]
pub(super) async fn list(
    State(app): State<App>,
    Params(window): Params<Window>,
    Params(paging): Params<Paging>,
) -> Result<Json<Page<EventView>>, Failure> {
    let limit = paging.limit()?;
    let after = paging.after("events")?.or(window.after).map(|after| after.min(SEQ_MAX));
    if let Some(after) = after {
        let patience = Duration::from_millis(window.wait_ms.unwrap_or(0)).min(PATIENCE_MAX);
        let mut news = app.published.clone();
        let _ = tokio::time::timeout(patience, news.wait_for(|now| now.last_seq > after)).await;
    }
    let one_more = limit + 1;
    let mut found = match (window.lease, after) {
        (Some(lease), _) if lease.get() > SEQ_MAX => Vec::new(),
        (Some(lease), _) => app.read(move |journal| journal.of_lease(lease)).await?,
        (None, Some(after)) => app.read(move |journal| journal.after(after, one_more)).await?,
        (None, None) => {
            let limit = window.last.map_or(Ok(limit), |last| super::page::limit(Some(last)))?;
            app.read(move |journal| journal.newest(limit)).await?
        }
    };
    if window.lease.is_some() {
        found.retain(|recorded| after.is_none_or(|after| recorded.seq > after));
        if let (Some(last), None) = (window.last, after) {
            found.drain(..found.len().saturating_sub(last as usize));
        }
    }
    let observed = app.picture().observed;
    let views = found.iter().map(|recorded| sentence::view(recorded, &observed)).collect();
    let limit = if after.is_none() && window.lease.is_none() { u32::MAX } else { limit };
    Ok(Json(page("events", views, limit, |event| event.seq)))
}
