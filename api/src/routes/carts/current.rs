//! The cart that a customer has now, settled: what has become of its order is looked up whenever anybody looks at it, so no
//! decision writes to a cart, and a program that dies between the two leaves nothing undone.

use std::time::Duration;

use common::clock;
use common::db::carts::{self, Cart, Item, Status};
use common::db::{self, PgConnection};
use common::domain::{Order, StockView};
use futures_util::future::BoxFuture;
use uuid::Uuid;

use crate::error::Error;
use crate::problems;
use crate::state::State;

/// A cart with what is known of what is in it.
pub(crate) struct Current {
    pub(crate) cart: Cart,
    pub(crate) items: Vec<Item>,
    /// What the catalogue says of the items now.
    pub(crate) catalogue: StockView,
    /// Its last order, where that was refused and nothing was changed since.
    pub(crate) refused: Option<Order>,
}

/// Locks the cart; `None` where the customer has none, or only completed ones. Answers also with its order where that was refused.
///
/// Until an order is decided its cart is closed to changes: also where it has failed, since it may be queued again, unless an
/// operator has given it up or it has waited longer than any order may.
pub(crate) async fn lock(
    connection: &mut PgConnection,
    account: Uuid,
    customer: &str,
    pending_max: Duration,
) -> db::Result<Option<(Cart, Option<Order>)>> {
    carts::settle(connection, Some(account), customer).await?;
    let Some(mut cart) = carts::lock(connection, account, customer).await? else { return Ok(None) };
    let Some(order) = cart.order else { return Ok(Some((cart, None))) };
    if cart.status == Status::Ordering
        && (clock::now() - cart.changed_at > pending_max || db::dead_letters::is_discarded(connection, order).await?)
    {
        carts::reopen(connection, cart.id).await?;
        cart.status = Status::Open;
    }
    let order = db::orders::find(connection, &[order]).await?.pop();
    Ok(Some((cart, order.map(|stored| stored.order))))
}

/// The cart as it is to be shown.
pub(crate) async fn load(connection: &mut PgConnection, cart: Cart, refused: Option<Order>) -> db::Result<Current> {
    let items = carts::items(connection, cart.id).await?;
    let variants: Vec<Uuid> = items.iter().map(|item| item.variant).collect();
    let catalogue = db::stock::look(connection, &variants).await?;
    Ok(Current { cart, items, catalogue, refused })
}

/// Changes the cart that a customer has now, begun where there is none: `409` while its order is being decided.
pub(crate) async fn change<F>(state: &State, account: Uuid, customer: String, change: F) -> Result<Current, Error>
where
    F: for<'c> FnOnce(&'c mut PgConnection, &'c Cart) -> BoxFuture<'c, db::Result<Result<(), Error>>> + Send + 'static,
{
    let pending_max = state.config.pending_max;
    let changed = state.read(move |c| {
        Box::pin(async move {
            let mut transaction = db::begin(c).await?;
            let cart = match lock(&mut transaction, account, &customer, pending_max).await? {
                Some((cart, _)) => cart,
                None => begin(&mut transaction, account, &customer).await?,
            };
            if cart.status == Status::Ordering {
                return Ok(Err(Error::Plain(&problems::CART_ORDERING)));
            }
            if let Err(error) = change(&mut transaction, &cart).await? {
                return Ok(Err(error));
            }
            let Some((cart, _)) = lock(&mut transaction, account, &customer, pending_max).await? else {
                return Err(db::Error::Corrupt("a cart that is gone while it is locked"));
            };
            let current = load(&mut transaction, cart, None).await?;
            db::commit(transaction).await?;
            Ok(Ok(current))
        })
    });
    changed.await?
}

async fn begin(connection: &mut PgConnection, account: Uuid, customer: &str) -> db::Result<Cart> {
    let id = Uuid::now_v7();
    carts::begin(connection, id, account, customer).await?;
    carts::lock(connection, account, customer).await?.ok_or(db::Error::Corrupt("a cart that could not be begun"))
}

/// An empty cart, that is not stored until something is put in.
pub(crate) fn empty(account: Uuid, customer: String) -> Current {
    let now = clock::now();
    let cart = Cart {
        id: Uuid::now_v7(),
        account,
        customer,
        status: Status::Open,
        mode: common::domain::DeliveryMode::default(),
        address: None,
        order: None,
        command: None,
        created_at: now,
        changed_at: now,
        completed_at: None,
    };
    Current { cart, items: Vec::new(), catalogue: StockView::default(), refused: None }
}

/// The cart as it is now.
pub(crate) async fn find(state: &State, account: Uuid, customer: String) -> Result<Current, Error> {
    let pending_max = state.config.pending_max;
    let found = state.read(move |c| {
        Box::pin(async move {
            let mut transaction = db::begin(c).await?;
            let found = lock(&mut transaction, account, &customer, pending_max).await?;
            db::commit(transaction).await?;
            match found {
                Some((cart, refused)) => load(c, cart, refused).await,
                None => Ok(empty(account, customer)),
            }
        })
    });
    found.await
}
