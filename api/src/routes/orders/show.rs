//! `GET /orders/{id}`: pending, the order, or why not.

use axum::Json;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use common::clock;
use common::db;
use common::db::accounts::{Principal, Role};
use common::db::orders::Stored;
use common::domain::Order;
use common::ids::{Issued, is_of_request, key_range};
use common::message::Decided;
use uuid::Uuid;

use super::view::{OrderView, failed, pending};
use crate::answer::{POLL_AFTER_SECONDS, applied};
use crate::auth::Caller;
use crate::error::Error;
use crate::extract::{Id, preferred_wait};
use crate::state::{App, State};

pub(crate) async fn handle(
    App(state): App,
    Caller(caller): Caller,
    Id(id): Id,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let wait = preferred_wait(&headers, state.config.wait_max);
    // Waits from before the look, so that an outcome is not missed between the two.
    let waiter = wait.map(|limit| (limit, state.waiters.wait(id)));
    match find(&state, caller, id).await? {
        Found::Decided(order) => return Ok(applied(wait, Json(OrderView::from(order)).into_response())),
        Found::Failed => return Ok(applied(wait, Json(failed(id)).into_response())),
        Found::Nothing => {}
    }
    if let Some(order) = still_waiting(&state, caller, id).await? {
        return Ok(applied(wait, Json(OrderView::from(order)).into_response()));
    }
    let outcome = match waiter {
        Some((limit, waiter)) => waiter.outcome(limit).await,
        None => None,
    };
    let response = match outcome {
        Some(Decided::OrderV1(order)) => Json(OrderView::from(order)).into_response(),
        Some(Decided::FailedV1 { .. }) => Json(failed(id)).into_response(),
        Some(Decided::KeyReusedV1 { .. }) => Error::KeyReused.into_response(),
        Some(Decided::EarlierV1 { .. } | Decided::ProductV1 { .. }) | None => {
            ([(header::RETRY_AFTER, POLL_AFTER_SECONDS.to_string())], Json(pending(id))).into_response()
        }
    };
    Ok(applied(wait, response))
}

fn not_found() -> Error {
    Error::NotFound("There is no such order.".to_owned())
}

/// What the store says of an id.
enum Found {
    Decided(Order),
    /// It is a dead letter.
    Failed,
    Nothing,
}

async fn find(state: &State, caller: Principal, id: Uuid) -> Result<Found, Error> {
    let reading = state.read(move |c| {
        Box::pin(async move {
            let order = db::orders::find(c, &[id]).await?.pop();
            let failed = if order.is_none() { db::dead_letters::failed(c, &[id]).await?.pop() } else { None };
            Ok((order, failed))
        })
    });
    let (order, failed) = reading.await?;
    let account = order.as_ref().map(|stored| stored.order.account_id).or(failed.map(|(_, account)| account));
    if account.is_some_and(|account| account != caller.account) && caller.role != Role::Operator {
        return Err(not_found());
    }
    Ok(match (order, failed) {
        (Some(stored), _) => Found::Decided(stored.order),
        (None, Some(_)) => Found::Failed,
        (None, None) => Found::Nothing,
    })
}

/// Whether an id that was not found decided was issued, for the caller to see, and may still be: an error where not. `Some`
/// where its idempotency key has decided the same request meanwhile, or under the id of another day.
async fn still_waiting(state: &State, caller: Principal, id: Uuid) -> Result<Option<Order>, Error> {
    let (account, issued) = issued(state, caller, id).await?.ok_or_else(not_found)?;
    if issued.keyed {
        let range = key_range(id);
        let decided =
            state.read(move |c| Box::pin(async move { db::orders::find_by_key_range(c, account, range).await }));
        match decided.await? {
            Some(Stored { order, fingerprint }) if fingerprint.is_some_and(|f| is_of_request(id, f)) => {
                return Ok(Some(order));
            }
            // The first request decided the key, so this one never will be.
            Some(_) => return Err(Error::KeyReused),
            None => {}
        }
    }
    if issued.age_seconds > i64::try_from(state.config.pending_max.as_secs()).unwrap_or(i64::MAX) {
        return Err(not_found());
    }
    Ok(None)
}

/// To whom of those whose orders the caller may see the id was issued. An operator's question may come for any account.
async fn issued(state: &State, caller: Principal, id: Uuid) -> Result<Option<(Uuid, Issued)>, Error> {
    let accounts = match caller.role {
        Role::Client => vec![caller.account],
        Role::Operator => state.read(|c| Box::pin(async move { db::accounts::ids(c).await })).await?,
    };
    let now = clock::now();
    Ok(accounts.into_iter().find_map(|account| Some((account, state.ids.check(id, account, now)?))))
}
