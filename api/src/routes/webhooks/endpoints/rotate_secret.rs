//! `POST /webhooks/endpoints/{id}/rotate-secret` `{"overlapSeconds"?}`: another secret, shown once. For a time deliveries are signed with
//! both.

use axum::Json as Answer;
use common::db;
use common::webhook::{SECRET_BYTES, show_secret};
use serde::Deserialize;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use super::not_found;
use crate::auth::Caller;
use crate::checks::Checks;
use crate::error::Error;
use crate::extract::{Id, JsonIfAny};
use crate::routes::webhooks::scope;
use crate::state::App;

const OVERLAP_SECONDS: i32 = 86_400;
const OVERLAP_SECONDS_MAX: i32 = 30 * 86_400;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Request {
    overlap_seconds: Option<i32>,
}

pub(crate) async fn handle(
    App(state): App,
    Caller(caller): Caller,
    Id(id): Id,
    JsonIfAny(request): JsonIfAny<Request>,
) -> Result<Answer<Value>, Error> {
    let seconds = request.overlap_seconds.unwrap_or(OVERLAP_SECONDS);
    let mut checks = Checks::default();
    checks.that((0..=OVERLAP_SECONDS_MAX).contains(&seconds), "overlapSeconds", || {
        format!("0 to {OVERLAP_SECONDS_MAX} is expected")
    });
    checks.finish(())?;
    let (account, secret) = (scope(caller), rand::random::<[u8; SECRET_BYTES]>());
    let rotated =
        state.read(move |c| Box::pin(async move { db::webhooks::rotate(c, account, id, &secret, seconds).await }));
    let until = rotated.await?.ok_or_else(not_found)?;
    let until = until.format(&Rfc3339).unwrap_or_default();
    Ok(Answer(json!({ "id": id, "secret": show_secret(&secret), "formerSecretUntil": until })))
}
