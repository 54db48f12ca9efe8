//! `GET /reservations?customerId=&from=&until=`: a page of reservations, the newest first. Operators see everybody's.

use axum::response::Response;

use super::view::ReservationView;
use crate::auth::Caller;
use crate::error::Error;
use crate::page::Asked;
use crate::routes::orders::list::list;
use crate::state::App;

pub(crate) async fn handle(App(state): App, Caller(caller): Caller, query: Asked) -> Result<Response, Error> {
    list(&state, caller, query, "/reservations", ReservationView::from).await
}
