//! Variants that are low, and each time that one has become so.

use sqlx::{PgConnection, query, query_as};
use uuid::Uuid;

use super::stock::expect_rows;
use super::{Result, partitions};
use crate::domain::{Crossing, Timestamp};

/// A crossing with the decision that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crossed {
    pub crossing: Crossing,
    pub partition: u16,
    pub sequence: i64,
    pub command: Uuid,
}

/// Writes the crossings of a batch.
///
/// # Errors
/// Where the database is away.
pub async fn insert(connection: &mut PgConnection, crossed: &[Crossed], now: Timestamp) -> Result<()> {
    let partitions =
        crossed.iter().map(|crossed| partitions::stored(crossed.partition)).collect::<Result<Vec<i16>>>()?;
    let sequences: Vec<i64> = crossed.iter().map(|crossed| crossed.sequence).collect();
    let variants: Vec<Uuid> = crossed.iter().map(|crossed| crossed.crossing.variant).collect();
    let thresholds: Vec<i64> = crossed.iter().map(|crossed| crossed.crossing.threshold).collect();
    let available: Vec<i64> = crossed.iter().map(|crossed| crossed.crossing.available).collect();
    let commands: Vec<Uuid> = crossed.iter().map(|crossed| crossed.command).collect();
    let inserted = query!(
        "INSERT INTO low_stock_events (partition, sequence, variant_id, threshold, available, command_id, crossed_at)
         SELECT u.*, $7::timestamptz
         FROM UNNEST($1::smallint[], $2::bigint[], $3::uuid[], $4::bigint[], $5::bigint[], $6::uuid[]) AS u",
        &partitions,
        &sequences,
        &variants,
        &thresholds,
        &available,
        &commands,
        now
    )
    .execute(connection)
    .await?;
    expect_rows("low_stock_events", crossed.len(), inserted.rows_affected())
}

/// A crossing, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub partition: i16,
    pub sequence: i64,
    pub product_id: Uuid,
    pub variant_id: Uuid,
    pub sku: String,
    pub threshold: i64,
    pub available: i64,
    /// The order or other command that was decided.
    pub command_id: Uuid,
    pub crossed_at: Timestamp,
}

/// Where a page of events begins: after this one.
pub type Place = (Timestamp, Uuid, Uuid);

/// Crossings, the newest first.
///
/// # Errors
/// Where the database is away.
pub async fn events(connection: &mut PgConnection, before: Option<Place>, limit: i64) -> Result<Vec<Event>> {
    let rows = query_as!(
        Event,
        "SELECT e.partition, e.sequence, v.product_id, e.variant_id, v.sku, e.threshold, e.available, e.command_id, e.crossed_at
         FROM low_stock_events e JOIN variants v ON v.id = e.variant_id
         WHERE $1::timestamptz IS NULL OR (e.crossed_at, e.command_id, e.variant_id) < ($1, $2::uuid, $3::uuid)
         ORDER BY e.crossed_at DESC, e.command_id DESC, e.variant_id DESC LIMIT $4",
        before.map(|before| before.0),
        before.map(|before| before.1),
        before.map(|before| before.2),
        limit
    );
    Ok(rows.fetch_all(connection).await?)
}

/// A variant that is low now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Low {
    pub product_id: Uuid,
    pub variant_id: Uuid,
    pub sku: String,
    pub threshold: i64,
    pub available: i64,
}

/// Variants that are sold and low now, by id.
///
/// # Errors
/// Where the database is away.
pub async fn now(connection: &mut PgConnection, after: Option<Uuid>, limit: i64) -> Result<Vec<Low>> {
    let rows = query_as!(
        Low,
        r#"SELECT v.product_id, v.id AS variant_id, v.sku, v.low_stock_threshold AS "threshold!", o.available AS "available!"
           FROM variants v JOIN products p ON p.id = v.product_id
                CROSS JOIN LATERAL (
                  -- What was promised before is served first.
                  SELECT GREATEST(COALESCE(sum(s.on_hand - s.reserved) FILTER (WHERE w.closed_at IS NULL), 0)
                                  - GREATEST(COALESCE(sum(s.backorder_cap - s.on_hand + s.reserved), 0), 0), 0)::bigint AS available
                  FROM stock s JOIN warehouses w ON w.id = s.warehouse_id WHERE s.variant_id = v.id) o
           WHERE v.low_stock_threshold IS NOT NULL AND v.deleted_at IS NULL AND p.deleted_at IS NULL
             -- A bundle has no stock of its own.
             AND NOT v.is_bundle
             AND o.available <= v.low_stock_threshold AND ($1::uuid IS NULL OR v.id > $1)
           ORDER BY v.id LIMIT $2"#,
        after,
        limit
    );
    Ok(rows.fetch_all(connection).await?)
}
