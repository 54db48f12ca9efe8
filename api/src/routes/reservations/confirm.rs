//! `POST /reservations/{id}/confirm`: makes an order of a reservation, once. Confirmed again, it is the same order.

use axum::Json;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use common::domain::Change;

use crate::auth::Caller;
use crate::error::Error;
use crate::extract::Id;
use crate::routes::orders::change::{change, told};
use crate::routes::orders::view::OrderView;
use crate::state::App;

pub(crate) async fn handle(
    App(state): App,
    Caller(caller): Caller,
    Id(id): Id,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let asked = change(&state, caller, &headers, id, Change::Confirm, None).await?;
    Ok(asked.answer(|decided| {
        told(decided, |changed, order| {
            let status = if changed { StatusCode::CREATED } else { StatusCode::OK };
            let location = [(header::LOCATION, format!("/orders/{}", order.id))];
            (status, location, Json(OrderView::from(order))).into_response()
        })
    }))
}
