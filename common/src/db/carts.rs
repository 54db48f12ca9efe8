//! Carts: one at a time per customer of an account. They hold no stock; what their order has come to is told by the order.

use sqlx::types::Json;
use sqlx::{PgConnection, query, query_as};
use uuid::Uuid;

use super::{Error, Result};
use crate::domain::{Address, Currency, DeliveryMode, Money, Timestamp};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cart {
    pub id: Uuid,
    pub account: Uuid,
    pub customer: String,
    pub status: Status,
    pub mode: DeliveryMode,
    pub address: Option<Address>,
    /// The order that it is being placed as, has become, or, while nothing was changed since, was refused as.
    pub order: Option<Uuid>,
    /// What was sent for it.
    pub command: Option<serde_json::Value>,
    pub created_at: Timestamp,
    pub changed_at: Timestamp,
    pub completed_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Open,
    /// Its order is sent, or was about to be.
    Ordering,
    /// Its order was confirmed: kept as it was.
    Completed,
}

impl Status {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Ordering => "ordering",
            Self::Completed => "completed",
        }
    }
}

/// What is in a cart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item {
    pub product: Uuid,
    pub variant: Uuid,
    pub quantity: i32,
    /// When it was put in.
    pub price: Money,
    /// Hash of the last idempotency key that added to it.
    pub added_by_key: Option<Uuid>,
}

/// Locks the cart that a customer has now, unless it is completed.
///
/// # Errors
/// Where the database is away.
pub async fn lock(connection: &mut PgConnection, account: Uuid, customer: &str) -> Result<Option<Cart>> {
    let row = query_as!(
        Row,
        r#"SELECT id, account_id, customer_id, status, mode, address AS "address: Json<Address>", order_id, command,
                created_at,
                changed_at, completed_at
         FROM carts WHERE account_id = $1 AND customer_id = $2 AND status <> 'completed' FOR UPDATE"#,
        account,
        customer
    );
    row.fetch_optional(connection).await?.map(Cart::try_from).transpose()
}

/// Begins a cart, unless the customer has one.
///
/// # Errors
/// Where the database is away.
pub async fn begin(connection: &mut PgConnection, id: Uuid, account: Uuid, customer: &str) -> Result<()> {
    let begun = query!(
        "INSERT INTO carts (id, account_id, customer_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        id,
        account,
        customer
    );
    begun.execute(connection).await?;
    Ok(())
}

/// What is in a cart, first in first.
///
/// # Errors
/// Where the database is away.
pub async fn items(connection: &mut PgConnection, cart: Uuid) -> Result<Vec<Item>> {
    let rows = query!(
        "SELECT product_id, variant_id, quantity, price_amount, currency, added_by_key FROM cart_items WHERE cart_id = $1
         ORDER BY added_at, variant_id",
        cart
    );
    let rows = rows.fetch_all(connection).await?.into_iter();
    rows.map(|row| {
        let currency = Currency::try_from(row.currency).map_err(|_| Error::Corrupt("a price's currency"))?;
        let price = Money { amount: row.price_amount, currency };
        let (product, variant, added_by_key) = (row.product_id, row.variant_id, row.added_by_key);
        Ok(Item { product, variant, quantity: row.quantity, price, added_by_key })
    })
    .collect()
}

/// Puts an item in, in place of what there was of its variant.
///
/// # Errors
/// Where the database is away.
pub async fn put(connection: &mut PgConnection, cart: Uuid, item: &Item) -> Result<()> {
    query!(
        "INSERT INTO cart_items (cart_id, product_id, variant_id, quantity, price_amount, currency, added_by_key)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (cart_id, variant_id) DO UPDATE
         SET quantity = EXCLUDED.quantity, price_amount = EXCLUDED.price_amount, currency = EXCLUDED.currency,
             added_by_key = EXCLUDED.added_by_key",
        cart,
        item.product,
        item.variant,
        item.quantity,
        item.price.amount,
        item.price.currency.as_str(),
        item.added_by_key
    )
    .execute(&mut *connection)
    .await?;
    touch(connection, cart).await
}

/// Takes a variant out, or everything; whether there was anything.
///
/// # Errors
/// Where the database is away.
pub async fn remove(connection: &mut PgConnection, cart: Uuid, variant: Option<Uuid>) -> Result<bool> {
    let removed =
        query!("DELETE FROM cart_items WHERE cart_id = $1 AND ($2::uuid IS NULL OR variant_id = $2)", cart, variant);
    let removed = removed.execute(&mut *connection).await?.rows_affected() > 0;
    touch(connection, cart).await?;
    Ok(removed)
}

/// Says where it goes, and how.
///
/// # Errors
/// Where the database is away.
pub async fn set_address(
    connection: &mut PgConnection,
    cart: Uuid,
    address: &Address,
    mode: DeliveryMode,
) -> Result<()> {
    let address = serde_json::to_value(address).map_err(|_| Error::Corrupt("an address that JSON can't hold"))?;
    query!("UPDATE carts SET address = $2, mode = $3 WHERE id = $1", cart, address, mode_name(mode))
        .execute(&mut *connection)
        .await?;
    touch(connection, cart).await
}

/// Why its last order was refused is of no interest any more once it is changed.
async fn touch(connection: &mut PgConnection, cart: Uuid) -> Result<()> {
    let touched = query!("UPDATE carts SET changed_at = now(), order_id = NULL, command = NULL WHERE id = $1", cart);
    touched.execute(connection).await?;
    Ok(())
}

/// Notes what is about to be sent for it, before it is.
///
/// # Errors
/// Where the database is away.
pub async fn order(connection: &mut PgConnection, cart: Uuid, order: Uuid, command: &serde_json::Value) -> Result<()> {
    query!(
        "UPDATE carts SET status = 'ordering', order_id = $2, command = $3, attempts = 1, failed = 0, changed_at = now()
         WHERE id = $1",
        cart,
        order,
        command
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes that the same is about to be sent again.
///
/// # Errors
/// Where the database is away.
pub async fn order_again(connection: &mut PgConnection, cart: Uuid) -> Result<()> {
    query!("UPDATE carts SET attempts = attempts + 1 WHERE id = $1", cart).execute(connection).await?;
    Ok(())
}

/// Notes that an attempt to send its order has certainly failed: where all have, the cart is open again.
///
/// # Errors
/// Where the database is away.
pub async fn fail(connection: &mut PgConnection, cart: Uuid, order: Uuid) -> Result<()> {
    query!(
        "UPDATE carts SET failed = failed + 1, status = CASE WHEN failed + 1 >= attempts THEN 'open' ELSE status END
         WHERE id = $1 AND order_id = $2 AND status = 'ordering'",
        cart,
        order
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes what has become of a customer's orders that are decided, of an account's or of all: a cart is completed where its order
/// was confirmed, also where it was thought that it would not be decided, and else open again.
///
/// # Errors
/// Where the database is away.
pub async fn settle(connection: &mut PgConnection, account: Option<Uuid>, customer: &str) -> Result<()> {
    query!(
        "UPDATE carts c SET status = CASE WHEN o.refusal IS NULL THEN 'completed' ELSE 'open' END,
             completed_at = CASE WHEN o.refusal IS NULL THEN o.decided_at END
         FROM orders o
         WHERE o.id = c.order_id AND c.customer_id = $2 AND ($1::uuid IS NULL OR c.account_id = $1)
           AND c.status <> 'completed' AND (c.status = 'ordering' OR (c.status = 'open' AND o.refusal IS NULL))",
        account,
        customer
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Opens a cart again whose order will not be decided. It is locked.
///
/// # Errors
/// Where the database is away.
pub async fn reopen(connection: &mut PgConnection, cart: Uuid) -> Result<()> {
    query!("UPDATE carts SET status = 'open' WHERE id = $1 AND status = 'ordering'", cart).execute(connection).await?;
    Ok(())
}

/// The last cart that a customer's order has completed, unless that is longer ago than `within_seconds`.
///
/// # Errors
/// Where the database is away.
pub async fn last_completed(
    connection: &mut PgConnection,
    account: Uuid,
    customer: &str,
    within_seconds: f64,
) -> Result<Option<Cart>> {
    let row = query_as!(
        Row,
        r#"SELECT id, account_id, customer_id, status, mode, address AS "address: Json<Address>", order_id, command,
                created_at,
                changed_at, completed_at
         FROM carts WHERE account_id = $1 AND customer_id = $2 AND status = 'completed'
           AND completed_at > now() - $3::float8 * interval '1 second'
         ORDER BY completed_at DESC, id DESC LIMIT 1"#,
        account,
        customer,
        within_seconds
    );
    row.fetch_optional(connection).await?.map(Cart::try_from).transpose()
}

/// Completed carts of a customer, the last ones first, from before `before` on; of all accounts where none is named.
///
/// # Errors
/// Where the database is away.
pub async fn completed(
    connection: &mut PgConnection,
    account: Option<Uuid>,
    customer: &str,
    before: Option<(Timestamp, Uuid)>,
    limit: i64,
) -> Result<Vec<Cart>> {
    let (at, id) = before.unzip();
    let rows = query_as!(
        Row,
        r#"SELECT id, account_id, customer_id, status, mode, address AS "address: Json<Address>", order_id, command,
                created_at,
                changed_at, completed_at
         FROM carts WHERE customer_id = $1 AND ($2::uuid IS NULL OR account_id = $2) AND status = 'completed'
           AND ($3::timestamptz IS NULL OR (completed_at, id) < ($3, $4))
         ORDER BY completed_at DESC, id DESC LIMIT $5"#,
        customer,
        account,
        at,
        id,
        limit
    );
    rows.fetch_all(connection).await?.into_iter().map(Cart::try_from).collect()
}

struct Row {
    id: Uuid,
    account_id: Uuid,
    customer_id: String,
    status: String,
    mode: String,
    address: Option<Json<Address>>,
    order_id: Option<Uuid>,
    command: Option<serde_json::Value>,
    created_at: Timestamp,
    changed_at: Timestamp,
    completed_at: Option<Timestamp>,
}

impl TryFrom<Row> for Cart {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let known = [Status::Open, Status::Ordering, Status::Completed].into_iter();
        let status = known.into_iter().find(|status| status.as_str() == row.status);
        let mode = DeliveryMode::ALL.into_iter().find(|mode| mode_name(*mode) == row.mode);
        Ok(Self {
            id: row.id,
            account: row.account_id,
            customer: row.customer_id,
            status: status.ok_or(Error::Corrupt("a cart's status"))?,
            mode: mode.ok_or(Error::Corrupt("a cart's mode of delivery"))?,
            address: row.address.map(|Json(address)| address),
            order: row.order_id,
            command: row.command,
            created_at: row.created_at,
            changed_at: row.changed_at,
            completed_at: row.completed_at,
        })
    }
}

fn mode_name(mode: DeliveryMode) -> &'static str {
    match mode {
        DeliveryMode::Standard => "standard",
        DeliveryMode::Express => "express",
    }
}
