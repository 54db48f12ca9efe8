//! `PATCH /orders/{id}/payment`: a payment that was captured. In time it turns what was reserved into a sale.

use axum::http::HeaderMap;
use axum::response::Response;
use common::domain::{Change, Payment};
use serde::Deserialize;

use super::change::{answer, change};
use crate::auth::Caller;
use crate::checks::{Checks, NAME_BYTES_MAX};
use crate::error::Error;
use crate::extract::{Id, Json};
use crate::state::App;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Request {
    /// What has become of the payment.
    #[serde(rename = "status")]
    _status: Status,
    method: Option<String>,
    reference: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Paid,
}

pub(crate) async fn handle(
    App(state): App,
    Caller(caller): Caller,
    Id(id): Id,
    headers: HeaderMap,
    Json(request): Json<Request>,
) -> Result<Response, Error> {
    let mut checks = Checks::default();
    checks.text_if_set("method", request.method.as_deref(), NAME_BYTES_MAX);
    checks.text_if_set("reference", request.reference.as_deref(), NAME_BYTES_MAX);
    let payment = checks.finish(Payment { method: request.method, reference: request.reference })?;
    Ok(answer(change(&state, caller, &headers, id, Change::Pay(payment), None).await?))
}
