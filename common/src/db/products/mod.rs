//! The catalogue: products and their variants.

mod change;
mod insert;
mod known;
mod list;

use std::collections::BTreeMap;

use sqlx::types::Json;
use sqlx::{PgConnection, query_as};
use uuid::Uuid;

pub use change::{ProductChange, VariantChange, VariantChanged, change, change_variant, delete, delete_variant};
pub use insert::{insert, insert_components, insert_variants, skus_taken};
pub use known::{Known, Update, known, update};
pub use list::{After, Filter, Sort, list};

use super::{Error, Result};
use crate::db;
use crate::domain::{Bundles, Component, Currency, Limit, Money, Timestamp};

/// A product that is sold, as anybody may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    pub id: Uuid,
    pub name: String,
    pub sku: String,
    pub description: Option<String>,
    pub price: Money,
    pub category: Option<Category>,
    /// Other than the default one, which is the product itself.
    pub variants: Vec<Variant>,
    /// At so much or less it is low.
    pub low_stock_threshold: Option<i64>,
    /// How much of it each customer may have.
    pub limit: Option<Limit>,
    /// Of what it is a bundle; empty where it is none.
    pub components: Vec<Component>,
    pub created_at: Timestamp,
}

/// Of a product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Category {
    pub id: Uuid,
    pub name: String,
}

/// A variant that is sold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    pub id: Uuid,
    pub product: Uuid,
    pub sku: String,
    /// What tells it from the others, such as its size.
    pub options: BTreeMap<String, String>,
    pub price: Money,
    /// Whether that is its own, and not the product's.
    pub own_price: bool,
    pub low_stock_threshold: Option<i64>,
    pub created_at: Timestamp,
}

/// A product that is sold, or `None`.
///
/// # Errors
/// Where the database is away.
pub async fn find(connection: &mut PgConnection, id: Uuid) -> Result<Option<Product>> {
    let row = query_as!(
        Row,
        r#"SELECT p.id, p.name, v.sku, p.description, v.price_amount AS "price_amount!", v.currency, c.id AS "category_id?",
                c.name AS "category_name?", v.low_stock_threshold, m.quantity AS "limit_quantity?", m.window_seconds,
                v.is_bundle, p.created_at
         FROM products p JOIN variants v ON v.id = p.id
              LEFT JOIN categories c ON c.id = p.category_id AND c.deleted_at IS NULL
              LEFT JOIN product_limits m ON m.product_id = p.id
         WHERE p.id = $1 AND p.deleted_at IS NULL"#,
        id
    );
    let rows = row.fetch_all(&mut *connection).await?;
    Ok(with_variants(connection, rows).await?.pop())
}

struct Row {
    id: Uuid,
    name: String,
    sku: String,
    description: Option<String>,
    price_amount: i64,
    currency: String,
    category_id: Option<Uuid>,
    category_name: Option<String>,
    low_stock_threshold: Option<i64>,
    limit_quantity: Option<i64>,
    window_seconds: Option<i64>,
    is_bundle: bool,
    created_at: Timestamp,
}

struct VariantRow {
    id: Uuid,
    product_id: Uuid,
    sku: String,
    options: Json<BTreeMap<String, String>>,
    price_amount: i64,
    own_price: bool,
    currency: String,
    low_stock_threshold: Option<i64>,
    created_at: Timestamp,
}

async fn with_variants(connection: &mut PgConnection, rows: Vec<Row>) -> Result<Vec<Product>> {
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    let variants = query_as!(
        VariantRow,
        r#"SELECT v.id, v.product_id, v.sku, v.options AS "options: Json<BTreeMap<String, String>>",
                COALESCE(v.price_amount, d.price_amount) AS "price_amount!", v.price_amount IS NOT NULL AS "own_price!",
                v.currency, v.low_stock_threshold, v.created_at
         FROM variants v JOIN variants d ON d.id = v.product_id
         WHERE v.product_id = ANY($1) AND v.id <> v.product_id AND v.deleted_at IS NULL ORDER BY v.product_id, v.created_at, v.sku"#,
        &ids
    );
    let mut of = BTreeMap::<Uuid, Vec<Variant>>::new();
    if !ids.is_empty() {
        for row in variants.fetch_all(&mut *connection).await? {
            let variant = Variant::try_from(row)?;
            of.entry(variant.product).or_default().push(variant);
        }
    }
    let bundles: Vec<Uuid> = rows.iter().filter(|row| row.is_bundle).map(|row| row.id).collect();
    let bundles = if bundles.is_empty() { Bundles::default() } else { db::bundles::of(connection, &bundles).await? };
    let product = |row: Row| {
        let variants = of.remove(&row.id).unwrap_or_default();
        let category = row.category_id.zip(row.category_name).map(|(id, name)| Category { id, name });
        Ok(Product {
            id: row.id,
            name: row.name,
            sku: row.sku,
            description: row.description,
            price: money(row.price_amount, row.currency)?,
            category,
            variants,
            low_stock_threshold: row.low_stock_threshold,
            limit: row.limit_quantity.map(|quantity| Limit { quantity, window_seconds: row.window_seconds }),
            components: bundles.of(row.id).to_vec(),
            created_at: row.created_at,
        })
    };
    rows.into_iter().map(product).collect()
}

impl TryFrom<VariantRow> for Variant {
    type Error = Error;

    fn try_from(row: VariantRow) -> Result<Self> {
        Ok(Self {
            id: row.id,
            product: row.product_id,
            sku: row.sku,
            options: row.options.0,
            price: money(row.price_amount, row.currency)?,
            own_price: row.own_price,
            low_stock_threshold: row.low_stock_threshold,
            created_at: row.created_at,
        })
    }
}

fn money(amount: i64, currency: String) -> Result<Money> {
    let currency = Currency::try_from(currency).map_err(|_| Error::Corrupt("a price's currency"))?;
    Ok(Money { amount, currency })
}
