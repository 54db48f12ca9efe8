//! `GET /orders/{id}`: pending, the order, or why not.

use axum::Json;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

use super::find::{Found, wait_for};
use super::view::{OrderView, failed, pending};
use crate::answer::{POLL_AFTER_SECONDS, applied};
use crate::auth::Caller;
use crate::error::Error;
use crate::extract::Id;
use crate::state::App;

pub(crate) async fn handle(
    App(state): App,
    Caller(caller): Caller,
    Id(id): Id,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let (found, wait) = wait_for(&state, caller, id, &headers).await?;
    let response = match found {
        Found::Decided(order) if order.is_order() => Json(OrderView::from(*order)).into_response(),
        Found::Decided(_) => {
            return Err(Error::NotFound("This is a reservation, which is not confirmed.".to_owned()));
        }
        Found::Failed => Json(failed(id)).into_response(),
        Found::Waiting => ([(header::RETRY_AFTER, POLL_AFTER_SECONDS.to_string())], Json(pending(id))).into_response(),
    };
    Ok(applied(wait, response))
}
