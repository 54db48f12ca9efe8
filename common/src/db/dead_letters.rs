//! Dead letters: commands that can't be read, or fail by themselves. Kept for operators; the order of one is `failed`.

use sqlx::{PgConnection, query, query_as, query_scalar};
use uuid::Uuid;

use super::{Error, Result, partitions};
use crate::domain::Timestamp;
use crate::ids::hash_id;
use crate::message::{self, Queued, Stray, Unreadable};
use crate::program::chain;

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
             ON CONFLICT (id) DO UPDATE SET reason = EXCLUDED.reason, failed_at = EXCLUDED.failed_at, state = 'waiting',
               told_at = NULL, published_at = NULL",
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
    /// A message that as a whole can't be read.
    #[must_use]
    pub fn of_message(partition: u16, payload: Vec<u8>, error: &Unreadable) -> Self {
        Self { partition, command: None, payload, reason: chain(error) }
    }

    /// A part of a message that can't be read.
    #[must_use]
    pub fn of_stray(partition: u16, stray: Stray) -> Self {
        Self { partition, command: stray.command, payload: stray.bytes, reason: chain(&stray.error) }
    }

    /// A command that can be read, and not be decided.
    #[must_use]
    pub fn of_command(partition: u16, queued: &Queued, reason: String) -> Self {
        let command = Some((queued.command.id, queued.command.account));
        let payload = message::encode(queued).unwrap_or_else(|_| format!("{queued:?}").into_bytes());
        Self { partition, command, payload, reason }
    }

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

/// Whether an operator has given a command up: it will never be decided, should its message come again.
///
/// # Errors
/// Where the database is away.
pub async fn is_discarded(connection: &mut PgConnection, command: Uuid) -> Result<bool> {
    let discarded = query_scalar!(
        r#"SELECT EXISTS (SELECT FROM dead_letters WHERE command_id = $1 AND state = 'discarded') AS "discarded!""#,
        command
    );
    Ok(discarded.fetch_one(connection).await?)
}

/// How many wait for an operator.
///
/// # Errors
/// Where the database is away.
pub async fn count(connection: &mut PgConnection) -> Result<i64> {
    let count = query_scalar!(r#"SELECT count(*) AS "count!" FROM dead_letters WHERE state = 'waiting'"#);
    Ok(count.fetch_one(connection).await?)
}

/// What has become of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Waiting,
    Requeued,
    Discarded,
    /// It was queued again, and decided.
    Decided,
}

/// A dead letter as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredLetter {
    pub id: Uuid,
    pub partition: u16,
    pub command_id: Option<Uuid>,
    pub account_id: Option<Uuid>,
    /// Empty in lists.
    pub payload: Vec<u8>,
    pub reason: String,
    pub state: State,
    pub failed_at: Timestamp,
}

struct Row {
    id: Uuid,
    partition: i16,
    command_id: Option<Uuid>,
    account_id: Option<Uuid>,
    payload: Vec<u8>,
    reason: String,
    state: String,
    failed_at: Timestamp,
    decided: bool,
}

impl TryFrom<Row> for StoredLetter {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let state = match (row.state.as_str(), row.decided) {
            (_, true) => State::Decided,
            ("waiting", _) => State::Waiting,
            ("requeued", _) => State::Requeued,
            ("discarded", _) => State::Discarded,
            _ => return Err(Error::Corrupt("a dead letter's state")),
        };
        Ok(Self {
            id: row.id,
            partition: partitions::number(row.partition)?,
            command_id: row.command_id,
            account_id: row.account_id,
            payload: row.payload,
            reason: row.reason,
            state,
            failed_at: row.failed_at,
        })
    }
}

/// Dead letters that wait, or all, without what they hold; the oldest first, `limit` at the most, behind `after`.
///
/// # Errors
/// Where the database is away.
pub async fn list(
    connection: &mut PgConnection,
    all: bool,
    after: Option<&StoredLetter>,
    limit: i64,
) -> Result<Vec<StoredLetter>> {
    let rows = query_as!(
        Row,
        r#"SELECT d.id, d.partition, d.command_id, d.account_id, ''::bytea AS "payload!", d.reason, d.state, d.failed_at,
                  (EXISTS (SELECT FROM orders o WHERE o.id = d.command_id)
                   OR EXISTS (SELECT FROM commands c WHERE c.id = d.command_id)) AS "decided!"
           FROM dead_letters d
           WHERE ($1 OR d.state = 'waiting')
             AND ($2::timestamptz IS NULL OR (d.failed_at, d.id) > ($2, $3)) ORDER BY d.failed_at, d.id LIMIT $4"#,
        all,
        after.map(|letter| letter.failed_at),
        after.map(|letter| letter.id),
        limit
    );
    rows.fetch_all(connection).await?.into_iter().map(StoredLetter::try_from).collect()
}

/// The dead letters whose id, or whose command's id, is `id`.
///
/// # Errors
/// Where the database is away.
pub async fn find(connection: &mut PgConnection, id: Uuid) -> Result<Vec<StoredLetter>> {
    let rows = query_as!(
        Row,
        r#"SELECT d.id, d.partition, d.command_id, d.account_id, d.payload, d.reason, d.state, d.failed_at,
                  (EXISTS (SELECT FROM orders o WHERE o.id = d.command_id)
                   OR EXISTS (SELECT FROM commands c WHERE c.id = d.command_id)) AS "decided!"
           FROM dead_letters d WHERE d.id = $1 OR d.command_id = $1 ORDER BY d.failed_at, d.id"#,
        id
    );
    rows.fetch_all(connection).await?.into_iter().map(StoredLetter::try_from).collect()
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
