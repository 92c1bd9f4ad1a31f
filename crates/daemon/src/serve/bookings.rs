//! Bookings: made, listed, given up.
//!
//! Must never decide whether a booking can be kept.

use api::{BookingRequest, BookingView, Page};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use broker::{Command, Reply};
use model::BookingId;

use crate::requests::{self, Asker};
use crate::serve::extract::{Body, Params, Segment};
use crate::serve::page::{Paging, page};
use crate::serve::{App, Caller, Failure};
use crate::views;

/// List bookings that are not over
#[utoipa::path(
    get, path = "/v1/bookings", tag = "bookings", operation_id = "list_bookings",
    params(Paging),
    responses((status = OK, body = Page<BookingView>))
)]
pub(super) async fn list(
    State(app): State<App>,
    _caller: Caller,
    Params(paging): Params<Paging>,
) -> Result<Json<Page<BookingView>>, Failure> {
    let limit = paging.limit()?;
    let after = paging.after("bookings")?.unwrap_or(0);
    let picture = app.picture();
    let later = picture.state.bookings.values().filter(|booking| booking.id.get() > after);
    let found: Vec<BookingView> =
        later.map(|booking| views::rooms::booking(&picture, booking, picture.now)).collect();
    Ok(Json(page("bookings", found, limit, |booking| booking.id.get())))
}

/// Book room for a time
///
/// Accepted only if it can be kept for sure: whoever is on its places by then has a hard limit that
/// ends before, or agreed to be ended. Use it with `booking` in a request.
#[utoipa::path(
    post, path = "/v1/bookings", tag = "bookings", operation_id = "book",
    request_body = BookingRequest,
    responses(
        (status = CREATED, body = BookingView),
        (status = BAD_REQUEST, description = "E-REQUEST"),
        (status = FORBIDDEN, description = "E-NOT-ALLOWED"),
        (status = CONFLICT, description = "E-CANNOT-BOOK"),
        (status = UNPROCESSABLE_ENTITY, description = "E-REQUEST, E-PROFILE-SYNTAX, \
            E-MEMORY-SYNTAX, E-COMPUTE-SYNTAX, E-COUNT, E-GPU-SELECTOR, E-KEY-REUSED"),
    )
)]
pub(super) async fn book(
    State(app): State<App>,
    caller: Caller,
    Body(body): Body<BookingRequest>,
) -> Result<(StatusCode, Json<BookingView>), Failure> {
    let by = caller.peer();
    let asker = Asker { tenant: caller.tenant(), uid: by.uid, process: None, admin: by.admin };
    let spec = requests::parse_booking(body, asker)?;
    let (reply, picture) = app.ask(Command::Book { spec, by }).await?;
    let Reply::Booking(id) = reply else {
        return Err(Failure::internal("the broker named no booking"));
    };
    let booking = picture.state.bookings.get(&id);
    let booking = booking.ok_or_else(|| Failure::internal("the booking is gone"))?;
    let view = views::rooms::booking(&picture, booking, app.picture().now);
    Ok((StatusCode::CREATED, Json(view)))
}

/// Give a booking up
#[utoipa::path(
    delete, path = "/v1/bookings/{booking}", tag = "bookings", operation_id = "cancel_booking",
    params(("booking" = String, Path, description = "Its id or name")),
    responses(
        (status = OK, body = BookingView),
        (status = FORBIDDEN, description = "E-NOT-ALLOWED"),
        (status = NOT_FOUND, description = "E-BOOKING-UNKNOWN"),
    )
)]
pub(super) async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Segment(name): Segment<String>,
) -> Result<Json<BookingView>, Failure> {
    let by = caller.peer();
    let picture = app.picture();
    let known = |id: &BookingId| picture.state.bookings.get(id);
    let named = || {
        let mut of_name = picture.state.bookings.values().filter(|booking| {
            booking.spec.name.as_deref() == Some(&name) && (by.admin || booking.spec.uid == by.uid)
        });
        of_name.next()
    };
    let found = name.parse::<BookingId>().ok().map_or_else(named, |id| known(&id));
    let booking = found.ok_or_else(|| requests::no_such_booking(&name))?;
    let view = views::rooms::booking(&picture, booking, picture.now);
    app.ask(Command::CancelBooking { booking: booking.id, by }).await?;
    Ok(Json(view))
}
