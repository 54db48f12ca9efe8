//! Writing what a batch has decided.

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
    let mut rows = OrderColumns::default();
    let mut items = ItemColumns::default();
    for (order, idempotency) in orders.iter() {
        rows.push(order, idempotency.as_ref())?;
        if let Outcome::Confirmed(confirmed) = &order.outcome {
            items.push(order.id, confirmed)?;
        }
    }
    rows.insert(&mut *connection, orders.len()).await?;
    if items.orders.is_empty() {
        return Ok(());
    }
    items.insert(&mut *connection).await?;
    let held = orders.iter().filter_map(|(order, _)| Some((order, order.hold()?))).collect::<Vec<_>>();
    if !held.is_empty() {
        reservations::insert(&mut *connection, &held).await?;
    }
    // As they were decided: what has become of them since, in the same batch, is written after it.
    let promised: Vec<&Order> = orders.iter().map(|(order, _)| order).filter(|order| order.is_backordered()).collect();
    if promised.is_empty() { Ok(()) } else { backorders::insert(connection, &promised).await }
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
    holds: Vec<Option<String>>,
    due: Vec<Option<Timestamp>>,
    terms: Vec<i64>,
    taxes: Vec<i64>,
    deliveries: Vec<Option<serde_json::Value>>,
}

impl OrderColumns {
    fn push(&mut self, order: &Order, idempotency: Option<&Idempotency>) -> Result<()> {
        self.ids.push(order.id);
        self.accounts.push(order.account_id);
        self.customers.push(order.customer_id.clone());
        self.partitions.push(partitions::stored(order.partition)?);
        self.sequences.push(order.sequence);
        let (confirmed, refusal) = match &order.outcome {
            Outcome::Confirmed(confirmed) => (Some(confirmed), None),
            Outcome::Refused(placed) => (None, Some(placed)),
        };
        let total = confirmed.map(|confirmed| confirmed.total);
        let delivery = confirmed.and_then(|confirmed| confirmed.delivery.as_ref());
        let delivery = delivery.map(serde_json::to_value).transpose();
        self.terms.push(order.terms);
        self.taxes.push(confirmed.map_or(0, |confirmed| confirmed.tax));
        self.deliveries.push(delivery.map_err(|_| Error::Corrupt("a delivery that JSON can't hold"))?);
        // As it was decided: what has become of it since, in the same batch, is written after it.
        self.statuses.push(order.outcome.state().name().to_owned());
        self.holds.push(order.outcome.hold_kind().map(|kind| kind.as_str().to_owned()));
        self.due.push(order.hold().map(|hold| hold.due_at));
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
        // A zombie's or another partition's row of the same id or key fails the batch, which then finds it.
        let inserted = query!(
            "INSERT INTO orders (id, account_id, customer_id, partition, sequence, status, currency, total_amount,
                                 refusal, idempotency_key, fingerprint, accepted_at, decided_at, hold, due_at, terms,
                                 tax_amount, delivery)
             SELECT * FROM UNNEST($1::uuid[], $2::uuid[], $3::text[], $4::smallint[], $5::bigint[], $6::text[],
                                  $7::text[], $8::bigint[], $9::jsonb[], $10::uuid[], $11::uuid[], $12::timestamptz[],
                                  $13::timestamptz[], $14::text[], $15::timestamptz[], $16::bigint[], $17::bigint[],
                                  $18::jsonb[])",
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
            &self.decided,
            &self.holds as &[Option<String>],
            &self.due as &[Option<Timestamp>],
            &self.terms,
            &self.taxes,
            &self.deliveries as &[Option<serde_json::Value>]
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
    bundles: Vec<Option<Uuid>>,
    sold: Vec<Option<i32>>,
    ahead: Vec<i64>,
    expected: Vec<Option<Day>>,
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
                let bundle = allocation.component_id.map(|_| item.variant_id);
                self.bundles.push(bundle);
                self.sold.push(bundle.map(|_| if n == 0 { item.quantity } else { 0 }));
                self.ahead.push(allocation.ahead);
                self.expected.push(allocation.expected_on);
                self.variants.push(item.stock_of(allocation));
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
                                      stock_version, unit_amount, name, sku, bundle_id, sold, ahead, expected_on)
             SELECT * FROM UNNEST($1::uuid[], $2::smallint[], $3::smallint[], $4::uuid[], $5::uuid[], $6::uuid[],
                                  $7::integer[], $8::bigint[], $9::bigint[], $10::text[], $11::text[], $12::uuid[],
                                  $13::integer[], $14::bigint[], $15::date[])",
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
            &self.skus,
            &self.bundles as &[Option<Uuid>],
            &self.sold as &[Option<i32>],
            &self.ahead,
            &self.expected as &[Option<Day>]
        )
        .execute(connection)
        .await?;
        expect_rows("order_items", self.orders.len(), inserted.rows_affected())
    }
}
