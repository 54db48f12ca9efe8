//! `GET /webhooks/endpoints/{id}`.

use axum::Json;
use common::db;
use serde_json::Value;

use super::{not_found, view};
use crate::auth::Caller;
use crate::error::Error;
use crate::extract::Id;
use crate::routes::webhooks::scope;
use crate::state::App;

pub(crate) async fn handle(App(state): App, Caller(caller): Caller, Id(id): Id) -> Result<Json<Value>, Error> {
    let account = scope(caller);
    let found = state.read(move |c| Box::pin(async move { db::webhooks::find(c, account, id).await })).await?;
    found.map(|endpoint| Json(view(endpoint))).ok_or_else(not_found)
}
