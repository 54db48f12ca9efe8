//! `GET /reservations/{id}`.

use axum::Json;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

use super::view::{ReservationView, pending};
use crate::answer::{POLL_AFTER_SECONDS, applied};
use crate::auth::Caller;
use crate::error::Error;
use crate::extract::{Id, preferred_wait};
use crate::routes::orders::find::{Found, find};
use crate::routes::orders::show::waited;
use crate::routes::orders::view::failed;
use crate::state::App;

pub(crate) async fn handle(
    App(state): App,
    Caller(caller): Caller,
    Id(id): Id,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let wait = preferred_wait(&headers, state.config.wait_max);
    let waiter = wait.map(|limit| (limit, state.waiters.wait(id)));
    let found = match (find(&state, caller, id).await?, waiter) {
        (Found::Waiting, Some((limit, waiter))) => waited(waiter.outcome(limit).await)?,
        (found, _) => found,
    };
    let response = match found {
        Found::Decided(order) if order.is_reservation() => Json(ReservationView::from(*order)).into_response(),
        Found::Decided(_) => return Err(Error::NotFound("There is no such reservation.".to_owned())),
        Found::Failed => Json(failed(id)).into_response(),
        Found::Waiting => ([(header::RETRY_AFTER, POLL_AFTER_SECONDS.to_string())], Json(pending(id))).into_response(),
    };
    Ok(applied(wait, response))
}
