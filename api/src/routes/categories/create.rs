//! `POST /categories`.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use common::db;
use serde::Deserialize;
use uuid::Uuid;

use super::{check_name, view};
use crate::auth::Operator;
use crate::checks::Checks;
use crate::error::Error;
use crate::extract::Json;
use crate::problems;
use crate::state::App;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Request {
    pub(super) name: String,
}

pub(crate) async fn handle(
    App(state): App,
    _: Operator,
    Json(Request { name }): Json<Request>,
) -> Result<Response, Error> {
    let mut checks = Checks::default();
    check_name(&name, &mut checks);
    checks.finish(())?;
    let id = Uuid::now_v7();
    let made = state.read(move |c| Box::pin(async move { db::categories::insert(c, id, &name).await })).await?;
    let made = made.ok_or(Error::Plain(&problems::NAME_TAKEN))?;
    let location = [(header::LOCATION, format!("/categories/{id}"))];
    Ok((StatusCode::CREATED, location, axum::Json(view(made))).into_response())
}
