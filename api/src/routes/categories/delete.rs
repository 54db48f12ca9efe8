//! `DELETE /categories/{id}`: its products are in none any more.

use axum::http::StatusCode;
use common::db;

use crate::auth::Operator;
use crate::error::Error;
use crate::extract::Id;
use crate::state::App;

pub(crate) async fn handle(App(state): App, _: Operator, Id(id): Id) -> Result<StatusCode, Error> {
    let deleted = state.read(move |c| Box::pin(async move { db::categories::delete(c, id).await })).await?;
    if deleted { Ok(StatusCode::NO_CONTENT) } else { Err(Error::NotFound("There is no such category.".to_owned())) }
}
