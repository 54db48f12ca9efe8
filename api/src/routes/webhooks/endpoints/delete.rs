//! `DELETE /webhooks/endpoints/{id}`: nothing more is sent, save what is on its way; its deliveries are
//! shown no more.

use axum::http::StatusCode;
use common::db;

use super::not_found;
use crate::auth::Caller;
use crate::error::Error;
use crate::extract::Id;
use crate::routes::webhooks::scope;
use crate::state::App;

pub(crate) async fn handle(App(state): App, Caller(caller): Caller, Id(id): Id) -> Result<StatusCode, Error> {
    let account = scope(caller);
    let deleted = state.read(move |c| Box::pin(async move { db::webhooks::delete(c, account, id).await })).await?;
    if deleted { Ok(StatusCode::NO_CONTENT) } else { Err(not_found()) }
}
