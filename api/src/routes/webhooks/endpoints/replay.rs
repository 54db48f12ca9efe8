//! `POST /webhooks/endpoints/{id}/replay` `{"since","delivered"?}`: has all that an endpoint has missed since a time sent again; with
//! `"delivered":true` also what had come. Up to ten thousand at once, the oldest first: where it says so many, ask again.

use axum::Json as Answer;
use common::db;
use common::domain::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::not_found;
use crate::auth::Caller;
use crate::error::Error;
use crate::extract::{Id, Json};
use crate::routes::webhooks::{queued, scope};
use crate::state::App;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Request {
    #[serde(with = "time::serde::rfc3339")]
    since: Timestamp,
    #[serde(default)]
    delivered: bool,
}

pub(crate) async fn handle(
    App(state): App,
    Caller(caller): Caller,
    Id(id): Id,
    Json(request): Json<Request>,
) -> Result<Answer<Value>, Error> {
    let (account, Request { since, delivered }) = (scope(caller), request);
    let replayed = state.read(move |c| {
        Box::pin(async move {
            let mut transaction = db::begin(c).await?;
            let replayed = db::webhooks::replay_since(&mut transaction, account, id, since, delivered).await?;
            db::commit(transaction).await?;
            Ok(replayed)
        })
    });
    let replayed = queued(replayed.await?, not_found)?;
    Ok(Answer(json!({ "id": id, "replayed": replayed })))
}
