//! The decision of a change of an order, and of what becomes of its stock.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    CancelReason, Cause, Change, ChangeOrder, Effect, Expire, HeldPieces, Movement, Obstacle, Order, Payment,
    PiecesSince, Since, State, Timestamp, View,
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
    pub pieces: PiecesSince,
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
        Ok(Some(_)) if matches!(change.change, Change::Ship { .. }) && order.is_backordered() => {
            ChangeOutcome::Refused { obstacle: Obstacle::Backordered, revision }
        }
        Ok(Some((state, effect))) => {
            let mut back = Vec::new();
            if let Change::Return { lines } = &change.change {
                let Some(returned) = order.take_back(lines) else {
                    return ChangeOutcome::Refused { obstacle: Obstacle::ReturnTooLarge, revision };
                };
                back = returned;
            }
            let cause = match effect {
                Effect::None | Effect::Sell => Cause::Sold,
                Effect::Release => Cause::Released,
                Effect::Restock => Cause::Restocked,
            };
            view.stock.apply(order, effect, cause, moved);
            for pieces in back.iter().flat_map(|returned| &returned.restocked) {
                moved.push(view.stock.move_held(order.id, *pieces, (1, 0), Cause::Returned));
            }
            advance(order, state, now).pieces.returned.append(&mut back);
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
        changed.push(Changed { order: *id, revision: order.revision(), state, pieces: PiecesSince::default() });
    }
    changed
}

/// A reservation is changed as one until it is confirmed, and as an order from then on. Confirming one again, or giving one
/// up too late, is still said to the reservation.
fn is_meant(order: &Order, change: &Change) -> bool {
    match change {
        Change::Confirm | Change::Release => order.is_reservation(),
        Change::Pay(_)
        | Change::Cancel
        | Change::Process
        | Change::Ship { .. }
        | Change::Deliver
        | Change::Return { .. } => order.is_order(),
    }
}

/// Puts an order into another state, or the same again.
pub(super) fn advance(order: &mut Order, state: State, now: Timestamp) -> &mut Since {
    let sold = order.hold().is_some() && *order.state() == State::Pending && state == State::Paid;
    let before = order.since.take();
    order.since.insert(Since {
        state,
        revision: before.as_ref().map_or(0, |since| since.revision) + 1,
        paid_at: if sold { Some(now) } else { before.as_ref().and_then(|since| since.paid_at) },
        payment: before.as_ref().and_then(|since| since.payment.clone()),
        pieces: before.map(|since| since.pieces).unwrap_or_default(),
    })
}

impl super::StockView {
    /// As it would be, were what these orders reserve released.
    #[must_use]
    pub fn without(&self, orders: &[Order]) -> Self {
        let mut stock = self.clone();
        for order in orders {
            stock.apply(order, Effect::Release, Cause::Released, &mut Vec::new());
        }
        stock
    }

    /// Does to the stock rows that an order holds what a change of its state does.
    fn apply(&mut self, order: &Order, effect: Effect, cause: Cause, moved: &mut Vec<Movement>) {
        let (on_hand, reserved) = match effect {
            Effect::None => return,
            Effect::Sell => (-1, -1),
            Effect::Release => (0, -1),
            Effect::Restock => (1, 0),
        };
        for pieces in order.items().iter().flat_map(|item| order.held(item)) {
            moved.push(self.move_held(order.id, pieces, (on_hand, reserved), cause));
        }
    }

    /// Changes the row of some of an order's pieces by so many times their quantity, on hand and reserved.
    pub(super) fn move_held(
        &mut self,
        order: Uuid,
        pieces: HeldPieces,
        (on_hand, reserved): (i64, i64),
        cause: Cause,
    ) -> Movement {
        let HeldPieces { variant_id: variant, warehouse_id: warehouse, quantity } = pieces;
        let (on_hand, reserved) = (on_hand * i64::from(quantity), reserved * i64::from(quantity));
        // The rows of an order's items are there and locked, whatever else is not.
        let version = self.change(variant, warehouse, on_hand, reserved).unwrap_or_default();
        Movement { variant, warehouse, version, cause, on_hand, reserved, order: Some(order) }
    }
}
