//! The decision log: every decision of a partition in the order of its numbers, each with what it had looked at, so that it
//! can be made again.
//!
//! What a decision has looked at is told by the versions of stock rows that it names, and what was there at a version by the
//! ledger; by the revisions of orders, and their history. So a replay needs no other partition's log, though other partitions'
//! writers change the same rows.
//!
//! What a confirmed order had asked for is not stored beside what it holds: it is taken to be just that. So a replay shows that
//! it could be had, at that price in all, from those stock rows; not that a line was forgotten. Likewise a price is believed.

mod changed;
mod placed;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use serde::Deserialize;
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{PgConnection, query_as};
use uuid::Uuid;

use super::terms::StoredTerms;
use super::{Error, Result, partitions};
use crate::domain::{
    BACKORDERS, Backorders, Bundles, Command, Day, Decision, Delivery, Limits, Site, StockLevel, StockView, Terms,
    Timestamp, VariantView, View, day,
};

/// A decision of the log.
#[derive(Debug)]
pub struct Recorded {
    pub sequence: i64,
    pub id: Uuid,
    /// An error where what is stored does not make sense.
    pub made: Result<Made>,
}

/// A decision with what it was made of.
#[derive(Debug, Clone)]
pub struct Made {
    pub command: Command,
    /// What it had looked at.
    pub saw: View,
    /// What it has moved is sorted by stock row and version.
    pub decision: Decision,
}

/// The log of a partition from its first decision on. Best read in one snapshot, see [`super::begin_snapshot`].
///
/// A decision of a confirmed order is given the stock rows that it took from, one of a refused order all that it looked at, one
/// of an order's change that order as it was. Prices and names are those at purchase; for refusals names are those of today's
/// catalogue, and prices those of the moment where they were the reason. `terms` and `bundles` are all that
/// there were.
///
/// # Errors
/// The stream's, where the database is away or a row does not make sense.
#[expect(clippy::too_many_lines, reason = "one query, that reads everything once")]
pub fn read<'c>(
    connection: &'c mut PgConnection,
    partition: u16,
    terms: &[StoredTerms],
    bundles: Bundles,
) -> Result<BoxStream<'c, Result<Recorded>>> {
    // Before there were any, nothing was asked for beside the goods.
    let none = [(0, Arc::default())];
    let terms: BTreeMap<i64, Arc<Terms>> =
        terms.iter().map(|terms| (terms.version, Arc::clone(&terms.terms))).chain(none).collect();
    let rows = query_as!(
        Row,
        r#"WITH
        asked AS (SELECT * FROM commands WHERE partition = $1),
        looked AS (
          -- Two lines of an order may draw on the same row.
          SELECT o.id, i.variant_id, i.warehouse_id, min(i.stock_version) - 1 AS version
          FROM orders o JOIN order_items i ON i.order_id = o.id WHERE o.partition = $1 GROUP BY 1, 2, 3
          UNION ALL
          SELECT DISTINCT o.id, (line.it ->> 'variantId')::uuid, seen."warehouseId", seen.version
          FROM orders o
               CROSS JOIN jsonb_array_elements(COALESCE(o.refusal -> 'refusal' -> 'lines', '[]')
                                               || COALESCE(o.refusal -> 'beside', '[]')) AS line (it)
               CROSS JOIN jsonb_to_recordset(line.it -> 'seen') AS seen ("warehouseId" uuid, version bigint)
          WHERE o.partition = $1 AND o.refusal -> 'refusal' ->> 'reason' IN ('insufficient-stock', 'total-changed')
          UNION ALL
          SELECT m.command_id, m.variant_id, m.warehouse_id, min(m.stock_version) - 1
          FROM stock_movements m JOIN asked a ON a.id = m.command_id GROUP BY 1, 2, 3
          UNION ALL
          SELECT id, (body -> 'ChangeStockV1' ->> 'variantId')::uuid, (body -> 'ChangeStockV1' ->> 'warehouseId')::uuid,
                 (outcome ->> 'version')::bigint
          FROM asked WHERE body ? 'ChangeStockV1' AND outcome ->> 'result' IN ('short', 'too-much')
            AND (outcome ->> 'version')::bigint > 0
          UNION ALL
          -- As much was counted as was known.
          SELECT id, (body -> 'ChangeStockV1' ->> 'variantId')::uuid, (body -> 'ChangeStockV1' ->> 'warehouseId')::uuid,
                 (outcome ->> 'version')::bigint
          FROM asked WHERE body -> 'ChangeStockV1' ->> 'kind' = 'count' AND outcome ->> 'result' = 'changed'
            AND NOT EXISTS (SELECT FROM stock_movements m WHERE m.command_id = asked.id)
          UNION ALL
          SELECT id, (body -> 'TransferStockV1' ->> 'variantId')::uuid,
                 (body -> 'TransferStockV1' ->> CASE outcome ->> 'result' WHEN 'short' THEN 'fromId' ELSE 'toId' END)::uuid,
                 (outcome ->> 'version')::bigint
          FROM asked WHERE body ? 'TransferStockV1' AND outcome ->> 'result' IN ('short', 'too-much')
          UNION ALL
          SELECT id, (body -> 'SetBackordersV1' ->> 'variantId')::uuid, $2, (outcome ->> 'version')::bigint
          FROM asked WHERE body ? 'SetBackordersV1' AND outcome ? 'version'
            AND NOT EXISTS (SELECT FROM stock_movements m WHERE m.command_id = asked.id)),
        after AS (
          SELECT variant_id, warehouse_id, stock_version AS version,
                 (sum(quantity) OVER row_so_far)::bigint AS on_hand, (sum(reserved) OVER row_so_far)::bigint AS reserved
          FROM ledger WHERE variant_id IN (SELECT variant_id FROM looked)
          WINDOW row_so_far AS (PARTITION BY variant_id, warehouse_id ORDER BY stock_version)
          UNION ALL
          SELECT variant_id, warehouse_id, 0, 0, 0 FROM stock WHERE variant_id IN (SELECT variant_id FROM looked)),
        saw AS (
          SELECT l.id, jsonb_agg(jsonb_build_object('variant', l.variant_id, 'warehouse', l.warehouse_id,
                                                    'version', l.version, 'onHand', a.on_hand, 'reserved', a.reserved,
                                                    'zone', w.zone)
                                 ORDER BY l.variant_id, l.warehouse_id) AS levels
          FROM looked l LEFT JOIN after a USING (variant_id, warehouse_id, version)
               LEFT JOIN warehouses w ON w.id = l.warehouse_id GROUP BY l.id),
        wanted AS (
          SELECT id, 0 AS n, (body -> 'ChangeOrderV1' ->> 'orderId')::uuid AS order_id,
                 (outcome ->> 'revision')::integer - CASE outcome ->> 'result' WHEN 'changed' THEN 1 ELSE 0 END AS revision
          FROM asked WHERE body ? 'ChangeOrderV1' AND outcome ? 'revision'
          UNION ALL
          SELECT a.id, e.n, e.id::uuid, 0
          FROM asked a CROSS JOIN jsonb_array_elements_text(a.body -> 'ExpireV1' -> 'orderIds') WITH ORDINALITY AS e (id, n)
          UNION ALL
          SELECT a.id, e.n, (e.serving ->> 'orderId')::uuid, (e.serving ->> 'revision')::integer
          FROM asked a CROSS JOIN jsonb_array_elements(a.body -> 'ServeV1' -> 'orders') WITH ORDINALITY AS e (serving, n)),
        items AS (
          SELECT i.order_id AS id, jsonb_agg(jsonb_build_object(
                   'line', i.line, 'product', i.product_id, 'variant', i.variant_id, 'warehouse', i.warehouse_id,
                   'quantity', i.quantity, 'bundle', i.bundle_id, 'sold', i.sold, 'ahead', i.ahead, 'expectedOn', i.expected_on, 'version', i.stock_version, 'amount', i.unit_amount, 'name', i.name,
                   'sku', i.sku) ORDER BY i.line, i.allocation) AS items
          FROM order_items i JOIN orders o ON o.id = i.order_id
          WHERE o.partition = $1 OR o.id IN (SELECT order_id FROM wanted) GROUP BY i.order_id),
        stood AS (
          SELECT w.id, jsonb_agg(jsonb_build_object(
                   'id', o.id, 'account', o.account_id, 'customer', o.customer_id, 'partition', o.partition,
                   'sequence', o.sequence, 'acceptedAt', o.accepted_at, 'decidedAt', o.decided_at, 'currency', o.currency,
                   'total', o.total_amount, 'tax', o.tax_amount, 'terms', o.terms, 'delivery', o.delivery,
                   'refusal', o.refusal, 'hold', o.hold, 'dueAt', o.due_at, 'items', i.items,
                   'revision', w.revision, 'status', h.status, 'tracking', h.tracking, 'pieces', h.pieces,
                   'cancelReason', CASE h.status WHEN 'cancelled' THEN o.cancel_reason END,
                   'paidAt', CASE WHEN p.revision <= w.revision THEN o.paid_at END,
                   'payment', CASE WHEN p.revision <= w.revision THEN o.payment END) ORDER BY w.n) AS orders
          FROM wanted w JOIN orders o ON o.id = w.order_id LEFT JOIN items i ON i.id = o.id
               LEFT JOIN order_status_history h ON h.order_id = o.id AND h.revision = w.revision
               LEFT JOIN LATERAL (SELECT min(revision) AS revision FROM order_status_history
                                  WHERE order_id = o.id AND status = 'paid') p ON true
          GROUP BY w.id),
        moved AS (
          SELECT m.command_id AS id, jsonb_agg(jsonb_build_object(
                   'variant', m.variant_id, 'warehouse', m.warehouse_id, 'version', m.stock_version, 'cause', m.cause,
                   'onHand', m.quantity, 'reserved', m.reserved, 'order', m.order_id)
                   ORDER BY m.variant_id, m.warehouse_id, m.stock_version) AS moved
          FROM stock_movements m JOIN asked a ON a.id = m.command_id GROUP BY 1),
        entered AS (
          SELECT h.command_id AS id, jsonb_object_agg(h.order_id, jsonb_build_object('revision', h.revision, 'pieces', h.pieces))
                   AS orders
          FROM order_status_history h JOIN asked a ON a.id = h.command_id WHERE a.body ?| ARRAY['ExpireV1', 'ServeV1'] GROUP BY 1),
        catalogue AS (
          SELECT o.id, jsonb_agg(jsonb_build_object('variant', v.id, 'product', v.product_id,
                                                    'currency', v.currency, 'name', p.name, 'sku', v.sku)) AS variants
          FROM orders o CROSS JOIN jsonb_to_recordset(o.refusal -> 'lines') AS line ("variantId" uuid)
               JOIN variants v ON v.id = line."variantId" JOIN products p ON p.id = v.product_id
          WHERE o.partition = $1 GROUP BY o.id)
        SELECT o.sequence AS "sequence!", o.id AS "id!", o.account_id AS "account!", o.customer_id AS customer,
               o.accepted_at AS "accepted_at!", o.decided_at AS "decided_at!", o.currency, o.total_amount AS total,
               o.tax_amount AS tax, o.terms, o.delivery AS "delivery: Json<Box<Delivery>>", o.hold, o.due_at, o.refusal,
                i.items AS "items: Json<Vec<Item>>", s.levels AS "levels: Json<Vec<Level>>",
               c.variants AS "variants: Json<Vec<Variant>>", NULL::jsonb AS body, NULL::jsonb AS outcome,
               NULL::jsonb AS "stood: Json<Vec<changed::Stood>>", NULL::jsonb AS "moved: Json<Vec<changed::Moved>>",
               NULL::jsonb AS "entered: Json<BTreeMap<Uuid, changed::Entered>>"
        FROM orders o LEFT JOIN saw s USING (id) LEFT JOIN items i USING (id) LEFT JOIN catalogue c USING (id)
        WHERE o.partition = $1
        UNION ALL
        SELECT a.sequence, a.id, a.account_id, NULL, a.accepted_at, a.decided_at, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
               NULL, s.levels,
               NULL, a.body, a.outcome, t.orders, m.moved, e.orders
        FROM asked a LEFT JOIN saw s USING (id) LEFT JOIN stood t USING (id) LEFT JOIN moved m USING (id)
             LEFT JOIN entered e USING (id)
        ORDER BY 1"#,
        partitions::stored(partition)?,
        BACKORDERS
    )
    .fetch(connection);
    Ok(rows
        .map(move |row| {
            let row = row?;
            Ok(Recorded { sequence: row.sequence, id: row.id, made: row.made(&terms, &bundles) })
        })
        .boxed())
}

struct Row {
    sequence: i64,
    id: Uuid,
    account: Uuid,
    customer: Option<String>,
    accepted_at: Timestamp,
    decided_at: Timestamp,
    currency: Option<String>,
    total: Option<i64>,
    tax: Option<i64>,
    /// Of an order.
    terms: Option<i64>,
    delivery: Option<Json<Box<Delivery>>>,
    hold: Option<String>,
    due_at: Option<Timestamp>,
    refusal: Option<Value>,
    items: Option<Json<Vec<Item>>>,
    levels: Option<Json<Vec<Level>>>,
    variants: Option<Json<Vec<Variant>>>,
    body: Option<Value>,
    outcome: Option<Value>,
    stood: Option<Json<Vec<changed::Stood>>>,
    moved: Option<Json<Vec<changed::Moved>>>,
    entered: Option<Json<BTreeMap<Uuid, changed::Entered>>>,
}

/// A piece of a confirmed order.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    line: i16,
    product: Uuid,
    variant: Uuid,
    warehouse: Uuid,
    quantity: i32,
    bundle: Option<Uuid>,
    sold: Option<i32>,
    ahead: i64,
    #[serde(with = "day::option")]
    expected_on: Option<Day>,
    version: i64,
    amount: i64,
    name: std::sync::Arc<str>,
    sku: std::sync::Arc<str>,
}

/// A stock row at the version that was looked at. Its quantities are missing where the ledger knows nothing of that version.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Level {
    variant: Uuid,
    warehouse: Uuid,
    version: i64,
    on_hand: Option<i64>,
    reserved: Option<i64>,
    zone: Option<u16>,
}

#[derive(Debug, Deserialize)]
struct Variant {
    variant: Uuid,
    product: Uuid,
    currency: String,
    name: std::sync::Arc<str>,
    sku: std::sync::Arc<str>,
}

impl Row {
    fn made(self, terms: &BTreeMap<i64, Arc<Terms>>, bundles: &Bundles) -> Result<Made> {
        let row = self;
        match (row.body.is_some(), row.refusal.is_some()) {
            (true, _) => changed::made(row),
            (false, true) => placed::refused(row, terms, bundles),
            (false, false) => placed::confirmed(row, terms, bundles),
        }
    }
}

fn json<T: serde::de::DeserializeOwned>(value: Value) -> Result<T> {
    serde_json::from_value(value).map_err(|_| Error::Corrupt("JSON of another shape"))
}

/// What a decision at a moment may have looked at, nothing known yet.
fn view(now: Timestamp) -> View {
    let (stock, terms, limits) = (StockView::default(), Arc::default(), Limits::default());
    View { now, stock, orders: BTreeMap::new(), warehouses: BTreeMap::new(), terms, limits }
}

/// A variant with its stock rows, `ahead` pieces of which were promised before.
fn stocked(view: VariantView, variant: Uuid, levels: &[Level], ahead: i64) -> Result<VariantView> {
    let (mut promises, levels): (Vec<_>, Vec<_>) =
        levels_of(levels, variant)?.into_iter().partition(|level| level.warehouse == BACKORDERS);
    let none =
        StockLevel { warehouse: BACKORDERS, site: Site { zone: 1, open: false }, on_hand: 0, reserved: 0, version: 0 };
    let level = promises.pop().or_else(|| (ahead > 0).then_some(none));
    let backorders = level.map(|level| Backorders { cap: ahead + level.available(), expected_on: None, level });
    Ok(VariantView { levels, backorders, ..view })
}

/// The stock rows of one variant, and the place of its backorders.
fn levels_of(levels: &[Level], variant: Uuid) -> Result<Vec<StockLevel>> {
    let of = levels.iter().filter(|level| level.variant == variant);
    of.map(|level| {
        let missing = Error::Corrupt("a decision names a version that the ledger does not have");
        let (on_hand, reserved) = level.on_hand.zip(level.reserved).ok_or(missing)?;
        // Of a row that was looked at orders were served.
        let site = Site { zone: level.zone.unwrap_or(1), open: true };
        Ok(StockLevel { warehouse: level.warehouse, site, on_hand, reserved, version: level.version })
    })
    .collect()
}
