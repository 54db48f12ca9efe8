//! `PATCH /warehouses/{id}`: another name; open or closed. From one that is closed no order is served that is decided from then
//! on; what it has sold or reserved before stays so. Its zone never changes.

use axum::Json as Answer;
use common::db;
use serde::Deserialize;
use serde_json::Value;

use super::{NAME_BYTES_MAX, view};
use crate::auth::Operator;
use crate::checks::Checks;
use crate::error::Error;
use crate::extract::{Id, Json};
use crate::state::App;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Request {
    name: Option<String>,
    open: Option<bool>,
}

pub(crate) async fn handle(
    App(state): App,
    _: Operator,
    Id(id): Id,
    Json(request): Json<Request>,
) -> Result<Answer<Value>, Error> {
    let mut checks = Checks::default();
    checks.text_if_set("name", request.name.as_deref(), NAME_BYTES_MAX);
    let Request { name, open } = checks.finish(request)?;
    let changed =
        state.read(move |c| Box::pin(async move { db::warehouses::change(c, id, name.as_deref(), open).await }));
    let changed = changed.await?;
    changed
        .map(|warehouse| Answer(view(warehouse)))
        .ok_or_else(|| Error::NotFound("There is no such warehouse.".to_owned()))
}
