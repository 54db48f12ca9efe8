//! New products and variants, as a batch has decided them.

use sqlx::{PgConnection, query};
use uuid::Uuid;

use crate::db::stock::expect_rows;
use crate::db::{self, Result};
use crate::domain::{Component, CreateProduct, CreateVariant, Timestamp};

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
    let categories: Vec<Option<Uuid>> = products.iter().map(|(_, p)| p.category_id).collect();
    let bundles: Vec<bool> = products.iter().map(|(_, p)| !p.components.is_empty()).collect();
    let inserted = query!(
        "INSERT INTO products (id, name, description, category_id, created_at)
         SELECT id, name, description, category, $5
         FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::uuid[]) AS u (id, name, description, category)",
        &ids,
        &names,
        &descriptions as &[Option<String>],
        &categories as &[Option<Uuid>],
        now
    )
    .execute(&mut *connection)
    .await?;
    expect_rows("products", ids.len(), inserted.rows_affected())?;
    let inserted = query!(
        "INSERT INTO variants (id, product_id, sku, price_amount, currency, is_bundle, created_at)
         SELECT id, id, sku, amount, currency, bundle, $6
         FROM UNNEST($1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::boolean[]) AS u (id, sku, amount, currency, bundle)",
        &ids,
        &skus,
        &amounts,
        &currencies,
        &bundles,
        now
    )
    .execute(&mut *connection)
    .await?;
    expect_rows("variants", ids.len(), inserted.rows_affected())?;
    open_stock(connection, &ids, &warehouses).await
}

/// Writes what new bundles are made of. They, and that, are there.
///
/// # Errors
/// Where the database is away.
pub async fn insert_components(connection: &mut PgConnection, products: &[(Uuid, CreateProduct)]) -> Result<()> {
    let made = products.iter().flat_map(|(id, p)| p.components.iter().map(|component| (*id, *component)));
    let made: Vec<(Uuid, Component)> = made.collect();
    if made.is_empty() { Ok(()) } else { db::bundles::insert(connection, &made).await }
}

/// Writes new variants of products that are there, each with an empty stock row in its warehouse.
///
/// # Errors
/// Where the database is away, or one of them is there already: then nothing of the batch may be committed.
pub async fn insert_variants(
    connection: &mut PgConnection,
    variants: &mut [(Uuid, CreateVariant)],
    now: Timestamp,
) -> Result<()> {
    variants.sort_unstable_by_key(|(id, _)| *id);
    let ids: Vec<Uuid> = variants.iter().map(|(id, _)| *id).collect();
    let products: Vec<Uuid> = variants.iter().map(|(_, v)| v.product_id).collect();
    let skus: Vec<String> = variants.iter().map(|(_, v)| v.sku.to_string()).collect();
    let amounts: Vec<Option<i64>> = variants.iter().map(|(_, v)| Some(v.price?.amount)).collect();
    let options: Vec<serde_json::Value> = variants.iter().map(|(_, v)| serde_json::json!(v.options)).collect();
    let warehouses: Vec<Uuid> = variants.iter().map(|(_, v)| v.warehouse_id).collect();
    let inserted = query!(
        "INSERT INTO variants (id, product_id, sku, price_amount, currency, options, created_at)
         SELECT u.id, u.product, u.sku, u.amount, d.currency, u.options, $6
         FROM UNNEST($1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::jsonb[])
                AS u (id, product, sku, amount, options)
              JOIN variants d ON d.id = u.product",
        &ids,
        &products,
        &skus,
        &amounts as &[Option<i64>],
        &options,
        now
    )
    .execute(&mut *connection)
    .await?;
    expect_rows("variants", ids.len(), inserted.rows_affected())?;
    open_stock(connection, &ids, &warehouses).await
}

async fn open_stock(connection: &mut PgConnection, variants: &[Uuid], warehouses: &[Uuid]) -> Result<()> {
    let inserted = query!(
        "INSERT INTO stock (variant_id, warehouse_id) SELECT * FROM UNNEST($1::uuid[], $2::uuid[])",
        variants,
        warehouses
    )
    .execute(connection)
    .await?;
    expect_rows("stock", variants.len(), inserted.rows_affected())
}
