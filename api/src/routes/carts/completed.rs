//! `GET /carts/{customerId}/completed?limit=&cursor=`: carts that have become orders, as they were, the last ones first. An operator
//! sees those of all accounts.

use axum::response::Response;
use common::db;
use common::db::accounts::Role;
use common::domain::{StockView, Timestamp};
use uuid::Uuid;

use super::current::Current;
use super::view::view;
use crate::auth::Caller;
use crate::error::Error;
use crate::extract::Customer;
use crate::page::{self, Asked};
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
            db::carts::settle(c, &customer).await?;
            let mut shown = Vec::new();
            for cart in db::carts::completed(c, account, &customer, before, limit + 1).await? {
                let items = db::carts::items(c, cart.id).await?;
                shown.push((cart, items));
            }
            let variants: Vec<Uuid> = shown.iter().flat_map(|(_, items)| items).map(|item| item.variant).collect();
            Ok((shown, db::stock::look(c, &variants).await?))
        })
    });
    let (found, catalogue) = found.await?;
    let catalogue: &StockView = &catalogue;
    let place = |(cart, _): &(db::carts::Cart, _)| (cart.completed_at.unwrap_or(cart.changed_at), cart.id);
    Ok(page::answer(&path, kept, limit, found, place, |(cart, items)| {
        view(&Current { cart, items, catalogue: catalogue.clone(), refused: None })
    }))
}
