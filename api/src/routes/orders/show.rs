//! `GET /orders/{id}`: pending, the order, or why not.

use std::time::Duration;

use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use common::clock;
use common::db;
use common::db::accounts::{Principal, Role};
use common::domain::Order;
use common::message::Decided;
use uuid::Uuid;

use super::view::{OrderView, pending};
use crate::auth::Caller;
use crate::error::Error;
use crate::extract::{Id, preferred_wait};
use crate::state::{App, State};

/// Seconds after which a client may ask again for an order that is waiting.
const POLL_AFTER_SECONDS: u32 = 1;

pub(crate) async fn handle(
    App(state): App,
    Caller(caller): Caller,
    Id(id): Id,
    headers: HeaderMap,
) -> Result<Response, Error> {
    if let Some(order) = find(&state, caller, id).await? {
        return Ok(axum::Json(OrderView::from(order)).into_response());
    }
    still_waiting(&state, caller.account, id).await?;
    if let Some(limit) = preferred_wait(&headers, state.config.wait_max)
        && let Some(order) = wait(&state, id, limit).await
    {
        return Ok(axum::Json(OrderView::from(order)).into_response());
    }
    Ok(([(header::RETRY_AFTER, POLL_AFTER_SECONDS.to_string())], axum::Json(pending(id))).into_response())
}

fn not_found() -> Error {
    Error::NotFound("There is no such order.".to_owned())
}

async fn find(state: &State, caller: Principal, id: Uuid) -> Result<Option<Order>, Error> {
    let found = state.read(move |mut connection| async move { db::orders::find(&mut connection, &[id]).await }).await?;
    match found.into_iter().next() {
        Some(stored) if stored.order.account_id == caller.account || caller.role == Role::Operator => {
            Ok(Some(stored.order))
        }
        Some(_) => Err(not_found()),
        None => Ok(None),
    }
}

/// Whether an id that is not decided was issued to this account and may still be.
async fn still_waiting(state: &State, account: Uuid, id: Uuid) -> Result<(), Error> {
    let issued = state.ids.check(id, account).filter(|issued| issued.partition < state.partitions);
    let issued = issued.ok_or_else(not_found)?;
    if let Some(issued_at) = issued.issued_at {
        let age_seconds = clock::now().unix_timestamp() - i64::from(issued_at);
        if age_seconds > i64::try_from(state.config.pending_max.as_secs()).unwrap_or(i64::MAX) {
            return Err(not_found());
        }
    } else {
        // Of the same key with another request: the first decided the key, so this one never will be.
        let (first, last) = common::ids::key_range(id);
        let decided = state.read(move |mut connection| async move {
            db::orders::key_is_decided(&mut connection, account, first, last).await
        });
        if decided.await? {
            return Err(Error::KeyReused);
        }
    }
    Ok(())
}

async fn wait(state: &State, id: Uuid, limit: Duration) -> Option<Order> {
    match state.waiters.wait(id).outcome(limit).await? {
        Decided::OrderV1(order) => Some(order),
        Decided::ProductV1 { .. } | Decided::EarlierV1 { .. } | Decided::KeyReusedV1 { .. } => None,
    }
}
