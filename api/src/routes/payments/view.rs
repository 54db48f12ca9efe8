//! How a payment that could not be applied is shown.

use common::db::payments::StoredUnapplied;
use common::domain::Timestamp;
use serde::Serialize;
use uuid::Uuid;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UnappliedView {
    id: Uuid,
    order_id: Uuid,
    account_id: Uuid,
    /// Why: the name of a problem, or `unknown-order`.
    problem: String,
    method: Option<String>,
    reference: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    recorded_at: Timestamp,
    #[serde(with = "time::serde::rfc3339::option")]
    resolved_at: Option<Timestamp>,
    resolved_by: Option<Uuid>,
    resolution: Option<String>,
}

impl From<StoredUnapplied> for UnappliedView {
    fn from(stored: StoredUnapplied) -> Self {
        Self {
            id: stored.command_id,
            order_id: stored.order_id,
            account_id: stored.account_id,
            problem: stored.problem,
            method: stored.method,
            reference: stored.reference,
            recorded_at: stored.recorded_at,
            resolved_at: stored.resolved_at,
            resolved_by: stored.resolved_by,
            resolution: stored.resolution,
        }
    }
}
