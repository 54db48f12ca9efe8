//! `GET /products?limit=&cursor=`: a page of the catalogue.

use axum::response::Response;
use common::db;
use common::db::products::Product;
use uuid::Uuid;

use super::view::ProductView;
use crate::auth::Caller;
use crate::error::Error;
use crate::page::{self, Asked};
use crate::state::App;

pub(crate) async fn handle(App(state): App, _: Caller, query: Asked) -> Result<Response, Error> {
    let mut reading = query.read(&["limit", "cursor"]);
    let (limit, after) = (reading.limit(), reading.cursor::<Uuid>());
    let ((), kept) = reading.finish(())?;
    // One more than asked for tells whether there is a next page.
    let found = state.read(move |c| Box::pin(async move { db::products::list(c, after, limit + 1).await })).await?;
    Ok(page::answer("/products", kept, limit, found, |product: &Product| product.id, ProductView::from))
}
