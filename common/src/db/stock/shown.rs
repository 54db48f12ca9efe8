//! Stock as anybody may see it.

use std::collections::BTreeMap;

use sqlx::{PgConnection, query_as};
use uuid::Uuid;

use crate::db::Result;
use crate::domain::Day;

/// The stock of a product that is sold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredStock {
    /// Of each of its variants in every warehouse; those that are bundles have none.
    pub levels: Vec<StoredLevel>,
    /// What it is made of, where it is a bundle.
    pub components: Vec<StoredComponent>,
    /// What of its variants may be sold before it is there; of those that there was a rule for once.
    pub backorders: Vec<StoredBackorders>,
}

/// What of a variant may be sold before it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBackorders {
    pub variant_id: Uuid,
    /// Whether more are taken.
    pub open: bool,
    pub cap: i64,
    /// Sold or reserved, and not there yet.
    pub promised: i64,
    pub expected_on: Option<Day>,
}

/// Stock of one variant in one warehouse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredLevel {
    pub variant_id: Uuid,
    pub warehouse_id: Uuid,
    pub warehouse_code: String,
    /// Whether orders are served from there.
    pub open: bool,
    pub on_hand: i64,
    pub reserved: i64,
    pub version: i64,
}

/// What a bundle has of one of its components.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredComponent {
    pub product_id: Uuid,
    pub variant_id: Uuid,
    /// In one bundle.
    pub quantity: i32,
    /// Over all open warehouses.
    pub available: i64,
}

/// The stock of those of these products that are sold.
///
/// # Errors
/// Where the database is away.
pub async fn of_products(connection: &mut PgConnection, products: &[Uuid]) -> Result<BTreeMap<Uuid, StoredStock>> {
    let rows = query_as!(
        LevelRow,
        r#"SELECT v.product_id, s.variant_id, v.is_bundle, s.warehouse_id, w.code AS warehouse_code, w.is_backorders,
                COALESCE(s.backorder_open, w.closed_at IS NULL) AS "open!", COALESCE(s.backorder_cap, 0) AS "backorder_cap!",
                s.expected_on, s.on_hand, s.reserved, s.version
           FROM variants v JOIN stock s ON s.variant_id = v.id JOIN warehouses w ON w.id = s.warehouse_id
           JOIN products p ON p.id = v.product_id
           WHERE v.product_id = ANY($1) AND v.deleted_at IS NULL AND p.deleted_at IS NULL
           ORDER BY v.product_id, s.variant_id, s.warehouse_id"#,
        products
    );
    let mut stock = BTreeMap::<Uuid, StoredStock>::new();
    let mut bundles = Vec::new();
    for row in rows.fetch_all(&mut *connection).await? {
        let LevelRow { product_id, variant_id, warehouse_id, warehouse_code, open, on_hand, reserved, version, .. } =
            row;
        let of = stock.entry(product_id).or_default();
        if row.is_bundle {
            bundles.push(variant_id);
        } else if row.is_backorders {
            let LevelRow { backorder_cap: cap, expected_on, .. } = row;
            let promised = cap - (on_hand - reserved);
            of.backorders.push(StoredBackorders { variant_id, open, cap, promised, expected_on });
        } else {
            of.levels.push(StoredLevel { variant_id, warehouse_id, warehouse_code, open, on_hand, reserved, version });
        }
    }
    if !bundles.is_empty() {
        for row in components(connection, &bundles).await? {
            let ComponentRow { bundle_id, product_id, variant_id, quantity, available } = row;
            let of = stock.entry(bundle_id).or_default();
            of.components.push(StoredComponent { product_id, variant_id, quantity, available });
        }
    }
    Ok(stock)
}

/// A bundle is the default variant of its product: it has its id.
async fn components(connection: &mut PgConnection, bundles: &[Uuid]) -> Result<Vec<ComponentRow>> {
    let rows = query_as!(
        ComponentRow,
        r#"SELECT b.bundle_id, b.product_id, b.variant_id, b.quantity,
                -- What was promised before is served first.
                GREATEST(COALESCE(sum(s.on_hand - s.reserved) FILTER (WHERE w.closed_at IS NULL), 0)
                         - GREATEST(COALESCE(sum(s.backorder_cap - s.on_hand + s.reserved), 0), 0), 0)::bigint AS "available!"
           FROM bundle_components b JOIN stock s ON s.variant_id = b.variant_id JOIN warehouses w ON w.id = s.warehouse_id
           WHERE b.bundle_id = ANY($1)
           GROUP BY b.bundle_id, b.product_id, b.variant_id, b.quantity ORDER BY b.bundle_id, b.variant_id"#,
        bundles
    );
    Ok(rows.fetch_all(connection).await?)
}

struct LevelRow {
    product_id: Uuid,
    variant_id: Uuid,
    is_bundle: bool,
    warehouse_id: Uuid,
    warehouse_code: String,
    is_backorders: bool,
    open: bool,
    backorder_cap: i64,
    expected_on: Option<Day>,
    on_hand: i64,
    reserved: i64,
    version: i64,
}

struct ComponentRow {
    bundle_id: Uuid,
    product_id: Uuid,
    variant_id: Uuid,
    quantity: i32,
    available: i64,
}
