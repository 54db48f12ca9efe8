//! Whose an order's id is, and what is known of it: decided, failed, waiting, or nothing at all.

use std::time::Duration;

use axum::http::HeaderMap;
use common::clock;
use common::db;
use common::db::accounts::{Principal, Role};
use common::db::orders::Stored;
use common::domain::Order;
use common::ids::{Issued, is_of_request, key_range};
use common::message::Decided;
use uuid::Uuid;

use crate::error::Error;
use crate::extract::preferred_wait;
use crate::state::State;

/// What is known of an id that the caller may ask for.
pub(crate) enum Found {
    /// Under another id where its idempotency key has decided the same request on another day.
    Decided(Box<Order>),
    /// It is a dead letter.
    Failed,
    /// It was issued, and may still be decided.
    Waiting,
}

/// Looks an order or a reservation up.
///
/// `404` where there is none that the caller may see; `422` where its idempotency key has decided another request.
pub(crate) async fn find(state: &State, caller: Principal, id: Uuid) -> Result<Found, Error> {
    let reading = state.read(move |c| {
        Box::pin(async move {
            let order = db::orders::find(c, &[id]).await?.pop();
            if order.is_some() {
                return Ok((order, None, false));
            }
            let failed = db::dead_letters::failed(c, &[id]).await?.pop();
            let is_command = !db::commands::find(c, &[id]).await?.is_empty();
            Ok((order, failed, is_command))
        })
    });
    let (order, failed, is_command) = reading.await?;
    if is_command {
        // Ids of commands are of the same kind: until it is decided nobody can tell.
        return Err(not_found());
    }
    let account = order.as_ref().map(|stored| stored.order.account_id).or(failed.map(|(_, account)| account));
    if account.is_some_and(|account| account != caller.account) && caller.role != Role::Operator {
        return Err(not_found());
    }
    match (order, failed) {
        (Some(stored), _) => Ok(Found::Decided(Box::new(stored.order))),
        (None, Some(_)) => Ok(Found::Failed),
        (None, None) => still_waiting(state, caller, id).await,
    }
}

/// The same; where it is waiting and the request wishes to wait (`Prefer: wait`), waits. Answers also with how long it wished to.
pub(crate) async fn wait_for(
    state: &State,
    caller: Principal,
    id: Uuid,
    headers: &HeaderMap,
) -> Result<(Found, Option<Duration>), Error> {
    let wait = preferred_wait(headers, state.config.wait_max);
    // Waits from before the look, so that an outcome is not missed between the two.
    let waiter = wait.map(|limit| (limit, state.waiters.wait(id)));
    let found = match (find(state, caller, id).await?, waiter) {
        (Found::Waiting, Some((limit, waiter))) => waited(waiter.outcome(limit).await)?,
        (found, _) => found,
    };
    Ok((found, wait))
}

/// What waiting for an order has led to.
fn waited(outcome: Option<Decided>) -> Result<Found, Error> {
    match outcome {
        Some(Decided::OrderV1(order)) => Ok(Found::Decided(Box::new(order))),
        Some(Decided::FailedV1 { .. }) => Ok(Found::Failed),
        Some(Decided::KeyReusedV1 { .. }) => Err(Error::KeyReused),
        Some(
            Decided::EarlierV1 { .. } | Decided::ProductV1 { .. } | Decided::ChangeV1 { .. } | Decided::StockV1 { .. },
        )
        | None => Ok(Found::Waiting),
    }
}

fn not_found() -> Error {
    Error::NotFound("There is no such order.".to_owned())
}

/// Whether an id that was not found decided was issued, for the caller to see, and may still be: an error where not.
async fn still_waiting(state: &State, caller: Principal, id: Uuid) -> Result<Found, Error> {
    let (account, issued) = issued(state, caller, id).await?.ok_or_else(not_found)?;
    if issued.keyed {
        let range = key_range(id);
        let decided =
            state.read(move |c| Box::pin(async move { db::orders::find_by_key_range(c, account, range).await }));
        match decided.await? {
            Some(Stored { order, fingerprint }) if fingerprint.is_some_and(|f| is_of_request(id, f)) => {
                return Ok(Found::Decided(Box::new(order)));
            }
            // The first request decided the key, so this one never will be.
            Some(_) => return Err(Error::KeyReused),
            None => {}
        }
    }
    if is_over(state, issued) { Err(not_found()) } else { Ok(Found::Waiting) }
}

/// Whether an id that was never decided is too old to be waited for.
pub(crate) fn is_over(state: &State, issued: Issued) -> bool {
    issued.age_seconds > i64::try_from(state.config.pending_max.as_secs()).unwrap_or(i64::MAX)
}

/// To whom of those whose orders the caller may see the id was issued. An operator's question may come for any account.
pub(crate) async fn issued(state: &State, caller: Principal, id: Uuid) -> Result<Option<(Uuid, Issued)>, Error> {
    let accounts = match caller.role {
        Role::Client => vec![caller.account],
        Role::Operator => state.read(|c| Box::pin(async move { db::accounts::ids(c).await })).await?,
    };
    let now = clock::now();
    Ok(accounts.into_iter().find_map(|account| Some((account, state.ids.check(id, account, now)?))))
}

/// The id by which an order of the caller's can be changed. Where the id itself shows that it was issued to the caller, nothing
/// is looked up: the change queues up behind the order, decided or not. One with an idempotency key may be another day's name of
/// an order that is decided; while the database is away it is taken for the order's own.
pub(crate) async fn addressed(state: &State, caller: Principal, id: Uuid) -> Result<Uuid, Error> {
    let issued = state.ids.check(id, caller.account, clock::now());
    if issued.is_some_and(|issued| !issued.keyed) {
        return Ok(id);
    }
    match find(state, caller, id).await {
        Ok(Found::Decided(order)) => Ok(order.id),
        Ok(Found::Failed | Found::Waiting) => Ok(id),
        Err(Error::Database(error)) if issued.is_some() && error.is_passing() => Ok(id),
        Err(error) => Err(error),
    }
}
