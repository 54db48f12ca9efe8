//! `GET /products/{id}/stock`: per variant and warehouse what is on hand, reserved and available; of a bundle what
//! its components have.

use axum::Json;
use common::db;
use serde_json::Value;

use crate::auth::Caller;
use crate::error::Error;
use crate::extract::Id;
use crate::live::view;
use crate::state::App;

pub(crate) async fn handle(App(state): App, _: Caller, Id(id): Id) -> Result<Json<Value>, Error> {
    let found = state.read(move |c| Box::pin(async move { db::stock::of_products(c, &[id]).await })).await?;
    let stock = found.get(&id).ok_or_else(|| Error::NotFound("There is no such product.".to_owned()))?;
    Ok(Json(view(id, stock)))
}
