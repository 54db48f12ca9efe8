//! `GET /orders/{id}`: pending, the order, or why not.

use axum::Json;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use common::domain::Order;
use common::message::Decided;
use uuid::Uuid;

use super::find::{Found, find};
use super::view::{OrderView, failed, pending};
use crate::answer::{POLL_AFTER_SECONDS, applied};
use crate::auth::Caller;
use crate::error::Error;
use crate::extract::{Id, preferred_wait};
use crate::state::App;

pub(crate) async fn handle(
    App(state): App,
    Caller(caller): Caller,
    Id(id): Id,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let wait = preferred_wait(&headers, state.config.wait_max);
    // Waits from before the look, so that an outcome is not missed between the two.
    let waiter = wait.map(|limit| (limit, state.waiters.wait(id)));
    let found = match (find(&state, caller, id).await?, waiter) {
        (Found::Waiting, Some((limit, waiter))) => waited(waiter.outcome(limit).await)?,
        (found, _) => found,
    };
    let response = match found {
        Found::Decided(order) => show(*order)?,
        Found::Failed => Json(failed(id)).into_response(),
        Found::Waiting => waiting(id),
    };
    Ok(applied(wait, response))
}

/// What waiting for an order has led to.
pub(crate) fn waited(outcome: Option<Decided>) -> Result<Found, Error> {
    match outcome {
        Some(Decided::OrderV1(order)) => Ok(Found::Decided(Box::new(order))),
        Some(Decided::FailedV1 { .. }) => Ok(Found::Failed),
        Some(Decided::KeyReusedV1 { .. }) => Err(Error::KeyReused),
        Some(
            Decided::EarlierV1 { .. } | Decided::ProductV1 { .. } | Decided::ChangeV1 { .. } | Decided::StockV1 { .. },
        )
        | None => Ok(Found::Waiting),
    }
}

fn show(order: Order) -> Result<Response, Error> {
    if order.is_order() {
        Ok(Json(OrderView::from(order)).into_response())
    } else {
        Err(Error::NotFound("This is a reservation, which is not confirmed.".to_owned()))
    }
}

/// Of an order that is not decided yet.
fn waiting(id: Uuid) -> Response {
    ([(header::RETRY_AFTER, POLL_AFTER_SECONDS.to_string())], Json(pending(id))).into_response()
}
