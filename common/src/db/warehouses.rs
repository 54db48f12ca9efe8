//! Warehouses: where they are, and whether orders are served from them.

use std::collections::{BTreeMap, HashMap};

use sqlx::{PgConnection, query, query_as};
use uuid::Uuid;

use super::{Error, Result};
use crate::domain::{Site, Timestamp};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warehouse {
    pub id: Uuid,
    pub code: String,
    pub name: String,
    pub zone: u16,
    pub created_at: Timestamp,
    /// Since when no orders are served from it.
    pub closed_at: Option<Timestamp>,
}

/// All warehouses, as the core knows them.
///
/// # Errors
/// Where the database is away.
pub async fn sites(connection: &mut PgConnection) -> Result<BTreeMap<Uuid, Site>> {
    let rows = query!(r#"SELECT id, zone, closed_at IS NULL AS "open!" FROM warehouses WHERE NOT is_backorders"#)
        .fetch_all(connection)
        .await?;
    rows.into_iter().map(|row| Ok((row.id, Site { zone: zone(row.zone)?, open: row.open }))).collect()
}

/// The id of each, by its code.
///
/// # Errors
/// Where the database is away.
pub async fn codes(connection: &mut PgConnection) -> Result<HashMap<String, Uuid>> {
    let rows = query!("SELECT code, id FROM warehouses WHERE NOT is_backorders").fetch_all(connection).await?;
    Ok(rows.into_iter().map(|row| (row.code, row.id)).collect())
}

/// Adds one; `None` where its code is taken.
///
/// # Errors
/// Where the database is away.
pub async fn insert(
    connection: &mut PgConnection,
    (id, code, name, zone): (Uuid, &str, &str, u16),
) -> Result<Option<Warehouse>> {
    let row = query_as!(
        Row,
        "INSERT INTO warehouses (id, code, name, zone) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING
         RETURNING id, code, name, zone, created_at, closed_at",
        id,
        code,
        name,
        i16::try_from(zone).map_err(|_| Error::Corrupt("a zone past 32,767"))?
    );
    row.fetch_optional(connection).await?.map(Warehouse::try_from).transpose()
}

/// Renames, opens or closes one; `None` where there is no such.
///
/// # Errors
/// Where the database is away.
pub async fn change(
    connection: &mut PgConnection,
    id: Uuid,
    name: Option<&str>,
    open: Option<bool>,
) -> Result<Option<Warehouse>> {
    let row = query_as!(
        Row,
        "UPDATE warehouses SET name = COALESCE($2, name),
             closed_at = CASE WHEN $3 THEN NULL WHEN NOT $3 THEN COALESCE(closed_at, now()) ELSE closed_at END
         WHERE id = $1 AND NOT is_backorders RETURNING id, code, name, zone, created_at, closed_at",
        id,
        name,
        open
    );
    row.fetch_optional(connection).await?.map(Warehouse::try_from).transpose()
}

/// One, or `None`.
///
/// # Errors
/// Where the database is away.
pub async fn find(connection: &mut PgConnection, id: Uuid) -> Result<Option<Warehouse>> {
    let row = query_as!(
        Row,
        "SELECT id, code, name, zone, created_at, closed_at FROM warehouses WHERE id = $1 AND NOT is_backorders",
        id
    );
    row.fetch_optional(connection).await?.map(Warehouse::try_from).transpose()
}

/// All of them by id, from after `after` on.
///
/// # Errors
/// Where the database is away.
pub async fn list(connection: &mut PgConnection, after: Option<Uuid>, limit: i64) -> Result<Vec<Warehouse>> {
    let rows = query_as!(
        Row,
        "SELECT id, code, name, zone, created_at, closed_at FROM warehouses
         WHERE NOT is_backorders AND ($1::uuid IS NULL OR id > $1) ORDER BY id LIMIT $2",
        after,
        limit
    );
    rows.fetch_all(connection).await?.into_iter().map(Warehouse::try_from).collect()
}

struct Row {
    id: Uuid,
    code: String,
    name: String,
    zone: i16,
    created_at: Timestamp,
    closed_at: Option<Timestamp>,
}

impl TryFrom<Row> for Warehouse {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let Row { id, code, name, created_at, closed_at, .. } = row;
        Ok(Self { id, code, name, zone: zone(row.zone)?, created_at, closed_at })
    }
}

/// A stored zone.
pub(super) fn zone(stored: i16) -> Result<u16> {
    u16::try_from(stored).map_err(|_| Error::Corrupt("a negative zone"))
}
