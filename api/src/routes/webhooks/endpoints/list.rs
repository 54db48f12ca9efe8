//! `GET /webhooks/endpoints?limit=&cursor=`.

use axum::response::Response;
use common::db;
use common::db::webhooks::Endpoint;
use uuid::Uuid;

use super::view;
use crate::auth::Caller;
use crate::error::Error;
use crate::page::{self, Asked};
use crate::routes::webhooks::scope;
use crate::state::App;

pub(crate) async fn handle(App(state): App, Caller(caller): Caller, query: Asked) -> Result<Response, Error> {
    let mut reading = query.read(&["limit", "cursor"]);
    let (limit, after) = (reading.limit(), reading.cursor::<Uuid>());
    let ((), kept) = reading.finish(())?;
    let account = scope(caller);
    let found =
        state.read(move |c| Box::pin(async move { db::webhooks::list(c, account, after, limit + 1).await })).await?;
    Ok(page::answer("/webhooks/endpoints", kept, limit, found, |endpoint: &Endpoint| endpoint.id, view))
}
