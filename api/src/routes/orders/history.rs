//! `GET /orders/{id}/history`: how an order came to where it is: who changed it, when and why.

use axum::Json;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use common::db;
use common::db::orders::StoredEntry;
use common::domain::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::find::{Found, find};
use super::show::waiting;
use super::view::failed;
use crate::answer::applied;
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
    tracking: Option<common::domain::Tracking>,
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

pub(crate) async fn handle(
    App(state): App,
    Caller(caller): Caller,
    Id(id): Id,
    _: HeaderMap,
) -> Result<Response, Error> {
    let order = match find(&state, caller, id).await? {
        Found::Decided(order) => order.id,
        Found::Failed => return Ok(Json(failed(id)).into_response()),
        Found::Waiting => return Ok(applied(None, waiting(id))),
    };
    entries(&state, order).await
}

/// Everything that has become of an order or a reservation.
pub(crate) async fn entries(state: &crate::state::State, order: Uuid) -> Result<Response, Error> {
    let found = state.read(move |c| Box::pin(async move { db::orders::history(c, order).await })).await?;
    let items: Vec<EntryView> = found.into_iter().map(EntryView::from).collect();
    Ok(Json(json!({ "id": order, "items": items })).into_response())
}
