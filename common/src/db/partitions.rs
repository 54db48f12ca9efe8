//! Leases: which consumer writes which partition, fenced by an epoch. All times are the database's.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sqlx::{PgConnection, query, query_as, query_scalar};
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
    /// Consumers that may hold partitions: seen lately, and not asked to let go.
    pub live: BTreeSet<Uuid>,
    /// As many as the store has now.
    pub partitions: BTreeMap<u16, Held>,
}

/// Prolongs every lease that a consumer holds; answers with those. A row that is locked is being written by a batch,
/// which prolongs it itself where it decides something (see [`advance`]): a slow batch never holds this up. `idle` are those that
/// have nothing to decide.
///
/// # Errors
/// Where the database is away.
pub async fn renew(connection: &mut PgConnection, consumer: Uuid, lease: Duration, idle: &[u16]) -> Result<Vec<Lease>> {
    let idle = idle.iter().map(|partition| stored(*partition)).collect::<Result<Vec<i16>>>()?;
    let rows = query!(
        r#"WITH unlocked AS (
             SELECT partition FROM partitions WHERE owner = $1 ORDER BY partition FOR UPDATE SKIP LOCKED),
           renewed AS (
             UPDATE partitions p SET lease_until = clock_timestamp() + $2::float8 * interval '1 second',
                 busy = p.partition <> ALL($3),
                 idle_at = CASE WHEN p.partition = ANY($3) THEN clock_timestamp() ELSE idle_at END
             FROM unlocked WHERE p.partition = unlocked.partition)
         SELECT partition, epoch FROM partitions WHERE owner = $1"#,
        consumer,
        lease.as_secs_f64(),
        &idle
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(|row| Ok(Lease { partition: number(row.partition)?, epoch: row.epoch })).collect()
}

/// Consumers seen within `lease` that are not draining, and the holder of each partition.
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
           WHERE seen_at > clock_timestamp() - $1::float8 * interval '1 second' AND NOT draining
         UNION ALL
         SELECT NULL, partition, CASE WHEN lease_until > clock_timestamp() THEN owner END
         FROM partitions JOIN settings s ON partition < s.partitions"#,
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
             SELECT partition FROM partitions
             WHERE (owner IS NULL OR lease_until <= clock_timestamp()) AND partition < (SELECT s.partitions FROM settings s)
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

/// Who holds a partition now.
///
/// # Errors
/// Where the database is away.
pub async fn owner(connection: &mut PgConnection, partition: u16) -> Result<Option<Uuid>> {
    let owner = query_scalar!(
        r#"SELECT owner AS "owner!" FROM partitions
           WHERE partition = $1 AND owner IS NOT NULL AND lease_until > clock_timestamp()"#,
        stored(partition)?
    );
    Ok(owner.fetch_optional(connection).await?)
}

/// Lets one lease go, if it is still this consumer's.
///
/// # Errors
/// Where the database is away.
pub async fn release(connection: &mut PgConnection, consumer: Uuid, lease: Lease) -> Result<()> {
    query!(
        "UPDATE partitions SET owner = NULL, lease_until = '-infinity', busy = false
         WHERE partition = $1 AND owner = $2 AND epoch = $3",
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
    /// The minute in which it last counted something.
    pub counted_in: Option<Timestamp>,
}

impl Fenced {
    /// Whether what it has counted is of a minute that is over.
    #[must_use]
    pub fn counted_before(&self, now: Timestamp) -> bool {
        self.counted_in.is_some_and(|minute| minute + Duration::from_secs(60) <= now)
    }
}

/// The first statement of a batch: locks the lease rows of its partitions until the end of the transaction and tells their
/// epochs and the time. Nobody can take a partition over while its row is locked; whose epoch is another has lost it. No
/// reservation is due that was due before `due_from`, see [`super::reservations::next_due`].
///
/// # Errors
/// Where the database is away or a row is missing.
pub async fn fence(
    connection: &mut PgConnection,
    partitions: &[u16],
    due_from: Option<Timestamp>,
) -> Result<(Vec<Fenced>, Moment)> {
    let wanted = partitions.iter().map(|partition| stored(*partition)).collect::<Result<Vec<i16>>>()?;
    let rows = query!(
        r#"SELECT partition, epoch, sequence, counted_in, business_time() AS "now!", (SELECT max(version) FROM terms) AS "terms!",
                EXISTS (SELECT FROM product_limits) AS "limits!", EXISTS (SELECT FROM bundle_components) AS "bundles!",
                (SELECT min(due_at) FROM reservations
                 WHERE line = 0 AND allocation = 0 AND due_at >= COALESCE($2::timestamptz, '-infinity')) AS due
         FROM partitions WHERE partition = ANY($1) ORDER BY partition FOR UPDATE"#,
        &wanted,
        due_from
    )
    .fetch_all(connection)
    .await?;
    let found = u64::try_from(rows.len()).unwrap_or(u64::MAX);
    let missing = Error::RowCount { table: "partitions", expected: wanted.len(), written: found };
    let first = rows.first().filter(|_| rows.len() == wanted.len()).ok_or(missing)?;
    let moment =
        Moment { now: first.now, terms: first.terms, limits: first.limits, bundles: first.bundles, due: first.due };
    let fenced = rows
        .into_iter()
        .map(|row| {
            let (epoch, sequence, counted_in) = (row.epoch, row.sequence, row.counted_in);
            Ok(Fenced { partition: number(row.partition)?, epoch, sequence, counted_in })
        })
        .collect::<Result<_>>()?;
    Ok((fenced, moment))
}

/// When a batch is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    pub now: Timestamp,
    /// The version of the terms of sale in force.
    pub terms: i64,
    /// Whether any product is limited.
    pub limits: bool,
    /// Whether there are bundles.
    pub bundles: bool,
    /// When the next reservation of all is due, or was.
    pub due: Option<Timestamp>,
}

impl Moment {
    /// Whether some reservation's time is over.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.due.is_some_and(|due| due <= self.now)
    }
}

/// What was decided, by outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Orders that were confirmed: sold at once, or reserved.
    pub confirmed: i64,
    /// Orders and reservations that were refused for lack of stock (409).
    pub conflicts: i64,
    /// Those that can never be fulfilled (422).
    pub unfulfillable: i64,
    /// Of those confirmed: reserved. Each ends in one of the next three.
    pub reserved: i64,
    /// Paid, or confirmed.
    pub converted: i64,
    /// Their time was over.
    pub expired: i64,
    /// Cancelled before.
    pub released: i64,
    /// Payments that could not be applied.
    pub unapplied: i64,
    /// Over those converted, from decision to payment.
    pub payment_ms: i64,
}

/// How far the log of a partition goes with a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reached {
    /// The number of the last decision.
    pub sequence: i64,
    /// When what was decided last had been accepted; `None` where that was nobody's command.
    pub through: Option<Timestamp>,
    /// What of the batch was decided.
    pub counts: Counts,
}

/// Saves how far the logs of a batch's partitions go, counts the batch of `commands` and what came of them, and prolongs their
/// leases.
///
/// # Errors
/// Where the database is away or a row is missing.
pub async fn advance(
    connection: &mut PgConnection,
    reached: &BTreeMap<u16, Reached>,
    commands: usize,
    now: Timestamp,
    lease: Duration,
) -> Result<()> {
    let partitions = reached.keys().map(|partition| stored(*partition)).collect::<Result<Vec<i16>>>()?;
    let sequences: Vec<i64> = reached.values().map(|reached| reached.sequence).collect();
    let through: Vec<Option<Timestamp>> = reached.values().map(|reached| reached.through).collect();
    let counts = |of: fn(&Counts) -> i64| reached.values().map(|reached| of(&reached.counts)).collect::<Vec<i64>>();
    let advanced = query!(
        "UPDATE partitions p SET sequence = u.sequence, decided_through = COALESCE(u.through, p.decided_through),
             batches = p.batches + 1, batch_commands = p.batch_commands + $4,
             lease_until = clock_timestamp() + $5::float8 * interval '1 second',
             counted_in = GREATEST(p.counted_in, date_trunc('minute', $6::timestamptz)),
             confirmed = p.confirmed + u.confirmed, conflicts = p.conflicts + u.conflicts,
             unfulfillable = p.unfulfillable + u.unfulfillable, reserved = p.reserved + u.reserved,
             converted = p.converted + u.converted, expired = p.expired + u.expired, released = p.released + u.released,
             unapplied = p.unapplied + u.unapplied, payment_ms = p.payment_ms + u.payment_ms
         FROM UNNEST($1::smallint[], $2::bigint[], $3::timestamptz[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[],
                     $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[])
           AS u (partition, sequence, through, confirmed, conflicts, unfulfillable, reserved, converted, expired, released,
                 unapplied, payment_ms)
         WHERE p.partition = u.partition",
        &partitions,
        &sequences,
        &through as &[Option<Timestamp>],
        i64::try_from(commands).unwrap_or(i64::MAX),
        lease.as_secs_f64(),
        now,
        &counts(|counts| counts.confirmed),
        &counts(|counts| counts.conflicts),
        &counts(|counts| counts.unfulfillable),
        &counts(|counts| counts.reserved),
        &counts(|counts| counts.converted),
        &counts(|counts| counts.expired),
        &counts(|counts| counts.released),
        &counts(|counts| counts.unapplied),
        &counts(|counts| counts.payment_ms)
    )
    .execute(connection)
    .await?;
    super::stock::expect_rows("partitions", reached.len(), advanced.rows_affected())
}

/// Keeps what partitions have counted until the end of a minute that is over, before what is counted next is added. The last one of
/// 31 days ago stays: it is what a count of 30 days begins with.
///
/// # Errors
/// Where the database is away.
pub async fn close_minute(connection: &mut PgConnection, partitions: &[u16], now: Timestamp) -> Result<()> {
    let partitions = partitions.iter().map(|partition| stored(*partition)).collect::<Result<Vec<i16>>>()?;
    query!(
        "WITH outdated AS (
           DELETE FROM figures f USING (
             SELECT k.partition, (SELECT max(minute) FROM figures WHERE partition = k.partition
                                    AND minute < $2::timestamptz - interval '31 days') AS before
             FROM UNNEST($1::smallint[]) AS k (partition)) kept
           WHERE f.partition = kept.partition AND f.minute < kept.before)
         INSERT INTO figures (partition, minute, confirmed, conflicts, unfulfillable, reserved, converted, expired, released,
                              unapplied, payment_ms)
         SELECT partition, counted_in, confirmed, conflicts, unfulfillable, reserved, converted, expired, released, unapplied,
                payment_ms
         FROM partitions WHERE partition = ANY($1) AND counted_in < date_trunc('minute', $2::timestamptz)
         ON CONFLICT (partition, minute) DO UPDATE SET confirmed = EXCLUDED.confirmed, conflicts = EXCLUDED.conflicts,
             unfulfillable = EXCLUDED.unfulfillable, reserved = EXCLUDED.reserved, converted = EXCLUDED.converted,
             expired = EXCLUDED.expired, released = EXCLUDED.released, unapplied = EXCLUDED.unapplied,
             payment_ms = EXCLUDED.payment_ms",
        &partitions,
        now
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A partition as an operator sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    pub partition: u16,
    /// Whose lease is in force, with its name.
    pub owner: Option<(Uuid, String)>,
    pub epoch: i64,
    /// Decisions so far.
    pub sequence: i64,
    /// Transactions that decided something of it, and the commands that they decided in all.
    pub batches: i64,
    pub batch_commands: i64,
    /// Seconds since what was decided last had been accepted, or since its writer had last nothing to decide: nothing that
    /// waits now has waited longer. `None` where neither ever was.
    pub behind_seconds: Option<f64>,
    /// Its writer had something to decide when it last renewed its lease.
    pub busy: bool,
    /// Left over from when the store had more partitions: holds no leases.
    pub retired: bool,
}

/// Every partition, and the seconds since 1970 at which this was so.
///
/// # Errors
/// Where the database is away.
pub async fn figures(connection: &mut PgConnection) -> Result<(f64, Vec<Figures>)> {
    let rows = query!(
        r#"SELECT p.partition, p.epoch, p.sequence, p.batches, p.batch_commands,
                  CASE WHEN p.lease_until > clock_timestamp() THEN p.owner END AS owner, c.name AS "name?",
                  EXTRACT(EPOCH FROM clock_timestamp())::float8 AS "now!",
                  EXTRACT(EPOCH FROM clock_timestamp()
                    - NULLIF(GREATEST(p.decided_through, p.idle_at), '-infinity'))::float8 AS behind,
                  p.busy, p.partition >= s.partitions AS "retired!"
           FROM settings s CROSS JOIN partitions p LEFT JOIN consumers c ON c.id = p.owner ORDER BY p.partition"#
    )
    .fetch_all(connection)
    .await?;
    let now = rows.first().map_or(0.0, |row| row.now);
    let figures = rows
        .into_iter()
        .map(|row| {
            Ok(Figures {
                partition: number(row.partition)?,
                owner: row.owner.map(|owner| (owner, row.name.unwrap_or_default())),
                epoch: row.epoch,
                sequence: row.sequence,
                batches: row.batches,
                batch_commands: row.batch_commands,
                behind_seconds: row.behind.map(|seconds| seconds.max(0.0)),
                busy: row.busy,
                retired: row.retired,
            })
        })
        .collect::<Result<_>>()?;
    Ok((now, figures))
}

pub(super) fn number(partition: i16) -> Result<u16> {
    u16::try_from(partition).map_err(|_| Error::Corrupt("a negative partition"))
}

pub(super) fn stored(partition: u16) -> Result<i16> {
    i16::try_from(partition).map_err(|_| Error::Corrupt("a partition over 32,767"))
}
