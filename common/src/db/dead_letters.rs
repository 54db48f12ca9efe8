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

/// A dead letter as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredLetter {
    pub id: Uuid,
    pub partition: i16,
    pub command_id: Option<Uuid>,
    pub account_id: Option<Uuid>,
    pub payload: Vec<u8>,
    pub reason: String,
    /// `waiting`, `requeued` or `discarded`.
    pub state: String,
    pub failed_at: Timestamp,
    /// Its command has been decided all the same: it was queued again.
    pub decided: bool,
}

/// The oldest dead letters that wait, or all; `limit` at the most.
///
/// # Errors
/// Where the database is away.
pub async fn list(connection: &mut PgConnection, all: bool, limit: i64) -> Result<Vec<StoredLetter>> {
    let rows = query_as!(
        StoredLetter,
        r#"SELECT d.id, d.partition, d.command_id, d.account_id, d.payload, d.reason, d.state, d.failed_at,
                  (EXISTS (SELECT FROM orders o WHERE o.id = d.command_id)
                   OR EXISTS (SELECT FROM commands c WHERE c.id = d.command_id)) AS "decided!"
           FROM dead_letters d WHERE $1 OR d.state = 'waiting' ORDER BY d.failed_at, d.id LIMIT $2"#,
        all,
        limit
    );
    Ok(rows.fetch_all(connection).await?)
}

/// The dead letters whose id, or whose command's id, is `id`.
///
/// # Errors
/// Where the database is away.
pub async fn find(connection: &mut PgConnection, id: Uuid) -> Result<Vec<StoredLetter>> {
    let rows = query_as!(
        StoredLetter,
        r#"SELECT d.id, d.partition, d.command_id, d.account_id, d.payload, d.reason, d.state, d.failed_at,
                  (EXISTS (SELECT FROM orders o WHERE o.id = d.command_id)
                   OR EXISTS (SELECT FROM commands c WHERE c.id = d.command_id)) AS "decided!"
           FROM dead_letters d WHERE d.id = $1 OR d.command_id = $1 ORDER BY d.failed_at, d.id"#,
        id
    );
    Ok(rows.fetch_all(connection).await?)
}

/// What an operator has done with a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    Requeued,
    Discarded,
}

/// Notes what was done with a dead letter as it was seen. Answers `false` where it has failed again since.
///
/// # Errors
/// Where the database is away.
pub async fn settle(connection: &mut PgConnection, seen: &StoredLetter, settled: Settled) -> Result<bool> {
    let state = match settled {
        Settled::Requeued => "requeued",
        Settled::Discarded => "discarded",
    };
    let updated =
        query!("UPDATE dead_letters SET state = $3 WHERE id = $1 AND failed_at = $2", seen.id, seen.failed_at, state);
    Ok(updated.execute(connection).await?.rows_affected() == 1)
}
