//! What paying, cancelling and moving an order on have in common: the change goes down the order's own queue.

use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use common::db::accounts::Principal;
use common::domain::{Action, Change, ChangeOrder, ChangeOutcome, Order};
use common::message::Decided;
use uuid::Uuid;

use super::find::addressed;
use super::view::OrderView;
use crate::commands::{Asked, ask};
use crate::error::Error;
use crate::state::State;

/// Sends a change of an order that the caller may change.
pub(crate) async fn change(
    state: &State,
    caller: Principal,
    headers: &HeaderMap,
    id: Uuid,
    change: Change,
    reason: Option<String>,
) -> Result<Asked, Error> {
    let order_id = addressed(state, caller, id).await?;
    ask(state, caller.account, headers, Action::ChangeOrder(ChangeOrder { order_id, change, reason })).await
}

/// The order as it is now, or why the change is not possible.
pub(crate) fn answer(asked: Asked) -> Response {
    asked.answer(|decided| told(decided, |_, order| axum::Json(OrderView::from(order)).into_response()))
}

/// What a change has come to; `done` shows the order, told whether this has changed it or it had been so before.
pub(crate) fn told(decided: Decided, done: impl FnOnce(bool, Order) -> Response) -> Response {
    match decided {
        Decided::ChangeV1 { outcome: ChangeOutcome::Changed { .. }, order: Some(order), .. } => done(true, order),
        Decided::ChangeV1 { outcome: ChangeOutcome::Unchanged { .. }, order: Some(order), .. } => done(false, order),
        Decided::ChangeV1 { outcome: ChangeOutcome::Refused { obstacle, .. }, order: Some(order), .. } => {
            Error::Obstructed { order: order.id, status: order.state().name(), obstacle }.into_response()
        }
        Decided::ChangeV1 { outcome: ChangeOutcome::Unknown, .. } => {
            Error::NotFound("There is no such order.".to_owned()).into_response()
        }
        decided => Error::Internal(format!("a change of an order has come to {decided:?}")).into_response(),
    }
}
