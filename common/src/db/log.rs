//! The decision log: every decision of a partition in the order of its numbers, each with what it had looked at, so that it
//! can be made again.
//!
//! What a decision has looked at is told by the versions of stock rows that it names, and what was there at a version by the
//! ledger. So a replay needs no other partition's log, though other partitions' writers change the same rows.
//!
//! What a confirmed order had asked for is not stored beside what it holds: it is taken to be just that. So a replay shows that
//! it could be had, at that price in all, from those stock rows; not that a line was forgotten. Likewise a price is believed.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use serde::Deserialize;
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{PgConnection, query_as};
use uuid::Uuid;

use super::{Error, Result, partitions};
use crate::domain::{
    Action, Allocation, Command, Confirmed, CreateProduct, Currency, Decision, Line, Money, OrderItem, Outcome,
    PlaceOrder, Placed, ProductOutcome, Refusal, StockLevel, StockView, Timestamp, VariantView,
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
    pub saw: StockView,
    pub warehouses: BTreeSet<Uuid>,
    pub decision: Decision,
}

/// The log of a partition from its first decision on. Best read in one snapshot, see [`super::begin_snapshot`].
///
/// A decision of a confirmed order is given the stock rows that it took from, one of a refused order all that it looked at.
/// Prices and names are those at purchase, or for refusals those of today's catalogue.
///
/// # Errors
/// The stream's, where the database is away or a row does not make sense.
pub fn read(connection: &mut PgConnection, partition: u16) -> Result<BoxStream<'_, Result<Recorded>>> {
    let rows = query_as!(
        Row,
        r#"WITH
        looked AS (
          SELECT o.id, i.variant_id, i.warehouse_id, i.stock_version - 1 AS version
          FROM orders o JOIN order_items i ON i.order_id = o.id WHERE o.partition = $1
          UNION ALL
          SELECT o.id, (line.it ->> 'variantId')::uuid, seen."warehouseId", seen.version
          FROM orders o
               CROSS JOIN jsonb_array_elements(COALESCE(o.refusal -> 'refusal' -> 'lines', '[]')
                                               || COALESCE(o.refusal -> 'beside', '[]')) AS line (it)
               CROSS JOIN jsonb_to_recordset(line.it -> 'seen') AS seen ("warehouseId" uuid, version bigint)
          WHERE o.partition = $1 AND o.refusal -> 'refusal' ->> 'reason' = 'insufficient-stock'),
        after AS (
          SELECT variant_id, warehouse_id, stock_version AS version,
                 (sum(quantity) OVER (PARTITION BY variant_id, warehouse_id ORDER BY stock_version))::bigint AS on_hand
          FROM ledger
          WHERE variant_id IN (SELECT variant_id FROM looked)
          UNION ALL SELECT variant_id, warehouse_id, 0, 0 FROM stock WHERE variant_id IN (SELECT variant_id FROM looked)),
        saw AS (
          SELECT l.id, jsonb_agg(jsonb_build_object('variant', l.variant_id, 'warehouse', l.warehouse_id,
                                                    'version', l.version, 'onHand', a.on_hand)
                                 ORDER BY l.variant_id, l.warehouse_id) AS levels
          FROM looked l LEFT JOIN after a USING (variant_id, warehouse_id, version) GROUP BY l.id),
        items AS (
          SELECT i.order_id AS id, jsonb_agg(jsonb_build_object(
                   'line', i.line, 'product', i.product_id, 'variant', i.variant_id, 'warehouse', i.warehouse_id,
                   'quantity', i.quantity, 'version', i.stock_version, 'amount', i.unit_amount, 'name', i.name,
                   'sku', i.sku) ORDER BY i.line, i.allocation) AS items
          FROM order_items i JOIN orders o ON o.id = i.order_id WHERE o.partition = $1 GROUP BY i.order_id),
        catalogue AS (
          SELECT o.id, jsonb_agg(jsonb_build_object('variant', v.id, 'product', v.product_id, 'amount', v.price_amount,
                                                    'currency', v.currency, 'name', p.name, 'sku', v.sku)) AS variants
          FROM orders o CROSS JOIN jsonb_to_recordset(o.refusal -> 'lines') AS line ("variantId" uuid)
               JOIN variants v ON v.id = line."variantId" JOIN products p ON p.id = v.product_id
          WHERE o.partition = $1 GROUP BY o.id)
        SELECT o.sequence AS "sequence!", o.id AS "id!", o.account_id AS "account!", o.customer_id AS customer,
               o.accepted_at AS "accepted_at!", o.currency, o.total_amount AS total,
               o.refusal, i.items AS "items: Json<Vec<Item>>",
               s.levels AS "levels: Json<Vec<Level>>", c.variants AS "variants: Json<Vec<Variant>>",
               NULL::jsonb AS product, NULL::jsonb AS outcome
        FROM orders o LEFT JOIN saw s USING (id) LEFT JOIN items i USING (id) LEFT JOIN catalogue c USING (id)
        WHERE o.partition = $1
        UNION ALL
        SELECT sequence, id, account_id, NULL, accepted_at, NULL, NULL, NULL, NULL, NULL, NULL,
               body -> 'CreateProductV1', outcome
        FROM commands WHERE partition = $1
        ORDER BY 1"#,
        partitions::stored(partition)?
    )
    .fetch(connection);
    Ok(rows
        .map(|row| {
            let row = row?;
            Ok(Recorded { sequence: row.sequence, id: row.id, made: row.try_into() })
        })
        .boxed())
}

struct Row {
    sequence: i64,
    id: Uuid,
    account: Uuid,
    customer: Option<String>,
    accepted_at: Timestamp,
    currency: Option<String>,
    total: Option<i64>,
    refusal: Option<Value>,
    items: Option<Json<Vec<Item>>>,
    levels: Option<Json<Vec<Level>>>,
    variants: Option<Json<Vec<Variant>>>,
    product: Option<Value>,
    outcome: Option<Value>,
}

/// A piece of a confirmed order.
#[derive(Debug, Deserialize)]
struct Item {
    line: i16,
    product: Uuid,
    variant: Uuid,
    warehouse: Uuid,
    quantity: i32,
    version: i64,
    amount: i64,
    name: Arc<str>,
    sku: Arc<str>,
}

/// A stock row at the version that was looked at. `on_hand` is missing where the ledger knows nothing of that version.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Level {
    variant: Uuid,
    warehouse: Uuid,
    version: i64,
    on_hand: Option<i64>,
}

#[derive(Debug, Deserialize)]
struct Variant {
    variant: Uuid,
    product: Uuid,
    amount: i64,
    currency: String,
    name: Arc<str>,
    sku: Arc<str>,
}

impl TryFrom<Row> for Made {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let Row { id, account, accepted_at, .. } = row;
        let mut warehouses = BTreeSet::new();
        let (action, saw, decision) = match (row.product, row.outcome, row.refusal) {
            (Some(product), Some(outcome), None) => {
                let (product, outcome): (CreateProduct, ProductOutcome) = (json(product)?, json(outcome)?);
                let saw = created(&product, &outcome, &mut warehouses);
                (Action::CreateProduct(product), saw, Decision::Product(outcome))
            }
            (None, None, Some(placed)) => {
                let placed: Placed = json(placed)?;
                let saw = looked_at(&placed, row.variants, row.levels)?;
                let action = PlaceOrder { customer: row.customer, lines: placed.lines.clone() };
                (Action::PlaceOrder(action), saw, Decision::Order(Outcome::Refused(placed)))
            }
            (None, None, None) => {
                let total =
                    row.currency.zip(row.total).ok_or(Error::Corrupt("an order is neither confirmed nor refused"))?;
                let (confirmed, saw) = confirmed(total, row.items, row.levels)?;
                let lines = confirmed.items.iter().map(|item| Line {
                    product_id: item.product_id,
                    variant_id: item.variant_id,
                    quantity: item.quantity,
                });
                let action = PlaceOrder { customer: row.customer, lines: lines.collect() };
                (Action::PlaceOrder(action), saw, Decision::Order(Outcome::Confirmed(confirmed)))
            }
            _ => return Err(Error::Corrupt("a decision is of no kind or of several")),
        };
        let command = Command { id, account, accepted_at, idempotency: None, action };
        Ok(Self { command, saw, warehouses, decision })
    }
}

fn json<T: serde::de::DeserializeOwned>(value: Value) -> Result<T> {
    serde_json::from_value(value).map_err(|_| Error::Corrupt("JSON of another shape"))
}

/// What the creation of a product had looked at, as its outcome tells.
fn created(product: &CreateProduct, outcome: &ProductOutcome, warehouses: &mut BTreeSet<Uuid>) -> StockView {
    let mut saw = StockView::default();
    match outcome {
        ProductOutcome::Created { .. } => {
            warehouses.insert(product.warehouse_id);
        }
        ProductOutcome::SkuTaken => saw.take_sku(product.sku.clone()),
        ProductOutcome::UnknownWarehouse => {}
    }
    saw
}

/// The stock rows of one variant.
fn levels_of(levels: &[Level], variant: Uuid) -> Result<Vec<StockLevel>> {
    let of = levels.iter().filter(|level| level.variant == variant);
    of.map(|level| {
        let on_hand =
            level.on_hand.ok_or(Error::Corrupt("a decision names a version that the ledger does not have"))?;
        Ok(StockLevel { warehouse: level.warehouse, on_hand, reserved: 0, version: level.version })
    })
    .collect()
}

fn currency(text: &str) -> Result<Currency> {
    Currency::try_from(text).map_err(|_| Error::Corrupt("a price's currency"))
}

/// What a refusal had looked at.
fn looked_at(
    placed: &Placed,
    variants: Option<Json<Vec<Variant>>>,
    levels: Option<Json<Vec<Level>>>,
) -> Result<StockView> {
    let (mut unknown, mut deleted) = match &placed.refusal {
        Refusal::UnknownProduct { product_ids } => (product_ids.clone(), Vec::new()),
        Refusal::DeletedProduct { product_ids } => (Vec::new(), product_ids.clone()),
        Refusal::MixedCurrencies { .. } | Refusal::TotalTooLarge | Refusal::InsufficientStock { .. } => {
            Default::default()
        }
    };
    // A refusal lists a product once per line. Lines that today's catalogue does not have are still unknown; of the rest
    // so many were unknown then as the list has left.
    let today: Vec<Variant> = variants.map(|Json(variants)| variants).unwrap_or_default();
    let known = |line: &Line| today.iter().any(|v| (v.variant, v.product) == (line.variant_id, line.product_id));
    for line in placed.lines.iter().filter(|line| !known(line)) {
        take(&mut unknown, line.product_id);
    }
    let levels = levels.map(|Json(levels)| levels).unwrap_or_default();
    let mut saw = StockView::default();
    for variant in today {
        if take(&mut unknown, variant.product) {
            continue;
        }
        let view = VariantView {
            product: variant.product,
            name: variant.name,
            sku: variant.sku,
            price: Money { amount: variant.amount, currency: currency(&variant.currency)? },
            deleted: take(&mut deleted, variant.product),
            levels: levels_of(&levels, variant.variant)?,
        };
        saw.insert(variant.variant, view);
    }
    Ok(saw)
}

/// Takes one occurrence out of a list; answers whether there was one.
fn take(list: &mut Vec<Uuid>, id: Uuid) -> bool {
    list.iter().position(|known| *known == id).map(|index| list.swap_remove(index)).is_some()
}

/// A confirmed order as it is stored, and the stock rows that it took from as they were before.
fn confirmed(
    (currency_code, total): (String, i64),
    items: Option<Json<Vec<Item>>>,
    levels: Option<Json<Vec<Level>>>,
) -> Result<(Confirmed, StockView)> {
    let currency = currency(&currency_code)?;
    let levels = levels.map(|Json(levels)| levels).unwrap_or_default();
    let mut saw = StockView::default();
    let mut lines = Vec::<(i16, OrderItem)>::new();
    for item in items.into_iter().flat_map(|Json(items)| items) {
        let allocation =
            Allocation { warehouse_id: item.warehouse, quantity: item.quantity, stock_version: item.version };
        match lines.last_mut() {
            Some((line, known)) if *line == item.line => {
                known.quantity += item.quantity;
                known.allocations.push(allocation);
                continue;
            }
            _ => {}
        }
        let price = Money { amount: item.amount, currency };
        let view = VariantView {
            product: item.product,
            name: item.name.clone(),
            sku: item.sku.clone(),
            price,
            deleted: false,
            levels: levels_of(&levels, item.variant)?,
        };
        saw.insert(item.variant, view);
        let order_item = OrderItem {
            product_id: item.product,
            variant_id: item.variant,
            name: item.name,
            sku: item.sku,
            quantity: item.quantity,
            unit_price: price,
            allocations: vec![allocation],
        };
        lines.push((item.line, order_item));
    }
    let items = lines.into_iter().map(|(_, item)| item).collect();
    Ok((Confirmed { items, total: Money { amount: total, currency } }, saw))
}
