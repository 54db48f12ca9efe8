//! `GET` and `PUT /customers/{customerId}/tier`.

use axum::Json as Answer;
use common::db;
use common::db::customers::Tier;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::auth::Operator;
use crate::error::Error;
use crate::extract::{Customer, Json};
use crate::state::App;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Request {
    tier: Tier,
}

pub(crate) async fn show(App(state): App, _: Operator, Customer(id): Customer) -> Result<Answer<Value>, Error> {
    let customer = id.clone();
    let tier = state.read(move |c| Box::pin(async move { db::customers::tier(c, &customer).await })).await?;
    Ok(Answer(json!({ "customerId": id, "tier": tier })))
}

pub(crate) async fn set(
    App(state): App,
    _: Operator,
    Customer(id): Customer,
    Json(Request { tier }): Json<Request>,
) -> Result<Answer<Value>, Error> {
    let customer = id.clone();
    state.read(move |c| Box::pin(async move { db::customers::set_tier(c, &customer, tier).await })).await?;
    Ok(Answer(json!({ "customerId": id, "tier": tier })))
}
