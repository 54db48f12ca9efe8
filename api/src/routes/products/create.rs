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
use common::message::{self, Decided, Queued};
use common::partition::partition_of;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use crate::answer::{self, applied, replayed};
use crate::auth::Operator;
use crate::error::{Error, FieldError};
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
        let mut errors = Vec::new();
        let mut text = |field: &str, text: &str, least: usize, most: usize| {
            if text.trim().len() < least || text.len() > most || text.contains('\0') {
                errors.push(FieldError::new(field, format!("{least} to {most} bytes are expected, none of them null")));
            }
        };
        text("name", &self.name, 1, NAME_BYTES_MAX);
        text("sku", &self.sku, 1, SKU_BYTES_MAX);
        text("description", self.description.as_deref().unwrap_or_default(), 0, DESCRIPTION_BYTES_MAX);
        if !(0..=AMOUNT_MAX).contains(&self.price.amount) {
            errors.push(FieldError::new("price.amount", format!("0 to {AMOUNT_MAX} minor units are expected")));
        }
        if !(0..=STOCK_MAX).contains(&self.stock) {
            errors.push(FieldError::new("stock", format!("0 to {STOCK_MAX} is expected")));
        }
        if !errors.is_empty() {
            return Err(Error::Invalid(errors));
        }
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
    let waiter = state.waiters.wait(id);
    if !before {
        let action = Action::CreateProduct(product);
        let command = Command { id, account, accepted_at: clock::now(), idempotency, action };
        let bytes = message::encode(&Queued { command, reply_to: Some(state.reply_queue.clone()) })
            .map_err(|error| Error::Internal(error.to_string()))?;
        let partition = partition_of(id, state.partitions);
        state.publisher.publish(partition, bytes).await.map_err(|source| Error::NotAccepted { id, source })?;
    }
    let location = format!("/products/{id}");
    let response = match waiter.outcome(limit).await {
        Some(Decided::ProductV1 { outcome, .. }) => match outcome {
            ProductOutcome::Created { .. } => {
                (StatusCode::CREATED, [(header::LOCATION, location)], axum::Json(created)).into_response()
            }
            ProductOutcome::SkuTaken => Error::SkuTaken.into_response(),
            ProductOutcome::UnknownWarehouse => Error::UnknownWarehouse.into_response(),
        },
        Some(Decided::KeyReusedV1 { .. }) => Error::KeyReused.into_response(),
        Some(Decided::FailedV1 { .. }) => Error::Failed { id }.into_response(),
        Some(Decided::OrderV1(_) | Decided::EarlierV1 { .. }) | None => {
            answer::accepted(&location, json!({ "id": id, "status": "pending" }))
        }
    };
    Ok(applied(wished, if before { replayed(response) } else { response }))
}

/// Whether this key has decided this very request; an error where it has decided another.
async fn decided_before(state: &State, idempotency: Idempotency) -> Result<bool, Error> {
    let key = idempotency.key;
    let found = state.read(move |c| Box::pin(async move { db::commands::fingerprint_of(c, key).await })).await?;
    match found {
        Some(fingerprint) if fingerprint != idempotency.fingerprint => Err(Error::KeyReused),
        found => Ok(found.is_some()),
    }
}
