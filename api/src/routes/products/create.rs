//! `POST /products`: a product with its opening stock, decided by the partition's writer like everything that changes
//! stock. The answer waits for the decision, so a `201` means that it can be ordered.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use common::clock;
use common::db;
use common::domain::{
    AMOUNT_MAX, Action, Command, CreateProduct, DEFAULT_WAREHOUSE, Idempotency, Money, ProductOutcome,
};
use common::ids::hash_id;
use common::message::Decided;
use common::partition::partition_of;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use crate::answer::{self, applied, replayed};
use crate::auth::Operator;
use crate::checks::Checks;
use crate::commands;
use crate::error::Error;
use crate::extract::{Json, idempotency_key, preferred_wait};
use crate::state::{App, State};

const NAME_BYTES_MAX: usize = 200;
const SKU_BYTES_MAX: usize = 64;
const DESCRIPTION_BYTES_MAX: usize = 10_000;
const STOCK_MAX: i64 = 1_000_000_000_000;
/// How long the answer waits for the decision where the client does not say.
const WAIT_SECONDS: u64 = 10;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Request {
    name: String,
    sku: String,
    description: Option<String>,
    price: Money,
    #[serde(default)]
    stock: i64,
    warehouse_id: Option<Uuid>,
}

impl Request {
    fn validate(self) -> Result<CreateProduct, Error> {
        let mut checks = Checks::default();
        checks.text("name", &self.name, 1, NAME_BYTES_MAX);
        checks.text("sku", &self.sku, 1, SKU_BYTES_MAX);
        checks.text("description", self.description.as_deref().unwrap_or_default(), 0, DESCRIPTION_BYTES_MAX);
        let priced = (0..=AMOUNT_MAX).contains(&self.price.amount);
        checks.that(priced, "price.amount", || format!("0 to {AMOUNT_MAX} minor units are expected"));
        let stocked = (0..=STOCK_MAX).contains(&self.stock);
        checks.that(stocked, "stock", || format!("0 to {STOCK_MAX} is expected"));
        checks.finish(())?;
        Ok(CreateProduct {
            name: Arc::from(self.name),
            sku: Arc::from(self.sku),
            description: self.description,
            price: self.price,
            stock: self.stock,
            warehouse_id: self.warehouse_id.unwrap_or(DEFAULT_WAREHOUSE),
        })
    }
}

pub(crate) async fn handle(
    App(state): App,
    Operator(operator): Operator,
    headers: HeaderMap,
    Json(request): Json<Request>,
) -> Result<Response, Error> {
    let product = request.validate()?;
    let account = operator.account;
    let body = serde_json::to_vec(&product).map_err(|error| Error::Internal(error.to_string()))?;
    let idempotency = idempotency_key(&headers)?.map(|key| Idempotency {
        key: hash_id("product-key", &[account.as_bytes(), key.as_bytes()]),
        fingerprint: hash_id("create-product", &[&body]),
    });
    let id = idempotency.map_or_else(Uuid::now_v7, |idempotency| {
        hash_id("product", &[idempotency.key.as_bytes(), idempotency.fingerprint.as_bytes()])
    });
    let wished = preferred_wait(&headers, state.config.wait_max);
    let limit = wished.unwrap_or(Duration::from_secs(WAIT_SECONDS));
    let created = json!({
        "id": id, "name": product.name, "sku": product.sku, "description": product.description,
        "price": product.price, "stock": product.stock, "warehouseId": product.warehouse_id,
    });
    let before = if let Some(idempotency) = idempotency { decided_before(&state, idempotency).await? } else { false };
    let decided = if before {
        state.waiters.wait(id).outcome(limit).await
    } else {
        let action = Action::CreateProduct(product);
        let command = Command { id, account, accepted_at: clock::now(), idempotency, action };
        commands::send(&state, partition_of(id, state.partitions), command, Some(limit)).await?
    };
    let location = format!("/products/{id}");
    let response = match decided {
        Some(Decided::ProductV1 { outcome, .. }) => match outcome {
            ProductOutcome::Created { .. } => {
                (StatusCode::CREATED, [(header::LOCATION, location)], axum::Json(created)).into_response()
            }
            ProductOutcome::SkuTaken => Error::SkuTaken.into_response(),
            ProductOutcome::UnknownWarehouse => Error::UnknownWarehouse.into_response(),
        },
        Some(Decided::KeyReusedV1 { .. }) => Error::KeyReused.into_response(),
        Some(Decided::FailedV1 { .. }) => Error::Failed { id }.into_response(),
        Some(Decided::OrderV1(_) | Decided::EarlierV1 { .. } | Decided::ChangeV1 { .. } | Decided::StockV1 { .. })
        | None => answer::accepted(&location, json!({ "id": id, "status": "pending" })),
    };
    Ok(applied(wished, if before { replayed(response) } else { response }))
}

/// Whether this key has decided this very request; an error where it has decided another.
async fn decided_before(state: &State, idempotency: Idempotency) -> Result<bool, Error> {
    let key = idempotency.key;
    let found = state.read(move |c| Box::pin(async move { db::commands::find_by_key(c, key).await })).await?;
    match found {
        Some(stored) if stored.fingerprint != Some(idempotency.fingerprint) => Err(Error::KeyReused),
        found => Ok(found.is_some()),
    }
}
