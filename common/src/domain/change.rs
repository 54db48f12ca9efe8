//! The decision of a change of an order, and of what becomes of its stock.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    CancelReason, Cause, Change, ChangeOrder, Effect, Expire, Movement, Obstacle, Order, Payment, Since, State,
    Timestamp, View,
};

/// What came of a [`ChangeOrder`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum ChangeOutcome {
    /// This is what it has made of the order.
    Changed { revision: i32 },
    /// It had happened before; the order stood at this revision.
    Unchanged { revision: i32 },
    /// The order stood at this revision.
    Refused { obstacle: Obstacle, revision: i32 },
    /// There is no such order, or reservation.
    Unknown,
}

/// A change of an order as its history tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    pub order: Uuid,
    pub revision: i32,
    pub state: State,
}

/// Decides a change. What it makes of the order is in the view; what it has moved goes to `moved`.
pub(super) fn change(view: &mut View, change: &ChangeOrder, moved: &mut Vec<Movement>) -> ChangeOutcome {
    let now = view.now;
    let Some(order) = view.orders.get_mut(&change.order_id) else { return ChangeOutcome::Unknown };
    if !is_meant(order, &change.change) {
        return ChangeOutcome::Unknown;
    }
    let revision = order.revision();
    match order.standing().after(&change.change, now) {
        Err(obstacle) => ChangeOutcome::Refused { obstacle, revision },
        Ok(None) => ChangeOutcome::Unchanged { revision },
        Ok(Some((state, effect))) => {
            let cause = match effect {
                Effect::None | Effect::Sell => Cause::Sold,
                Effect::Release => Cause::Released,
                Effect::Restock => Cause::Restocked,
            };
            view.stock.apply(order, effect, cause, moved);
            advance(order, state, now);
            if let State::Cancelled { .. } = order.state() {
                view.limits.forget(order, now);
            }
            if let (Change::Pay(payment), Some(since)) = (&change.change, &mut order.since) {
                since.payment = Some(payment.clone()).filter(|payment| *payment != Payment::default());
            }
            ChangeOutcome::Changed { revision: revision + 1 }
        }
    }
}

/// Ends the holds of those of the orders whose time is over; answers with them.
pub(super) fn expire(view: &mut View, expire: &Expire, moved: &mut Vec<Movement>) -> Vec<Changed> {
    let now = view.now;
    let mut changed = Vec::with_capacity(expire.order_ids.len());
    for id in &expire.order_ids {
        let Some(order) = view.orders.get_mut(id).filter(|order| order.standing().is_due(now)) else { continue };
        let state = State::Cancelled { reason: CancelReason::PaymentTimeout };
        view.stock.apply(order, Effect::Release, Cause::Expired, moved);
        advance(order, state.clone(), now);
        view.limits.forget(order, now);
        changed.push(Changed { order: *id, revision: order.revision(), state });
    }
    changed
}

/// A reservation is changed as one until it is confirmed, and as an order from then on. Confirming one again, or giving one
/// up too late, is still said to the reservation.
fn is_meant(order: &Order, change: &Change) -> bool {
    match change {
        Change::Confirm | Change::Release => order.is_reservation(),
        Change::Pay(_) | Change::Cancel | Change::Process | Change::Ship { .. } | Change::Deliver => order.is_order(),
    }
}

fn advance(order: &mut Order, state: State, now: Timestamp) {
    let sold = order.hold().is_some() && *order.state() == State::Pending && state == State::Paid;
    let before = order.since.take();
    order.since = Some(Since {
        state,
        revision: before.as_ref().map_or(0, |since| since.revision) + 1,
        paid_at: if sold { Some(now) } else { before.as_ref().and_then(|since| since.paid_at) },
        payment: before.and_then(|since| since.payment),
    });
}

impl super::StockView {
    /// Does to the stock rows that an order holds what a change of its state does.
    fn apply(&mut self, order: &Order, effect: Effect, cause: Cause, moved: &mut Vec<Movement>) {
        for item in order.items() {
            for allocation in &item.allocations {
                let quantity = i64::from(allocation.quantity);
                let (on_hand, reserved) = match effect {
                    Effect::None => return,
                    Effect::Sell => (-quantity, -quantity),
                    Effect::Release => (0, -quantity),
                    Effect::Restock => (quantity, 0),
                };
                let (variant, warehouse) = (item.variant_id, allocation.warehouse_id);
                // The rows of an order's items are there and locked, whatever else is not.
                let version = self.change(variant, warehouse, on_hand, reserved).unwrap_or_default();
                let order = Some(order.id);
                moved.push(Movement { variant, warehouse, version, cause, on_hand, reserved, order });
            }
        }
    }
}
