//! What creating a product and creating a variant have in common: derive the id, publish, wait for the decision.

use std::time::Duration;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use common::clock;
use common::db;
use common::domain::{Action, Command, Idempotency, ProductOutcome};
use common::ids::hash_id;
use common::message::Decided;
use common::partition::partition_for;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::answer::{self, applied, replayed};
use crate::commands;
use crate::error::Error;
use crate::extract::{idempotency_key, preferred_wait};
use crate::problems;
use crate::state::State;

/// How long the answer waits for the decision where the client does not say.
const WAIT_SECONDS: u64 = 10;

/// Something to be created.
pub(crate) struct New {
    pub(crate) action: Action,
    /// What tells it from another one under the same idempotency key.
    pub(crate) fingerprint: Uuid,
    /// The address that its id is appended to.
    pub(crate) parent: String,
    /// As it is shown, without its id.
    pub(crate) shown: Value,
}

/// The answer waits for the decision, so a `201` means that it can be ordered.
pub(crate) async fn create(state: &State, account: Uuid, headers: &HeaderMap, new: New) -> Result<Response, Error> {
    let idempotency = idempotency_key(headers)?.map(|key| Idempotency {
        key: hash_id("product-key", &[account.as_bytes(), key.as_bytes()]),
        fingerprint: new.fingerprint,
    });
    let id = idempotency.map_or_else(Uuid::now_v7, |idempotency| {
        hash_id("product", &[idempotency.key.as_bytes(), idempotency.fingerprint.as_bytes()])
    });
    let wished = preferred_wait(headers, state.config.wait_max);
    let limit = wished.unwrap_or(Duration::from_secs(WAIT_SECONDS));
    let before = if let Some(idempotency) = idempotency { decided_before(state, idempotency).await? } else { false };
    let decided = if before {
        state.waiters.wait(id).outcome(limit).await
    } else {
        let command = Command { id, account, accepted_at: clock::now(), idempotency, action: new.action };
        commands::send(state, partition_for(&command, state.partitions), command, Some(limit)).await?
    };
    let location = format!("{}/{id}", new.parent);
    let response = match decided {
        Some(Decided::ProductV1 { outcome, .. }) => match refusal(&outcome) {
            None => {
                let mut shown = new.shown;
                shown["id"] = json!(id);
                (StatusCode::CREATED, [(header::LOCATION, location)], axum::Json(shown)).into_response()
            }
            Some(refusal) => refusal.into_response(),
        },
        Some(Decided::KeyReusedV1 { .. }) => Error::KeyReused.into_response(),
        Some(Decided::FailedV1 { .. }) => Error::Failed { id }.into_response(),
        Some(Decided::OrderV1(_) | Decided::EarlierV1 { .. } | Decided::ChangeV1 { .. } | Decided::StockV1 { .. })
        | None => answer::accepted(&location, json!({ "id": id, "status": "pending" })),
    };
    Ok(applied(wished, if before { replayed(response) } else { response }))
}

/// Why it was not created; `None` where it was.
pub(crate) fn refusal(outcome: &ProductOutcome) -> Option<Error> {
    match outcome {
        ProductOutcome::Created { .. } => None,
        ProductOutcome::UnknownProduct => Some(Error::NotFound("There is no such product.".to_owned())),
        ProductOutcome::SkuTaken => Some(Error::Plain(&problems::SKU_TAKEN)),
        ProductOutcome::UnknownWarehouse => Some(Error::Plain(&problems::UNKNOWN_WAREHOUSE)),
        ProductOutcome::UnknownComponent => Some(Error::Plain(&problems::UNKNOWN_COMPONENT)),
        ProductOutcome::OtherCurrency => Some(Error::Plain(&problems::OTHER_CURRENCY)),
    }
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
