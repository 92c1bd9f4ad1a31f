//! Leases that are over, and use added up.
//!
//! Must never make the actor wait: the journal is read beside it.

use std::sync::Arc;

use api::{Page, PastLease, UsageView};
use axum::Json;
use axum::extract::State;
use broker::Peer;
use jiff::tz::TimeZone;
use model::{LeaseId, Timestamp, Uid};
use serde::Deserialize;
use store::{Closed, Reader, StoreError};
use utoipa::IntoParams;

use crate::past::{By, Story, Sums};
use crate::published::Published;
use crate::serve::extract::Params;
use crate::serve::page::{Paging, page};
use crate::serve::{App, Caller, Failure};

/// Leases read from the journal at once.
const BATCH: u32 = 500;
/// So many times for one page; it ends there, and its `next` goes on.
const BATCHES: u32 = 40;
/// A week: what use is added up of unless told.
const WEEK_MS: u64 = 7 * 86_400_000;

/// Which leases.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// This lease alone.
    #[param(value_type = Option<String>, example = "L7")]
    lease: Option<LeaseId>,
    /// Leases charged to this tenant.
    tenant: Option<String>,
    /// Leases that ended at this moment or later, ms since the Unix epoch.
    since_ms: Option<u64>,
}

/// List leases that are over, newest first
///
/// Users see their own, administrators all.
#[utoipa::path(
    get, path = "/v1/history", tag = "history", operation_id = "list_history",
    params(Which, Paging),
    responses((status = OK, body = Page<PastLease>))
)]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(which): Params<Which>,
    Params(paging): Params<Paging>,
) -> Result<Json<Page<PastLease>>, Failure> {
    let limit = paging.limit()?;
    let before = paging.after("history")?.unwrap_or(u64::MAX);
    let (by, picture) = (caller.peer(), app.picture());
    read(&app, move |past| pages(past, &which, &picture, by, before, limit)).await.map(Json)
}

fn pages(
    past: &Reader,
    which: &Which,
    picture: &Published,
    by: Peer,
    mut before: u64,
    limit: u32,
) -> Result<Page<PastLease>, StoreError> {
    let shown = |closed: &Closed| {
        let story = Story::of(closed)?;
        let own = by.admin || by.uid == story.spec.uid;
        let meant = which.tenant.as_deref().is_none_or(|t| story.spec.tenant.to_string() == t);
        story.view(&picture.observed, by).filter(|_| own && meant)
    };
    if let Some(lease) = which.lease {
        let items = past.ended_lease(lease)?.iter().filter_map(shown).collect();
        return Ok(Page { items, next: None });
    }
    let since = Timestamp::from_millis(which.since_ms.unwrap_or(0));
    let mut found = Vec::new();
    for _ in 0..BATCHES {
        let batch = past.ended(before, since, BATCH)?;
        found.extend(batch.iter().filter_map(shown));
        let last = batch.last().map_or(0, |last| last.end.seq);
        if batch.len() < BATCH as usize || found.len() > limit as usize {
            return Ok(page("history", found, limit, |lease| lease.seq));
        }
        before = last;
    }
    Ok(Page { items: found, next: Some(format!("history.{before:x}")) })
}

/// By what, and since when.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Span {
    /// What use is added up by.
    #[serde(default)]
    #[param(inline)]
    by: By,
    /// Since when, ms since the Unix epoch; a week ago unless told.
    since_ms: Option<u64>,
}

/// Add up what was used
///
/// By tenant and by day of everybody; by user of oneself, for administrators of everybody.
#[utoipa::path(
    get, path = "/v1/usage", tag = "history", operation_id = "list_usage",
    params(Span, Paging),
    responses((status = OK, body = Page<UsageView>))
)]
pub(super) async fn usage(
    State(app): State<App>,
    caller: Caller,
    Params(span): Params<Span>,
    Params(paging): Params<Paging>,
) -> Result<Json<Page<UsageView>>, Failure> {
    let limit = paging.limit()?;
    let from = paging.after("usage")?.unwrap_or(0);
    let picture = app.picture();
    let by = caller.peer();
    let views = read(&app, move |past| add_up(past, &span, &picture, by)).await?;
    // Sums have no number of their own; their place in the list is one.
    let rest = views.into_iter().zip(1_u64..).filter(|(_, place)| *place > from);
    let found = page("usage", rest.take(limit as usize + 1).collect(), limit, |(_, place)| *place);
    let items = found.items.into_iter().map(|(view, _)| view).collect();
    Ok(Json(Page { items, next: found.next }))
}

fn add_up(
    past: &Reader,
    span: &Span,
    picture: &Published,
    by: Peer,
) -> Result<Vec<UsageView>, StoreError> {
    let week_ago = picture.now.as_millis().saturating_sub(WEEK_MS);
    let since = Timestamp::from_millis(span.since_ms.unwrap_or(week_ago));
    let seen = |uid: Uid| span.by != By::User || by.admin || by.uid == uid;
    let mut sums = Sums::new(span.by, since, TimeZone::system());
    let mut before = u64::MAX;
    loop {
        let batch = past.ended(before, since, BATCH)?;
        for story in batch.iter().filter_map(Story::of).filter(|story| seen(story.spec.uid)) {
            sums.add(&story);
        }
        match batch.last() {
            Some(last) if batch.len() == BATCH as usize => before = last.end.seq,
            _ => break,
        }
    }
    for lease in picture.state.leases.values().filter(|lease| seen(lease.spec.uid)) {
        sums.add_running(&picture.observed, lease, picture.now);
    }
    Ok(sums.views())
}

/// Reads the journal in a thread where that may take its time.
async fn read<T: Send + 'static>(
    app: &App,
    work: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Failure> {
    let journal = Arc::clone(&app.journal_file);
    let done = tokio::task::spawn_blocking(move || Reader::open(&journal).and_then(|p| work(&p)));
    let found = done.await.map_err(|_| Failure::internal("reading the journal broke down"))?;
    found.map_err(|error| Failure::from(&error))
}
