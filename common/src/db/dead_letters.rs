//! Dead letters: commands that can't be read, or fail by themselves. Kept for operators; the order of one is `failed`.

use sqlx::{PgConnection, query, query_scalar};
use uuid::Uuid;

use super::{Result, partitions};
use crate::domain::Timestamp;
use crate::ids::hash_id;

/// A command that could not be decided, as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    pub partition: u16,
    /// The command's id and account, as far as they could be read.
    pub command: Option<(Uuid, Uuid)>,
    pub payload: Vec<u8>,
    pub reason: String,
}

/// Most bytes of a reason that are kept.
const REASON_BYTES_MAX: usize = 2_000;

/// Writes dead letters. One that was written before is waiting again, with its new reason.
///
/// # Errors
/// Where the database is away.
pub async fn insert(connection: &mut PgConnection, letters: &[DeadLetter], now: Timestamp) -> Result<()> {
    // In the order of their ids, so that no two batches deadlock, and each once.
    let by_id: std::collections::BTreeMap<Uuid, &DeadLetter> =
        letters.iter().map(|letter| (letter.id(), letter)).collect();
    for (id, letter) in by_id {
        query!(
            "INSERT INTO dead_letters (id, partition, command_id, account_id, payload, reason, failed_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (id) DO UPDATE SET reason = EXCLUDED.reason, failed_at = EXCLUDED.failed_at, state = 'waiting'",
            id,
            partitions::stored(letter.partition)?,
            letter.command.map(|(id, _)| id),
            letter.command.map(|(_, account)| account),
            letter.payload,
            letter.kept_reason(),
            now
        )
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

impl DeadLetter {
    fn id(&self) -> Uuid {
        hash_id("dead-letter", &[&self.partition.to_be_bytes(), &self.payload])
    }

    /// What PostgreSQL's text can hold of the reason.
    fn kept_reason(&self) -> String {
        let mut end = self.reason.len().min(REASON_BYTES_MAX);
        while !self.reason.is_char_boundary(end) {
            end -= 1;
        }
        self.reason[..end].replace('\0', "\u{FFFD}")
    }
}

/// Those of `ids` whose command has failed and is not queued again, with its account.
///
/// # Errors
/// Where the database is away.
pub async fn failed(connection: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<(Uuid, Uuid)>> {
    let found = query!(
        r#"SELECT DISTINCT command_id AS "id!", account_id AS "account!" FROM dead_letters
           WHERE command_id = ANY($1) AND account_id IS NOT NULL AND state <> 'requeued'"#,
        ids
    );
    Ok(found.fetch_all(connection).await?.into_iter().map(|row| (row.id, row.account)).collect())
}

/// How many wait for an operator.
///
/// # Errors
/// Where the database is away.
pub async fn count(connection: &mut PgConnection) -> Result<i64> {
    let count = query_scalar!(r#"SELECT count(*) AS "count!" FROM dead_letters WHERE state = 'waiting'"#);
    Ok(count.fetch_one(connection).await?)
}
