//! `POST /reservations`: sets stock aside. With `Prefer: wait` the answer is the outcome.

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use common::domain::{Address, DeliveryMode, Money, Outcome, WINDOW_SECONDS_MAX};
use common::message::Decided;
use serde::Deserialize;

use super::view::{ReservationView, pending};
use crate::answer::{self, applied, replayed};
use crate::auth::Caller;
use crate::checks::Checks;
use crate::delivery::delivery;
use crate::error::{Error, Receipt};
use crate::extract::Json;
use crate::routes::orders::placing::{Item, Terms, Wanted, check_customer, lines, place};
use crate::state::App;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Request {
    items: Vec<Item>,
    customer_id: Option<String>,
    /// Shorter than is usual.
    window_seconds: Option<u32>,
    delivery_mode: Option<DeliveryMode>,
    address: Option<Address>,
    expected_total: Option<Money>,
}

pub(crate) async fn handle(
    App(state): App,
    caller: Caller,
    headers: HeaderMap,
    Json(request): Json<Request>,
) -> Result<Response, Error> {
    let mut checks = Checks::default();
    let lines = lines(&request.items, &mut checks);
    check_customer(request.customer_id.as_deref(), &mut checks);
    let window = request.window_seconds;
    let within = window.is_none_or(|seconds| (1..=WINDOW_SECONDS_MAX).contains(&seconds));
    checks.that(within, "windowSeconds", || format!("1 to {WINDOW_SECONDS_MAX} is expected"));
    let terms = Terms::Reservation { seconds: window };
    let delivery = delivery(request.delivery_mode, request.address, &mut checks);
    let (customer, expected_total) = (request.customer_id, request.expected_total);
    let wanted = checks.finish(Wanted { customer, lines, terms, delivery, expected_total })?;
    let placing = place(&state, caller, &headers, wanted).await?;
    let id = placing.id;
    let path = format!("/reservations/{id}");
    let response = match placing.decided {
        Some(Decided::OrderV1(order)) => match &order.outcome {
            Outcome::Confirmed(_) => {
                (StatusCode::CREATED, [(header::LOCATION, path)], axum::Json(ReservationView::from(order)))
                    .into_response()
            }
            Outcome::Refused(placed) => {
                ([(header::LOCATION, path)], Error::Refused(Receipt::of(&order, placed, "reservations")))
                    .into_response()
            }
        },
        Some(Decided::KeyReusedV1 { .. }) => Error::KeyReused.into_response(),
        Some(Decided::FailedV1 { .. }) => Error::Failed { id }.into_response(),
        Some(
            Decided::EarlierV1 { .. } | Decided::ProductV1 { .. } | Decided::ChangeV1 { .. } | Decided::StockV1 { .. },
        )
        | None => answer::accepted(&path, pending(id)),
    };
    Ok(applied(placing.wait, if placing.before { replayed(response) } else { response }))
}
