//! `POST /orders`: authenticate, validate, publish, and only then answer. With `Prefer: wait` the answer is the outcome.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use common::clock;
use common::db;
use common::domain::{Action, Command, Idempotency, Line, ORDER_LINES_MAX, Order, Outcome, PlaceOrder, merge_lines};
use common::ids::hash_id;
use common::message::{self, Decided, Queued};
use common::partition::partition_of;
use common::steps::Step;
use serde::Deserialize;
use uuid::Uuid;

use super::view::{OrderView, pending};
use crate::answer::{self, applied, replayed};
use crate::auth::Caller;
use crate::error::{Error, FieldError, Receipt};
use crate::extract::{Json, idempotency_key, preferred_wait};
use crate::state::{App, State};

const CUSTOMER_BYTES_MAX: usize = 128;
/// Longest wait for the database to tell whether an idempotency key is decided.
const LOOK_UP_LIMIT: Duration = Duration::from_millis(500);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Request {
    items: Vec<Item>,
    customer_id: Option<String>,
    #[serde(default)]
    payment: Payment,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Item {
    product_id: Uuid,
    variant_id: Option<Uuid>,
    qty: i64,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
enum Payment {
    /// Sold at once.
    #[default]
    Immediate,
}

impl Request {
    /// The order with its lines added up and sorted, or everything that is wrong with it.
    fn validate(self) -> Result<PlaceOrder, Error> {
        let mut errors = Vec::new();
        if self.items.is_empty() || self.items.len() > ORDER_LINES_MAX {
            errors.push(FieldError::new("items", format!("1 to {ORDER_LINES_MAX} items are expected")));
        }
        let length = self.customer_id.as_ref().map(String::len);
        if length.is_some_and(|length| length == 0 || length > CUSTOMER_BYTES_MAX) {
            errors.push(FieldError::new("customerId", format!("1 to {CUSTOMER_BYTES_MAX} bytes are expected")));
        }
        if self.customer_id.as_ref().is_some_and(|id| id.contains('\0')) {
            errors.push(FieldError::new("customerId", "a null character is not expected"));
        }
        let mut lines = Vec::with_capacity(self.items.len());
        for (n, item) in self.items.iter().enumerate() {
            match i32::try_from(item.qty) {
                Ok(quantity) if quantity > 0 => lines.push(Line {
                    product_id: item.product_id,
                    variant_id: item.variant_id.unwrap_or(item.product_id),
                    quantity,
                }),
                _ => errors.push(FieldError::new(format!("items[{n}].qty"), format!("1 to {} is expected", i32::MAX))),
            }
        }
        let Payment::Immediate = self.payment;
        let merged = merge_lines(lines);
        if merged.is_none() {
            errors.push(FieldError::new("items", format!("a product's quantities add up to more than {}", i32::MAX)));
        }
        match merged {
            Some(lines) if errors.is_empty() => Ok(PlaceOrder { customer: self.customer_id, lines }),
            _ => Err(Error::Invalid(errors)),
        }
    }
}

pub(crate) async fn handle(
    App(state): App,
    Caller(caller): Caller,
    headers: HeaderMap,
    Json(request): Json<Request>,
) -> Result<Response, Error> {
    let order = request.validate()?;
    let partition = partition_of(order.leading_product(), state.partitions);
    let account = caller.account;
    let idempotency = idempotency_key(&headers)?.map(|key| Idempotency {
        key: hash_id("idempotency-key", &[account.as_bytes(), key.as_bytes()]),
        fingerprint: fingerprint(&order),
    });
    let accepted_at = clock::now();
    let id = match &idempotency {
        None => state.ids.fresh(account, partition, accepted_at),
        Some(idempotency) => state.ids.keyed(account, partition, idempotency, accepted_at),
    };
    let wait = preferred_wait(&headers, state.config.wait_max);
    if let Some(idempotency) = &idempotency
        && let Some(order) = decided_before(&state, idempotency).await?
    {
        return Ok(applied(wait, replayed(outcome(order))));
    }
    let command = Command { id, account, accepted_at, idempotency, action: Action::PlaceOrder(order) };
    publish_and_wait(&state, partition, command, wait).await
}

async fn publish_and_wait(
    state: &State,
    partition: u16,
    command: Command,
    wait: Option<Duration>,
) -> Result<Response, Error> {
    let (id, idempotency) = (command.id, command.idempotency);
    let waiter = wait.map(|limit| (limit, state.waiters.wait(id)));
    let reply_to = waiter.is_some().then(|| state.reply_queue.clone());
    let bytes = message::encode(&Queued { command, reply_to }).map_err(|error| Error::Internal(error.to_string()))?;
    if let Err(source) = state.publisher.publish(partition, bytes).await {
        if let Some(idempotency) = idempotency.filter(|_| source.is_certain()) {
            state.recent_keys.forget(&idempotency);
        }
        return Err(Error::NotAccepted { id, source });
    }
    tracing::debug!(order.id = %id, partition, "accepted");
    state.steps.reached(Step::Published).await;
    let Some((limit, waiter)) = waiter else { return Ok(accepted(id)) };
    let response = match waiter.outcome(limit).await {
        Some(Decided::OrderV1(order)) => outcome(order),
        Some(Decided::KeyReusedV1 { .. }) => Error::KeyReused.into_response(),
        Some(Decided::FailedV1 { .. }) => Error::Failed { id }.into_response(),
        Some(Decided::EarlierV1 { .. } | Decided::ProductV1 { .. }) | None => accepted(id),
    };
    Ok(applied(Some(limit), response))
}

/// The same request is the same order, whatever the order of its lines, their spelling, or what is left to its default.
fn fingerprint(order: &PlaceOrder) -> Uuid {
    let lines = serde_json::to_vec(&order.lines).unwrap_or_default();
    hash_id("place-order", &[order.customer.as_deref().unwrap_or_default().as_bytes(), &lines])
}

/// The order that this key has decided, if it has; an error where it was used for another request.
///
/// Where the database does not answer, the request goes on: the writer decides a key once, whoever asks.
async fn decided_before(state: &State, idempotency: &Idempotency) -> Result<Option<Order>, Error> {
    if state.recent_keys.is_reused(idempotency) {
        return Err(Error::KeyReused);
    }
    let key = idempotency.key;
    // Bounded more closely than other reads: the order is accepted all the same.
    let looked_up = state.read(move |c| Box::pin(async move { db::orders::find_by_key(c, key).await }));
    match tokio::time::timeout(LOOK_UP_LIMIT, looked_up).await.unwrap_or(Err(Error::Database(db::Error::TimedOut))) {
        Ok(Some(stored)) if stored.fingerprint != Some(idempotency.fingerprint) => {
            state.recent_keys.forget(idempotency);
            Err(Error::KeyReused)
        }
        Ok(stored) => Ok(stored.map(|stored| stored.order)),
        Err(error) => {
            tracing::debug!(?error, "an idempotency key could not be looked up");
            Ok(None)
        }
    }
}

fn location(id: Uuid) -> (HeaderName, String) {
    (header::LOCATION, format!("/orders/{id}"))
}

fn accepted(id: Uuid) -> Response {
    answer::accepted(&format!("/orders/{id}"), pending(id))
}

/// A decided order: 201, or the problem that says why not.
fn outcome(order: Order) -> Response {
    let id = order.id;
    match order.outcome {
        Outcome::Confirmed(_) => {
            (StatusCode::CREATED, [location(id)], axum::Json(OrderView::from(order))).into_response()
        }
        Outcome::Refused(placed) => {
            let (partition, sequence) = (order.partition, order.sequence);
            let refused = Error::Refused(Receipt { id, partition, sequence, refusal: placed.refusal });
            ([location(id)], refused).into_response()
        }
    }
}
