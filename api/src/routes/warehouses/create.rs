//! `POST /warehouses`: open from the first.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use common::db;
use common::domain::ZONE_MAX;
use serde::Deserialize;
use uuid::Uuid;

use super::{NAME_BYTES_MAX, view};
use crate::auth::Operator;
use crate::checks::Checks;
use crate::error::Error;
use crate::extract::Json;
use crate::problems;
use crate::state::App;

const CODE_BYTES_MAX: usize = 20;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Request {
    code: String,
    name: String,
    zone: u16,
}

pub(crate) async fn handle(App(state): App, _: Operator, Json(request): Json<Request>) -> Result<Response, Error> {
    let mut checks = Checks::default();
    checks.text("code", &request.code, 1, CODE_BYTES_MAX);
    checks.text("name", &request.name, 1, NAME_BYTES_MAX);
    checks.that((1..=ZONE_MAX).contains(&request.zone), "zone", || format!("1 to {ZONE_MAX} is expected"));
    let Request { code, name, zone } = checks.finish(request)?;
    let id = Uuid::now_v7();
    let made = state.read(move |c| {
        Box::pin(async move { db::warehouses::insert(c, (id, code.as_str(), name.as_str(), zone)).await })
    });
    let made = made.await?.ok_or(Error::Plain(&problems::CODE_TAKEN))?;
    let location = [(header::LOCATION, format!("/warehouses/{id}"))];
    Ok((StatusCode::CREATED, location, axum::Json(view(made))).into_response())
}
