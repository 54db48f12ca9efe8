//! `GET /products/{id}`.

use axum::Json;
use common::db;

use super::view::ProductView;
use crate::auth::Caller;
use crate::error::Error;
use crate::extract::Id;
use crate::state::App;

pub(crate) async fn handle(App(state): App, _: Caller, Id(id): Id) -> Result<Json<ProductView>, Error> {
    let found = state.read(move |c| Box::pin(async move { db::products::find(c, id).await })).await?;
    found.map(|product| Json(product.into())).ok_or_else(|| Error::NotFound("There is no such product.".to_owned()))
}
