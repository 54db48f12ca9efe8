//! The schema, and what the store is set up with once.

use sqlx::{PgConnection, query, query_as, query_scalar};

use super::{Error, Result, partitions};
use crate::config::PARTITIONS_DEFAULT;

/// What all programs of one store must agree on.
#[derive(Debug, Clone)]
pub struct Settings {
    pub partitions: u16,
    /// Authenticates order ids.
    pub id_key: [u8; 32],
}

/// Brings the schema up to date and sets the store up, unless both have been done. Safe to run by many at once.
///
/// # Errors
/// Where the database is away, was migrated by a later version, or was set up with another number of partitions.
pub async fn migrate(connection: &mut PgConnection, partitions: Option<u16>) -> Result<Settings> {
    sqlx::migrate!("../migrations").run(&mut *connection).await.map_err(Error::Migrate)?;
    let id_key: [u8; 32] = rand::random();
    let wanted = partitions.unwrap_or(PARTITIONS_DEFAULT);
    query!(
        "INSERT INTO settings (partitions, id_key) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        i16::try_from(wanted).map_err(|_| Error::Corrupt("more partitions than a smallint holds"))?,
        &id_key[..]
    )
    .execute(&mut *connection)
    .await?;
    let settings = settings(connection, partitions).await?;
    add_partitions(connection, settings.partitions).await?;
    Ok(settings)
}

/// What the store was set up with.
///
/// # Errors
/// Where the database is away or not migrated, or `configured` says otherwise.
pub async fn settings(connection: &mut PgConnection, configured: Option<u16>) -> Result<Settings> {
    struct Row {
        partitions: i16,
        id_key: Vec<u8>,
    }
    let row = query_as!(Row, "SELECT partitions, id_key FROM settings").fetch_one(connection).await?;
    let stored = u16::try_from(row.partitions).map_err(|_| Error::Corrupt("a negative number of partitions"))?;
    if let Some(configured) = configured.filter(|configured| *configured != stored) {
        return Err(Error::OtherPartitions { stored, configured });
    }
    let id_key = row.id_key.try_into().map_err(|_| Error::Corrupt("the id key is not 32 bytes"))?;
    Ok(Settings { partitions: stored, id_key })
}

/// What stands in the way of changing the number of partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resized {
    Done {
        from: u16,
    },
    /// Consumers that have been seen lately, or whose leases are in force.
    Running(Vec<String>),
}

/// Changes the number of partitions, unless some consumer has been seen within `silence_seconds`. To be called in a
/// transaction, while nothing waits to be decided. Partitions that are no more keep their rows: they number decisions.
///
/// # Errors
/// Where the database is away.
pub async fn resize(connection: &mut PgConnection, partitions: u16, silence_seconds: f64) -> Result<Resized> {
    let from = query_scalar!("SELECT partitions FROM settings FOR UPDATE").fetch_one(&mut *connection).await?;
    let running = query_scalar!(
        r#"SELECT name FROM consumers c
           WHERE seen_at > clock_timestamp() - $1::float8 * interval '1 second'
              OR EXISTS (SELECT FROM partitions p WHERE p.owner = c.id AND p.lease_until > clock_timestamp())
           ORDER BY name"#,
        silence_seconds
    )
    .fetch_all(&mut *connection)
    .await?;
    if !running.is_empty() {
        return Ok(Resized::Running(running));
    }
    query!("UPDATE settings SET partitions = $1", partitions::stored(partitions)?).execute(&mut *connection).await?;
    add_partitions(connection, partitions).await?;
    Ok(Resized::Done { from: partitions::number(from)? })
}

/// Partitions that have a row.
///
/// # Errors
/// Where the database is away.
pub async fn partitions_ever(connection: &mut PgConnection) -> Result<u16> {
    let rows = query_scalar!(r#"SELECT max(partition) + 1 AS "ever!" FROM partitions"#).fetch_one(connection).await?;
    u16::try_from(rows).map_err(|_| Error::Corrupt("a negative partition"))
}

async fn add_partitions(connection: &mut PgConnection, partitions: u16) -> Result<()> {
    query!(
        "INSERT INTO partitions (partition) SELECT generate_series(0, $1::int - 1) ON CONFLICT DO NOTHING",
        i32::from(partitions)
    )
    .execute(connection)
    .await?;
    Ok(())
}
