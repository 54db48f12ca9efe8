//! `POST /webhooks/endpoints/{id}/test`: has a test event sent, whatever is subscribed to; the delivery tells what comes of it.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use common::event::EventType;
use common::{clock, db};
use serde_json::json;
use uuid::Uuid;

use super::not_found;
use crate::auth::Caller;
use crate::error::Error;
use crate::extract::Id;
use crate::routes::webhooks::deliveries::view;
use crate::routes::webhooks::{queued, scope};
use crate::state::App;

pub(crate) async fn handle(App(state): App, Caller(caller): Caller, Id(id): Id) -> Result<Response, Error> {
    let (account, delivery) = (scope(caller), Uuid::now_v7());
    let body = db::events::message(EventType::Test, clock::now(), &json!({ "endpointId": id }))?;
    let sent = state.read(move |c| {
        Box::pin(async move {
            let mut transaction = db::begin(c).await?;
            let sent = db::webhooks::test(&mut transaction, account, id, delivery, &body).await?;
            db::commit(transaction).await?;
            Ok(sent)
        })
    });
    let sent = queued(sent.await?, not_found)?;
    let location = [(header::LOCATION, format!("/webhooks/deliveries/{delivery}"))];
    Ok((StatusCode::ACCEPTED, location, axum::Json(view(sent))).into_response())
}
