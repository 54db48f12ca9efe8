//! What placing an order and placing a reservation have in common: validate, derive the id, publish.

use std::time::Duration;

use axum::http::HeaderMap;
use common::clock;
use common::db;
use common::db::customers::Tier;
use common::domain::{
    Action, Command, DeliveryWish, HoldKind, HoldTerms, Idempotency, Line, Money, ORDER_LINES_MAX, Order, PlaceOrder,
    merge_lines,
};
use common::ids::hash_id;
use common::message::Decided;
use common::partition::partition_of;
use serde::Deserialize;
use uuid::Uuid;

use crate::auth::Caller;
use crate::checks::{Checks, NAME_BYTES_MAX};
use crate::commands;
use crate::error::Error;
use crate::extract::{idempotency_key, preferred_wait};
use crate::state::State;

/// What is wished for, checked.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) customer: Option<String>,
    pub(crate) lines: Vec<Line>,
    pub(crate) terms: Terms,
    pub(crate) delivery: Option<DeliveryWish>,
    pub(crate) expected_total: Option<Money>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Item {
    pub(crate) product_id: Uuid,
    pub(crate) variant_id: Option<Uuid>,
    pub(crate) qty: i64,
}

/// The lines of an order, added up and sorted.
pub(crate) fn lines(items: &[Item], checks: &mut Checks) -> Vec<Line> {
    let count = items.len();
    checks
        .that((1..=ORDER_LINES_MAX).contains(&count), "items", || format!("1 to {ORDER_LINES_MAX} items are expected"));
    let mut lines = Vec::with_capacity(count);
    for (n, item) in items.iter().enumerate() {
        match i32::try_from(item.qty) {
            Ok(quantity) if quantity > 0 => lines.push(Line {
                product_id: item.product_id,
                variant_id: item.variant_id.unwrap_or(item.product_id),
                quantity,
                agreed: None,
            }),
            _ => checks.mistake(format!("items[{n}].qty"), format!("1 to {} is expected", i32::MAX)),
        }
    }
    let merged = merge_lines(lines);
    let too_many = || format!("a product's quantities add up to more than {}", i32::MAX);
    checks.that(merged.is_some(), "items", too_many);
    merged.unwrap_or_default()
}

/// How stock is to be taken.
#[derive(Debug, Clone)]
pub(crate) enum Terms {
    /// Sold at once.
    Sale,
    /// Reserved until it is paid, by this method if one is named.
    Payment { method: Option<String> },
    /// Reserved, for a shorter time than is usual if one is named.
    Reservation { seconds: Option<u32> },
}

/// Something that was placed, now or before under the same idempotency key.
pub(crate) struct Placing {
    pub(crate) id: Uuid,
    pub(crate) wait: Option<Duration>,
    pub(crate) before: bool,
    pub(crate) decided: Option<Decided>,
}

pub(crate) fn check_customer(customer: Option<&str>, checks: &mut Checks) {
    checks.text_if_set("customerId", customer, NAME_BYTES_MAX);
}

pub(crate) async fn place(
    state: &State,
    Caller(caller): Caller,
    headers: &HeaderMap,
    wanted: Wanted,
) -> Result<Placing, Error> {
    let Wanted { customer, lines, terms, delivery, expected_total } = wanted;
    let mut order = PlaceOrder { customer, lines, hold: None, delivery: delivery.map(Box::new), expected_total };
    let partition = partition_of(order.leading_product(), state.partitions);
    let account = caller.account;
    let idempotency = idempotency_key(headers)?.map(|key| Idempotency {
        key: hash_id("idempotency-key", &[account.as_bytes(), key.as_bytes()]),
        fingerprint: fingerprint(&order, &terms),
    });
    let accepted_at = clock::now();
    let id = match &idempotency {
        None => state.ids.fresh(account, partition, accepted_at),
        Some(idempotency) => state.ids.keyed(account, partition, idempotency, accepted_at),
    };
    let wait = preferred_wait(headers, state.config.wait_max);
    if let Some(idempotency) = &idempotency
        && let Some(order) = decided_before(state, idempotency).await?
    {
        return Ok(Placing { id: order.id, wait, before: true, decided: Some(Decided::OrderV1(order)) });
    }
    order.hold = hold(state, order.customer.as_deref(), &terms).await;
    let command = Command { id, account, accepted_at, idempotency, action: Action::PlaceOrder(order) };
    let decided = commands::send(state, partition, command, wait).await?;
    Ok(Placing { id, wait, before: false, decided })
}

/// For how long stock is reserved. Where the database does not answer, whose tier a customer has is not known: then it is the
/// standard one, and the order is accepted all the same.
pub(crate) async fn hold(state: &State, customer: Option<&str>, terms: &Terms) -> Option<HoldTerms> {
    if matches!(terms, Terms::Sale) {
        return None;
    }
    let tier = match customer.map(str::to_owned) {
        None => Tier::Standard,
        Some(customer) => {
            let found =
                state.read_soon(move |c| Box::pin(async move { db::customers::tier(c, &customer).await })).await;
            found.unwrap_or_else(|error| {
                tracing::warn!(?error, "a customer's tier could not be looked up");
                Tier::Standard
            })
        }
    };
    let windows = &state.config.windows;
    match terms {
        Terms::Sale => None,
        Terms::Payment { method } => {
            Some(HoldTerms { kind: HoldKind::Payment, window_seconds: windows.payment(method.as_deref(), tier) })
        }
        Terms::Reservation { seconds } => {
            let most = windows.reservation(tier);
            Some(HoldTerms { kind: HoldKind::Reservation, window_seconds: seconds.unwrap_or(most).min(most) })
        }
    }
}

/// The same request is the same order, whatever the order of its lines, their spelling, or what is left to its default. How long
/// it reserves is not asked for, so it is no part of it.
fn fingerprint(order: &PlaceOrder, terms: &Terms) -> Uuid {
    let lines = serde_json::to_vec(&order.lines).unwrap_or_default();
    let customer = order.customer.as_deref().unwrap_or_default().as_bytes();
    let seconds;
    let (kind, more): (&str, &[u8]) = match terms {
        Terms::Sale => ("place-order", &[]),
        Terms::Payment { method } => ("place-deferred-order", method.as_deref().unwrap_or_default().as_bytes()),
        Terms::Reservation { seconds: wished } => {
            seconds = wished.unwrap_or_default().to_be_bytes();
            ("place-reservation", &seconds)
        }
    };
    let mut parts = vec![customer, &*lines];
    if !matches!(terms, Terms::Sale) {
        parts.push(more);
    }
    // What is not asked for is no part of it, so that a request of before is the same one.
    let beside = match (&order.delivery, &order.expected_total) {
        (None, None) => Vec::new(),
        beside => serde_json::to_vec(&beside).unwrap_or_default(),
    };
    if !beside.is_empty() {
        parts.push(&beside);
    }
    hash_id(kind, &parts)
}

/// The order that this key has decided, if it has; an error where it was used for another request.
///
/// Where the database does not answer, the request goes on: the writer decides a key once, whoever asks.
async fn decided_before(state: &State, idempotency: &Idempotency) -> Result<Option<Order>, Error> {
    if state.recent_keys.is_reused(idempotency) {
        return Err(Error::KeyReused);
    }
    let key = idempotency.key;
    match state.read_soon(move |c| Box::pin(async move { db::orders::find_by_key(c, key).await })).await {
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
