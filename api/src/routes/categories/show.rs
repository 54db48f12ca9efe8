//! `GET /categories/{id}`.

use axum::Json;
use common::db;
use serde_json::Value;

use super::view;
use crate::auth::Caller;
use crate::error::Error;
use crate::extract::Id;
use crate::state::App;

pub(crate) async fn handle(App(state): App, _: Caller, Id(id): Id) -> Result<Json<Value>, Error> {
    let found = state.read(move |c| Box::pin(async move { db::categories::find(c, id).await })).await?;
    found.map(|category| Json(view(category))).ok_or_else(|| Error::NotFound("There is no such category.".to_owned()))
}
