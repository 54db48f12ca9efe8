//! `POST /orders/{id}/returns`: goods that have come back from the customer, into stock or written off. For operators.

use axum::http::HeaderMap;
use axum::response::Response;
use common::domain::{Change, Disposition, ORDER_LINES_MAX, ReturnLine};
use serde::Deserialize;
use uuid::Uuid;

use super::change::{answer, change};
use crate::auth::Operator;
use crate::checks::{Checks, NOTE_BYTES_MAX};
use crate::error::Error;
use crate::extract::{Id, Json};
use crate::state::App;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Request {
    items: Vec<Item>,
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Item {
    product_id: Uuid,
    variant_id: Option<Uuid>,
    qty: i64,
    disposition: Disposition,
}

pub(crate) async fn handle(
    App(state): App,
    Operator(operator): Operator,
    Id(id): Id,
    headers: HeaderMap,
    Json(request): Json<Request>,
) -> Result<Response, Error> {
    let mut checks = Checks::default();
    let count = request.items.len();
    checks
        .that((1..=ORDER_LINES_MAX).contains(&count), "items", || format!("1 to {ORDER_LINES_MAX} items are expected"));
    checks.text_if_set("reason", request.reason.as_deref(), NOTE_BYTES_MAX);
    let mut lines = Vec::with_capacity(count);
    for (n, item) in request.items.iter().enumerate() {
        match i32::try_from(item.qty) {
            Ok(quantity) if quantity > 0 => lines.push(ReturnLine {
                product_id: item.product_id,
                variant_id: item.variant_id.unwrap_or(item.product_id),
                quantity,
                disposition: item.disposition,
            }),
            _ => checks.mistake(format!("items[{n}].qty"), format!("1 to {} is expected", i32::MAX)),
        }
    }
    let lines = checks.finish(lines)?;
    Ok(answer(change(&state, operator, &headers, id, Change::Return { lines }, request.reason).await?))
}
