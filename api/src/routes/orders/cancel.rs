//! `DELETE /orders/{id}?reason=`: gives back what the order holds, until it is shipped.

use axum::http::HeaderMap;
use axum::response::Response;
use common::domain::Change;

use super::change::{answer, change};
use crate::auth::Caller;
use crate::checks::NOTE_BYTES_MAX;
use crate::error::Error;
use crate::extract::Id;
use crate::page::Asked;
use crate::state::App;

pub(crate) async fn handle(
    App(state): App,
    Caller(caller): Caller,
    Id(id): Id,
    headers: HeaderMap,
    query: Asked,
) -> Result<Response, Error> {
    let reason = reason(query)?;
    Ok(answer(change(&state, caller, &headers, id, Change::Cancel, reason).await?))
}

/// A body is not expected of a `DELETE` (RFC 9110, section 9.3.5), so a reason comes in the query.
pub(crate) fn reason(query: Asked) -> Result<Option<String>, Error> {
    let mut reading = query.read(&["reason"]);
    let reason = reading.text("reason").map(str::to_owned);
    reading.checks.text_if_set("reason", reason.as_deref(), NOTE_BYTES_MAX);
    Ok(reading.finish(reason)?.0)
}
