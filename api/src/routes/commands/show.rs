//! `GET /commands/{id}`: whether a payment, a cancellation or another change is decided, and what came of it.

use axum::Json;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use common::db;
use common::db::accounts::{Principal, Role};
use common::domain::{ChangeOutcome, StockOutcome};
use common::ids::{is_of_request, key_range};
use common::message::Decided;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::answer::{POLL_AFTER_SECONDS, applied};
use crate::auth::Caller;
use crate::commands::outcomes;
use crate::error::Error;
use crate::extract::{Id, preferred_wait};
use crate::routes::orders::find::{is_over, issued};
use crate::routes::products::creating::refusal;
use crate::state::{App, State};

pub(crate) async fn handle(
    App(state): App,
    Caller(caller): Caller,
    Id(id): Id,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let wait = preferred_wait(&headers, state.config.wait_max);
    let waiter = wait.map(|limit| (limit, state.waiters.wait(id)));
    let decided = match (find(&state, caller, id).await?, waiter) {
        (None, Some((limit, waiter))) => waiter.outcome(limit).await,
        (found, _) => found,
    };
    let response = match decided {
        None | Some(Decided::EarlierV1 { .. }) => {
            let retry = [(header::RETRY_AFTER, POLL_AFTER_SECONDS.to_string())];
            (retry, Json(json!({ "id": id, "status": "pending" }))).into_response()
        }
        Some(decided) => Json(show(id, decided)).into_response(),
    };
    Ok(applied(wait, response))
}

/// What came of a command that the caller may ask for; `None` where it is still waiting.
async fn find(state: &State, caller: Principal, id: Uuid) -> Result<Option<Decided>, Error> {
    let not_found = || Error::NotFound("There is no such command.".to_owned());
    let reading = state.read(move |c| {
        Box::pin(async move {
            let account = db::commands::find(c, &[id]).await?.pop().map(|command| command.account);
            let failed = db::dead_letters::failed(c, &[id]).await?.pop().map(|(_, account)| account);
            Ok((account.or(failed), outcomes(c, &[id]).await?.into_iter().next()))
        })
    });
    match reading.await? {
        // Ids of orders are of the same kind.
        (_, Some(Decided::OrderV1(_))) => return Err(not_found()),
        (Some(account), Some(decided)) if account == caller.account || caller.role == Role::Operator => {
            return Ok(Some(decided));
        }
        (Some(_), _) => return Err(not_found()),
        (None, _) => {}
    }
    let (account, issued) = issued(state, caller, id).await?.ok_or_else(not_found)?;
    if issued.keyed {
        // The same request on another day has another id.
        let range = key_range(id);
        let under_key = state.read(move |c| {
            Box::pin(async move {
                match db::commands::find_by_key_range(c, account, range).await? {
                    Some(stored) => Ok(Some((stored.fingerprint, outcomes(c, &[stored.id]).await?.into_iter().next()))),
                    None => Ok(None),
                }
            })
        });
        match under_key.await? {
            Some((fingerprint, decided)) if fingerprint.is_some_and(|f| is_of_request(id, f)) => return Ok(decided),
            Some(_) => return Err(Error::KeyReused),
            None => {}
        }
    }
    if is_over(state, issued) { Err(not_found()) } else { Ok(None) }
}

fn show(id: Uuid, decided: Decided) -> Value {
    let order = match &decided {
        Decided::ChangeV1 { order: Some(order), .. } => Some((order.id, order.state().name())),
        _ => None,
    };
    let (status, error) = match decided {
        Decided::ChangeV1 { outcome: ChangeOutcome::Refused { obstacle, .. }, order: Some(order), .. } => {
            ("decided", Some(Error::Obstructed { order: order.id, status: order.state().name(), obstacle }))
        }
        Decided::ChangeV1 { outcome: ChangeOutcome::Unknown, .. } => {
            ("decided", Some(Error::NotFound("There is no such order.".to_owned())))
        }
        Decided::StockV1 { outcome: StockOutcome::Changed { .. } | StockOutcome::Transferred { .. }, .. } => {
            ("decided", None)
        }
        Decided::StockV1 { outcome, .. } => ("decided", Some(Error::Stock { product: None, outcome })),
        Decided::KeyReusedV1 { .. } => ("decided", Some(Error::KeyReused)),
        Decided::FailedV1 { id } => ("failed", Some(Error::Failed { id })),
        Decided::ProductV1 { outcome, .. } => ("decided", refusal(&outcome)),
        Decided::ChangeV1 { .. } | Decided::OrderV1(_) | Decided::EarlierV1 { .. } => ("decided", None),
    };
    let outcome = error.map_or_else(|| json!({ "status": 200 }), |error| error.body());
    let (order_id, order_status) = order.unzip();
    json!({ "id": id, "status": status, "outcome": outcome, "orderId": order_id, "orderStatus": order_status })
}
