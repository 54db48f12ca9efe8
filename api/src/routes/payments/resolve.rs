//! `PATCH /payments/unapplied/{id}`: an operator has seen to it, by a refund for instance. The first one stays.

use axum::Json as Answer;
use common::db;
use serde::Deserialize;

use super::view::UnappliedView;
use crate::auth::Operator;
use crate::checks::{Checks, NOTE_BYTES_MAX};
use crate::error::Error;
use crate::extract::{Id, Json};
use crate::state::App;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Request {
    #[serde(rename = "status")]
    _status: Status,
    resolution: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Resolved,
}

pub(crate) async fn handle(
    App(state): App,
    Operator(operator): Operator,
    Id(id): Id,
    Json(request): Json<Request>,
) -> Result<Answer<UnappliedView>, Error> {
    let mut checks = Checks::default();
    checks.text_if_set("resolution", request.resolution.as_deref(), NOTE_BYTES_MAX);
    let resolution = checks.finish(request.resolution)?;
    let by = operator.account;
    let resolved =
        state.read(move |c| Box::pin(async move { db::payments::resolve(c, id, by, resolution.as_deref()).await }));
    let resolved = resolved.await?.ok_or_else(|| Error::NotFound("There is no such payment.".to_owned()))?;
    Ok(Answer(UnappliedView::from(resolved)))
}
