//! How much of a product one customer may have.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Order, PlaceOrder, Refusal, Timestamp};

/// Longest window of a limit, in seconds: ten years.
pub const LIMIT_SECONDS_MAX: i64 = 10 * 365 * 86_400;

/// So many pieces of a product, of all its variants together, for each customer, whichever account orders for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limit {
    /// At least 1.
    #[serde(rename = "qty")]
    pub quantity: i64,
    /// Counted are orders that were decided so long ago at the most; all there ever were where it is not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_seconds: Option<i64>,
}

impl Limit {
    /// From when on orders count; all do where `None`.
    #[must_use]
    pub fn since(&self, now: Timestamp) -> Option<Timestamp> {
        self.window_seconds.map(|seconds| now.saturating_sub(time::Duration::seconds(seconds)))
    }
}

/// The limits of the products that a batch orders, and what its customers have of them: all orders that are not cancelled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    pub of: BTreeMap<Uuid, Limit>,
    /// By customer and product.
    pub bought: BTreeMap<(String, Uuid), i64>,
}

/// The receipt of a refusal for a limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OverLimit {
    pub product_id: Uuid,
    pub limit: Limit,
    /// What the customer had of it when the order was decided.
    pub bought: i64,
    pub requested: i64,
}

impl Limits {
    /// Whether the customer may have all of the order.
    ///
    /// # Errors
    /// Where a product is limited and no customer is named, then where a limit would be passed.
    pub(super) fn check(&self, order: &PlaceOrder) -> Result<(), Refusal> {
        if self.of.is_empty() {
            return Ok(());
        }
        let requested = self.requested(order);
        let Some(customer) = &order.customer else {
            let product_ids: Vec<Uuid> = requested.into_keys().collect();
            return if product_ids.is_empty() { Ok(()) } else { Err(Refusal::CustomerRequired { product_ids }) };
        };
        let over = requested.into_iter().filter_map(|(product_id, requested)| {
            let limit = *self.of.get(&product_id)?;
            let bought = self.bought.get(&(customer.clone(), product_id)).copied().unwrap_or_default();
            let fits = bought.saturating_add(requested) <= limit.quantity;
            (!fits).then_some(OverLimit { product_id, limit, bought, requested })
        });
        let over: Vec<OverLimit> = over.collect();
        if over.is_empty() { Ok(()) } else { Err(Refusal::LimitExceeded { products: over }) }
    }

    /// What an order asks for of limited products.
    fn requested(&self, order: &PlaceOrder) -> BTreeMap<Uuid, i64> {
        let mut requested = BTreeMap::new();
        for line in order.lines.iter().filter(|line| self.of.contains_key(&line.product_id)) {
            *requested.entry(line.product_id).or_default() += i64::from(line.quantity);
        }
        requested
    }

    /// Counts an order that was confirmed.
    pub(super) fn add(&mut self, order: &PlaceOrder) {
        let Some(customer) = &order.customer else { return };
        for (product, quantity) in self.requested(order) {
            *self.bought.entry((customer.clone(), product)).or_default() += quantity;
        }
    }

    /// No longer counts an order that was cancelled.
    pub(super) fn forget(&mut self, order: &Order, now: Timestamp) {
        let Some(customer) = &order.customer_id else { return };
        // What was due did not count any more.
        if !order.standing().converted && order.hold().is_some_and(|hold| hold.due_at <= now) {
            return;
        }
        for item in order.items() {
            let Some(limit) = self.of.get(&item.product_id) else { continue };
            let counts = limit.since(now).is_none_or(|since| order.decided_at > since);
            if let Some(bought) = self.bought.get_mut(&(customer.clone(), item.product_id)).filter(|_| counts) {
                *bought -= i64::from(item.quantity);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Line;

    fn order(customer: Option<&str>, lines: &[(u128, u128, i32)]) -> PlaceOrder {
        let line = |&(product, variant, quantity): &(u128, u128, i32)| Line {
            product_id: Uuid::from_u128(product),
            variant_id: Uuid::from_u128(variant),
            quantity,
            agreed: None,
        };
        let (customer, lines) = (customer.map(str::to_owned), lines.iter().map(line).collect());
        PlaceOrder { customer, lines, hold: None, delivery: None, expected_total: None }
    }

    #[test]
    fn all_variants_of_a_product_count_together_for_each_customer() {
        let limit = Limit { quantity: 3, window_seconds: None };
        let mut limits = Limits { of: [(Uuid::from_u128(1), limit)].into(), bought: BTreeMap::new() };
        let over = |bought, requested| {
            let product_id = Uuid::from_u128(1);
            Err(Refusal::LimitExceeded { products: vec![OverLimit { product_id, limit, bought, requested }] })
        };
        for (customer, lines, expected) in [
            (Some("ada"), &[(1, 10, 2), (1, 11, 2)][..], over(0, 4)),
            (Some("ada"), &[(1, 10, 1), (1, 11, 1), (2, 2, 99)], Ok(())),
            (Some("ada"), &[(1, 10, 2)], over(2, 2)),
            (Some("bob"), &[(1, 10, 3)], Ok(())),
            (Some("ada"), &[(1, 10, 1)], Ok(())),
            (Some("ada"), &[(2, 2, 1)], Ok(())),
            (None, &[(2, 2, 1)], Ok(())),
            (None, &[(1, 10, 1)], Err(Refusal::CustomerRequired { product_ids: vec![Uuid::from_u128(1)] })),
        ] {
            let order = order(customer, lines);
            assert_eq!(limits.check(&order), expected, "{order:?}");
            if expected.is_ok() {
                limits.add(&order);
            }
        }
    }
}
