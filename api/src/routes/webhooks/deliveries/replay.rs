//! `POST /webhooks/deliveries/{id}/replay`: has it sent again now, with the same id, whatever came of it before.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use common::db;

use super::{not_found, view};
use crate::auth::Caller;
use crate::error::Error;
use crate::extract::Id;
use crate::routes::webhooks::{queued, scope};
use crate::state::App;

pub(crate) async fn handle(App(state): App, Caller(caller): Caller, Id(id): Id) -> Result<Response, Error> {
    let account = scope(caller);
    let replayed = state.read(move |c| {
        Box::pin(async move {
            let mut transaction = db::begin(c).await?;
            let replayed = db::webhooks::replay(&mut transaction, account, id).await?;
            db::commit(transaction).await?;
            Ok(replayed)
        })
    });
    let delivery = queued(replayed.await?, not_found)?;
    Ok((StatusCode::ACCEPTED, axum::Json(view(delivery))).into_response())
}
