//! `POST /stock/adjust`, `/stock/deduct`, `/stock/restore` and `/stock/count`: an operator's change of one stock row, decided by the product's
//! writer like everything that changes stock.

use std::sync::Arc;

use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};
use common::domain::{Action, ChangeStock, DEFAULT_WAREHOUSE, ON_HAND_MAX, StockChangeKind, StockOutcome};
use common::message::Decided;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use crate::auth::Operator;
use crate::checks::{Checks, NOTE_BYTES_MAX};
use crate::commands::ask;
use crate::error::Error;
use crate::extract::Json;
use crate::state::{App, Slot};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Request {
    product_id: Uuid,
    variant_id: Option<Uuid>,
    warehouse_id: Option<Uuid>,
    qty: i64,
    reason: Option<String>,
}

/// What takes changes of one kind.
pub(crate) fn route(kind: StockChangeKind) -> MethodRouter<Arc<Slot>> {
    post(move |app: App, operator: Operator, headers: HeaderMap, request: Json<Request>| {
        change(app, operator, headers, request, kind)
    })
}

async fn change(
    App(state): App,
    Operator(operator): Operator,
    headers: HeaderMap,
    Json(request): Json<Request>,
    kind: StockChangeKind,
) -> Result<Response, Error> {
    let mut checks = Checks::default();
    let (within, expected) = match kind {
        StockChangeKind::Adjust => (
            request.qty != 0 && request.qty.saturating_abs() <= ON_HAND_MAX,
            format!("-{ON_HAND_MAX} to {ON_HAND_MAX}, and not 0,"),
        ),
        StockChangeKind::Deduct | StockChangeKind::Restore => {
            ((1..=ON_HAND_MAX).contains(&request.qty), format!("1 to {ON_HAND_MAX}"))
        }
        StockChangeKind::Count => ((0..=ON_HAND_MAX).contains(&request.qty), format!("0 to {ON_HAND_MAX}")),
    };
    checks.that(within, "qty", || format!("{expected} is expected"));
    checks.text_if_set("reason", request.reason.as_deref(), NOTE_BYTES_MAX);
    let Request { product_id, variant_id, warehouse_id, qty, reason } = checks.finish(request)?;
    let change = ChangeStock {
        product_id,
        variant_id: variant_id.unwrap_or(product_id),
        warehouse_id: warehouse_id.unwrap_or(DEFAULT_WAREHOUSE),
        kind,
        quantity: if kind == StockChangeKind::Deduct { -qty } else { qty },
        reason,
    };
    let (variant, warehouse) = (change.variant_id, change.warehouse_id);
    let asked = ask(&state, operator.account, &headers, Action::ChangeStock(change)).await?;
    Ok(asked.answer(|decided| match decided {
        Decided::StockV1 { id, outcome: StockOutcome::Changed { on_hand, reserved, version } } => axum::Json(json!({
            "id": id, "productId": product_id, "variantId": variant, "warehouseId": warehouse,
            "onHand": on_hand, "reserved": reserved, "available": on_hand - reserved, "version": version,
        }))
        .into_response(),
        Decided::StockV1 { outcome, .. } => Error::Stock { product: Some(product_id), outcome }.into_response(),
        decided => Error::Internal(format!("a change of stock has come to {decided:?}")).into_response(),
    }))
}
