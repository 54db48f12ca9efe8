//! Decided orders: written in bulk by the writer, read by anybody who may.

mod change;
mod insert;
mod list;

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::types::Json;
use sqlx::{PgConnection, query, query_as, query_scalar};
use uuid::Uuid;

use super::commands::Known;
use super::{Error, Result, partitions};
use crate::domain::{
    Allocation, CancelReason, Confirmed, Currency, Day, Delivery, Hold, HoldKind, Money, Order, OrderItem, Outcome,
    Payment, PiecesSince, Placed, Since, State, Timestamp, Tracking,
};

pub use change::{Entry, StoredEntry, change, history, lock};
pub use insert::insert;
pub use list::{Filter, Place, list};

/// Looks for what has been decided before. To be asked in a statement of its own after the locks are held: under READ
/// COMMITTED a statement sees what was committed when it began, so one that waited for the locks would have looked too
/// early.
///
/// # Errors
/// Where the database is away.
pub async fn known(connection: &mut PgConnection, ids: &[Uuid], keys: &[Uuid]) -> Result<Known> {
    let mut known = Known::default();
    // What an operator has given up stays failed, should its message come again.
    let found = query!(
        r#"SELECT id AS "id!" FROM orders WHERE id = ANY($1)
           UNION ALL SELECT command_id FROM dead_letters WHERE command_id = ANY($1) AND state = 'discarded'"#,
        ids
    );
    let found = found.fetch_all(&mut *connection).await?;
    known.ids.extend(found.into_iter().map(|row| row.id));
    if !keys.is_empty() {
        let found = query!(
            r#"SELECT idempotency_key AS "key!", fingerprint AS "fingerprint!" FROM orders
             WHERE idempotency_key = ANY($1)"#,
            keys
        )
        .fetch_all(connection)
        .await?;
        known.keys.extend(found.into_iter().map(|row| (row.key, row.fingerprint)));
    }
    Ok(known)
}

/// A stored order with what its idempotency was, if it had any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub order: Order,
    pub fingerprint: Option<Uuid>,
}

/// Those of `ids` that are decided, as they stand now.
///
/// # Errors
/// Where the database is away.
pub async fn find(connection: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Stored>> {
    let rows = query_as!(
        Row,
        r#"SELECT id, account_id, customer_id, partition, sequence, status, currency, total_amount,
                  refusal AS "refusal: Json<Placed>", fingerprint, accepted_at, decided_at, hold, due_at, revision, paid_at,
                  payment AS "payment: Json<Payment>", pieces AS "pieces: Json<PiecesSince>", tracking AS "tracking: Json<Tracking>", cancel_reason, terms, tax_amount,
                  delivery AS "delivery: Json<Box<Delivery>>"
           FROM orders WHERE id = ANY($1)"#,
        ids
    )
    .fetch_all(&mut *connection)
    .await?;
    with_items(connection, rows).await
}

/// The order of an idempotency key, if it is decided.
///
/// # Errors
/// Where the database is away.
pub async fn find_by_key(connection: &mut PgConnection, key: Uuid) -> Result<Option<Stored>> {
    let id = query_scalar!("SELECT id FROM orders WHERE idempotency_key = $1", key).fetch_optional(&mut *connection);
    match id.await? {
        Some(id) => Ok(find(connection, &[id]).await?.pop()),
        None => Ok(None),
    }
}

/// The order of an account that was decided under a key whose hash begins as an id's does: `first..=last` is the range of
/// such keys, see [`crate::ids::key_range`].
///
/// # Errors
/// Where the database is away.
pub async fn find_by_key_range(
    connection: &mut PgConnection,
    account: Uuid,
    (first, last): (Uuid, Uuid),
) -> Result<Option<Stored>> {
    let id = query_scalar!(
        "SELECT id FROM orders WHERE idempotency_key BETWEEN $1 AND $2 AND account_id = $3 LIMIT 1",
        first,
        last,
        account
    );
    match id.fetch_optional(&mut *connection).await? {
        Some(id) => Ok(find(connection, &[id]).await?.pop()),
        None => Ok(None),
    }
}

struct Row {
    id: Uuid,
    account_id: Uuid,
    customer_id: Option<String>,
    partition: i16,
    sequence: i64,
    status: String,
    currency: Option<String>,
    total_amount: Option<i64>,
    refusal: Option<Json<Placed>>,
    fingerprint: Option<Uuid>,
    accepted_at: Timestamp,
    decided_at: Timestamp,
    hold: Option<String>,
    due_at: Option<Timestamp>,
    revision: i32,
    paid_at: Option<Timestamp>,
    payment: Option<Json<Payment>>,
    pieces: Option<Json<PiecesSince>>,
    tracking: Option<Json<Tracking>>,
    cancel_reason: Option<String>,
    terms: i64,
    tax_amount: i64,
    delivery: Option<Json<Box<Delivery>>>,
}

struct ItemRow {
    order_id: Uuid,
    line: i16,
    product_id: Uuid,
    variant_id: Uuid,
    bundle_id: Option<Uuid>,
    warehouse_id: Uuid,
    quantity: i32,
    sold: Option<i32>,
    stock_version: i64,
    unit_amount: i64,
    name: String,
    sku: String,
    ahead: i64,
    expected_on: Option<Day>,
}

async fn with_items(connection: &mut PgConnection, rows: Vec<Row>) -> Result<Vec<Stored>> {
    let confirmed: Vec<Uuid> = rows.iter().filter(|row| row.refusal.is_none()).map(|row| row.id).collect();
    let mut items = HashMap::<Uuid, Vec<ItemRow>>::new();
    if !confirmed.is_empty() {
        let found = query_as!(
            ItemRow,
            "SELECT order_id, line, product_id, variant_id, bundle_id, warehouse_id, quantity, sold, stock_version, unit_amount,
                    name, sku, ahead, expected_on
             FROM order_items WHERE order_id = ANY($1) ORDER BY order_id, line, allocation",
            &confirmed
        )
        .fetch_all(connection)
        .await?;
        for item in found {
            items.entry(item.order_id).or_default().push(item);
        }
    }
    rows.into_iter().map(|row| row.into_stored(&mut items)).collect()
}

impl Row {
    fn into_stored(self, items: &mut HashMap<Uuid, Vec<ItemRow>>) -> Result<Stored> {
        let since = self.since()?;
        let outcome = match (self.refusal, self.total_amount, self.currency) {
            (Some(Json(placed)), None, None) => Outcome::Refused(placed),
            (None, Some(amount), Some(currency)) => {
                let currency = Currency::try_from(currency).map_err(|_| Error::Corrupt("an order's currency"))?;
                let items = items.remove(&self.id).unwrap_or_default();
                let hold = hold(self.hold.as_deref(), self.due_at)?;
                let (total, delivery) = (Money { amount, currency }, self.delivery.map(|Json(delivery)| delivery));
                Outcome::Confirmed(Confirmed {
                    items: join(items, currency),
                    total,
                    tax: self.tax_amount,
                    delivery,
                    hold,
                })
            }
            _ => return Err(Error::Corrupt("an order is neither confirmed nor refused")),
        };
        let order = Order {
            id: self.id,
            account_id: self.account_id,
            customer_id: self.customer_id,
            partition: partitions::number(self.partition)?,
            sequence: self.sequence,
            accepted_at: self.accepted_at,
            decided_at: self.decided_at,
            terms: self.terms,
            outcome,
            since,
        };
        Ok(Stored { order, fingerprint: self.fingerprint })
    }

    fn since(&self) -> Result<Option<Since>> {
        if self.revision == 0 {
            return Ok(None);
        }
        let tracking = self.tracking.as_ref().map(|Json(tracking)| tracking.clone());
        let state = state(&self.status, tracking, self.cancel_reason.as_deref())?;
        let pieces = self.pieces.as_ref().map(|Json(pieces)| pieces.clone()).unwrap_or_default();
        let payment = self.payment.as_ref().map(|Json(payment)| payment.clone());
        Ok(Some(Since { state, revision: self.revision, paid_at: self.paid_at, payment, pieces }))
    }
}

/// A stored state as the core has it.
pub(super) fn state(status: &str, tracking: Option<Tracking>, cancel_reason: Option<&str>) -> Result<State> {
    Ok(match (status, cancel_reason) {
        ("rejected", None) => State::Rejected,
        ("pending", None) => State::Pending,
        ("paid", None) => State::Paid,
        ("processing", None) => State::Processing,
        ("shipped", None) => State::Shipped { tracking },
        ("delivered", None) => State::Delivered { tracking },
        ("cancelled", Some("requested")) => State::Cancelled { reason: CancelReason::Requested },
        ("cancelled", Some("payment-timeout")) => State::Cancelled { reason: CancelReason::PaymentTimeout },
        _ => return Err(Error::Corrupt("an order's status")),
    })
}

/// A stored hold of a confirmed order.
pub(super) fn hold(kind: Option<&str>, due_at: Option<Timestamp>) -> Result<Option<Hold>> {
    Ok(match (kind, due_at) {
        (None, None) => None,
        (Some("payment"), Some(due_at)) => Some(Hold { kind: HoldKind::Payment, due_at }),
        (Some("reservation"), Some(due_at)) => Some(Hold { kind: HoldKind::Reservation, due_at }),
        _ => return Err(Error::Corrupt("an order's hold")),
    })
}

/// The rows of one order, sorted by line, as its items: a row per allocation becomes an item per line.
fn join(rows: Vec<ItemRow>, currency: Currency) -> Vec<OrderItem> {
    let mut items = Vec::<(i16, OrderItem)>::new();
    for row in rows {
        let allocation = Allocation {
            warehouse_id: row.warehouse_id,
            quantity: row.quantity,
            stock_version: row.stock_version,
            component_id: row.bundle_id.map(|_| row.variant_id),
            ahead: row.ahead,
            expected_on: row.expected_on,
        };
        let sold = row.sold.unwrap_or(row.quantity);
        match items.last_mut() {
            Some((line, item)) if *line == row.line => {
                item.quantity += sold;
                item.allocations.push(allocation);
            }
            _ => items.push((
                row.line,
                OrderItem {
                    product_id: row.product_id,
                    variant_id: row.bundle_id.unwrap_or(row.variant_id),
                    name: Arc::from(row.name),
                    sku: Arc::from(row.sku),
                    quantity: sold,
                    unit_price: Money { amount: row.unit_amount, currency },
                    allocations: vec![allocation],
                },
            )),
        }
    }
    items.into_iter().map(|(_, item)| item).collect()
}
