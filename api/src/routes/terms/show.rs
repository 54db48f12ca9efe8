//! `GET /terms`: those in force.

use axum::Json;
use common::db;
use serde_json::Value;

use super::view;
use crate::auth::Caller;
use crate::error::Error;
use crate::state::App;

pub(crate) async fn handle(App(state): App, _: Caller) -> Result<Json<Value>, Error> {
    let terms = state.read(|c| Box::pin(async move { db::terms::in_force(c).await })).await?;
    Ok(Json(view(&terms)))
}
