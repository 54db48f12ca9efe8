//! `POST /stock/transfer`: moves stock from one warehouse to another, decided by the product's writer like everything that changes
//! stock.

use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use common::domain::{Action, ON_HAND_MAX, Row, StockOutcome, TransferStock};
use common::message::Decided;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::auth::Operator;
use crate::checks::{Checks, NOTE_BYTES_MAX};
use crate::commands::ask;
use crate::error::Error;
use crate::extract::Json;
use crate::state::App;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Request {
    product_id: Uuid,
    variant_id: Option<Uuid>,
    from_warehouse_id: Uuid,
    to_warehouse_id: Uuid,
    qty: i64,
    reason: Option<String>,
}

pub(crate) async fn handle(
    App(state): App,
    Operator(operator): Operator,
    headers: HeaderMap,
    Json(request): Json<Request>,
) -> Result<Response, Error> {
    let mut checks = Checks::default();
    checks.that((1..=ON_HAND_MAX).contains(&request.qty), "qty", || format!("1 to {ON_HAND_MAX} is expected"));
    let is_other = request.from_warehouse_id != request.to_warehouse_id;
    checks.that(is_other, "toWarehouseId", || "another warehouse is expected".to_owned());
    checks.text_if_set("reason", request.reason.as_deref(), NOTE_BYTES_MAX);
    let Request { product_id, variant_id, from_warehouse_id: from_id, to_warehouse_id: to_id, qty, reason } =
        checks.finish(request)?;
    let variant_id = variant_id.unwrap_or(product_id);
    let transfer = TransferStock { product_id, variant_id, from_id, to_id, quantity: qty, reason };
    let asked = ask(&state, operator.account, &headers, Action::TransferStock(transfer)).await?;
    Ok(asked.answer(|decided| match decided {
        Decided::StockV1 { id, outcome: StockOutcome::Transferred { from, to } } => axum::Json(json!({
            "id": id, "productId": product_id, "variantId": variant_id,
            "from": show(from_id, from), "to": show(to_id, to),
        }))
        .into_response(),
        Decided::StockV1 { outcome, .. } => Error::Stock { product: Some(product_id), outcome }.into_response(),
        decided => Error::Internal(format!("a transfer of stock has come to {decided:?}")).into_response(),
    }))
}

fn show(warehouse: Uuid, Row { on_hand, reserved, version }: Row) -> Value {
    json!({
        "warehouseId": warehouse, "onHand": on_hand, "reserved": reserved, "available": on_hand - reserved,
        "version": version,
    })
}
