//! Decided orders: written in bulk by the writer, read by anybody who may.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::types::Json;
use sqlx::{PgConnection, query, query_as};
use uuid::Uuid;

use super::commands::Known;
use super::stock::expect_rows;
use super::{Error, Result, partitions};
use crate::domain::{
    Allocation, Confirmed, Currency, Idempotency, Money, Order, OrderItem, Outcome, Placed, Timestamp,
};

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

/// Writes the orders of a batch with their items, sorted by id so that two batches never deadlock.
///
/// # Errors
/// Where the database is away, or one of the orders is there already: then nothing of the batch may be committed.
pub async fn insert(connection: &mut PgConnection, orders: &mut [(Order, Option<Idempotency>)]) -> Result<()> {
    orders.sort_unstable_by_key(|(order, _)| order.id);
    let mut rows = OrderColumns::default();
    let mut items = ItemColumns::default();
    for (order, idempotency) in orders.iter() {
        rows.push(order, idempotency.as_ref())?;
        if let Outcome::Confirmed(confirmed) = &order.outcome {
            items.push(order.id, confirmed)?;
        }
    }
    rows.insert(&mut *connection, orders.len()).await?;
    if items.orders.is_empty() { Ok(()) } else { items.insert(connection).await }
}

#[derive(Default)]
struct OrderColumns {
    ids: Vec<Uuid>,
    accounts: Vec<Uuid>,
    customers: Vec<Option<String>>,
    partitions: Vec<i16>,
    sequences: Vec<i64>,
    statuses: Vec<String>,
    currencies: Vec<Option<String>>,
    totals: Vec<Option<i64>>,
    refusals: Vec<Option<serde_json::Value>>,
    keys: Vec<Option<Uuid>>,
    fingerprints: Vec<Option<Uuid>>,
    accepted: Vec<Timestamp>,
    decided: Vec<Timestamp>,
}

impl OrderColumns {
    fn push(&mut self, order: &Order, idempotency: Option<&Idempotency>) -> Result<()> {
        self.ids.push(order.id);
        self.accounts.push(order.account_id);
        self.customers.push(order.customer_id.clone());
        self.partitions.push(partitions::stored(order.partition)?);
        self.sequences.push(order.sequence);
        let (status, total, refusal) = match &order.outcome {
            Outcome::Confirmed(confirmed) => ("paid", Some(confirmed.total), None),
            Outcome::Refused(placed) => ("rejected", None, Some(placed)),
        };
        self.statuses.push(status.to_owned());
        self.currencies.push(total.map(|total| String::from(total.currency)));
        self.totals.push(total.map(|total| total.amount));
        let refusal = refusal.map(serde_json::to_value).transpose();
        self.refusals.push(refusal.map_err(|_| Error::Corrupt("a refusal that JSON can't hold"))?);
        self.keys.push(idempotency.map(|i| i.key));
        self.fingerprints.push(idempotency.map(|i| i.fingerprint));
        self.accepted.push(order.accepted_at);
        self.decided.push(order.decided_at);
        Ok(())
    }

    async fn insert(self, connection: &mut PgConnection, expected: usize) -> Result<()> {
        // DO NOTHING, then a count: a zombie's or another partition's row of the same id or key is seen, not overwritten.
        let inserted = query!(
            "INSERT INTO orders (id, account_id, customer_id, partition, sequence, status, currency, total_amount,
                                 refusal, idempotency_key, fingerprint, accepted_at, decided_at)
             SELECT * FROM UNNEST($1::uuid[], $2::uuid[], $3::text[], $4::smallint[], $5::bigint[], $6::text[],
                                  $7::text[], $8::bigint[], $9::jsonb[], $10::uuid[], $11::uuid[], $12::timestamptz[],
                                  $13::timestamptz[])
             ON CONFLICT DO NOTHING",
            &self.ids,
            &self.accounts,
            &self.customers as &[Option<String>],
            &self.partitions,
            &self.sequences,
            &self.statuses,
            &self.currencies as &[Option<String>],
            &self.totals as &[Option<i64>],
            &self.refusals as &[Option<serde_json::Value>],
            &self.keys as &[Option<Uuid>],
            &self.fingerprints as &[Option<Uuid>],
            &self.accepted,
            &self.decided
        )
        .execute(connection)
        .await?;
        expect_rows("orders", expected, inserted.rows_affected())
    }
}

#[derive(Default)]
struct ItemColumns {
    orders: Vec<Uuid>,
    lines: Vec<i16>,
    allocations: Vec<i16>,
    products: Vec<Uuid>,
    variants: Vec<Uuid>,
    warehouses: Vec<Uuid>,
    quantities: Vec<i32>,
    versions: Vec<i64>,
    amounts: Vec<i64>,
    names: Vec<String>,
    skus: Vec<String>,
}

impl ItemColumns {
    fn push(&mut self, order: Uuid, confirmed: &Confirmed) -> Result<()> {
        let number = |n: usize| i16::try_from(n).map_err(|_| Error::Corrupt("more than 32,767 lines"));
        for (line, item) in confirmed.items.iter().enumerate() {
            for (n, allocation) in item.allocations.iter().enumerate() {
                self.orders.push(order);
                self.lines.push(number(line)?);
                self.allocations.push(number(n)?);
                self.products.push(item.product_id);
                self.variants.push(item.variant_id);
                self.warehouses.push(allocation.warehouse_id);
                self.quantities.push(allocation.quantity);
                self.versions.push(allocation.stock_version);
                self.amounts.push(item.unit_price.amount);
                self.names.push(item.name.to_string());
                self.skus.push(item.sku.to_string());
            }
        }
        Ok(())
    }

    async fn insert(self, connection: &mut PgConnection) -> Result<()> {
        let inserted = query!(
            "INSERT INTO order_items (order_id, line, allocation, product_id, variant_id, warehouse_id, quantity,
                                      stock_version, unit_amount, name, sku)
             SELECT * FROM UNNEST($1::uuid[], $2::smallint[], $3::smallint[], $4::uuid[], $5::uuid[], $6::uuid[],
                                  $7::integer[], $8::bigint[], $9::bigint[], $10::text[], $11::text[])",
            &self.orders,
            &self.lines,
            &self.allocations,
            &self.products,
            &self.variants,
            &self.warehouses,
            &self.quantities,
            &self.versions,
            &self.amounts,
            &self.names,
            &self.skus
        )
        .execute(connection)
        .await?;
        expect_rows("order_items", self.orders.len(), inserted.rows_affected())
    }
}

/// A stored order with what its idempotency was, if it had any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub order: Order,
    pub fingerprint: Option<Uuid>,
}

/// Those of `ids` that are decided.
///
/// # Errors
/// Where the database is away.
pub async fn find(connection: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Stored>> {
    let rows = query_as!(
        Row,
        r#"SELECT o.id, o.account_id, o.customer_id, o.partition, o.sequence, o.currency, o.total_amount,
                  o.refusal AS "refusal: Json<Placed>", o.fingerprint, o.accepted_at, o.decided_at
           FROM orders o WHERE o.id = ANY($1)"#,
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
    let rows = query_as!(
        Row,
        r#"SELECT o.id, o.account_id, o.customer_id, o.partition, o.sequence, o.currency, o.total_amount,
                  o.refusal AS "refusal: Json<Placed>", o.fingerprint, o.accepted_at, o.decided_at
           FROM orders o WHERE o.idempotency_key = $1"#,
        key
    )
    .fetch_all(&mut *connection)
    .await?;
    Ok(with_items(connection, rows).await?.pop())
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
    let rows = query_as!(
        Row,
        r#"SELECT o.id, o.account_id, o.customer_id, o.partition, o.sequence, o.currency, o.total_amount,
                  o.refusal AS "refusal: Json<Placed>", o.fingerprint, o.accepted_at, o.decided_at
           FROM orders o WHERE o.idempotency_key BETWEEN $1 AND $2 AND o.account_id = $3 LIMIT 1"#,
        first,
        last,
        account
    )
    .fetch_all(&mut *connection)
    .await?;
    Ok(with_items(connection, rows).await?.pop())
}

struct Row {
    id: Uuid,
    account_id: Uuid,
    customer_id: Option<String>,
    partition: i16,
    sequence: i64,
    currency: Option<String>,
    total_amount: Option<i64>,
    refusal: Option<Json<Placed>>,
    fingerprint: Option<Uuid>,
    accepted_at: Timestamp,
    decided_at: Timestamp,
}

struct ItemRow {
    order_id: Uuid,
    line: i16,
    product_id: Uuid,
    variant_id: Uuid,
    warehouse_id: Uuid,
    quantity: i32,
    stock_version: i64,
    unit_amount: i64,
    name: String,
    sku: String,
}

async fn with_items(connection: &mut PgConnection, rows: Vec<Row>) -> Result<Vec<Stored>> {
    let confirmed: Vec<Uuid> = rows.iter().filter(|row| row.refusal.is_none()).map(|row| row.id).collect();
    let mut items = HashMap::<Uuid, Vec<ItemRow>>::new();
    if !confirmed.is_empty() {
        let found = query_as!(
            ItemRow,
            "SELECT order_id, line, product_id, variant_id, warehouse_id, quantity, stock_version, unit_amount, name, sku
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
        let outcome = match (self.refusal, self.total_amount, self.currency) {
            (Some(Json(placed)), None, None) => Outcome::Refused(placed),
            (None, Some(amount), Some(currency)) => {
                let currency = Currency::try_from(currency).map_err(|_| Error::Corrupt("an order's currency"))?;
                let items = items.remove(&self.id).unwrap_or_default();
                Outcome::Confirmed(Confirmed { items: join(items, currency), total: Money { amount, currency } })
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
            outcome,
        };
        Ok(Stored { order, fingerprint: self.fingerprint })
    }
}

/// The rows of one order, sorted by line, as its items: a row per allocation becomes an item per line.
fn join(rows: Vec<ItemRow>, currency: Currency) -> Vec<OrderItem> {
    let mut items = Vec::<(i16, OrderItem)>::new();
    for row in rows {
        let allocation =
            Allocation { warehouse_id: row.warehouse_id, quantity: row.quantity, stock_version: row.stock_version };
        match items.last_mut() {
            Some((line, item)) if *line == row.line => {
                item.quantity += row.quantity;
                item.allocations.push(allocation);
            }
            _ => items.push((
                row.line,
                OrderItem {
                    product_id: row.product_id,
                    variant_id: row.variant_id,
                    name: Arc::from(row.name),
                    sku: Arc::from(row.sku),
                    quantity: row.quantity,
                    unit_price: Money { amount: row.unit_amount, currency },
                    allocations: vec![allocation],
                },
            )),
        }
    }
    items.into_iter().map(|(_, item)| item).collect()
}
