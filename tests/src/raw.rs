//! Messages as somebody past the api might write them.

use serde_json::{Value, json};
use uuid::Uuid;

/// An order of one line.
#[must_use]
pub fn order(id: Uuid, account: Uuid, product: Uuid, quantity: i64, customer: &str) -> Value {
    json!({ "PlaceOrderV1": {
        "head": { "id": id, "accountId": account, "acceptedAt": "2026-01-01T00:00:00Z" },
        "customerId": customer,
        "items": [{ "productId": product, "variantId": product, "qty": quantity }],
    }})
}

/// An order of one line that reserves.
#[must_use]
pub fn hold(id: Uuid, product: Uuid, quantity: i64, window_seconds: u64) -> Value {
    json!({ "HoldOrderV1": {
        "head": { "id": id, "accountId": Uuid::nil(), "acceptedAt": "2026-01-01T00:00:00Z" },
        "items": [{ "productId": product, "variantId": product, "qty": quantity }],
        "hold": { "kind": "payment", "windowSeconds": window_seconds },
    }})
}

/// A message that holds these commands.
#[must_use]
pub fn message(commands: &[Value]) -> Vec<u8> {
    json!({ "commands": commands }).to_string().into_bytes()
}
