//! Changes of the catalogue that touch no stock: what is written, and what is no longer sold. Decisions that begin later follow
//! them.

use std::collections::BTreeMap;

use sqlx::{PgConnection, query, query_scalar};
use uuid::Uuid;

use crate::db::{Error, Result, limits};
use crate::domain::{Limit, Money};

/// What is to be changed of a product; `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProductChange {
    pub name: Option<String>,
    /// `Some(None)` takes it away.
    pub description: Option<Option<String>>,
    /// `Some(None)` takes it out of its category. One that is named is known.
    pub category: Option<Option<Uuid>>,
    /// What else is changed is its default variant's.
    pub sku: Option<String>,
    pub price: Option<Money>,
    /// `Some(None)` takes it away.
    pub low_stock_threshold: Option<Option<i64>>,
    /// `Some(None)` takes it away.
    pub limit: Option<Option<Limit>>,
}

/// What is to be changed of a variant; `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VariantChange {
    pub sku: Option<String>,
    pub options: Option<BTreeMap<String, String>>,
    /// `Some(None)`: the product's again.
    pub price: Option<Option<Money>>,
    /// `Some(None)` takes it away.
    pub low_stock_threshold: Option<Option<i64>>,
}

/// What came of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VariantChanged {
    Done,
    /// There is none such that is sold.
    Unknown,
    SkuTaken,
    /// All of a product is priced in one currency, for ever.
    OtherCurrency,
}

/// Changes a product and its default variant. To be called in a transaction, and undone where it is not [`VariantChanged::Done`].
///
/// # Errors
/// Where the database is away.
pub async fn change(connection: &mut PgConnection, id: Uuid, change: &ProductChange) -> Result<VariantChanged> {
    let changed = query!(
        "UPDATE products SET name = COALESCE($2, name),
             description = CASE WHEN $3 THEN $4 ELSE description END,
             category_id = CASE WHEN $5 THEN $6 ELSE category_id END
         WHERE id = $1 AND deleted_at IS NULL",
        id,
        change.name.as_deref(),
        change.description.is_some(),
        change.description.as_ref().and_then(Option::as_deref),
        change.category.is_some(),
        change.category.flatten()
    );
    if changed.execute(&mut *connection).await?.rows_affected() == 0 {
        return Ok(VariantChanged::Unknown);
    }
    if let Some(limit) = change.limit {
        limits::set(&mut *connection, id, limit).await?;
    }
    let (sku, price, low_stock_threshold) = (change.sku.clone(), change.price.map(Some), change.low_stock_threshold);
    let change = VariantChange { sku, options: None, price, low_stock_threshold };
    change_variant(connection, id, id, &change).await
}

/// Changes a variant of a product. To be called in a transaction.
///
/// # Errors
/// Where the database is away.
pub async fn change_variant(
    connection: &mut PgConnection,
    product: Uuid,
    id: Uuid,
    change: &VariantChange,
) -> Result<VariantChanged> {
    let currency = query_scalar!(
        "SELECT v.currency FROM variants v JOIN products p ON p.id = v.product_id
         WHERE v.id = $1 AND v.product_id = $2 AND v.deleted_at IS NULL AND p.deleted_at IS NULL FOR NO KEY UPDATE OF v",
        id,
        product
    );
    let Some(currency) = currency.fetch_optional(&mut *connection).await? else { return Ok(VariantChanged::Unknown) };
    if change.price.flatten().is_some_and(|price| price.currency.as_str() != currency) {
        return Ok(VariantChanged::OtherCurrency);
    }
    let options = change.options.as_ref().map(serde_json::to_value).transpose();
    let changed = query!(
        "UPDATE variants SET sku = COALESCE($2, sku),
             former_skus = CASE WHEN $2 <> sku AND sku <> ALL(former_skus) THEN former_skus || sku ELSE former_skus END, options = COALESCE($3, options),
             price_amount = CASE WHEN $4 THEN $5 ELSE price_amount END,
             low_stock_threshold = CASE WHEN $6 THEN $7 ELSE low_stock_threshold END
         WHERE id = $1",
        id,
        change.sku.as_deref(),
        options.map_err(|_| Error::Corrupt("options that JSON can't hold"))?,
        change.price.is_some(),
        change.price.flatten().map(|price| price.amount),
        change.low_stock_threshold.is_some(),
        change.low_stock_threshold.flatten()
    );
    match changed.execute(connection).await {
        Ok(_) => Ok(VariantChanged::Done),
        Err(sqlx::Error::Database(error)) if error.constraint() == Some("variants_sku_unique") => {
            Ok(VariantChanged::SkuTaken)
        }
        Err(error) => Err(error.into()),
    }
}

/// Sells a product, with all its variants, no longer; whether it was sold until now.
///
/// # Errors
/// Where the database is away.
pub async fn delete(connection: &mut PgConnection, id: Uuid) -> Result<bool> {
    let deleted = query!("UPDATE products SET deleted_at = now() WHERE id = $1 AND deleted_at IS NULL", id);
    Ok(deleted.execute(connection).await?.rows_affected() > 0)
}

/// Sells a variant, other than the default one, no longer; whether it was sold until now.
///
/// # Errors
/// Where the database is away.
pub async fn delete_variant(connection: &mut PgConnection, product: Uuid, id: Uuid) -> Result<bool> {
    let deleted = query!(
        "UPDATE variants SET deleted_at = now() WHERE id = $1 AND product_id = $2 AND id <> product_id AND deleted_at IS NULL",
        id,
        product
    );
    Ok(deleted.execute(connection).await?.rows_affected() > 0)
}
