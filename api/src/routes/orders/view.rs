//! How an order is shown.

use common::domain::{
    BACKORDERS, CancelReason, Confirmed, Disposition, HeldPieces, Money, Order, OrderItem, Outcome, Payment, Returned,
    Served, State, Timestamp, Tracking,
};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::error::{Receipt, problem_body};
use crate::problems;

/// An order as its client sees it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OrderView {
    id: Uuid,
    status: &'static str,
    account_id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_id: Option<String>,
    items: Value,
    #[serde(flatten)]
    bill: Option<Bill>,
    outcome: Value,
    /// `None` where it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    payment: Option<&'static str>,
    /// What was reserved is no more from this moment on.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pay_by: Option<Timestamp>,
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    paid_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    paid: Option<Payment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracking: Option<Tracking>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancel_reason: Option<CancelReason>,
    /// Set where it was a reservation before.
    #[serde(skip_serializing_if = "Option::is_none")]
    reservation_id: Option<Uuid>,
    /// Changes since it was decided.
    revision: i32,
    #[serde(with = "time::serde::rfc3339")]
    accepted_at: Timestamp,
    #[serde(with = "time::serde::rfc3339")]
    decided_at: Timestamp,
}

impl From<Order> for OrderView {
    fn from(order: Order) -> Self {
        let (id, state) = (order.id, order.state().clone());
        let (hold, reservation, revision) = (order.hold(), order.is_reservation(), order.revision());
        let (items, bill, outcome) = shown(&order);
        let payment = match (&order.outcome, hold) {
            (Outcome::Refused(_), _) => None,
            (Outcome::Confirmed(_), None) => Some("immediate"),
            (Outcome::Confirmed(_), Some(_)) => Some("deferred"),
        };
        let since = order.since;
        Self {
            id,
            status: state.name(),
            account_id: order.account_id,
            customer_id: order.customer_id,
            items,
            bill,
            outcome,
            payment,
            pay_by: hold.map(|hold| hold.due_at),
            paid_at: since.as_ref().and_then(|since| since.paid_at),
            paid: since.and_then(|since| since.payment),
            tracking: state.tracking().cloned(),
            cancel_reason: cancel_reason(&state),
            reservation_id: reservation.then_some(id),
            revision,
            accepted_at: order.accepted_at,
            decided_at: order.decided_at,
        }
    }
}

/// What a confirmed order comes to, and where it goes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Bill {
    pub(crate) subtotal: Money,
    pub(crate) tax: Money,
    pub(crate) total: Money,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<Value>,
}

impl From<&Confirmed> for Bill {
    fn from(confirmed: &Confirmed) -> Self {
        let total = confirmed.total;
        let delivery = confirmed.delivery.as_deref().map(|delivery| {
            json!({
                "mode": delivery.wish.mode,
                "zone": delivery.zone,
                "tier": delivery.tier,
                "cost": delivery.price(total.currency),
                "estimatedDate": delivery.estimated_on.map(|day| day.to_string()),
                "address": delivery.wish.address,
            })
        });
        Self { subtotal: confirmed.subtotal(), tax: Money { amount: confirmed.tax, ..total }, total, delivery }
    }
}

/// The items, what they come to, and the outcome that never changes.
pub(crate) fn shown(order: &Order) -> (Value, Option<Bill>, Value) {
    match &order.outcome {
        Outcome::Confirmed(confirmed) => {
            let outcome = json!({ "status": 201, "partition": order.partition, "sequence": order.sequence });
            (confirmed.items.iter().map(|item| item_of(order, item)).collect(), Some(confirmed.into()), outcome)
        }
        Outcome::Refused(placed) => {
            let items = json!(placed.lines);
            let (kind, detail, members) = Receipt::of(order, placed, "orders").tell();
            (items, None, problem_body(kind, Some(detail), members))
        }
    }
}

pub(crate) fn cancel_reason(state: &State) -> Option<CancelReason> {
    match state {
        State::Cancelled { reason } => Some(*reason),
        State::Rejected
        | State::Pending
        | State::Paid
        | State::Processing
        | State::Shipped { .. }
        | State::Delivered { .. } => None,
    }
}

/// An item of an order, with what has become of it.
fn item_of(order: &Order, of: &OrderItem) -> Value {
    let mut shown = item(of);
    let (quantity, restocked) = order.returned(of);
    if quantity > 0 {
        shown["returned"] = json!({ "qty": quantity, "restocked": restocked });
    }
    if order.was_backordered() {
        let served = order.served(of).map(|pieces| place(of, pieces.variant_id, pieces.warehouse_id, pieces.quantity));
        shown["allocations"].as_array_mut().into_iter().for_each(|shown| shown.extend(served.clone()));
        let waiting = order.backordered();
        backordered(&mut shown, of, order.promised_of(of), |variant| waiting.contains_key(&variant));
    }
    shown
}

/// What of an item is not there yet.
fn backordered(shown: &mut Value, item: &OrderItem, pieces: i64, waited_for: impl Fn(Uuid) -> bool) {
    if pieces > 0 {
        let expected = item.expected_on(waited_for);
        shown["backordered"] = json!({ "qty": pieces, "expectedOn": expected.map(|day| day.to_string()) });
    } else if let Some(shown) = shown.as_object_mut() {
        shown.remove("backordered");
    }
}

/// From where some of an item is.
fn place(item: &OrderItem, variant: Uuid, warehouse: Uuid, quantity: i32) -> Value {
    let mut shown = json!({ "warehouseId": warehouse, "qty": quantity });
    if variant != item.variant_id {
        shown["variantId"] = json!(variant);
    }
    shown
}

/// What has come back at once of one item.
pub(crate) fn returned(returned: &Returned) -> Value {
    let restocked = |pieces: &HeldPieces| json!({ "variantId": pieces.variant_id, "warehouseId": pieces.warehouse_id, "qty": pieces.quantity });
    let restocked: Vec<Value> = returned.restocked.iter().map(restocked).collect();
    let disposition = if restocked.is_empty() { Disposition::WriteOff } else { Disposition::Restock };
    json!({
        "variantId": returned.variant_id,
        "qty": returned.quantity,
        "disposition": disposition,
        "restocked": restocked,
    })
}

/// What is there now of one item.
pub(crate) fn served(served: &Served) -> Vec<Value> {
    let pieces = served.pieces.iter();
    let shown = |pieces: &HeldPieces| json!({ "variantId": pieces.variant_id, "warehouseId": pieces.warehouse_id, "qty": pieces.quantity });
    pieces.map(shown).collect()
}

pub(crate) fn item(item: &OrderItem) -> Value {
    let allocations: Vec<Value> = item
        .allocations
        .iter()
        .filter(|a| a.warehouse_id != BACKORDERS)
        .map(|a| {
            let mut shown = place(item, item.stock_of(a), a.warehouse_id, a.quantity);
            shown["stockVersion"] = json!(a.stock_version);
            shown
        })
        .collect();
    let promised =
        item.allocations.iter().filter(|a| a.warehouse_id == BACKORDERS).map(|a| i64::from(a.quantity)).sum();
    let mut shown = json!({
        "productId": item.product_id,
        "variantId": item.variant_id,
        "name": item.name,
        "sku": item.sku,
        "qty": item.quantity,
        "unitPrice": item.unit_price,
        "allocations": allocations,
    });
    backordered(&mut shown, item, promised, |_| true);
    shown
}

/// An order that could not be decided.
pub(crate) fn failed(id: Uuid) -> Value {
    json!({ "id": id, "status": "failed", "outcome": problem_body(&problems::FAILED, None, json!({})) })
}

/// An order that is still waiting: it has no outcome yet.
pub(crate) fn pending(id: Uuid) -> Value {
    json!({ "id": id, "status": "pending" })
}
