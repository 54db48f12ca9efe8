//! `GET /carts/{customerId}/completed?limit=&cursor=`: carts that have become orders, with what was ordered at what was paid, the last
//! ones first. An operator sees those of all accounts.

use std::collections::HashMap;

use axum::response::Response;
use common::db;
use common::db::accounts::Role;
use common::db::carts::Cart;
use common::domain::{Order, Timestamp};
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::auth::Caller;
use crate::error::Error;
use crate::extract::Customer;
use crate::page::{self, Asked};
use crate::routes::orders::view::item;
use crate::state::App;

pub(crate) async fn handle(
    App(state): App,
    Caller(caller): Caller,
    Customer(customer): Customer,
    query: Asked,
) -> Result<Response, Error> {
    let mut reading = query.read(&["limit", "cursor"]);
    let (limit, before) = (reading.limit(), reading.cursor::<(Timestamp, Uuid)>());
    let ((), kept) = reading.finish(())?;
    let account = (caller.role == Role::Client).then_some(caller.account);
    let path = page::path(&["carts", &customer, "completed"]);
    let found = state.read(move |c| {
        Box::pin(async move {
            db::carts::settle(c, account, &customer).await?;
            let carts = db::carts::completed(c, account, &customer, before, limit + 1).await?;
            let ids: Vec<Uuid> = carts.iter().filter_map(|cart| cart.order).collect();
            let orders = db::orders::find(c, &ids).await?.into_iter().map(|stored| (stored.order.id, stored.order));
            Ok((carts, orders.collect::<HashMap<Uuid, Order>>()))
        })
    });
    let (carts, orders) = found.await?;
    let place = |cart: &Cart| (cart.completed_at.unwrap_or(cart.changed_at), cart.id);
    Ok(page::answer(&path, kept, limit, carts, place, |cart| show(&cart, cart.order.and_then(|id| orders.get(&id)))))
}

fn show(cart: &Cart, order: Option<&Order>) -> Value {
    let time = |at: Timestamp| at.format(&Rfc3339).unwrap_or_default();
    json!({
        "id": cart.id,
        "customerId": cart.customer,
        "status": cart.status.as_str(),
        "orderId": cart.order,
        "orderStatus": order.map(|order| order.state().name()),
        "items": order.map(Order::items).unwrap_or_default().iter().map(item).collect::<Vec<Value>>(),
        "deliveryMode": cart.mode,
        "address": cart.address,
        "createdAt": time(cart.created_at),
        "completedAt": cart.completed_at.map(time),
    })
}
