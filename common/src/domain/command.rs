//! What clients and operators ask for. Everything that changes stock is a [`Command`].

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Change, Component, DeliveryWish, HoldKind, Money, Serve, SetBackorders, Timestamp};

/// One request, accepted and waiting to be decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The order's id, that of the product to be created, or of the command itself. Decided once.
    pub id: Uuid,
    pub account: Uuid,
    pub accepted_at: Timestamp,
    pub idempotency: Option<Idempotency>,
    pub action: Action,
}

/// Set where the client named an `Idempotency-Key`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idempotency {
    /// Hash of the account and its key.
    pub key: Uuid,
    /// Hash of what was asked for: the same key with another fingerprint is a client's mistake.
    pub fingerprint: Uuid,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    PlaceOrder(PlaceOrder),
    CreateProduct(CreateProduct),
    CreateVariant(CreateVariant),
    ChangeOrder(ChangeOrder),
    ChangeStock(ChangeStock),
    TransferStock(TransferStock),
    SetBackorders(SetBackorders),
    /// Made by a writer itself: the time of these orders' holds is over.
    Expire(Expire),
    /// Made by a writer itself: stock has arrived for these orders.
    Serve(Serve),
}

/// All lines or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceOrder {
    pub customer: Option<String>,
    /// One line per variant, see [`merge_lines`].
    pub lines: Vec<Line>,
    /// To reserve, and not to sell at once.
    pub hold: Option<HoldTerms>,
    /// To be delivered, and not picked up, sent by mail or used at the door.
    pub delivery: Option<Box<DeliveryWish>>,
    /// Refused if it comes to anything else.
    pub expected_total: Option<Money>,
}

/// What a hold is for, and how long it lasts from its decision on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HoldTerms {
    pub kind: HoldKind,
    /// 1 to [`super::WINDOW_SECONDS_MAX`].
    pub window_seconds: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    pub product_id: Uuid,
    pub variant_id: Uuid,
    /// At least 1.
    #[serde(rename = "qty")]
    pub quantity: i32,
    /// The price of a piece that was agreed before; else it is that of the catalogue at the decision.
    #[serde(rename = "unitPrice", default, skip_serializing_if = "Option::is_none")]
    pub agreed: Option<Money>,
}

impl PlaceOrder {
    /// Lines are sorted: the order belongs to the partition of its first product in the fixed order.
    #[must_use]
    pub fn leading_product(&self) -> Uuid {
        self.lines.first().map(|line| line.product_id).unwrap_or_default()
    }
}

/// A product with its default variant (of the same id) and its opening stock, all at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateProduct {
    pub name: Arc<str>,
    pub sku: Arc<str>,
    pub description: Option<String>,
    pub price: Money,
    /// Opening stock, at least 0.
    pub stock: i64,
    pub warehouse_id: Uuid,
    /// It is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category_id: Option<Uuid>,
    /// Of what it is a bundle, with no stock of its own: each variant once. Empty where it is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<Component>,
}

/// Another variant of a product that is there, with its opening stock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateVariant {
    pub product_id: Uuid,
    pub sku: Arc<str>,
    /// What tells it from others of its product: `size`, `colour`.
    pub options: BTreeMap<String, String>,
    /// Where it differs from the product's: in the same currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Money>,
    /// Opening stock, at least 0.
    pub stock: i64,
    pub warehouse_id: Uuid,
}

/// A step in the life of an order, or of a reservation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeOrder {
    pub order_id: Uuid,
    pub change: Change,
    /// In somebody's words, for the history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// An operator's change of one stock row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeStock {
    pub product_id: Uuid,
    pub variant_id: Uuid,
    pub warehouse_id: Uuid,
    pub kind: StockChangeKind,
    /// What is added, or where negative taken: never 0, and of the sign that its kind has. What is there, where it was counted.
    pub quantity: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// An operator's move of stock from one warehouse to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TransferStock {
    pub product_id: Uuid,
    pub variant_id: Uuid,
    pub from_id: Uuid,
    /// Another one.
    pub to_id: Uuid,
    /// At least 1.
    pub quantity: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StockChangeKind {
    /// What was counted differs from what was known, either way.
    Adjust,
    /// Taken out, other than by an order.
    Deduct,
    /// Put back.
    Restore,
    /// So much was counted: `quantity` is what is there, and not by how much it differs.
    Count,
}

impl StockChangeKind {
    /// Whether a quantity is of the sign that this kind has.
    #[must_use]
    pub fn takes(self, quantity: i64) -> bool {
        match self {
            StockChangeKind::Adjust => quantity != 0,
            StockChangeKind::Deduct => quantity < 0,
            StockChangeKind::Restore => quantity > 0,
            StockChangeKind::Count => quantity >= 0,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Expire {
    pub order_ids: Vec<Uuid>,
}

/// Who decides a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Belongs {
    /// The partition of this product.
    ToProduct(Uuid),
    /// The partition that this order's id names.
    ToOrder(Uuid),
}

impl Command {
    /// Where it belongs: an order to its first product in the fixed order, a change of an order to the order.
    #[must_use]
    pub fn belongs(&self) -> Belongs {
        match &self.action {
            Action::PlaceOrder(order) => Belongs::ToProduct(order.leading_product()),
            Action::CreateProduct(_) => Belongs::ToProduct(self.id),
            Action::ChangeOrder(change) => Belongs::ToOrder(change.order_id),
            Action::CreateVariant(variant) => Belongs::ToProduct(variant.product_id),
            Action::ChangeStock(change) => Belongs::ToProduct(change.product_id),
            Action::TransferStock(transfer) => Belongs::ToProduct(transfer.product_id),
            Action::SetBackorders(set) => Belongs::ToProduct(set.product_id),
            Action::Expire(expire) => Belongs::ToOrder(expire.order_ids.first().copied().unwrap_or_default()),
            Action::Serve(serve) => {
                Belongs::ToOrder(serve.orders.first().map(|serving| serving.order_id).unwrap_or_default())
            }
        }
    }

    /// Every variant that it names whose stock the decision may look at or change, with the most that it may take of it; of
    /// a bundle its components are not told.
    /// Those of the orders that it changes are not known to it.
    pub fn variants(&self) -> impl Iterator<Item = (Uuid, i64)> + '_ {
        let (lines, components, other) = match &self.action {
            Action::PlaceOrder(order) => (order.lines.as_slice(), &[][..], None),
            Action::CreateProduct(product) => (&[][..], product.components.as_slice(), Some((self.id, 0))),
            // A product's default variant has its id.
            Action::CreateVariant(variant) => (&[][..], &[][..], Some((variant.product_id, 0))),
            Action::ChangeStock(change) => (&[][..], &[][..], Some((change.variant_id, (-change.quantity).max(0)))),
            Action::TransferStock(transfer) => (&[][..], &[][..], Some((transfer.variant_id, transfer.quantity))),
            Action::SetBackorders(set) => (&[][..], &[][..], Some((set.variant_id, 0))),
            Action::ChangeOrder(_) | Action::Expire(_) | Action::Serve(_) => (&[][..], &[][..], None),
        };
        let lines = lines.iter().map(|line| (line.variant_id, i64::from(line.quantity)));
        lines.chain(components.iter().map(|component| (component.variant_id, 0))).chain(other)
    }

    /// The orders, decided before, that it changes.
    #[must_use]
    pub fn orders(&self) -> Vec<Uuid> {
        match &self.action {
            Action::ChangeOrder(change) => vec![change.order_id],
            Action::Expire(expire) => expire.order_ids.clone(),
            Action::Serve(serve) => serve.orders.iter().map(|serving| serving.order_id).collect(),
            Action::PlaceOrder(_)
            | Action::CreateProduct(_)
            | Action::CreateVariant(_)
            | Action::ChangeStock(_)
            | Action::SetBackorders(_)
            | Action::TransferStock(_) => Vec::new(),
        }
    }
}

/// Adds up lines of the same variant, sorted by product and variant: the fixed order in which partitions are chosen and
/// rows are locked. Checked one by one, two lines of one product would oversell.
///
/// A price that was agreed is that of the first of the lines. Answers `None` where a sum is more than a quantity can be (2,147,483,647).
#[must_use]
pub fn merge_lines(lines: impl IntoIterator<Item = Line>) -> Option<Vec<Line>> {
    let mut merged = BTreeMap::<(Uuid, Uuid), Line>::new();
    for line in lines {
        match merged.entry((line.product_id, line.variant_id)) {
            Entry::Vacant(entry) => drop(entry.insert(line)),
            Entry::Occupied(mut entry) => {
                let sum = entry.get_mut();
                sum.quantity = sum.quantity.checked_add(line.quantity)?;
            }
        }
    }
    Some(merged.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(product: u128, quantity: i32) -> Line {
        Line { product_id: Uuid::from_u128(product), variant_id: Uuid::from_u128(product), quantity, agreed: None }
    }

    #[test]
    fn lines_of_one_variant_are_added_up_and_sorted() {
        assert_eq!(merge_lines([line(2, 1), line(1, 3), line(2, 4)]), Some(vec![line(1, 3), line(2, 5)]));
    }

    #[test]
    fn a_sum_over_the_largest_quantity_is_none() {
        assert_eq!(merge_lines([line(1, i32::MAX), line(1, 1)]), None);
        assert_eq!(merge_lines([line(1, i32::MAX), line(2, 1)]).map(|lines| lines.len()), Some(2));
    }
}
