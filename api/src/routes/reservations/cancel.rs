//! `DELETE /reservations/{id}?reason=`: gives back what was set aside, unless it is confirmed or its time is over.

use axum::Json;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use common::domain::Change;

use super::view::ReservationView;
use crate::auth::Caller;
use crate::error::Error;
use crate::extract::Id;
use crate::page::Asked;
use crate::routes::orders::cancel::reason;
use crate::routes::orders::change::{change, told};
use crate::state::App;

pub(crate) async fn handle(
    App(state): App,
    Caller(caller): Caller,
    Id(id): Id,
    headers: HeaderMap,
    query: Asked,
) -> Result<Response, Error> {
    let asked = change(&state, caller, &headers, id, Change::Release, reason(query)?).await?;
    Ok(asked.answer(|decided| told(decided, |_, order| Json(ReservationView::from(order)).into_response())))
}
