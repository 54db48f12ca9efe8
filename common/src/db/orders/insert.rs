//! Writing what a batch has decided.

use std::sync::Arc;

use sqlx::{PgConnection, query};
use uuid::Uuid;

use crate::db::stock::expect_rows;
use crate::db::{Error, Result, backorders, partitions, reservations};
use crate::domain::{Confirmed, Day, Idempotency, Order, Outcome, Timestamp};

/// Writes the orders of a batch with their items, sorted by id so that two batches never deadlock.
///
/// # Errors
/// Where the database is away, or one of the orders is there already: then nothing of the batch may be committed.
pub async fn insert(connection: &mut PgConnection, orders: &mut [(Order, Option<Idempotency>)]) -> Result<()> {
    orders.sort_unstable_by_key(|(order, _)| order.id);
    let rows = orders.iter().map(|(order, idempotency)| OrderRow::of(order, idempotency.as_ref()));
    insert_orders(&mut *connection, &rows.collect::<Result<Vec<_>>>()?).await?;
    let mut items = Vec::new();
    for (order, _) in orders.iter() {
        if let Outcome::Confirmed(confirmed) = &order.outcome {
            ItemRow::push(&mut items, order.id, confirmed)?;
        }
    }
    if items.is_empty() {
        return Ok(());
    }
    insert_items(&mut *connection, &items).await?;
    let held = orders.iter().filter_map(|(order, _)| Some((order, order.hold()?))).collect::<Vec<_>>();
    if !held.is_empty() {
        reservations::insert(&mut *connection, &held).await?;
    }
    // As they were decided: what has become of them since, in the same batch, is written after it.
    let promised: Vec<&Order> = orders.iter().map(|(order, _)| order).filter(|order| order.is_backordered()).collect();
    if promised.is_empty() { Ok(()) } else { backorders::insert(connection, &promised).await }
}

async fn insert_orders(connection: &mut PgConnection, orders: &[OrderRow]) -> Result<()> {
    // A zombie's or another partition's row of the same id or key fails the batch, which then finds it.
    let inserted = query!(
        "INSERT INTO orders (id, account_id, customer_id, partition, sequence, status, currency, total_amount, refusal,
                             idempotency_key, fingerprint, accepted_at, decided_at, hold, due_at, terms, tax_amount, delivery)
         SELECT u.* FROM UNNEST($1::decided_order[]) AS u",
        orders as &[OrderRow]
    );
    let inserted = inserted.execute(connection).await?;
    expect_rows("orders", orders.len(), inserted.rows_affected())
}

async fn insert_items(connection: &mut PgConnection, items: &[ItemRow]) -> Result<()> {
    let inserted = query!(
        "INSERT INTO order_items (order_id, line, allocation, product_id, variant_id, warehouse_id, quantity, stock_version,
                                  unit_amount, name, sku, bundle_id, sold, ahead, expected_on)
         SELECT u.* FROM UNNEST($1::decided_item[]) AS u",
        items as &[ItemRow]
    );
    let inserted = inserted.execute(connection).await?;
    expect_rows("order_items", items.len(), inserted.rows_affected())
}

/// An order as it was decided: what has become of it since, in the same batch, is written after it.
#[derive(sqlx::Type)]
#[sqlx(type_name = "decided_order")]
struct OrderRow {
    id: Uuid,
    account_id: Uuid,
    customer_id: Option<String>,
    partition: i16,
    sequence: i64,
    status: String,
    currency: Option<String>,
    total_amount: Option<i64>,
    refusal: Option<serde_json::Value>,
    idempotency_key: Option<Uuid>,
    fingerprint: Option<Uuid>,
    accepted_at: Timestamp,
    decided_at: Timestamp,
    hold: Option<String>,
    due_at: Option<Timestamp>,
    terms: i64,
    tax_amount: i64,
    delivery: Option<serde_json::Value>,
}

impl OrderRow {
    fn of(order: &Order, idempotency: Option<&Idempotency>) -> Result<Self> {
        let (confirmed, refusal) = match &order.outcome {
            Outcome::Confirmed(confirmed) => (Some(confirmed), None),
            Outcome::Refused(placed) => (None, Some(placed)),
        };
        let total = confirmed.map(|confirmed| confirmed.total);
        let delivery = confirmed.and_then(|confirmed| confirmed.delivery.as_ref());
        let delivery = delivery.map(serde_json::to_value).transpose();
        let refusal = refusal.map(serde_json::to_value).transpose();
        Ok(Self {
            id: order.id,
            account_id: order.account_id,
            customer_id: order.customer_id.clone(),
            partition: partitions::stored(order.partition)?,
            sequence: order.sequence,
            status: order.outcome.state().name().to_owned(),
            currency: total.map(|total| String::from(total.currency)),
            total_amount: total.map(|total| total.amount),
            refusal: refusal.map_err(|_| Error::Corrupt("a refusal that JSON can't hold"))?,
            idempotency_key: idempotency.map(|i| i.key),
            fingerprint: idempotency.map(|i| i.fingerprint),
            accepted_at: order.accepted_at,
            decided_at: order.decided_at,
            hold: order.outcome.hold_kind().map(|kind| kind.as_str().to_owned()),
            due_at: order.hold().map(|hold| hold.due_at),
            terms: order.terms,
            tax_amount: confirmed.map_or(0, |confirmed| confirmed.tax),
            delivery: delivery.map_err(|_| Error::Corrupt("a delivery that JSON can't hold"))?,
        })
    }
}

/// What a line of an order has from one warehouse.
#[derive(sqlx::Type)]
#[sqlx(type_name = "decided_item")]
struct ItemRow {
    order_id: Uuid,
    line: i16,
    allocation: i16,
    product_id: Uuid,
    variant_id: Uuid,
    warehouse_id: Uuid,
    quantity: i32,
    stock_version: i64,
    unit_amount: i64,
    name: Arc<str>,
    sku: Arc<str>,
    bundle_id: Option<Uuid>,
    sold: Option<i32>,
    ahead: i64,
    expected_on: Option<Day>,
}

impl ItemRow {
    fn push(rows: &mut Vec<Self>, order: Uuid, confirmed: &Confirmed) -> Result<()> {
        let number = |n: usize| i16::try_from(n).map_err(|_| Error::Corrupt("more than 32,767 lines"));
        for (line, item) in confirmed.items.iter().enumerate() {
            for (n, allocation) in item.allocations.iter().enumerate() {
                let bundle = allocation.component_id.map(|_| item.variant_id);
                rows.push(Self {
                    order_id: order,
                    line: number(line)?,
                    allocation: number(n)?,
                    product_id: item.product_id,
                    variant_id: item.stock_of(allocation),
                    warehouse_id: allocation.warehouse_id,
                    quantity: allocation.quantity,
                    stock_version: allocation.stock_version,
                    unit_amount: item.unit_price.amount,
                    name: Arc::clone(&item.name),
                    sku: Arc::clone(&item.sku),
                    bundle_id: bundle,
                    sold: bundle.map(|_| if n == 0 { item.quantity } else { 0 }),
                    ahead: allocation.ahead,
                    expected_on: allocation.expected_on,
                });
            }
        }
        Ok(())
    }
}
