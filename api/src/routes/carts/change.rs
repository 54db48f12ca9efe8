//! `PATCH /carts/{customerId}/items/{variantId}`: has it hold so many.

use axum::Json as Answer;
use common::db::carts;
use serde::Deserialize;
use serde_json::Value;

use super::add::{put, quantity};
use super::current::change;
use super::view::view;
use crate::auth::Caller;
use crate::error::Error;
use crate::extract::{CustomersItem, Json};
use crate::state::App;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Request {
    qty: i64,
}

pub(crate) async fn handle(
    App(state): App,
    Caller(caller): Caller,
    CustomersItem(customer, variant): CustomersItem,
    Json(request): Json<Request>,
) -> Result<Answer<Value>, Error> {
    let quantity = quantity(request.qty)?;
    let changed = change(&state, caller.account, customer, move |c, cart| {
        Box::pin(async move {
            match carts::items(c, cart.id).await?.iter().find(|item| item.variant == variant) {
                Some(item) => put(c, cart.id, (item.product, variant), quantity, None).await,
                None => Ok(Err(Error::NotFound("That is not in the cart.".to_owned()))),
            }
        })
    });
    Ok(Answer(view(&changed.await?)))
}
