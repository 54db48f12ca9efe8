//! Deliveries: what was sent, or is to be, and what came of each attempt.

pub(crate) mod list;
pub(crate) mod replay;
pub(crate) mod show;

use common::db::webhooks::Delivery;
use common::domain::Timestamp;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use crate::error::Error;

fn time(at: Timestamp) -> String {
    at.format(&Rfc3339).unwrap_or_default()
}

pub(crate) fn view(delivery: Delivery) -> Value {
    let pending = delivery.finished_at.is_none();
    json!({
        "id": delivery.id,
        "endpointId": delivery.endpoint_id,
        "webhookId": format!("msg_{}", delivery.event_id.simple()),
        "eventType": delivery.event_type,
        "status": delivery.state,
        "attempts": delivery.attempts,
        "nextAttemptAt": pending.then(|| time(delivery.next_attempt_at)),
        "finishedAt": delivery.finished_at.map(time),
        "createdAt": time(delivery.created_at),
        "payload": serde_json::from_str::<Value>(&delivery.body).unwrap_or_default(),
    })
}

fn not_found() -> Error {
    Error::NotFound("There is no such delivery.".to_owned())
}
