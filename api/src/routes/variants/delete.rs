//! `DELETE /products/{id}/variants/{variantId}`: no longer sold. A product's own stock goes with the product.

use axum::http::StatusCode;
use common::db;

use crate::auth::Operator;
use crate::error::Error;
use crate::extract::Ids;
use crate::state::App;

pub(crate) async fn handle(App(state): App, _: Operator, Ids(product, id): Ids) -> Result<StatusCode, Error> {
    let deleted =
        state.read(move |c| Box::pin(async move { db::products::delete_variant(c, product, id).await })).await?;
    let unknown = || Error::NotFound("There is no such variant of such a product.".to_owned());
    if deleted { Ok(StatusCode::NO_CONTENT) } else { Err(unknown()) }
}
