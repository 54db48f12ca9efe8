//! `GET /products/{id}/stock`: per variant and warehouse what is on hand, reserved and available.

use axum::Json;
use common::db;
use common::db::stock::StoredLevel;
use serde_json::Value;

use crate::auth::Caller;
use crate::error::Error;
use crate::extract::Id;
use crate::live::view;
use crate::state::App;

pub(crate) async fn handle(App(state): App, _: Caller, Id(id): Id) -> Result<Json<Value>, Error> {
    let found = state.read(move |c| Box::pin(async move { db::stock::of_products(c, &[id]).await })).await?;
    let levels: Vec<StoredLevel> = found.into_iter().map(|(_, level)| level).collect();
    if levels.is_empty() {
        return Err(Error::NotFound("There is no such product.".to_owned()));
    }
    Ok(Json(view(id, &levels)))
}
