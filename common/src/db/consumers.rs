//! Consumers that are there: each says so by a heartbeat, and may be asked to let go of its partitions.

use std::time::Duration;

use sqlx::{PgConnection, query, query_as};
use uuid::Uuid;

use super::{Result, partitions};
use crate::domain::Timestamp;

/// Says that a consumer is alive.
///
/// # Errors
/// Where the database is away.
pub async fn heartbeat(connection: &mut PgConnection, consumer: Uuid, name: &str) -> Result<()> {
    query!(
        "INSERT INTO consumers (id, name) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET seen_at = now()",
        consumer,
        name
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Says that a consumer is gone, and forgets those that have not been seen for a day.
///
/// # Errors
/// Where the database is away.
pub async fn goodbye(connection: &mut PgConnection, consumer: Uuid) -> Result<()> {
    query!("DELETE FROM consumers WHERE id = $1 OR seen_at < now() - interval '1 day'", consumer)
        .execute(connection)
        .await?;
    Ok(())
}

/// A consumer as an operator sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Consumer {
    pub id: Uuid,
    pub name: String,
    pub started_at: Timestamp,
    /// Seconds since its last heartbeat.
    pub seen_seconds: f64,
    /// Seen within the lease that was asked for.
    pub live: bool,
    pub draining: bool,
    /// Whose lease is in force.
    pub partitions: Vec<u16>,
}

/// Keeps everybody else from changing consumers until the transaction ends.
///
/// # Errors
/// Where the database is away or the lock is not to be had in time.
pub async fn lock(connection: &mut PgConnection) -> Result<()> {
    query!("LOCK TABLE consumers IN SHARE ROW EXCLUSIVE MODE").execute(connection).await?;
    Ok(())
}

/// Every consumer that has not said goodbye, the oldest first; `lease` says how long one is live after a heartbeat.
///
/// # Errors
/// Where the database is away.
pub async fn list(connection: &mut PgConnection, lease: Duration) -> Result<Vec<Consumer>> {
    struct Row {
        id: Uuid,
        name: String,
        started_at: Timestamp,
        draining: bool,
        seen_seconds: f64,
        live: bool,
        partitions: Vec<i16>,
    }
    let rows = query_as!(
        Row,
        r#"SELECT c.id, c.name, c.started_at, c.draining,
                  EXTRACT(EPOCH FROM clock_timestamp() - c.seen_at)::float8 AS "seen_seconds!",
                  c.seen_at > clock_timestamp() - $1::float8 * interval '1 second' AS "live!",
                  ARRAY(SELECT p.partition FROM partitions p WHERE p.owner = c.id AND p.lease_until > clock_timestamp()
                        ORDER BY p.partition) AS "partitions!"
           FROM consumers c ORDER BY c.started_at, c.id"#,
        lease.as_secs_f64()
    )
    .fetch_all(connection)
    .await?;
    let consumer = |row| {
        let Row { id, name, started_at, draining, seen_seconds, live, partitions } = row;
        let partitions = partitions.into_iter().map(partitions::number).collect::<Result<_>>()?;
        Ok(Consumer { id, name, started_at, seen_seconds, live, draining, partitions })
    };
    rows.into_iter().map(consumer).collect()
}

/// Asks a consumer to let go of its partitions and take no more, or to take its share again. Answers whether it is there.
///
/// # Errors
/// Where the database is away.
pub async fn set_draining(connection: &mut PgConnection, consumer: Uuid, draining: bool) -> Result<bool> {
    let updated = query!("UPDATE consumers SET draining = $2 WHERE id = $1", consumer, draining);
    Ok(updated.execute(connection).await?.rows_affected() == 1)
}
