//! `GET /webhooks/deliveries/{id}`: with each attempt.

use axum::Json;
use common::db;
use common::db::webhooks::Attempt;
use serde_json::{Value, json};

use super::{not_found, time, view};
use crate::auth::Caller;
use crate::error::Error;
use crate::extract::Id;
use crate::routes::webhooks::scope;
use crate::state::App;

pub(crate) async fn handle(App(state): App, Caller(caller): Caller, Id(id): Id) -> Result<Json<Value>, Error> {
    let account = scope(caller);
    let found = state.read(move |c| {
        Box::pin(async move {
            let found = db::webhooks::find_delivery(c, account, id).await?;
            Ok((found, db::webhooks::attempts(c, id).await?))
        })
    });
    let (delivery, attempts) = found.await?;
    let mut shown = view(delivery.ok_or_else(not_found)?);
    shown["attempts"] = attempts.into_iter().map(attempt).collect();
    Ok(Json(shown))
}

fn attempt(attempt: Attempt) -> Value {
    json!({
        "number": attempt.number,
        "at": time(attempt.started_at),
        "durationMs": attempt.duration_ms,
        "status": attempt.status,
        "error": attempt.error,
        "answer": attempt.answer,
    })
}
