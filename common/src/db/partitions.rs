//! Leases: which consumer writes which partition, fenced by an epoch. All times are the database's.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sqlx::{PgConnection, query, query_as};
use uuid::Uuid;

use super::{Error, Result};
use crate::domain::Timestamp;
use crate::partition::Held;

/// A lease as its holder knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    pub partition: u16,
    /// Grows with each new holder: the fencing token.
    pub epoch: i64,
}

/// Who is there and who holds what, in one snapshot.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub live: BTreeSet<Uuid>,
    pub partitions: BTreeMap<u16, Held>,
}

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

/// Prolongs every lease that a consumer holds; answers with those. A row that is locked is being written by a batch,
/// which prolongs it itself (see [`advance`]): a slow batch never holds this up.
///
/// # Errors
/// Where the database is away.
pub async fn renew(connection: &mut PgConnection, consumer: Uuid, lease: Duration) -> Result<Vec<Lease>> {
    let rows = query!(
        r#"WITH idle AS (
             SELECT partition FROM partitions WHERE owner = $1 ORDER BY partition FOR UPDATE SKIP LOCKED),
           renewed AS (
             UPDATE partitions p SET lease_until = clock_timestamp() + $2::float8 * interval '1 second'
             FROM idle WHERE p.partition = idle.partition)
         SELECT partition, epoch FROM partitions WHERE owner = $1"#,
        consumer,
        lease.as_secs_f64()
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(|row| Ok(Lease { partition: number(row.partition)?, epoch: row.epoch })).collect()
}

/// Consumers seen within `lease`, and the holder of each partition.
///
/// # Errors
/// Where the database is away.
pub async fn snapshot(connection: &mut PgConnection, lease: Duration) -> Result<Snapshot> {
    struct Row {
        live: Option<Uuid>,
        partition: Option<i16>,
        owner: Option<Uuid>,
    }
    let rows = query_as!(
        Row,
        r#"SELECT id AS live, NULL::smallint AS partition, NULL::uuid AS owner FROM consumers
           WHERE seen_at > clock_timestamp() - $1::float8 * interval '1 second'
         UNION ALL
         SELECT NULL, partition, CASE WHEN lease_until > clock_timestamp() THEN owner END FROM partitions"#,
        lease.as_secs_f64()
    )
    .fetch_all(connection)
    .await?;
    let mut snapshot = Snapshot { live: BTreeSet::new(), partitions: BTreeMap::new() };
    for row in rows {
        snapshot.live.extend(row.live);
        if let Some(partition) = row.partition {
            snapshot.partitions.insert(number(partition)?, row.owner.map_or(Held::Free, Held::By));
        }
    }
    Ok(snapshot)
}

/// Takes up to `count` partitions that nobody holds, each with a new epoch.
///
/// # Errors
/// Where the database is away.
pub async fn acquire(
    connection: &mut PgConnection,
    consumer: Uuid,
    lease: Duration,
    count: usize,
) -> Result<Vec<Lease>> {
    let rows = query!(
        r#"WITH free AS (
             SELECT partition FROM partitions WHERE owner IS NULL OR lease_until <= clock_timestamp()
             ORDER BY partition LIMIT $3 FOR UPDATE SKIP LOCKED)
         UPDATE partitions p
         SET owner = $1, epoch = epoch + 1, lease_until = clock_timestamp() + $2::float8 * interval '1 second'
         FROM free WHERE p.partition = free.partition RETURNING p.partition, p.epoch"#,
        consumer,
        lease.as_secs_f64(),
        i64::try_from(count).unwrap_or(i64::MAX)
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(|row| Ok(Lease { partition: number(row.partition)?, epoch: row.epoch })).collect()
}

/// Lets one lease go, if it is still this consumer's.
///
/// # Errors
/// Where the database is away.
pub async fn release(connection: &mut PgConnection, consumer: Uuid, lease: Lease) -> Result<()> {
    query!(
        "UPDATE partitions SET owner = NULL, lease_until = '-infinity' WHERE partition = $1 AND owner = $2 AND epoch = $3",
        stored(lease.partition)?,
        consumer,
        lease.epoch
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A partition of a batch, as found when its lease row was locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fenced {
    pub partition: u16,
    pub epoch: i64,
    /// The number of the last decision.
    pub sequence: i64,
}

/// The first statement of a batch: locks the lease rows of its partitions until the end of the transaction and tells their
/// epochs and the time. Nobody can take a partition over while its row is locked; whose epoch is another has lost it.
///
/// # Errors
/// Where the database is away or a row is missing.
pub async fn fence(connection: &mut PgConnection, partitions: &[u16]) -> Result<(Vec<Fenced>, Timestamp)> {
    let wanted = partitions.iter().map(|partition| stored(*partition)).collect::<Result<Vec<i16>>>()?;
    let rows = query!(
        r#"SELECT partition, epoch, sequence, clock_timestamp() AS "now!" FROM partitions
         WHERE partition = ANY($1) ORDER BY partition FOR UPDATE"#,
        &wanted
    )
    .fetch_all(connection)
    .await?;
    let found = u64::try_from(rows.len()).unwrap_or(u64::MAX);
    let missing = Error::RowCount { table: "partitions", expected: wanted.len(), written: found };
    let now = rows.first().filter(|_| rows.len() == wanted.len()).map(|row| row.now).ok_or(missing)?;
    let fenced = rows
        .into_iter()
        .map(|row| Ok(Fenced { partition: number(row.partition)?, epoch: row.epoch, sequence: row.sequence }))
        .collect::<Result<_>>()?;
    Ok((fenced, now))
}

/// Saves how far the logs of a batch's partitions go, and prolongs their leases.
///
/// # Errors
/// Where the database is away or a row is missing.
pub async fn advance(connection: &mut PgConnection, reached: &BTreeMap<u16, i64>, lease: Duration) -> Result<()> {
    let partitions = reached.keys().map(|partition| stored(*partition)).collect::<Result<Vec<i16>>>()?;
    let sequences: Vec<i64> = reached.values().copied().collect();
    let advanced = query!(
        "UPDATE partitions p SET sequence = u.sequence,
             lease_until = clock_timestamp() + $3::float8 * interval '1 second'
         FROM UNNEST($1::smallint[], $2::bigint[]) AS u (partition, sequence) WHERE p.partition = u.partition",
        &partitions,
        &sequences,
        lease.as_secs_f64()
    )
    .execute(connection)
    .await?;
    super::stock::expect_rows("partitions", reached.len(), advanced.rows_affected())
}

pub(super) fn number(partition: i16) -> Result<u16> {
    u16::try_from(partition).map_err(|_| Error::Corrupt("a negative partition"))
}

pub(super) fn stored(partition: u16) -> Result<i16> {
    i16::try_from(partition).map_err(|_| Error::Corrupt("a partition over 32,767"))
}
