//! For those who start, stop and balance: is it alive, should it be sent orders.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::state::Slot;

/// Always: the process answers.
pub(crate) async fn live() -> &'static str {
    "ok\n"
}

/// 200 only while orders can be published: connected to the broker, and the broker takes messages.
pub(crate) async fn ready(State(slot): State<Arc<Slot>>) -> (StatusCode, Json<Value>) {
    let publishing = slot.get().is_some_and(|state| state.publisher.is_ready());
    let status = if publishing { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": publishing, "store": slot.get().is_some(), "publishing": publishing })))
}
