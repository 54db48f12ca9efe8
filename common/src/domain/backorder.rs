//! Backorders: pieces that are sold before they are there, up to a cap, and served, oldest first, when stock arrives. With a day on
//! which they are expected they are preorders.
//!
//! What may still be promised is a stock row like any other, in a place of its own ([`BACKORDERS`]): promising takes from it, and
//! serving puts back. So `cap = on hand there + what is promised and sold`, and nothing of the core needs to know more of it.
//! Whatever stock there is belongs first to what was promised before ([`VariantView::ahead`]): nobody who comes later is served
//! before.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    BACKORDERS, Cause, Changed, Day, HeldPieces, Movement, ON_HAND_MAX, Order, Piece, Served, Site, State, StockLevel,
    StockOutcome, VariantView, View, Wanted, allocate, change::advance, day, pieces::share,
};

/// What of a variant may be sold before it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backorders {
    /// Most pieces that are promised at a time.
    pub cap: i64,
    /// When stock is expected, if that is known.
    pub expected_on: Option<Day>,
    /// What may still be promised is what is available of it. Its place is open while backorders are taken.
    pub level: StockLevel,
}

/// An operator's rule for the backorders of a variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SetBackorders {
    pub product_id: Uuid,
    pub variant_id: Uuid,
    /// At least 0; where there is none, no more are taken, and those that are promised are served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap: Option<i64>,
    /// When stock is expected.
    #[serde(default, with = "day::option", skip_serializing_if = "Option::is_none")]
    pub expected_on: Option<Day>,
}

/// What stock has arrived for. Made by a writer itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Serve {
    /// The oldest first.
    pub orders: Vec<Serving>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Serving {
    pub order_id: Uuid,
    /// The order as it was looked at: changed since, it is looked at again.
    pub revision: i32,
    /// What of it is served: of each all that is promised.
    pub variant_ids: Vec<Uuid>,
}

impl Backorders {
    /// Where there was never a rule.
    #[must_use]
    pub fn none() -> Self {
        let site = Site { zone: 1, open: false };
        let level = StockLevel { warehouse: BACKORDERS, site, on_hand: 0, reserved: 0, version: 0 };
        Self { cap: 0, expected_on: None, level }
    }
}

impl SetBackorders {
    /// Whether it is within the bounds: a cap up to [`ON_HAND_MAX`], a day from the year 2000 on.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        self.cap.is_none_or(|cap| (0..=ON_HAND_MAX).contains(&cap))
            && self.expected_on.is_none_or(|day| (2000..=9999).contains(&day.year()))
    }
}

impl VariantView {
    /// So many pieces are promised: they are served before any other order is.
    #[must_use]
    pub fn ahead(&self) -> i64 {
        self.backorders.as_ref().map_or(0, |backorders| (backorders.cap - backorders.level.available()).max(0))
    }

    /// What may still be promised.
    pub(super) fn to_promise(&self) -> i64 {
        self.backorders.as_ref().map_or(0, |backorders| backorders.level.offered())
    }

    /// Its stock rows, less what is promised: as if that were reserved, in the first of them first.
    pub(super) fn free(&self) -> Cow<'_, [StockLevel]> {
        let mut ahead = self.ahead();
        if ahead == 0 {
            return Cow::Borrowed(&self.levels);
        }
        let mut levels = self.levels.clone();
        for level in &mut levels {
            let promised = level.offered().min(ahead);
            level.reserved += promised;
            ahead -= promised;
        }
        Cow::Owned(levels)
    }

    /// Pieces of one of its stock rows that are promised.
    pub(super) fn ahead_in(&self, warehouse: Uuid) -> i64 {
        let free = self.free();
        let found = self.levels.iter().zip(free.iter()).find(|(level, _)| level.warehouse == warehouse);
        found.map_or(0, |(level, free)| free.reserved - level.reserved)
    }

    /// When a piece from there is expected, if it is a promise and that is known.
    pub(super) fn expected(&self, warehouse: Uuid) -> Option<Day> {
        self.backorders.as_ref().filter(|_| warehouse == BACKORDERS)?.expected_on
    }

    /// What it has for orders.
    #[must_use]
    pub fn sum(&self) -> Sum {
        let promise = self.backorders.as_ref();
        let sold = promise.map_or(0, |backorders| backorders.cap - backorders.level.on_hand);
        let to_promise = promise.filter(|backorders| backorders.level.site.open).map_or(0, |b| b.level.on_hand);
        let on_hand = self.offers().map(|level| level.on_hand).sum::<i64>();
        let available = super::offered(&self.levels) - self.ahead() + self.to_promise();
        Sum { on_hand: (on_hand - sold).max(0) + to_promise, available }
    }

    /// What can be ordered of it from stock.
    #[must_use]
    pub fn offered(&self) -> i64 {
        (super::offered(&self.levels) - self.ahead()).max(0)
    }
}

/// What a variant has for orders, from stock and as promises.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    /// Were nothing reserved.
    pub on_hand: i64,
    /// Negative where more is promised than there is.
    pub available: i64,
}

pub(super) fn set(view: &mut View, set: &SetBackorders, moved: &mut Vec<Movement>) -> StockOutcome {
    let variant = set.variant_id;
    let Some(known) = view.stock.variant(variant).filter(|known| known.product == set.product_id) else {
        return StockOutcome::UnknownProduct;
    };
    if !known.components.is_empty() {
        return StockOutcome::IsBundle;
    }
    let none = Backorders::none();
    let backorders = known.backorders.as_ref().unwrap_or(&none);
    let (cap, delta) = (set.cap.unwrap_or(backorders.cap), set.cap.map_or(0, |cap| cap - backorders.cap));
    let level = &backorders.level;
    if level.available() + delta < 0 {
        let promised = backorders.cap - level.available();
        return StockOutcome::BelowPromised { promised, version: level.version };
    }
    let (on_hand, reserved, mut version) = (level.on_hand + delta, level.reserved, level.version);
    view.stock.set_backorders(variant, cap, set.expected_on, set.cap.is_some());
    if delta != 0 {
        version = view.stock.change(variant, BACKORDERS, delta, 0).unwrap_or_default();
        let (warehouse, cause) = (BACKORDERS, Cause::Capped);
        moved.push(Movement { variant, warehouse, version, cause, on_hand: delta, reserved: 0, order: None });
    }
    StockOutcome::Changed { on_hand, reserved, version }
}

/// Serves orders what they were promised, as far as there is stock; answers with those that were.
pub(super) fn serve(view: &mut View, serve: &Serve, moved: &mut Vec<Movement>) -> Vec<Changed> {
    let now = view.now;
    // What there was too little of for one is not given to those who come after it.
    let mut short = BTreeSet::new();
    let mut changed = Vec::with_capacity(serve.orders.len());
    for Serving { order_id, revision, variant_ids } in &serve.orders {
        let is_meant = |order: &&mut Order| order.revision() == *revision && order.is_to_be_served();
        let Some(order) = view.orders.get_mut(order_id).filter(is_meant) else { continue };
        let mut served = Vec::new();
        for variant in variant_ids {
            if order.promised(*variant).is_empty() {
                continue;
            }
            let stock = view.stock.variant(*variant).filter(|_| !short.contains(variant));
            let Some(mut pieces) = stock.and_then(|stock| take_for(order, *variant, stock)) else {
                short.insert(*variant);
                continue;
            };
            for (sold, promised) in order.promised(*variant) {
                let here = share(&mut pieces, promised).into_iter().flat_map(|piece| held(*variant, piece)).collect();
                served.push(Served { variant_id: sold, pieces: here });
            }
        }
        if served.is_empty() {
            continue;
        }
        for pieces in served.iter().flat_map(|served| &served.pieces) {
            let promise = HeldPieces { warehouse_id: BACKORDERS, ..*pieces };
            moved.push(view.stock.move_held(order.id, promise, (1, 0), Cause::Served));
            moved.push(view.stock.move_held(order.id, *pieces, (-1, 0), Cause::Served));
        }
        let state: State = order.state().clone();
        let since = advance(order, state.clone(), now);
        since.pieces.served.append(&mut served);
        changed.push(Changed { order: *order_id, revision: since.revision, state, pieces: since.pieces.clone() });
    }
    changed
}

/// From where all that an order was promised of a variant is served, if there is enough.
fn take_for(order: &Order, variant: Uuid, stock: &VariantView) -> Option<Vec<Piece>> {
    let quantity = order.promised(variant).iter().map(|(_, pieces)| pieces).sum::<i64>();
    let wanted = Wanted { levels: &stock.levels, quantity };
    allocate(&[wanted], order.zone()).ok()?.pop()
}

/// A piece of a variant as an order holds it: of a bundle's component it may be more than a quantity can be.
pub(super) fn held(variant_id: Uuid, Piece { warehouse: warehouse_id, quantity }: Piece) -> Vec<HeldPieces> {
    let mut left = quantity;
    let mut held = Vec::new();
    while left > 0 {
        let quantity = i32::try_from(left).unwrap_or(i32::MAX);
        left -= i64::from(quantity);
        held.push(HeldPieces { variant_id, warehouse_id, quantity });
    }
    held
}
