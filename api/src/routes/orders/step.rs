//! `PATCH /orders/{id}/status`: moves an order one step on, as far as the steps go. For operators.

use axum::http::HeaderMap;
use axum::response::Response;
use common::domain::{Change, Payment, Tracking};
use serde::Deserialize;

use super::change::{answer, change};
use crate::auth::Operator;
use crate::checks::{Checks, NAME_BYTES_MAX, NOTE_BYTES_MAX};
use crate::error::Error;
use crate::extract::{Id, Json};
use crate::state::App;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Request {
    status: Status,
    tracking_number: Option<String>,
    carrier: Option<String>,
    reason: Option<String>,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Status {
    Paid,
    Processing,
    Shipped,
    Delivered,
    Cancelled,
}

pub(crate) async fn handle(
    App(state): App,
    Operator(operator): Operator,
    Id(id): Id,
    headers: HeaderMap,
    Json(request): Json<Request>,
) -> Result<Response, Error> {
    let mut checks = Checks::default();
    checks.text_if_set("trackingNumber", request.tracking_number.as_deref(), NAME_BYTES_MAX);
    checks.text_if_set("carrier", request.carrier.as_deref(), NAME_BYTES_MAX);
    checks.text_if_set("reason", request.reason.as_deref(), NOTE_BYTES_MAX);
    let shipped = request.status == Status::Shipped;
    checks.that(shipped || request.tracking_number.is_none(), "trackingNumber", || {
        "it goes with status \"shipped\"".to_owned()
    });
    checks.that(request.carrier.is_none() || request.tracking_number.is_some(), "carrier", || {
        "it goes with a tracking number".to_owned()
    });
    let Request { status, tracking_number, carrier, reason } = checks.finish(request)?;
    let step = match status {
        Status::Paid => Change::Pay(Payment::default()),
        Status::Processing => Change::Process,
        Status::Shipped => Change::Ship { tracking: tracking_number.map(|number| Tracking { number, carrier }) },
        Status::Delivered => Change::Deliver,
        Status::Cancelled => Change::Cancel,
    };
    Ok(answer(change(&state, operator, &headers, id, step, reason).await?))
}
