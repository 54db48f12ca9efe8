//! `GET /products/{id}/variants/{variantId}`.

use axum::Json;
use common::db;

use crate::auth::Caller;
use crate::error::Error;
use crate::extract::Ids;
use crate::routes::products::view::VariantView;
use crate::state::App;

pub(crate) async fn handle(App(state): App, _: Caller, Ids(product, id): Ids) -> Result<Json<VariantView>, Error> {
    let found = state.read(move |c| Box::pin(async move { db::products::find(c, product).await })).await?;
    let variant = found.into_iter().flat_map(|product| product.variants).find(|variant| variant.id == id);
    let unknown = || Error::NotFound("There is no such variant of such a product.".to_owned());
    variant.map(|variant| Json(variant.into())).ok_or_else(unknown)
}
