//! `GET /orders/{id}/history`: how an order came to where it is: who changed it, when and why.

use axum::Json;
use common::db;
use common::db::orders::StoredEntry;
use common::domain::{Timestamp, Tracking};
use serde::Serialize;
use serde_json::{Value, json};

use super::find::{Found, find};
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
    partition: i16,
    sequence: i64,
}

impl From<StoredEntry> for EntryView {
    fn from(entry: StoredEntry) -> Self {
        let by = match entry.account_id {
            Some(id) => json!({ "accountId": id, "account": entry.account, "role": entry.role }),
            // Nobody has asked for it: time was over.
            None => json!({ "role": "system" }),
        };
        Self {
            revision: entry.revision,
            status: entry.status,
            at: entry.changed_at,
            by,
            reason: entry.reason,
            tracking: entry.tracking.map(|tracking| tracking.0),
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
    let items: Vec<EntryView> = found.into_iter().map(EntryView::from).collect();
    Ok(Json(json!({ "id": order, "items": items })))
}
