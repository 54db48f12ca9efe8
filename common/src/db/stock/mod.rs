//! Stock rows: locked in one fixed order, changed in bulk, shown.

mod shown;

use std::collections::BTreeMap;
use std::sync::Arc;

use sqlx::types::Json;
use sqlx::{PgConnection, query, query_as};
use uuid::Uuid;

pub use shown::{StoredBackorders, StoredComponent, StoredLevel, StoredStock, of_products};

use super::{Error, Result, bundles, warehouses};
use crate::domain::{
    Backorders, Bundles, Currency, Day, Money, Site, StockChange, StockLevel, StockView, VariantView, variant_name,
};

/// Stock rows with what the catalogue says of them: what a decision looks at.
macro_rules! rows {
    ($connection:ident, $variants:ident, $lock:literal) => {
        query_as!(
            Row,
            r#"SELECT s.variant_id, s.warehouse_id, s.on_hand, s.reserved, s.version, w.zone, w.is_backorders,
                    COALESCE(s.backorder_open, w.closed_at IS NULL) AS "open!", s.backorder_cap, s.expected_on,
                    v.product_id, v.sku, v.currency, p.name,
                    -- Without a price of its own it has the product's, which is that of the default variant.
                    COALESCE(v.price_amount, (SELECT d.price_amount FROM variants d WHERE d.id = v.product_id))
                      AS "price_amount!",
                    NULLIF(v.options, '{}') AS "options: Json<BTreeMap<String, String>>",
                    (v.deleted_at IS NOT NULL OR p.deleted_at IS NOT NULL) AS "deleted!", v.low_stock_threshold, v.is_bundle
             FROM stock s JOIN variants v ON v.id = s.variant_id JOIN products p ON p.id = v.product_id
                  JOIN warehouses w ON w.id = s.warehouse_id
             WHERE s.variant_id = ANY($1) ORDER BY s.variant_id, s.warehouse_id "# + $lock,
            $variants
        )
        .fetch_all($connection)
        .await?
    };
}

/// Locks every stock row of these variants, ordered by variant and warehouse so that no two batches deadlock, and reads
/// what their catalogue says. What of them is a bundle is known; what those are made of is among the variants.
///
/// # Errors
/// Where the database is away or a lock is not to be had in time.
pub async fn lock(connection: &mut PgConnection, variants: &[Uuid], bundles: &Bundles) -> Result<StockView> {
    view(rows!(connection, variants, "FOR UPDATE OF s"), bundles)
}

/// The same, not locked: as it is now, and may be no more in a moment.
///
/// # Errors
/// Where the database is away.
pub async fn peek(connection: &mut PgConnection, variants: &[Uuid], bundles: &Bundles) -> Result<StockView> {
    view(rows!(connection, variants, ""), bundles)
}

/// The same; of bundles their components are looked at too.
///
/// # Errors
/// Where the database is away.
pub async fn look(connection: &mut PgConnection, variants: &[Uuid]) -> Result<StockView> {
    let bundles = bundles::of(&mut *connection, variants).await?;
    let components = bundles.components().map(|component| component.variant_id);
    let variants: Vec<Uuid> = variants.iter().copied().chain(components).collect();
    peek(connection, &variants, &bundles).await
}

struct Row {
    variant_id: Uuid,
    warehouse_id: Uuid,
    on_hand: i64,
    reserved: i64,
    version: i64,
    zone: i16,
    is_backorders: bool,
    open: bool,
    backorder_cap: Option<i64>,
    expected_on: Option<Day>,
    product_id: Uuid,
    sku: String,
    name: String,
    options: Option<Json<BTreeMap<String, String>>>,
    price_amount: i64,
    currency: String,
    deleted: bool,
    low_stock_threshold: Option<i64>,
    is_bundle: bool,
}

impl Row {
    /// Puts it where it belongs: among the variant's levels, or beside them.
    fn put(&self, levels: &mut Vec<StockLevel>, backorders: &mut Option<Backorders>) -> Result<()> {
        let site = Site { zone: warehouses::zone(self.zone)?, open: self.open };
        let Self { warehouse_id: warehouse, on_hand, reserved, version, .. } = *self;
        let level = StockLevel { warehouse, site, on_hand, reserved, version };
        if self.is_backorders {
            *backorders =
                Some(Backorders { cap: self.backorder_cap.unwrap_or_default(), expected_on: self.expected_on, level });
        } else {
            levels.push(level);
        }
        Ok(())
    }
}

/// Of rows that are sorted by variant and warehouse.
fn view(rows: Vec<Row>, bundles: &Bundles) -> Result<StockView> {
    let mut view = StockView::default();
    let mut rows = rows.into_iter().peekable();
    while let Some(row) = rows.next() {
        let id = row.variant_id;
        let currency = Currency::try_from(row.currency.as_str()).map_err(|_| Error::Corrupt("a price's currency"))?;
        let components = bundles.of(id);
        if row.is_bundle && components.is_empty() {
            // It was made after the bundles were looked up.
            return Err(Error::RowCount { table: "bundle_components", expected: 1, written: 0 });
        }
        let (mut levels, mut backorders) = (Vec::new(), None);
        row.put(&mut levels, &mut backorders)?;
        while let Some(next) = rows.next_if(|next| next.variant_id == id) {
            next.put(&mut levels, &mut backorders)?;
        }
        let variant = VariantView {
            product: row.product_id,
            name: match row.options {
                None => Arc::from(row.name),
                Some(Json(options)) => Arc::from(variant_name(&row.name, &options)),
            },
            sku: Arc::from(row.sku),
            price: Money { amount: row.price_amount, currency },
            deleted: row.deleted,
            low_at: row.low_stock_threshold,
            components,
            levels,
            backorders,
        };
        view.insert(id, variant);
    }
    Ok(view)
}

/// Adds empty stock rows where a variant that is known has none in a warehouse that is. To be called before the locks.
///
/// # Errors
/// Where the database is away.
pub async fn open(connection: &mut PgConnection, rows: &[(Uuid, Uuid)]) -> Result<()> {
    let (variants, warehouses): (Vec<Uuid>, Vec<Uuid>) = rows.iter().copied().unzip();
    query!(
        "INSERT INTO stock (variant_id, warehouse_id)
         SELECT DISTINCT v.id, w.id FROM UNNEST($1::uuid[], $2::uuid[]) AS u (variant_id, warehouse_id)
           JOIN variants v ON v.id = u.variant_id AND NOT v.is_bundle
           JOIN warehouses w ON w.id = u.warehouse_id AND NOT w.is_backorders
         ORDER BY v.id, w.id ON CONFLICT DO NOTHING",
        &variants,
        &warehouses
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes the changed rows of a batch. They exist and are locked.
///
/// # Errors
/// Where the database is away, a row is missing, or a row would break I-1.
pub async fn save(connection: &mut PgConnection, changes: &[StockChange]) -> Result<()> {
    let rows: Vec<Saved> = changes.iter().map(Saved::of).collect();
    let saved = query!(
        "UPDATE stock s SET on_hand = u.on_hand, reserved = u.reserved, version = u.version FROM UNNEST($1::decided_stock[]) AS u
         WHERE s.variant_id = u.variant_id AND s.warehouse_id = u.warehouse_id",
        &rows as &[Saved]
    );
    let saved = saved.execute(connection).await?;
    expect_rows("stock", changes.len(), saved.rows_affected())
}

#[derive(sqlx::Type)]
#[sqlx(type_name = "decided_stock")]
struct Saved {
    variant_id: Uuid,
    warehouse_id: Uuid,
    on_hand: i64,
    reserved: i64,
    version: i64,
}

impl Saved {
    fn of(change: &StockChange) -> Self {
        let StockChange { variant, warehouse, on_hand, reserved, version } = *change;
        Self { variant_id: variant, warehouse_id: warehouse, on_hand, reserved, version }
    }
}

/// The stock rows of some variants as they are stored, not locked.
///
/// # Errors
/// Where the database is away.
pub async fn rows(connection: &mut PgConnection, variants: &[Uuid]) -> Result<Vec<StockChange>> {
    let rows = query_as!(
        StockChange,
        "SELECT variant_id AS variant, warehouse_id AS warehouse, on_hand, reserved, version FROM stock
         WHERE variant_id = ANY($1)",
        variants
    );
    Ok(rows.fetch_all(connection).await?)
}

pub(in crate::db) fn expect_rows(table: &'static str, expected: usize, written: u64) -> Result<()> {
    if u64::try_from(expected) == Ok(written) { Ok(()) } else { Err(Error::RowCount { table, expected, written }) }
}
