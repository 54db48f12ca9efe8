//! `GET` and `PUT /customers/{customerId}/tier`.

use axum::Json as Answer;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use common::db;
use common::db::customers::Tier;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::auth::Operator;
use crate::checks::{Checks, NAME_BYTES_MAX};
use crate::error::Error;
use crate::extract::Json;
use crate::state::App;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Request {
    tier: Tier,
}

type Customer = Result<Path<String>, PathRejection>;

pub(crate) async fn show(App(state): App, _: Operator, customer: Customer) -> Result<Answer<Value>, Error> {
    let id = checked(customer)?;
    let customer = id.clone();
    let tier = state.read(move |c| Box::pin(async move { db::customers::tier(c, &customer).await })).await?;
    Ok(Answer(json!({ "customerId": id, "tier": tier })))
}

pub(crate) async fn set(
    App(state): App,
    _: Operator,
    customer: Customer,
    Json(Request { tier }): Json<Request>,
) -> Result<Answer<Value>, Error> {
    let id = checked(customer)?;
    let customer = id.clone();
    state.read(move |c| Box::pin(async move { db::customers::set_tier(c, &customer, tier).await })).await?;
    Ok(Answer(json!({ "customerId": id, "tier": tier })))
}

fn checked(customer: Customer) -> Result<String, Error> {
    let Path(id) = customer.map_err(|_| Error::NotFound("The address does not hold a customer.".to_owned()))?;
    let mut checks = Checks::default();
    checks.text("customerId", &id, 1, NAME_BYTES_MAX);
    checks.finish(id)
}
