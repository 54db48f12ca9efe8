//! What clients and operators ask for. Everything that changes stock is a [`Command`].

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Money, Timestamp};

/// One request, accepted and waiting to be decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The order's id, or that of the product to be created. Decided once.
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
}

/// All lines or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceOrder {
    pub customer: Option<String>,
    /// One line per variant, see [`merge_lines`].
    pub lines: Vec<Line>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    pub product_id: Uuid,
    pub variant_id: Uuid,
    /// At least 1.
    #[serde(rename = "qty")]
    pub quantity: i32,
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
}

impl Command {
    /// The product whose partition decides it: the first in the fixed order.
    #[must_use]
    pub fn leading_product(&self) -> Uuid {
        match &self.action {
            Action::PlaceOrder(order) => order.leading_product(),
            Action::CreateProduct(_) => self.id,
        }
    }

    /// Every variant whose stock the decision may look at or change.
    pub fn variants(&self) -> impl Iterator<Item = Uuid> + '_ {
        let (lines, product) = match &self.action {
            Action::PlaceOrder(order) => (order.lines.as_slice(), None),
            Action::CreateProduct(_) => (&[][..], Some(self.id)),
        };
        lines.iter().map(|line| line.variant_id).chain(product)
    }
}

/// Adds up lines of the same variant, sorted by product and variant: the fixed order in which partitions are chosen and
/// rows are locked. Checked one by one, two lines of one product would oversell.
///
/// Answers `None` where a sum is more than a quantity can be (2,147,483,647).
#[must_use]
pub fn merge_lines(lines: impl IntoIterator<Item = Line>) -> Option<Vec<Line>> {
    let mut quantities = BTreeMap::<(Uuid, Uuid), i32>::new();
    for line in lines {
        let quantity = quantities.entry((line.product_id, line.variant_id)).or_default();
        *quantity = quantity.checked_add(line.quantity)?;
    }
    Some(
        quantities
            .into_iter()
            .map(|((product_id, variant_id), quantity)| Line { product_id, variant_id, quantity })
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(product: u128, quantity: i32) -> Line {
        Line { product_id: Uuid::from_u128(product), variant_id: Uuid::from_u128(product), quantity }
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
