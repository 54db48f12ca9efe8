//! What was decided, to be told. The decision log is the outbox: decisions of a partition are numbered without a gap, and a cursor per
//! reader tells how far they have been told, moved in the transaction that has told them. So nothing that was committed is lost
//! between a decision and who is told of it, whoever dies when.

mod log;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sqlx::{PgConnection, query};
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::{Error, Result};
use crate::domain::Timestamp;
use crate::event::EventType;
use log::Letter;

/// Something to be told.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub kind: EventType,
    /// The same however often it is made of the log.
    pub id: Uuid,
    /// What it is a part of: an order's events are one trace.
    pub trace: Uuid,
    /// Whose it is, of operators beside; everybody's where it is nobody's.
    pub account: Option<Uuid>,
    pub at: Timestamp,
    /// The partition and the number of the decision that it came of; not set where it came of several, or of none.
    pub place: Option<(i16, i64)>,
    pub data: Value,
}

impl Event {
    /// The body of its message.
    ///
    /// # Errors
    /// Where the time can't be written, which none of ours is.
    pub fn message(&self) -> Result<String> {
        message(self.kind, self.at, &self.data)
    }
}

/// The body of a message.
///
/// # Errors
/// Where the time can't be written, which none of ours is.
pub fn message(kind: EventType, at: Timestamp, data: &Value) -> Result<String> {
    let timestamp = at.format(&Rfc3339).map_err(|_| Error::Corrupt("a time that can't be written"))?;
    Ok(json!({ "type": kind.as_str(), "timestamp": timestamp, "data": data }).to_string())
}

/// Who reads the log, each at its own pace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// Makes deliveries of it: from the beginning.
    Webhooks,
    /// Publishes it at the broker: from where it was told to, see [`begin_publishing`].
    Broker,
}

impl Reader {
    fn name(self) -> &'static str {
        match self {
            Self::Webhooks => "webhooks",
            Self::Broker => "broker",
        }
    }
}

/// The part of each partition's log that is told at once.
#[derive(Debug, Default)]
struct Ranges {
    partitions: Vec<i16>,
    after: Vec<i64>,
    through: Vec<i64>,
}

/// What is to be told next, locked: nobody else tells it meanwhile.
#[derive(Debug)]
pub struct Reading {
    reader: Reader,
    ranges: Ranges,
    /// How far there is something.
    last: Vec<i64>,
    letters: Vec<Letter>,
    /// Whether there is more.
    pub more: bool,
}

/// Says, where nothing was ever published, that it is from now on.
///
/// # Errors
/// Where the database is away.
pub async fn begin_publishing(connection: &mut PgConnection) -> Result<()> {
    query!(
        "WITH begun AS (
           INSERT INTO log_cursors (reader, partition, sequence) SELECT $1, partition, sequence FROM partitions
           WHERE NOT EXISTS (SELECT FROM log_cursors WHERE reader = $1) ON CONFLICT DO NOTHING RETURNING partition)
         UPDATE dead_letters SET published_at = now() WHERE published_at IS NULL AND EXISTS (SELECT FROM begun)",
        Reader::Broker.name()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Up to `max` decisions of each partition that `reader` has not told and nobody else is at work on. To be called in a transaction;
/// what it answers with holds until its end.
///
/// # Errors
/// Where the database is away.
pub async fn next(connection: &mut PgConnection, reader: Reader, max: i64) -> Result<Option<Reading>> {
    let behind = behind(&mut *connection, reader).await?;
    let (letters, mut more) = log::dead_letters(&mut *connection, reader, max).await?;
    if behind.is_empty() && letters.is_empty() && !more {
        return Ok(None);
    }
    let mut ranges = Ranges::default();
    let mut lasts = Vec::new();
    for (partition, told, last) in behind {
        let through = last.min(told.saturating_add(max));
        more |= through < last;
        ranges.partitions.push(partition);
        ranges.after.push(told);
        ranges.through.push(through);
        lasts.push(last);
    }
    Ok(Some(Reading { reader, ranges, last: lasts, letters, more }))
}

impl Reading {
    /// The events of these types, of each partition in the order of its decisions; after them those that are of no decision, or of
    /// several.
    ///
    /// # Errors
    /// Where the database is away.
    pub async fn events(&self, connection: &mut PgConnection, wanted: &BTreeSet<EventType>) -> Result<Vec<Event>> {
        let mut events: Vec<Event> = self.letters.iter().filter_map(Letter::event).collect();
        log::read(connection, &self.ranges, wanted, &mut events).await?;
        events.retain(|event| wanted.contains(&event.kind));
        events.sort_by_key(|event| event.place.map_or((i16::MAX, 0), |place| place));
        Ok(events)
    }

    /// Says that it has been told. To be called in the transaction that [`next`] was called in.
    ///
    /// # Errors
    /// Where the database is away.
    pub async fn told(self, connection: &mut PgConnection) -> Result<()> {
        log::told(&mut *connection, self.reader, &self.letters).await?;
        move_cursors(connection, self.reader, &self.ranges.partitions, &self.ranges.through).await
    }

    /// Says that nobody wants to be told, of whatever there is.
    ///
    /// # Errors
    /// Where the database is away.
    pub async fn passed_over(self, connection: &mut PgConnection) -> Result<()> {
        log::told(&mut *connection, self.reader, &self.letters).await?;
        move_cursors(connection, self.reader, &self.ranges.partitions, &self.last).await
    }
}

async fn move_cursors(
    connection: &mut PgConnection,
    reader: Reader,
    partitions: &[i16],
    sequences: &[i64],
) -> Result<()> {
    query!(
        "UPDATE log_cursors c SET sequence = u.sequence FROM UNNEST($1::smallint[], $2::bigint[]) AS u (partition, sequence)
         WHERE c.partition = u.partition AND c.reader = $3",
        partitions,
        sequences,
        reader.name()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The partitions that nobody else is telling of, how far they are told, and how far there is something to tell.
async fn behind(connection: &mut PgConnection, reader: Reader) -> Result<Vec<(i16, i64, i64)>> {
    let rows = query!(
        r#"SELECT p.partition AS "partition!", p.sequence AS "last!", c.sequence AS "told?"
           FROM partitions p LEFT JOIN log_cursors c ON c.partition = p.partition AND c.reader = $1
           WHERE p.sequence > COALESCE(c.sequence, 0)"#,
        reader.name()
    );
    let rows = rows.fetch_all(&mut *connection).await?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    if rows.iter().any(|row| row.told.is_none()) {
        query!(
            "INSERT INTO log_cursors (reader, partition, sequence) SELECT $1, partition, 0 FROM partitions ON CONFLICT DO NOTHING",
            reader.name()
        )
        .execute(&mut *connection)
        .await?;
    }
    let partitions: Vec<i16> = rows.iter().map(|row| row.partition).collect();
    let locked = query!(
        "SELECT partition, sequence FROM log_cursors WHERE reader = $2 AND partition = ANY($1)
         ORDER BY partition FOR UPDATE SKIP LOCKED",
        &partitions,
        reader.name()
    );
    let last = |partition| rows.iter().find(|row| row.partition == partition).map_or(0, |row| row.last);
    let locked = locked.fetch_all(connection).await?.into_iter();
    let behind = locked.map(|cursor| (cursor.partition, cursor.sequence, last(cursor.partition)));
    Ok(behind.filter(|(_, told, last)| told < last).collect())
}
