//! `GET /warehouses?limit=&cursor=`.

use axum::response::Response;
use common::db;
use common::db::warehouses::Warehouse;
use uuid::Uuid;

use super::view;
use crate::auth::Caller;
use crate::error::Error;
use crate::page::{self, Asked};
use crate::state::App;

pub(crate) async fn handle(App(state): App, _: Caller, query: Asked) -> Result<Response, Error> {
    let mut reading = query.read(&["limit", "cursor"]);
    let (limit, after) = (reading.limit(), reading.cursor::<Uuid>());
    let ((), kept) = reading.finish(())?;
    let found = state.read(move |c| Box::pin(async move { db::warehouses::list(c, after, limit + 1).await })).await?;
    Ok(page::answer("/warehouses", kept, limit, found, |warehouse: &Warehouse| warehouse.id, view))
}
