//! `GET /payments/unapplied?all=`: those that nobody has resolved, or all, the oldest first.

use axum::response::Response;
use common::db;
use common::db::payments::StoredUnapplied;
use common::domain::Timestamp;
use uuid::Uuid;

use super::view::UnappliedView;
use crate::auth::Operator;
use crate::error::Error;
use crate::page::{self, Asked};
use crate::state::App;

pub(crate) async fn handle(App(state): App, _: Operator, query: Asked) -> Result<Response, Error> {
    let mut reading = query.read(&["all", "limit", "cursor"]);
    let all = reading.parsed("all", "true or false", |text| text.parse().ok()).unwrap_or(false);
    let (limit, after) = (reading.limit(), reading.cursor::<(Timestamp, Uuid)>());
    let ((), kept) = reading.finish(())?;
    let found =
        state.read(move |c| Box::pin(async move { db::payments::list(c, all, after, limit + 1).await })).await?;
    let place = |payment: &StoredUnapplied| (payment.recorded_at, payment.command_id);
    Ok(page::answer("/payments/unapplied", kept, limit, found, place, UnappliedView::from))
}
