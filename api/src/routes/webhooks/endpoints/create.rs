//! `POST /webhooks/endpoints`: the answer has the secret, which is never shown again.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use common::address::check_url;
use common::db;
use common::db::webhooks::NewEndpoint;
use common::webhook::{SECRET_BYTES, show_secret};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::{DESCRIPTION_BYTES_MAX, check_types, view};
use crate::auth::Caller;
use crate::checks::Checks;
use crate::error::Error;
use crate::extract::Json;
use crate::problems;
use crate::state::App;

/// Most endpoints of an account.
const ENDPOINTS_MAX: i64 = 50;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Request {
    url: String,
    event_types: Vec<String>,
    description: Option<String>,
}

pub(crate) async fn handle(
    App(state): App,
    Caller(caller): Caller,
    Json(request): Json<Request>,
) -> Result<Response, Error> {
    let mut checks = Checks::default();
    let url = check_url(&request.url, &state.config.webhook_networks);
    if let Err(problem) = &url {
        checks.mistake("url", *problem);
    }
    checks.text_if_set("description", request.description.as_deref(), DESCRIPTION_BYTES_MAX);
    let event_types = check_types(&request.event_types, caller, &mut checks);
    let Request { description, .. } = checks.finish(request)?;
    // As it was understood.
    let url = url.map(String::from).unwrap_or_default();
    let secret = rand::random::<[u8; SECRET_BYTES]>();
    let (id, account_id) = (Uuid::now_v7(), caller.account);
    let new = NewEndpoint { id, account_id, url, description, event_types, secret: secret.to_vec() };
    let made = state.read(move |c| Box::pin(async move { db::webhooks::insert(c, &new, ENDPOINTS_MAX).await }));
    let mut shown = view(made.await?.ok_or(Error::Plain(&problems::TOO_MANY_ENDPOINTS))?);
    shown["secret"] = json!(show_secret(&secret));
    let location = [(header::LOCATION, format!("/webhooks/endpoints/{id}"))];
    Ok((StatusCode::CREATED, location, axum::Json(shown)).into_response())
}
