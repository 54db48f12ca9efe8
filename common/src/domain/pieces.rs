//! Which pieces of stock an order holds: what it was given when it was decided, less what has come back since.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Order, OrderItem};

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

/// What has become of an order's pieces since it was decided. Only ever added to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PiecesSince {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub returned: Vec<Returned>,
}

impl PiecesSince {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.returned.is_empty()
    }

    /// What has come back since `before`.
    #[must_use]
    pub fn returned_after(&self, before: &Self) -> &[Returned] {
        self.returned.get(before.returned.len()..).unwrap_or_default()
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
        for back in since.into_iter().flat_map(|pieces| pieces.returned_of(item.variant_id)).flat_map(|r| &r.restocked)
        {
            take(&mut held, back.variant_id, i64::from(back.quantity), |piece| piece.warehouse_id == back.warehouse_id);
        }
        held
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
            let item = self.items().iter().find(|item| item.variant_id == line.variant_id)?;
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
