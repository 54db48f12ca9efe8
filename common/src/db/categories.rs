//! Categories of products.

use std::collections::{BTreeMap, HashMap};

use sqlx::{PgConnection, query, query_as, query_scalar};
use uuid::Uuid;

use super::Result;
use crate::domain::Timestamp;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Category {
    pub id: Uuid,
    pub name: String,
    pub created_at: Timestamp,
}

/// Adds one; `None` where its name is taken, whatever its case.
///
/// # Errors
/// Where the database is away.
pub async fn insert(connection: &mut PgConnection, id: Uuid, name: &str) -> Result<Option<Category>> {
    let row = query_as!(
        Category,
        "INSERT INTO categories (id, name) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING id, name, created_at",
        id,
        name
    );
    Ok(row.fetch_optional(connection).await?)
}

/// The categories of these names, by name in lower case; made where there are none such.
///
/// # Errors
/// Where the database is away.
pub async fn named(connection: &mut PgConnection, names: &[String]) -> Result<HashMap<String, Uuid>> {
    // Sorted, so that two who make the same do not wait for one another.
    let mut first = BTreeMap::new();
    for name in names {
        first.entry(name.to_lowercase()).or_insert(name);
    }
    let (ids, names): (Vec<Uuid>, Vec<String>) = first.values().map(|name| (Uuid::now_v7(), (*name).clone())).unzip();
    if names.is_empty() {
        return Ok(HashMap::new());
    }
    query!(
        "INSERT INTO categories (id, name) SELECT * FROM UNNEST($1::uuid[], $2::text[]) ON CONFLICT DO NOTHING",
        &ids,
        &names
    )
    .execute(&mut *connection)
    .await?;
    let rows = query!(
        r#"SELECT c.id, u.name AS "name!" FROM UNNEST($1::text[]) AS u (name)
           JOIN categories c ON lower(c.name) = lower(u.name) AND c.deleted_at IS NULL"#,
        &names
    );
    Ok(rows.fetch_all(connection).await?.into_iter().map(|row| (row.name.to_lowercase(), row.id)).collect())
}

/// What came of changing one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    Done(Category),
    Unknown,
    NameTaken,
}

/// Gives one another name.
///
/// # Errors
/// Where the database is away.
pub async fn rename(connection: &mut PgConnection, id: Uuid, name: &str) -> Result<Changed> {
    let row = query_as!(
        Category,
        "UPDATE categories SET name = $2 WHERE id = $1 AND deleted_at IS NULL RETURNING id, name, created_at",
        id,
        name
    );
    match row.fetch_optional(connection).await {
        Ok(row) => Ok(row.map_or(Changed::Unknown, Changed::Done)),
        Err(sqlx::Error::Database(error)) if error.constraint() == Some("categories_name_unique") => {
            Ok(Changed::NameTaken)
        }
        Err(error) => Err(error.into()),
    }
}

/// Takes one away, and its products out of it; whether there was one.
///
/// # Errors
/// Where the database is away.
pub async fn delete(connection: &mut PgConnection, id: Uuid) -> Result<bool> {
    let deleted = query!("UPDATE categories SET deleted_at = now() WHERE id = $1 AND deleted_at IS NULL", id);
    Ok(deleted.execute(connection).await?.rows_affected() > 0)
}

/// One, or `None`.
///
/// # Errors
/// Where the database is away.
pub async fn find(connection: &mut PgConnection, id: Uuid) -> Result<Option<Category>> {
    let row =
        query_as!(Category, "SELECT id, name, created_at FROM categories WHERE id = $1 AND deleted_at IS NULL", id);
    Ok(row.fetch_optional(connection).await?)
}

/// Whether there is one.
///
/// # Errors
/// Where the database is away.
pub async fn is_known(connection: &mut PgConnection, id: Uuid) -> Result<bool> {
    let known =
        query_scalar!(r#"SELECT EXISTS (SELECT FROM categories WHERE id = $1 AND deleted_at IS NULL) AS "known!""#, id);
    Ok(known.fetch_one(connection).await?)
}

/// All of them by id, from after `after` on.
///
/// # Errors
/// Where the database is away.
pub async fn list(connection: &mut PgConnection, after: Option<Uuid>, limit: i64) -> Result<Vec<Category>> {
    let rows = query_as!(
        Category,
        "SELECT id, name, created_at FROM categories
         WHERE deleted_at IS NULL AND ($1::uuid IS NULL OR id > $1) ORDER BY id LIMIT $2",
        after,
        limit
    );
    Ok(rows.fetch_all(connection).await?)
}
