//! `POST /products/{id}/variants`: a variant with its opening stock, decided by the product's writer.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::response::Response;
use common::domain::{Action, CreateVariant, DEFAULT_WAREHOUSE, Money};
use common::ids::hash_id;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use crate::auth::Operator;
use crate::catalogue::{SKU_BYTES_MAX, check_options, check_price, check_stock};
use crate::checks::Checks;
use crate::error::Error;
use crate::extract::{Id, Json};
use crate::routes::products::creating::{New, create};
use crate::state::App;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Request {
    sku: String,
    options: BTreeMap<String, String>,
    price: Option<Money>,
    #[serde(default)]
    stock: i64,
    warehouse_id: Option<Uuid>,
}

pub(crate) async fn handle(
    App(state): App,
    Operator(operator): Operator,
    Id(product_id): Id,
    headers: HeaderMap,
    Json(request): Json<Request>,
) -> Result<Response, Error> {
    let mut checks = Checks::default();
    checks.text("sku", &request.sku, 1, SKU_BYTES_MAX);
    check_options(&request.options, &mut checks);
    check_price(request.price, &mut checks);
    check_stock(request.stock, &mut checks);
    let Request { sku, options, price, stock, warehouse_id } = checks.finish(request)?;
    let warehouse_id = warehouse_id.unwrap_or(DEFAULT_WAREHOUSE);
    let variant = CreateVariant { product_id, sku: Arc::from(sku), options, price, stock, warehouse_id };
    let body = serde_json::to_vec(&variant).map_err(|error| Error::Internal(error.to_string()))?;
    let shown = json!({
        "productId": product_id, "sku": variant.sku, "options": variant.options, "price": variant.price,
        "ownPrice": variant.price.is_some(), "stock": stock, "warehouseId": warehouse_id,
    });
    let new = New {
        action: Action::CreateVariant(variant),
        fingerprint: hash_id("create-variant", &[&body]),
        parent: format!("/products/{product_id}/variants"),
        shown,
    };
    create(&state, operator.account, &headers, new).await
}
