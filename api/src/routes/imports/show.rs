//! `GET /imports/{id}`: how far it is.

use axum::Json;
use common::db;
use serde_json::Value;

use super::view;
use crate::auth::Operator;
use crate::error::Error;
use crate::extract::Id;
use crate::import::SILENT_SECONDS;
use crate::state::App;

pub(crate) async fn handle(App(state): App, _: Operator, Id(id): Id) -> Result<Json<Value>, Error> {
    let found = state.read(move |c| Box::pin(async move { db::imports::find(c, id, SILENT_SECONDS).await })).await?;
    found.map(|import| Json(view(&import))).ok_or_else(|| Error::NotFound("There is no such import.".to_owned()))
}
