//! The terms of sale: append only, the last ones are in force.

use std::sync::Arc;

use sqlx::types::Json;
use sqlx::{PgConnection, query, query_scalar};
use uuid::Uuid;

use super::{Error, Result};
use crate::domain::{Terms, Timestamp};

/// Terms with their place among all that there were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTerms {
    /// From 1.
    pub version: i64,
    pub terms: Arc<Terms>,
    pub since: Timestamp,
}

/// Those in force.
///
/// # Errors
/// Where the database is away.
pub async fn in_force(connection: &mut PgConnection) -> Result<StoredTerms> {
    let row =
        query!(r#"SELECT version, terms AS "terms: Json<Terms>", created_at FROM terms ORDER BY version DESC LIMIT 1"#);
    let row = row.fetch_one(connection).await?;
    Ok(StoredTerms { version: row.version, terms: Arc::new(row.terms.0), since: row.created_at })
}

/// Puts other terms in force; answers with their version.
///
/// # Errors
/// Where the database is away.
pub async fn put(connection: &mut PgConnection, terms: &Terms, account: Uuid) -> Result<i64> {
    let terms = serde_json::to_value(terms).map_err(|_| Error::Corrupt("terms that JSON can't hold"))?;
    let version =
        query_scalar!("INSERT INTO terms (terms, account_id) VALUES ($1, $2) RETURNING version", terms, account);
    Ok(version.fetch_one(connection).await?)
}

/// All that there were, the first ones first.
///
/// # Errors
/// Where the database is away.
pub async fn all(connection: &mut PgConnection) -> Result<Vec<StoredTerms>> {
    let rows = query!(r#"SELECT version, terms AS "terms: Json<Terms>", created_at FROM terms ORDER BY version"#);
    let rows = rows.fetch_all(connection).await?.into_iter();
    Ok(rows
        .map(|row| StoredTerms { version: row.version, terms: Arc::new(row.terms.0), since: row.created_at })
        .collect())
}
