//! Events as they happen (server-sent events).
//!
//! One task reads what was committed and tells all readers; a reader that begins in the past, or
//! missed something, reads the journal until it has caught up. Must never make the actor or another
//! reader wait for a slow one: that one is let go, with the reason, and may resume.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use api::EventView;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_core::Stream;
use model::LeaseId;
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};
use utoipa::IntoParams;

use crate::sentence;
use crate::serve::extract::Params;
use crate::serve::{App, Failure};

/// How many events a reader may fall behind: minutes of a busy machine.
const BEHIND_MAX: usize = 4096;
/// Events that are made ready for a reader.
const READY: usize = 64;
/// Events read from the journal at a time.
const BATCH: u32 = 500;
/// A sign of life when nothing happens, so that neither end takes the other for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a reader should wait until it comes back.
const COME_BACK: Duration = Duration::from_secs(1);

/// What is told to all readers.
pub(crate) type News = broadcast::Sender<Arc<EventView>>;

/// A way to tell all readers.
pub(crate) fn news() -> News {
    broadcast::Sender::new(BEHIND_MAX)
}

/// Tells readers what was committed, until the actor ends.
pub(crate) async fn tell(app: App) {
    let mut published = app.published.clone();
    let mut told = published.borrow_and_update().last_seq;
    while published.changed().await.is_ok() {
        let last = published.borrow_and_update().last_seq;
        if app.news.receiver_count() == 0 {
            told = last;
        }
        while told < last {
            let Ok(found) = read(&app, told).await else { return };
            let Some(newest) = found.last() else { break };
            told = newest.seq;
            for event in found {
                let _ = app.news.send(Arc::new(event));
            }
        }
    }
}

/// The next events of the journal.
async fn read(app: &App, after: u64) -> Result<Vec<EventView>, Failure> {
    let found = app.read(move |journal| journal.after(after, BATCH)).await?;
    let observed = app.picture().observed;
    Ok(found.iter().map(|recorded| sentence::view(recorded, &observed)).collect())
}

/// From where, and about what.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct From {
    /// Begin behind the event with this number; absent: with what happens next. The header
    /// `Last-Event-ID` goes before.
    after: Option<u64>,
    /// Events of this lease alone.
    #[param(value_type = Option<String>, example = "L7")]
    lease: Option<LeaseId>,
}

/// Follow events
///
/// Server-sent events: `id` is the event's number, `event` its kind, `data` the same object that
/// `/v1/events` lists. A reader that falls too far behind is sent the event `dropped` with a
/// problem as its data, and may come back with `Last-Event-ID`.
#[utoipa::path(
    get, path = "/v1/events/stream", tag = "events", operation_id = "follow_events",
    params(
        From,
        ("last-event-id" = Option<u64>, Header, description = "The last event that was seen"),
    ),
    responses(
        (status = OK, description = "A stream without end", content_type = "text/event-stream",
            body = String)
    )
)]
pub(super) async fn follow(
    State(app): State<App>,
    headers: HeaderMap,
    Params(from): Params<From>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let now = app.published.borrow().last_seq;
    // A number from the future is one of a journal that was lost: nothing would ever come.
    let after = seen.or(from.after).map_or(now, |after: u64| after.min(now));
    let (ready, events) = mpsc::channel(READY);
    // Subscribed before anything is read, so that nothing falls between.
    let reader = Reader { news: app.news.subscribe(), app, ready, seen: after, lease: from.lease };
    tokio::spawn(reader.run());
    Sse::new(Events(events)).keep_alive(KeepAlive::new().interval(HEARTBEAT))
}

/// Why a reader's stream ends.
enum End {
    /// It left.
    Left,
    /// It is sent this and let go.
    Told(Failure),
}

/// One who follows.
struct Reader {
    app: App,
    news: broadcast::Receiver<Arc<EventView>>,
    ready: mpsc::Sender<Event>,
    /// The number of the newest event it was sent or that is not for it.
    seen: u64,
    lease: Option<LeaseId>,
}

impl Reader {
    async fn run(mut self) {
        let end = match self.ready.send(Event::default().retry(COME_BACK).comment("migd")).await {
            Ok(()) => self.go_on().await,
            Err(_) => End::Left,
        };
        if let End::Told(failure) = end {
            tracing::info!(code = failure.code(), "a reader of events was let go");
            let event = Event::default().event("dropped").json_data(failure.problem());
            if let Ok(event) = event {
                let _ = self.ready.send(event).await;
            }
        }
    }

    /// Sends events until the end.
    async fn go_on(&mut self) -> End {
        if let Err(end) = self.catch_up().await {
            return end;
        }
        loop {
            let next = tokio::select! {
                next = self.news.recv() => next,
                () = self.ready.closed() => return End::Left,
            };
            let told = match next {
                Ok(event) if event.seq <= self.seen => Ok(()),
                Ok(event) if event.seq == self.seen + 1 => self.send(&event).await,
                Ok(_) => self.catch_up().await,
                Err(RecvError::Lagged(missed)) => Err(End::Told(too_slow(missed))),
                Err(RecvError::Closed) => Err(End::Told(Failure::ending())),
            };
            if let Err(end) = told {
                return end;
            }
        }
    }

    /// Reads the journal until there is nothing more.
    async fn catch_up(&mut self) -> Result<(), End> {
        loop {
            let found = read(&self.app, self.seen).await.map_err(End::Told)?;
            if found.is_empty() {
                return Ok(());
            }
            for event in found {
                self.send(&event).await?;
            }
        }
    }

    async fn send(&mut self, event: &EventView) -> Result<(), End> {
        self.seen = event.seq;
        if self.lease.is_some() && event.lease != self.lease {
            return Ok(());
        }
        let wire = Event::default().id(event.seq.to_string()).event(&event.kind);
        let wire = wire
            .json_data(event)
            .map_err(|_| End::Told(Failure::internal("an event cannot be written as JSON")))?;
        self.ready.send(wire).await.map_err(|_| End::Left)
    }
}

fn too_slow(missed: u64) -> Failure {
    Failure::new(
        axum::http::StatusCode::SERVICE_UNAVAILABLE,
        "E-SLOW-READER",
        format!("this reader fell {missed} events behind what is kept for it"),
    )
    .hint("come back with the number of the last event in `Last-Event-ID`")
}

/// The stream of one reader.
struct Events(mpsc::Receiver<Event>);

impl Stream for Events {
    type Item = Result<Event, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|event| event.map(Ok))
    }
}
