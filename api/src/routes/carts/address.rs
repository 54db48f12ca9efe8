//! `PUT /carts/{customerId}/address`: where it goes, and how.

use axum::Json as Answer;
use common::db::carts;
use common::domain::{Address, DeliveryMode};
use serde::Deserialize;
use serde_json::Value;

use super::current::change;
use super::view::view;
use crate::auth::Caller;
use crate::checks::Checks;
use crate::delivery::check_address;
use crate::error::Error;
use crate::extract::{Customer, Json};
use crate::state::App;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Request {
    address: Address,
    #[serde(default)]
    delivery_mode: DeliveryMode,
}

pub(crate) async fn handle(
    App(state): App,
    Caller(caller): Caller,
    Customer(customer): Customer,
    Json(Request { address, delivery_mode }): Json<Request>,
) -> Result<Answer<Value>, Error> {
    let mut checks = Checks::default();
    check_address(&address, &mut checks);
    let address = checks.finish(address)?;
    let changed = change(&state, caller.account, customer, move |c, cart| {
        Box::pin(async move {
            carts::set_address(c, cart.id, &address, delivery_mode).await?;
            Ok(Ok(()))
        })
    });
    Ok(Answer(view(&changed.await?)))
}
