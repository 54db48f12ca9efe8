//! Which pieces of stock an order holds: what it was given when it was decided, less what has come back since.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{BACKORDERS, Day, Order, OrderItem, Piece, State};

/// Pieces of one stock row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldPieces {
    pub variant_id: Uuid,
    pub warehouse_id: Uuid,
    pub quantity: i32,
}

/// What is to come back of one item of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReturnLine {
    pub product_id: Uuid,
    pub variant_id: Uuid,
    /// At least 1.
    #[serde(rename = "qty")]
    pub quantity: i32,
    pub disposition: Disposition,
}

/// What becomes of goods that have come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Disposition {
    /// They can be sold again, from the warehouse that they were sold from.
    Restock,
    /// Nobody will have them.
    WriteOff,
}

/// What has come back of one item of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Returned {
    /// The item's.
    pub variant_id: Uuid,
    pub quantity: i32,
    /// Where it went; empty where it was written off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restocked: Vec<HeldPieces>,
}

/// Of what one item of an order was promised, what is there now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Served {
    /// The item's.
    pub variant_id: Uuid,
    /// From where.
    pub pieces: Vec<HeldPieces>,
}

/// What has become of an order's pieces since it was decided. Only ever added to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PiecesSince {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub returned: Vec<Returned>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub served: Vec<Served>,
}

impl PiecesSince {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.returned.is_empty() && self.served.is_empty()
    }

    /// What has come back since `before`.
    #[must_use]
    pub fn returned_after(&self, before: &Self) -> &[Returned] {
        self.returned.get(before.returned.len()..).unwrap_or_default()
    }

    /// What was served since `before`.
    #[must_use]
    pub fn served_after(&self, before: &Self) -> &[Served] {
        self.served.get(before.served.len()..).unwrap_or_default()
    }

    fn returned_of(&self, variant: Uuid) -> impl Iterator<Item = &Returned> {
        self.returned.iter().filter(move |returned| returned.variant_id == variant)
    }
}

impl Order {
    /// From where it has, or reserves, the pieces of an item. What was written off it still has.
    #[must_use]
    pub fn held(&self, item: &OrderItem) -> Vec<HeldPieces> {
        let piece = |allocation: &super::Allocation| HeldPieces {
            variant_id: item.stock_of(allocation),
            warehouse_id: allocation.warehouse_id,
            quantity: allocation.quantity,
        };
        let mut held: Vec<HeldPieces> = item.allocations.iter().map(piece).collect();
        let since = self.since.as_ref().map(|since| &since.pieces);
        for pieces in self.served(item) {
            take(&mut held, pieces.variant_id, i64::from(pieces.quantity), |piece| piece.warehouse_id == BACKORDERS);
            held.push(*pieces);
        }
        for back in since.into_iter().flat_map(|pieces| pieces.returned_of(item.variant_id)).flat_map(|r| &r.restocked)
        {
            take(&mut held, back.variant_id, i64::from(back.quantity), |piece| piece.warehouse_id == back.warehouse_id);
        }
        held
    }

    /// Whether it is sold, and has not left: what it was promised may be served.
    #[must_use]
    pub fn is_to_be_served(&self) -> bool {
        matches!(self.state(), State::Paid | State::Processing) && self.is_backordered()
    }

    /// Whether it has, or reserves, what is not there yet.
    #[must_use]
    pub fn is_backordered(&self) -> bool {
        self.was_backordered() && !self.backordered().is_empty()
    }

    /// What of an item was promised, and is there now.
    pub fn served<'a>(&'a self, item: &'a OrderItem) -> impl Iterator<Item = &'a HeldPieces> + Clone {
        let since = self.since.as_ref().map(|since| &since.pieces);
        let served = since.into_iter().flat_map(|pieces| &pieces.served);
        served.filter(|served| served.variant_id == item.variant_id).flat_map(|served| &served.pieces)
    }

    /// What of an item was promised, and is not there yet; of what is cancelled nothing.
    #[must_use]
    pub fn promised_of(&self, item: &OrderItem) -> i64 {
        if matches!(self.state(), State::Cancelled { .. }) {
            return 0;
        }
        let held = self.held(item).into_iter().filter(|pieces| pieces.warehouse_id == BACKORDERS);
        held.map(|pieces| i64::from(pieces.quantity)).sum()
    }

    /// Whether some of it was not there when it was decided.
    #[must_use]
    pub fn was_backordered(&self) -> bool {
        self.items().iter().flat_map(|item| &item.allocations).any(|of| of.warehouse_id == BACKORDERS)
    }

    /// What of a variant's stock it was promised and not served, by the variants of its items.
    pub(super) fn promised(&self, variant: Uuid) -> Vec<(Uuid, i64)> {
        let of = |item: &OrderItem| {
            let held = self.held(item).into_iter();
            let promised = held.filter(|held| (held.variant_id, held.warehouse_id) == (variant, BACKORDERS));
            (item.variant_id, promised.map(|held| i64::from(held.quantity)).sum::<i64>())
        };
        self.items().iter().map(of).filter(|(_, pieces)| *pieces > 0).collect()
    }

    /// What it was promised and is not served, of each variant's stock.
    #[must_use]
    pub fn backordered(&self) -> BTreeMap<Uuid, i64> {
        let mut open = BTreeMap::<Uuid, i64>::new();
        if matches!(self.state(), State::Cancelled { .. }) {
            return open;
        }
        for pieces in self.items().iter().flat_map(|item| self.held(item)) {
            if pieces.warehouse_id == BACKORDERS {
                *open.entry(pieces.variant_id).or_default() += i64::from(pieces.quantity);
            }
        }
        open
    }

    /// Where it stands among those that were promised a variant's stock: the version that the promise has made.
    pub(crate) fn place_in_queue(&self, variant: Uuid) -> Option<i64> {
        let promises = self.items().iter().flat_map(|item| item.allocations.iter().map(|a| (item.stock_of(a), a)));
        let promises = promises.filter(|(of, a)| (*of, a.warehouse_id) == (variant, BACKORDERS));
        promises.map(|(_, allocation)| allocation.stock_version).min()
    }

    /// How many of an item have come back, and how many of those were put back into stock.
    #[must_use]
    pub fn returned(&self, item: &OrderItem) -> (i32, i32) {
        let since = self.since.as_ref().map(|since| &since.pieces);
        let returned = since.into_iter().flat_map(|pieces| pieces.returned_of(item.variant_id));
        returned.fold((0, 0), |(all, restocked), returned| {
            let back = if returned.restocked.is_empty() { 0 } else { returned.quantity };
            (all + returned.quantity, restocked + back)
        })
    }

    /// What comes back by these lines; `None` where that is more than is not back yet of some item.
    pub(super) fn take_back(&self, lines: &[ReturnLine]) -> Option<Vec<Returned>> {
        let mut returned = Vec::<Returned>::with_capacity(lines.len());
        for line in lines {
            let is_meant = |item: &&OrderItem| (item.product_id, item.variant_id) == (line.product_id, line.variant_id);
            let item = self.items().iter().find(is_meant)?;
            let before = returned.iter().filter(|r| r.variant_id == line.variant_id);
            let before = before.map(|r| r.quantity).sum::<i32>() + self.returned(item).0;
            if item.quantity - before < line.quantity {
                return None;
            }
            let restocked = match line.disposition {
                Disposition::Restock => {
                    let mut held = self.held(item);
                    for back in returned.iter().flat_map(|r| &r.restocked) {
                        take(&mut held, back.variant_id, i64::from(back.quantity), |p| {
                            p.warehouse_id == back.warehouse_id
                        });
                    }
                    let wanted = item.draw(line.quantity).into_iter();
                    wanted.flat_map(|(variant, quantity)| take(&mut held, variant, quantity, |_| true)).collect()
                }
                Disposition::WriteOff => Vec::new(),
            };
            returned.push(Returned { variant_id: line.variant_id, quantity: line.quantity, restocked });
        }
        Some(returned)
    }
}

impl OrderItem {
    /// When what was promised of it is expected, of those variants' stock that are still `waited_for`; not known where it is not known
    /// of all of them.
    pub fn expected_on(&self, waited_for: impl Fn(Uuid) -> bool) -> Option<Day> {
        let promises = self.allocations.iter().filter(|allocation| allocation.warehouse_id == BACKORDERS);
        let waiting = promises.filter(|allocation| waited_for(self.stock_of(allocation)));
        let days: Option<Vec<Day>> = waiting.map(|allocation| allocation.expected_on).collect();
        days?.into_iter().max()
    }

    /// The stock that so many of it were served from, of each variant once.
    fn draw(&self, quantity: i32) -> Vec<(Uuid, i64)> {
        let mut pieces = BTreeMap::<Uuid, i64>::new();
        for allocation in &self.allocations {
            *pieces.entry(self.stock_of(allocation)).or_default() += i64::from(allocation.quantity);
        }
        let all = i64::from(self.quantity.max(1));
        pieces.into_iter().map(|(variant, pieces)| (variant, pieces / all * i64::from(quantity))).collect()
    }
}

/// Takes so many pieces of a variant out of `held`, the first ones first.
fn take(
    held: &mut Vec<HeldPieces>,
    variant: Uuid,
    quantity: i64,
    from: impl Fn(&HeldPieces) -> bool,
) -> Vec<HeldPieces> {
    let mut left = quantity;
    let mut taken = Vec::new();
    for piece in held.iter_mut().filter(|piece| piece.variant_id == variant && from(piece)) {
        let quantity = i32::try_from(left).unwrap_or(i32::MAX).min(piece.quantity);
        if quantity > 0 {
            piece.quantity -= quantity;
            left -= i64::from(quantity);
            taken.push(HeldPieces { quantity, ..*piece });
        }
    }
    held.retain(|piece| piece.quantity > 0);
    taken
}

/// Takes so much of the pieces, the first ones first.
pub(super) fn share(pieces: &mut Vec<Piece>, quantity: i64) -> Vec<Piece> {
    if pieces.iter().map(|piece| piece.quantity).sum::<i64>() == quantity {
        return std::mem::take(pieces);
    }
    let mut left = quantity;
    let mut taken = Vec::new();
    for piece in pieces.iter_mut() {
        let quantity = piece.quantity.min(left);
        if quantity > 0 {
            (piece.quantity, left) = (piece.quantity - quantity, left - quantity);
            taken.push(Piece { quantity, ..*piece });
        }
    }
    pieces.retain(|piece| piece.quantity > 0);
    taken
}
