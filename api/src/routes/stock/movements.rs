//! `GET /stock/movements?productId=&variantId=&warehouseId=`: the ledger of a variant, by warehouse, then the newest first.

use axum::response::Response;
use common::db;
use common::db::movements::StoredMovement;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::auth::Operator;
use crate::error::Error;
use crate::page::{self, Asked};
use crate::state::App;

pub(crate) async fn handle(App(state): App, _: Operator, query: Asked) -> Result<Response, Error> {
    let mut reading = query.read(&["productId", "variantId", "warehouseId", "limit", "cursor"]);
    let product = reading.id("productId");
    let named = reading.text("productId").is_some() || reading.text("variantId").is_some();
    reading.checks.that(named, "productId", || "a product, or a variantId, is expected".to_owned());
    // A product's default variant has its id.
    let variant = reading.id("variantId").or(product).unwrap_or_default();
    let (warehouse, limit) = (reading.id("warehouseId"), reading.limit());
    let after = reading.cursor::<(Uuid, i64)>();
    let ((), kept) = reading.finish(())?;
    let found = state.read(move |c| {
        Box::pin(async move { db::movements::list(c, variant, product, warehouse, after, limit + 1).await })
    });
    let place = |movement: &StoredMovement| (movement.warehouse_id, movement.version);
    Ok(page::answer("/stock/movements", kept, limit, found.await?, place, show))
}

fn show(movement: StoredMovement) -> Value {
    json!({
        "variantId": movement.variant_id,
        "warehouseId": movement.warehouse_id,
        "version": movement.version,
        "cause": movement.cause,
        "onHand": movement.on_hand,
        "reserved": movement.reserved,
        "commandId": movement.command_id,
        "orderId": movement.order_id,
        "reason": movement.reason,
        "at": movement.moved_at.format(&Rfc3339).unwrap_or_default(),
    })
}
