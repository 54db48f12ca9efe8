//! `GET /products/{id}/stock`: per variant and warehouse what is on hand, reserved and available.

use axum::Json;
use common::db;
use common::db::stock::StoredLevel;
use serde_json::{Value, json};

use crate::auth::Caller;
use crate::error::Error;
use crate::extract::Id;
use crate::state::App;

pub(crate) async fn handle(App(state): App, _: Caller, Id(id): Id) -> Result<Json<Value>, Error> {
    let found = state.read(move |c| Box::pin(async move { db::stock::of_product(c, id).await })).await?;
    let levels = found.ok_or_else(|| Error::NotFound("There is no such product.".to_owned()))?;
    let sum = |of: fn(&StoredLevel) -> i64| levels.iter().map(of).sum::<i64>();
    Ok(Json(json!({
        "productId": id,
        "onHand": sum(|level| level.on_hand),
        "reserved": sum(|level| level.reserved),
        "available": sum(|level| level.on_hand - level.reserved),
        "levels": levels.iter().map(show).collect::<Vec<Value>>(),
    })))
}

fn show(level: &StoredLevel) -> Value {
    json!({
        "variantId": level.variant_id,
        "warehouseId": level.warehouse_id,
        "warehouse": level.warehouse_code,
        "onHand": level.on_hand,
        "reserved": level.reserved,
        "available": level.on_hand - level.reserved,
        "version": level.version,
    })
}
