//! The catalogue by its SKUs, and many changes of it at once.

use std::collections::HashMap;

use sqlx::{PgConnection, query, query_as};
use uuid::Uuid;

use crate::db::Result;

/// A variant as an import finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub product_id: Uuid,
    pub variant_id: Uuid,
    pub name: String,
    pub description: Option<String>,
    pub category_id: Option<Uuid>,
    pub price_amount: Option<i64>,
    pub currency: String,
    pub deleted: bool,
}

impl Known {
    /// As it is after an update.
    pub fn take(&mut self, update: &Update) {
        let Update { name, description, category, price_amount, .. } = update.clone();
        (self.name, self.description, self.category_id, self.price_amount) =
            (name, description, category, price_amount);
    }
}

/// What the catalogue has of these SKUs.
///
/// # Errors
/// Where the database is away.
pub async fn known(connection: &mut PgConnection, skus: &[String]) -> Result<HashMap<String, Known>> {
    struct Row {
        sku: String,
        product_id: Uuid,
        variant_id: Uuid,
        name: String,
        description: Option<String>,
        category_id: Option<Uuid>,
        price_amount: Option<i64>,
        currency: String,
        deleted: bool,
    }
    let rows = query_as!(
        Row,
        r#"SELECT v.sku, v.product_id, v.id AS variant_id, p.name, p.description, p.category_id, v.price_amount, v.currency,
                (v.deleted_at IS NOT NULL OR p.deleted_at IS NOT NULL) AS "deleted!"
           FROM variants v JOIN products p ON p.id = v.product_id WHERE v.sku = ANY($1)"#,
        skus
    );
    let known = |row: Row| {
        let Row { sku, product_id, variant_id, name, description, category_id, price_amount, currency, deleted } = row;
        let known = Known { product_id, variant_id, name, description, category_id, price_amount, currency, deleted };
        (sku, known)
    };
    Ok(rows.fetch_all(connection).await?.into_iter().map(known).collect())
}

/// What is to become of a product, or of another variant, where only the price is its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    pub variant: Uuid,
    pub name: String,
    pub description: Option<String>,
    pub category: Option<Uuid>,
    pub price_amount: Option<i64>,
}

/// Writes many changes at once, one for each variant. Nothing is said of those that are no more. To be called in a transaction.
///
/// # Errors
/// Where the database is away.
pub async fn update(connection: &mut PgConnection, updates: &[Update]) -> Result<()> {
    let ids: Vec<Uuid> = updates.iter().map(|update| update.variant).collect();
    let names: Vec<String> = updates.iter().map(|update| update.name.clone()).collect();
    let descriptions: Vec<Option<String>> = updates.iter().map(|update| update.description.clone()).collect();
    let categories: Vec<Option<Uuid>> = updates.iter().map(|update| update.category).collect();
    let prices: Vec<Option<i64>> = updates.iter().map(|update| update.price_amount).collect();
    // Two who change the same do so one after the other.
    query!("SELECT id FROM products WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE", &ids)
        .fetch_all(&mut *connection)
        .await?;
    query!("SELECT id FROM variants WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE", &ids)
        .fetch_all(&mut *connection)
        .await?;
    query!(
        "UPDATE products p SET name = u.name, description = u.description, category_id = u.category
         FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::uuid[]) AS u (id, name, description, category) WHERE p.id = u.id",
        &ids,
        &names,
        &descriptions as &[Option<String>],
        &categories as &[Option<Uuid>]
    )
    .execute(&mut *connection)
    .await?;
    query!(
        "UPDATE variants v SET price_amount = u.price FROM UNNEST($1::uuid[], $2::bigint[]) AS u (id, price)
         WHERE v.id = u.id AND (u.price IS NOT NULL OR v.id <> v.product_id)",
        &ids,
        &prices as &[Option<i64>]
    )
    .execute(connection)
    .await?;
    Ok(())
}
