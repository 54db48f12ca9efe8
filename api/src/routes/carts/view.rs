//! How a cart is shown.

use common::db::carts::{Item, Status};
use common::domain::{Order, Outcome, Refusal};
use serde_json::{Map, Value, json};
use time::format_description::well_known::Rfc3339;

use super::current::Current;
use crate::error::{Receipt, problem_body};

pub(crate) fn view(current: &Current) -> Value {
    let Current { cart, items, refused, .. } = current;
    let time = |at: common::domain::Timestamp| at.format(&Rfc3339).unwrap_or_default();
    let mut view = json!({
        "id": cart.id,
        "customerId": cart.customer,
        "status": cart.status.as_str(),
        "items": items.iter().map(|shown| item(current, shown)).collect::<Vec<Value>>(),
        "deliveryMode": cart.mode,
        "address": cart.address,
        "createdAt": time(cart.created_at),
        "changedAt": time(cart.changed_at),
        "completedAt": cart.completed_at.map(time),
    });
    match (cart.status, refused) {
        (Status::Open, Some(order)) => view["refused"] = refusal(order),
        (Status::Ordering | Status::Completed, _) => view["orderId"] = json!(cart.order),
        (Status::Open, None) => {}
    }
    view
}

/// The last order, and why it was refused.
fn refusal(order: &Order) -> Value {
    let Outcome::Refused(placed) = &order.outcome else { return Value::Null };
    let (kind, detail, members) = Receipt::of(order, placed, "orders").tell();
    json!({ "orderId": order.id, "problem": problem_body(kind, Some(detail), members) })
}

/// An item at today's price, with the price when it was put in where that differs, and why it could not be ordered.
fn item(current: &Current, item: &Item) -> Value {
    let known = current.catalogue.variant(item.variant);
    let price = known.map_or(item.price, |variant| variant.price);
    let mut shown = json!({
        "productId": item.product,
        "variantId": item.variant,
        "name": known.map(|variant| &variant.name),
        "sku": known.map(|variant| &variant.sku),
        "qty": item.quantity,
        "unitPrice": price,
        "deleted": known.is_none_or(|variant| variant.deleted),
    });
    if price != item.price {
        shown["previousUnitPrice"] = json!(item.price);
    }
    if let Some(reason) = current.refused.as_ref().and_then(|order| reason(order, item)) {
        shown["reason"] = Value::Object(reason);
    }
    shown
}

/// What the refusal says of this very item.
fn reason(order: &Order, item: &Item) -> Option<Map<String, Value>> {
    let Outcome::Refused(placed) = &order.outcome else { return None };
    let reason = match &placed.refusal {
        Refusal::InsufficientStock { lines } => {
            let mut lines = lines.iter();
            let line = lines.find(|line| line.bundle_id.unwrap_or(line.variant_id) == item.variant)?;
            let mut reason = json!({ "type": "/problems/insufficient-stock", "requested": line.requested, "onHand": line.on_hand, "reserved": line.reserved });
            if line.ahead > 0 {
                (reason["promised"], reason["promisable"]) = (json!(line.ahead), json!(line.promisable));
            }
            if line.bundle_id.is_some() {
                reason["componentId"] = json!(line.variant_id);
            }
            reason
        }
        Refusal::UnknownProduct { product_ids } if product_ids.contains(&item.product) => {
            json!({ "type": "/problems/unknown-product" })
        }
        Refusal::DeletedProduct { product_ids } if product_ids.contains(&item.product) => {
            json!({ "type": "/problems/deleted-product" })
        }
        Refusal::LimitExceeded { products } => {
            let over = products.iter().find(|over| over.product_id == item.product)?;
            json!({ "type": "/problems/limit-exceeded", "limit": over.limit, "bought": over.bought, "requested": over.requested })
        }
        // Of these the whole order is the reason.
        Refusal::UnknownProduct { .. }
        | Refusal::DeletedProduct { .. }
        | Refusal::MixedCurrencies { .. }
        | Refusal::TotalTooLarge
        | Refusal::NoDelivery
        | Refusal::CustomerRequired { .. }
        | Refusal::TotalChanged { .. } => return None,
    };
    match reason {
        Value::Object(reason) => Some(reason),
        _ => None,
    }
}
