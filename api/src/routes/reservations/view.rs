//! How a reservation is shown.

use common::domain::{CancelReason, Order, State, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::routes::orders::view::{Bill, shown};

/// A reservation as its client sees it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReservationView {
    id: Uuid,
    status: &'static str,
    account_id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_id: Option<String>,
    items: Value,
    #[serde(flatten)]
    bill: Option<Bill>,
    outcome: Value,
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    /// Set once it is confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    order_id: Option<Uuid>,
    #[serde(with = "time::serde::rfc3339")]
    accepted_at: Timestamp,
    #[serde(with = "time::serde::rfc3339")]
    decided_at: Timestamp,
}

impl From<Order> for ReservationView {
    fn from(order: Order) -> Self {
        let status = status(&order);
        let (items, bill, outcome) = shown(&order);
        Self {
            id: order.id,
            status,
            account_id: order.account_id,
            items,
            bill,
            outcome,
            expires_at: order.hold().map(|hold| hold.due_at),
            order_id: order.standing().converted.then_some(order.id),
            customer_id: order.customer_id,
            accepted_at: order.accepted_at,
            decided_at: order.decided_at,
        }
    }
}

fn status(order: &Order) -> &'static str {
    match order.state() {
        _ if order.standing().converted => "CONFIRMED",
        State::Rejected => "REJECTED",
        State::Pending => "ACTIVE",
        State::Cancelled { reason: CancelReason::PaymentTimeout } => "EXPIRED",
        State::Cancelled { reason: CancelReason::Requested } => "CANCELLED",
        State::Paid | State::Processing | State::Shipped { .. } | State::Delivered { .. } => "CONFIRMED",
    }
}

/// A reservation that is still waiting to be decided.
pub(crate) fn pending(id: Uuid) -> Value {
    json!({ "id": id, "status": "PENDING" })
}
