//! `DELETE /carts/{customerId}/items/{variantId}`: takes it out.

use axum::Json;
use common::db::carts;
use serde_json::Value;

use super::current::change;
use super::view::view;
use crate::auth::Caller;
use crate::error::Error;
use crate::extract::CustomersItem;
use crate::state::App;

pub(crate) async fn handle(
    App(state): App,
    Caller(caller): Caller,
    CustomersItem(customer, variant): CustomersItem,
) -> Result<Json<Value>, Error> {
    let changed = change(&state, caller.account, customer, move |c, cart| {
        Box::pin(async move {
            let removed = carts::remove(c, cart.id, Some(variant)).await?;
            Ok(if removed { Ok(()) } else { Err(Error::NotFound("That is not in the cart.".to_owned())) })
        })
    });
    Ok(Json(view(&changed.await?)))
}
