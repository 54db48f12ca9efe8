//! `DELETE /carts/{customerId}/items`: takes everything out; the address stays.

use axum::Json;
use common::db::carts;
use serde_json::Value;

use super::current::change;
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
    let changed = change(&state, caller.account, customer, |c, cart| {
        Box::pin(async move {
            carts::remove(c, cart.id, None).await?;
            Ok(Ok(()))
        })
    });
    Ok(Json(view(&changed.await?)))
}
