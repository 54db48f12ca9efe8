//! `PATCH /webhooks/endpoints/{id}`: what is left out stays. Enabled again, an endpoint is told of what is decided from then on. What it has
//! missed while it was disabled for its failures there is a replay for; what while somebody had disabled it, it is not told.

use axum::Json as Answer;
use common::address::check_url;
use common::db;
use common::db::webhooks::EndpointChange;
use serde::Deserialize;
use serde_json::Value;

use super::{DESCRIPTION_BYTES_MAX, check_types, not_found, view};
use crate::auth::Caller;
use crate::checks::Checks;
use crate::error::Error;
use crate::extract::{Id, Json, nullable};
use crate::routes::webhooks::scope;
use crate::state::App;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Request {
    url: Option<String>,
    event_types: Option<Vec<String>>,
    #[serde(default, deserialize_with = "nullable")]
    description: Option<Option<String>>,
    enabled: Option<bool>,
}

pub(crate) async fn handle(
    App(state): App,
    Caller(caller): Caller,
    Id(id): Id,
    Json(request): Json<Request>,
) -> Result<Answer<Value>, Error> {
    let mut checks = Checks::default();
    let url = request.url.as_deref().map(|url| check_url(url, &state.config.webhook_networks)).transpose();
    if let Err(problem) = &url {
        checks.mistake("url", *problem);
    }
    let description = request.description.as_ref().and_then(|description| description.as_deref());
    checks.text_if_set("description", description, DESCRIPTION_BYTES_MAX);
    let event_types = request.event_types.as_deref().map(|names| check_types(names, caller, &mut checks));
    let Request { description, enabled, .. } = checks.finish(request)?;
    // As it was understood.
    let url = url.ok().flatten().map(String::from);
    let (account, change) = (scope(caller), EndpointChange { url, description, event_types, enabled });
    let changed = state.read(move |c| Box::pin(async move { db::webhooks::change(c, account, id, &change).await }));
    changed.await?.map(|endpoint| Answer(view(endpoint))).ok_or_else(not_found)
}
