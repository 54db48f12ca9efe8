//! Placing an order in a transaction of its own, in each of the ways that are compared.

use std::sync::Arc;

use common::domain::{
    Allocation, Command, Confirmed, Currency, Hold, Money, Order, OrderItem, Outcome, PlaceOrder, Placed, Refusal,
    SeenVersion, ShortLine, Timestamp,
};
use common::message::Decided;
use sqlx::{PgConnection, Row as _};
use uuid::Uuid;

use super::{Baseline, Failure};
use crate::system::Who;

/// What is looked at before stock is taken.
const LOOK: &str = "SELECT variant_id, warehouse_id, on_hand, reserved, version FROM stock
                    WHERE variant_id = ANY($1) ORDER BY variant_id, warehouse_id";

/// Takes the stock of all lines and writes the order, in one round trip; whatever `guard` lets through. Answers with a row per
/// line that was let through: fewer than there are lines, and nothing may be committed.
fn take(guard: &str) -> String {
    format!(
        "WITH lines AS (
           SELECT u.line, u.variant_id, u.warehouse_id, u.quantity, u.version AS seen, v.product_id, v.sku, v.price_amount, v.currency, p.name
           FROM UNNEST($1::smallint[], $2::uuid[], $3::uuid[], $4::integer[], $5::bigint[])
                  AS u (line, variant_id, warehouse_id, quantity, version)
                JOIN variants v ON v.id = u.variant_id JOIN products p ON p.id = v.product_id),
         taken AS (
           UPDATE stock s
           SET on_hand = s.on_hand - CASE WHEN $13::text IS NULL THEN l.quantity ELSE 0 END,
               reserved = s.reserved + CASE WHEN $13::text IS NULL THEN 0 ELSE l.quantity END,
               version = s.version + 1
           FROM lines l WHERE s.variant_id = l.variant_id AND s.warehouse_id = l.warehouse_id AND {guard}
           RETURNING l.line, s.version),
         placed AS (
           INSERT INTO orders (id, account_id, customer_id, partition, sequence, status, currency, total_amount, idempotency_key,
                               fingerprint, accepted_at, decided_at, hold, due_at)
           SELECT $6, $7, $8, $9, $10, CASE WHEN $13::text IS NULL THEN 'paid' ELSE 'pending' END, min(l.currency),
                  sum(l.price_amount * l.quantity)::bigint, $11::uuid, $12::uuid, $15, now(), $13, now() + make_interval(secs => $14)
           FROM lines l HAVING (SELECT count(*) FROM taken) = count(*)
           RETURNING decided_at, due_at),
         items AS (
           INSERT INTO order_items (order_id, line, allocation, product_id, variant_id, warehouse_id, quantity, stock_version,
                                    unit_amount, name, sku)
           SELECT $6, l.line, 0, l.product_id, l.variant_id, l.warehouse_id, l.quantity, t.version, l.price_amount, l.name, l.sku
           FROM lines l JOIN taken t USING (line) WHERE EXISTS (SELECT FROM placed)),
         held AS (
           INSERT INTO reservations (order_id, line, allocation, variant_id, warehouse_id, quantity, due_at)
           SELECT $6, l.line, 0, l.variant_id, l.warehouse_id, l.quantity, o.due_at FROM lines l CROSS JOIN placed o
           WHERE $13::text IS NOT NULL)
         SELECT l.line, l.product_id, l.variant_id, l.warehouse_id, l.quantity, t.version, l.price_amount, l.currency, l.name, l.sku,
                o.decided_at, o.due_at
         FROM lines l JOIN taken t USING (line) CROSS JOIN placed o ORDER BY l.line"
    )
}

/// Every statement, made once: they are prepared once per connection.
struct Statements {
    locked: String,
    anyhow: String,
    guarded: String,
    versioned: String,
}

static STATEMENTS: std::sync::LazyLock<Statements> = std::sync::LazyLock::new(|| Statements {
    locked: format!("{LOOK} FOR UPDATE"),
    anyhow: take("true"),
    guarded: take("s.on_hand - s.reserved >= l.quantity"),
    versioned: take("s.version = l.seen"),
});

/// A stock row.
struct Seen {
    variant: Uuid,
    warehouse: Uuid,
    on_hand: i64,
    reserved: i64,
    version: i64,
}

impl Baseline {
    pub(super) async fn place(
        &self,
        c: &mut PgConnection,
        partition: u16,
        command: &Command,
        order: &PlaceOrder,
    ) -> Result<Decided, Failure> {
        let asked = Asked { partition, command, order, sequence: self.next_sequence() };
        let one = order.lines.len() == 1;
        let decided = match self.who {
            Who::Guarded if one => match asked.take(c, &STATEMENTS.guarded, &[]).await? {
                Some(taken) => taken,
                None => {
                    let seen = look(c, LOOK, order).await?;
                    asked.refuse(c, &seen).await?
                }
            },
            Who::Guarded => {
                in_transaction(c, "BEGIN", async |c| match asked.take(c, &STATEMENTS.guarded, &[]).await? {
                    Some(taken) => Ok(taken),
                    None => {
                        sqlx::raw_sql("ROLLBACK; BEGIN").execute(&mut *c).await?;
                        let seen = look(c, LOOK, order).await?;
                        asked.refuse(c, &seen).await
                    }
                })
                .await?
            }
            Who::Optimistic => {
                let seen = look(c, LOOK, order).await?;
                if is_short(order, &seen) {
                    asked.refuse(c, &seen).await?
                } else if one {
                    asked.take(c, &STATEMENTS.versioned, &seen).await?.ok_or(Failure::Conflict)?
                } else {
                    let take = async |c: &mut PgConnection| {
                        asked.take(c, &STATEMENTS.versioned, &seen).await?.ok_or(Failure::Conflict)
                    };
                    in_transaction(c, "BEGIN", take).await?
                }
            }
            Who::Serializable => {
                let begin = "BEGIN ISOLATION LEVEL SERIALIZABLE";
                in_transaction(c, begin, async |c| asked.look_and_take(c, LOOK).await).await?
            }
            Who::ForUpdate | Who::Onhand | Who::Unbatched => {
                in_transaction(c, "BEGIN", async |c| asked.look_and_take(c, &STATEMENTS.locked).await).await?
            }
        };
        Ok(Decided::OrderV1(decided))
    }
}

async fn in_transaction(
    c: &mut PgConnection,
    begin: &'static str,
    body: impl AsyncFnOnce(&mut PgConnection) -> Result<Order, Failure>,
) -> Result<Order, Failure> {
    sqlx::raw_sql(begin).execute(&mut *c).await?;
    let decided = body(&mut *c).await;
    let end = if decided.is_ok() { "COMMIT" } else { "ROLLBACK" };
    sqlx::raw_sql(end).execute(c).await?;
    decided
}

/// Locked or not, as the statement says.
async fn look(c: &mut PgConnection, statement: &'static str, order: &PlaceOrder) -> Result<Vec<Seen>, Failure> {
    let variants: Vec<Uuid> = order.lines.iter().map(|line| line.variant_id).collect();
    let rows = sqlx::query(statement).bind(variants).fetch_all(c).await?;
    let seen = rows.iter().map(|row| {
        let (variant, warehouse) = (row.try_get(0)?, row.try_get(1)?);
        Ok(Seen { variant, warehouse, on_hand: row.try_get(2)?, reserved: row.try_get(3)?, version: row.try_get(4)? })
    });
    Ok(seen.collect::<Result<Vec<Seen>, sqlx::Error>>()?)
}

fn is_short(order: &PlaceOrder, seen: &[Seen]) -> bool {
    let available =
        |variant| seen.iter().find(|row| row.variant == variant).map_or(0, |row| row.on_hand - row.reserved);
    order.lines.iter().any(|line| available(line.variant_id) < i64::from(line.quantity))
}

/// An order, on its way to be decided.
struct Asked<'a> {
    partition: u16,
    command: &'a Command,
    order: &'a PlaceOrder,
    sequence: i64,
}

impl Asked<'_> {
    async fn look_and_take(&self, c: &mut PgConnection, statement: &'static str) -> Result<Order, Failure> {
        let seen = look(c, statement, self.order).await?;
        if is_short(self.order, &seen) {
            return self.refuse(c, &seen).await;
        }
        self.take(c, &STATEMENTS.anyhow, &seen).await?.ok_or(Failure::Conflict)
    }

    /// `None` where not every line was let through: of several, some may have been.
    async fn take(
        &self,
        c: &mut PgConnection,
        statement: &'static str,
        seen: &[Seen],
    ) -> Result<Option<Order>, Failure> {
        let lines = &self.order.lines;
        let version = |variant| seen.iter().find(|row| row.variant == variant).map(|row| row.version);
        let warehouse = |variant| {
            seen.iter()
                .find(|row| row.variant == variant)
                .map_or(common::domain::DEFAULT_WAREHOUSE, |row| row.warehouse)
        };
        let hold = self.order.hold;
        let idempotency = self.command.idempotency;
        let rows = sqlx::query(statement)
            .bind((0..).zip(lines).map(|(n, _)| n).collect::<Vec<i16>>())
            .bind(lines.iter().map(|line| line.variant_id).collect::<Vec<Uuid>>())
            .bind(lines.iter().map(|line| warehouse(line.variant_id)).collect::<Vec<Uuid>>())
            .bind(lines.iter().map(|line| line.quantity).collect::<Vec<i32>>())
            .bind(lines.iter().map(|line| version(line.variant_id)).collect::<Vec<Option<i64>>>())
            .bind(self.command.id)
            .bind(self.command.account)
            .bind(self.order.customer.as_deref())
            .bind(i16::try_from(self.partition).unwrap_or_default())
            .bind(self.sequence)
            .bind(idempotency.map(|idempotency| idempotency.key))
            .bind(idempotency.map(|idempotency| idempotency.fingerprint))
            .bind(hold.map(|hold| hold.kind.as_str()))
            .bind(hold.map(|hold| f64::from(hold.window_seconds)))
            .bind(self.command.accepted_at)
            .fetch_all(c)
            .await?;
        if rows.len() < lines.len() {
            return Ok(None);
        }
        let mut items = Vec::with_capacity(rows.len());
        let (mut decided_at, mut due_at, mut total) = (self.command.accepted_at, None, None);
        for row in &rows {
            let (quantity, amount): (i32, i64) = (row.try_get(4)?, row.try_get(6)?);
            let currency: String = row.try_get(7)?;
            let currency = Currency::try_from(currency.as_str())
                .map_err(|_| Failure::Database(sqlx::Error::Protocol("a currency".to_owned())))?;
            let unit_price = Money { amount, currency };
            let so_far = total.map_or(0, |total: Money| total.amount);
            total = Some(Money { amount: so_far + amount * i64::from(quantity), currency });
            (decided_at, due_at) = (row.try_get(10)?, row.try_get::<Option<Timestamp>, _>(11)?);
            let allocation = Allocation {
                warehouse_id: row.try_get(3)?,
                quantity,
                stock_version: row.try_get(5)?,
                component_id: None,
                ahead: 0,
                expected_on: None,
            };
            items.push(OrderItem {
                product_id: row.try_get(1)?,
                variant_id: row.try_get(2)?,
                name: Arc::from(row.try_get::<&str, _>(8)?),
                sku: Arc::from(row.try_get::<&str, _>(9)?),
                quantity,
                unit_price,
                allocations: vec![allocation],
            });
        }
        let Some(total) = total else { return Ok(None) };
        let hold = hold.zip(due_at).map(|(hold, due_at)| Hold { kind: hold.kind, due_at });
        let confirmed = Confirmed { items, total, tax: 0, delivery: None, hold };
        Ok(Some(self.decided(decided_at, Outcome::Confirmed(confirmed))))
    }

    /// Writes that there was not enough.
    async fn refuse(&self, c: &mut PgConnection, seen: &[Seen]) -> Result<Order, Failure> {
        let short = self.order.lines.iter().filter_map(|line| {
            let row = seen.iter().find(|row| row.variant == line.variant_id)?;
            (row.on_hand - row.reserved < i64::from(line.quantity)).then(|| ShortLine {
                product_id: line.product_id,
                variant_id: line.variant_id,
                requested: i64::from(line.quantity),
                bundle_id: None,
                on_hand: row.on_hand,
                reserved: row.reserved,
                ahead: 0,
                promisable: 0,
                seen: vec![SeenVersion { warehouse_id: row.warehouse, version: row.version }],
            })
        });
        let refused = Placed {
            lines: self.order.lines.clone(),
            refusal: Refusal::InsufficientStock { lines: short.collect() },
            beside: Vec::new(),
            hold: self.order.hold.map(|hold| hold.kind),
            delivery: None,
            expected_total: None,
        };
        let stored = serde_json::to_value(&refused).unwrap_or_default();
        let idempotency = self.command.idempotency;
        let decided_at = sqlx::query_scalar(
            "INSERT INTO orders (id, account_id, customer_id, partition, sequence, status, refusal, idempotency_key, fingerprint,
                                 accepted_at, decided_at)
             VALUES ($1, $2, $3, $4, $5, 'rejected', $6, $7, $8, $9, now()) RETURNING decided_at",
        )
        .bind(self.command.id)
        .bind(self.command.account)
        .bind(self.order.customer.as_deref())
        .bind(i16::try_from(self.partition).unwrap_or_default())
        .bind(self.sequence)
        .bind(stored)
        .bind(idempotency.map(|idempotency| idempotency.key))
        .bind(idempotency.map(|idempotency| idempotency.fingerprint))
        .bind(self.command.accepted_at)
        .fetch_one(c)
        .await?;
        Ok(self.decided(decided_at, Outcome::Refused(refused)))
    }

    fn decided(&self, decided_at: Timestamp, outcome: Outcome) -> Order {
        Order {
            id: self.command.id,
            account_id: self.command.account,
            customer_id: self.order.customer.clone(),
            partition: self.partition,
            sequence: self.sequence,
            accepted_at: self.command.accepted_at,
            decided_at,
            terms: 0,
            outcome,
            since: None,
        }
    }
}
