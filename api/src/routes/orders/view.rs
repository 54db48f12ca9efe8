//! How an order is shown.

use common::domain::{Confirmed, Money, Order, OrderItem, Outcome, Timestamp};
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
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_id: Option<String>,
    items: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<Money>,
    outcome: Value,
    #[serde(with = "time::serde::rfc3339")]
    accepted_at: Timestamp,
    #[serde(with = "time::serde::rfc3339")]
    decided_at: Timestamp,
}

impl From<Order> for OrderView {
    fn from(order: Order) -> Self {
        let (partition, sequence) = (order.partition, order.sequence);
        let (status, items, total, outcome) = match order.outcome {
            Outcome::Confirmed(Confirmed { items, total }) => {
                let outcome = json!({ "status": 201, "partition": partition, "sequence": sequence });
                ("paid", items.iter().map(item).collect(), Some(total), outcome)
            }
            Outcome::Refused(placed) => {
                let items = json!(placed.lines);
                let (kind, detail, members) =
                    Receipt { id: order.id, partition, sequence, refusal: placed.refusal }.tell();
                ("rejected", items, None, problem_body(kind, Some(detail), members))
            }
        };
        Self {
            id: order.id,
            status,
            customer_id: order.customer_id,
            items,
            total,
            outcome,
            accepted_at: order.accepted_at,
            decided_at: order.decided_at,
        }
    }
}

fn item(item: &OrderItem) -> Value {
    let allocations: Vec<Value> = item
        .allocations
        .iter()
        .map(|a| json!({ "warehouseId": a.warehouse_id, "qty": a.quantity, "stockVersion": a.stock_version }))
        .collect();
    json!({
        "productId": item.product_id,
        "variantId": item.variant_id,
        "name": item.name,
        "sku": item.sku,
        "qty": item.quantity,
        "unitPrice": item.unit_price,
        "allocations": allocations,
    })
}

/// An order that could not be decided.
pub(crate) fn failed(id: Uuid) -> Value {
    json!({ "id": id, "status": "failed", "outcome": problem_body(&problems::FAILED, None, json!({})) })
}

/// An order that is still waiting.
pub(crate) fn pending(id: Uuid) -> Value {
    json!({ "id": id, "status": "pending" })
}
