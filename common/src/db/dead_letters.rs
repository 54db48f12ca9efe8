//! Dead letters: commands that can't be read, or fail by themselves. Kept for operators; the order of one is `failed`.

use sqlx::{PgConnection, query, query_as, query_scalar};
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

/// A dead letter, as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub id: Uuid,
    pub partition: i16,
    pub command_id: Option<Uuid>,
    pub payload: Vec<u8>,
    pub reason: String,
    pub failed_at: Timestamp,
}

/// Those that wait for an operator, the oldest first.
///
/// # Errors
/// Where the database is away.
pub async fn waiting(connection: &mut PgConnection, limit: i64) -> Result<Vec<Stored>> {
    let found = query_as!(
        Stored,
        "SELECT id, partition, command_id, payload, reason, failed_at FROM dead_letters
         WHERE state = 'waiting' ORDER BY failed_at, id LIMIT $1",
        limit
    );
    Ok(found.fetch_all(connection).await?)
}

/// One that waits for an operator.
///
/// # Errors
/// Where the database is away.
pub async fn find(connection: &mut PgConnection, id: Uuid) -> Result<Option<Stored>> {
    let found = query_as!(
        Stored,
        "SELECT id, partition, command_id, payload, reason, failed_at FROM dead_letters
         WHERE state = 'waiting' AND id = $1",
        id
    );
    Ok(found.fetch_optional(connection).await?)
}

/// Notes that one was queued again. If it has failed once more since it was looked at, it stays waiting.
///
/// # Errors
/// Where the database is away.
pub async fn requeued(connection: &mut PgConnection, letter: &Stored) -> Result<()> {
    query!("UPDATE dead_letters SET state = 'requeued' WHERE id = $1 AND failed_at = $2", letter.id, letter.failed_at)
        .execute(connection)
        .await?;
    Ok(())
}

/// Gives one up; answers whether it was waiting. Its order stays `failed`.
///
/// # Errors
/// Where the database is away.
pub async fn discard(connection: &mut PgConnection, id: Uuid) -> Result<bool> {
    let given_up = query!("UPDATE dead_letters SET state = 'discarded' WHERE id = $1 AND state = 'waiting'", id);
    Ok(given_up.execute(connection).await?.rows_affected() > 0)
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
