//! `GET /orders/{id}`: pending, the order, or why not.

use std::time::Duration;

use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use common::clock;
use common::db;
use common::db::accounts::{Principal, Role};
use common::domain::Order;
use common::ids::Issued;
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
    still_waiting(&state, caller, id).await?;
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

/// Whether an id that is not decided was issued, for the caller to see, and may still be.
async fn still_waiting(state: &State, caller: Principal, id: Uuid) -> Result<(), Error> {
    let (account, issued) = issued(state, caller, id).await?.ok_or_else(not_found)?;
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

/// To whom of those whose orders the caller may see the id was issued. An operator's question may come for any account.
async fn issued(state: &State, caller: Principal, id: Uuid) -> Result<Option<(Uuid, Issued)>, Error> {
    let accounts = match caller.role {
        Role::Client => vec![caller.account],
        Role::Operator => state.read(|mut connection| async move { db::accounts::ids(&mut connection).await }).await?,
    };
    let issued = accounts.into_iter().find_map(|account| Some((account, state.ids.check(id, account)?)));
    Ok(issued.filter(|(_, issued)| issued.partition < state.partitions))
}

async fn wait(state: &State, id: Uuid, limit: Duration) -> Option<Order> {
    match state.waiters.wait(id).outcome(limit).await? {
        Decided::OrderV1(order) => Some(order),
        Decided::ProductV1 { .. } | Decided::EarlierV1 { .. } | Decided::KeyReusedV1 { .. } => None,
    }
}
