//! The catalogue: products and their variants.

use sqlx::{PgConnection, query, query_as};
use uuid::Uuid;

use super::stock::expect_rows;
use super::{Error, Result};
use crate::domain::{CreateProduct, Currency, Money, Timestamp};

/// A product with its default variant, as anybody may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    pub id: Uuid,
    pub name: String,
    pub sku: String,
    pub description: Option<String>,
    pub price: Money,
    pub created_at: Timestamp,
}

/// Those of `skus` that the catalogue has.
///
/// # Errors
/// Where the database is away.
pub async fn skus_taken(connection: &mut PgConnection, skus: &[String]) -> Result<Vec<String>> {
    let rows = query!("SELECT sku FROM variants WHERE sku = ANY($1)", skus).fetch_all(connection).await?;
    Ok(rows.into_iter().map(|row| row.sku).collect())
}

/// Writes new products, each with its default variant and an empty stock row in its warehouse.
///
/// # Errors
/// Where the database is away, or one of them is there already: then nothing of the batch may be committed.
pub async fn insert(
    connection: &mut PgConnection,
    products: &mut [(Uuid, CreateProduct)],
    now: Timestamp,
) -> Result<()> {
    products.sort_unstable_by_key(|(id, _)| *id);
    let ids: Vec<Uuid> = products.iter().map(|(id, _)| *id).collect();
    let names: Vec<String> = products.iter().map(|(_, p)| p.name.to_string()).collect();
    let descriptions: Vec<Option<String>> = products.iter().map(|(_, p)| p.description.clone()).collect();
    let skus: Vec<String> = products.iter().map(|(_, p)| p.sku.to_string()).collect();
    let amounts: Vec<i64> = products.iter().map(|(_, p)| p.price.amount).collect();
    let currencies: Vec<String> = products.iter().map(|(_, p)| String::from(p.price.currency)).collect();
    let warehouses: Vec<Uuid> = products.iter().map(|(_, p)| p.warehouse_id).collect();
    let inserted = query!(
        "INSERT INTO products (id, name, description, created_at)
         SELECT id, name, description, $4 FROM UNNEST($1::uuid[], $2::text[], $3::text[]) AS u (id, name, description)",
        &ids,
        &names,
        &descriptions as &[Option<String>],
        now
    )
    .execute(&mut *connection)
    .await?;
    expect_rows("products", ids.len(), inserted.rows_affected())?;
    let inserted = query!(
        "INSERT INTO variants (id, product_id, sku, price_amount, currency, created_at)
         SELECT id, id, sku, amount, currency, $5
         FROM UNNEST($1::uuid[], $2::text[], $3::bigint[], $4::text[]) AS u (id, sku, amount, currency)",
        &ids,
        &skus,
        &amounts,
        &currencies,
        now
    )
    .execute(&mut *connection)
    .await?;
    expect_rows("variants", ids.len(), inserted.rows_affected())?;
    let inserted = query!(
        "INSERT INTO stock (variant_id, warehouse_id) SELECT * FROM UNNEST($1::uuid[], $2::uuid[])",
        &ids,
        &warehouses
    )
    .execute(connection)
    .await?;
    expect_rows("stock", ids.len(), inserted.rows_affected())
}

/// A product that is sold, or `None`.
///
/// # Errors
/// Where the database is away.
pub async fn find(connection: &mut PgConnection, id: Uuid) -> Result<Option<Product>> {
    let row = query_as!(
        Row,
        "SELECT p.id, p.name, v.sku, p.description, v.price_amount, v.currency, p.created_at
         FROM products p JOIN variants v ON v.id = p.id WHERE p.id = $1 AND p.deleted_at IS NULL",
        id
    )
    .fetch_optional(connection)
    .await?;
    row.map(Product::try_from).transpose()
}

/// Products that are sold, by id, from after `after` on.
///
/// # Errors
/// Where the database is away.
pub async fn list(connection: &mut PgConnection, after: Option<Uuid>, limit: i64) -> Result<Vec<Product>> {
    let rows = query_as!(
        Row,
        "SELECT p.id, p.name, v.sku, p.description, v.price_amount, v.currency, p.created_at
         FROM products p JOIN variants v ON v.id = p.id
         WHERE p.deleted_at IS NULL AND ($1::uuid IS NULL OR p.id > $1) ORDER BY p.id LIMIT $2",
        after,
        limit
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Product::try_from).collect()
}

struct Row {
    id: Uuid,
    name: String,
    sku: String,
    description: Option<String>,
    price_amount: i64,
    currency: String,
    created_at: Timestamp,
}

impl TryFrom<Row> for Product {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let currency = Currency::try_from(row.currency).map_err(|_| Error::Corrupt("a price's currency"))?;
        Ok(Self {
            id: row.id,
            name: row.name,
            sku: row.sku,
            description: row.description,
            price: Money { amount: row.price_amount, currency },
            created_at: row.created_at,
        })
    }
}
