//! `GET /orders/{id}/history`: how an order came to where it is: who changed it, when and why.

use axum::Json;
use common::db;
use common::db::orders::StoredEntry;
use common::domain::{PiecesSince, Timestamp, Tracking};
use serde::Serialize;
use serde_json::{Value, json};

use super::find::{Found, find};
use super::view::{returned, served};
use crate::auth::Caller;
use crate::error::Error;
use crate::extract::Id;
use crate::state::App;

/// A change as anybody sees it who may see the order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EntryView {
    revision: i32,
    status: String,
    #[serde(with = "time::serde::rfc3339")]
    at: Timestamp,
    by: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracking: Option<Tracking>,
    /// What has come back by this change.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    returned: Vec<Value>,
    /// What was promised, and is there by this change.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    served: Vec<Value>,
    partition: i16,
    sequence: i64,
}

impl EntryView {
    /// An entry, and what had become of the order's pieces at the one before it.
    fn new(entry: StoredEntry, before: &PiecesSince) -> Self {
        let by = match entry.account_id {
            Some(id) => json!({ "accountId": id, "account": entry.account, "role": entry.role }),
            // Nobody has asked for it: time was over, or stock has arrived.
            None => json!({ "role": "system" }),
        };
        Self {
            revision: entry.revision,
            status: entry.status,
            at: entry.changed_at,
            by,
            reason: entry.reason,
            tracking: entry.tracking.map(|tracking| tracking.0),
            served: entry.pieces.iter().flat_map(|pieces| pieces.served_after(before)).flat_map(served).collect(),
            returned: entry.pieces.iter().flat_map(|pieces| pieces.returned_after(before)).map(returned).collect(),
            partition: entry.partition,
            sequence: entry.sequence,
        }
    }
}

/// `items` is empty until it is decided, and where it could not be.
pub(crate) async fn handle(App(state): App, Caller(caller): Caller, Id(id): Id) -> Result<Json<Value>, Error> {
    let order = match find(&state, caller, id).await? {
        Found::Decided(order) => order.id,
        Found::Failed | Found::Waiting => return Ok(Json(json!({ "id": id, "items": [] }))),
    };
    let found = state.read(move |c| Box::pin(async move { db::orders::history(c, order).await })).await?;
    let mut before = PiecesSince::default();
    let show = |entry: StoredEntry| {
        let pieces = entry.pieces.as_deref().cloned().unwrap_or_default();
        EntryView::new(entry, &std::mem::replace(&mut before, pieces))
    };
    let items: Vec<EntryView> = found.into_iter().map(show).collect();
    Ok(Json(json!({ "id": order, "items": items })))
}
