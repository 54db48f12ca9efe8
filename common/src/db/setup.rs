//! The schema, and what the store is set up with once.

use sqlx::{PgConnection, query, query_as};

use super::{Error, Result};
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
    query!(
        "INSERT INTO partitions (partition) SELECT generate_series(0, $1::int - 1) ON CONFLICT DO NOTHING",
        i32::from(settings.partitions)
    )
    .execute(connection)
    .await?;
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
