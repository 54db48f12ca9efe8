//! `GET /carts/{customerId}`: empty where nothing was put in.

use axum::Json;
use serde_json::Value;

use super::current::find;
use super::view::view;
use crate::auth::Caller;
use crate::error::Error;
use crate::extract::Customer;
use crate::state::App;

pub(crate) async fn handle(
    App(state): App,
    Caller(caller): Caller,
    Customer(customer): Customer,
) -> Result<Json<Value>, Error> {
    Ok(Json(view(&find(&state, caller.account, customer).await?)))
}
