//! Events for services inside: the decision log is published at the broker, for whoever binds a queue.
//!
//! Any consumer does it, whatever partitions it holds: the cursors are locked in the database while what is behind them is published,
//! and moved once the broker has confirmed it; of all that a consumer does this alone publishes within a transaction, one that holds
//! nothing else. One that dies in between leaves it to be published again: at least once, and of each
//! partition in the order of its decisions.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use common::db::events::{Event, Reader};
use common::db::{self, PgConnection};
use common::event::{EventType, trace_parent};
use common::queue::{self, EventMessage, Events};
use common::retry::Retry;
use tokio_util::sync::CancellationToken;

use crate::Config;
use crate::beside::{Decided, GATHER, WORK_LIMIT, connected};

/// How often it is looked for what others have decided.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Most decisions of a partition that are published at once; fewer after a failure.
const DECISIONS_MAX: i64 = 500;

/// What keeps events from being published.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Database(#[from] db::Error),
    #[error(transparent)]
    Broker(#[from] queue::Error),
}

/// Publishes until `stop`; `decided` says that something was.
pub(crate) async fn run(config: Config, mut events: Events, decided: Arc<Decided>, stop: CancellationToken) {
    let wanted: BTreeSet<EventType> = config.events.iter().copied().collect();
    let (mut connection, mut retry, mut max) = (None, Retry::default(), DECISIONS_MAX);
    tracing::info!(kinds = ?wanted, "events are published");
    while !stop.is_cancelled() {
        let publishing = publish_once(&config, &mut connection, &mut events, &wanted, max);
        let published = tokio::time::timeout(WORK_LIMIT, publishing).await.unwrap_or(Err(db::Error::TimedOut.into()));
        let wait = match published {
            Ok(more) => {
                retry.reset();
                max = (max * 2).min(DECISIONS_MAX);
                if more { Duration::ZERO } else { LOOK_EVERY }
            }
            Err(error) => {
                if matches!(error, Error::Database(_)) {
                    // Of a failed transaction's connection nothing is known.
                    connection = None;
                }
                // Perhaps it was too much at once.
                max = (max / 2).max(1);
                tracing::warn!(error = &error as &dyn std::error::Error, "events are not published yet");
                let wait = retry.next_wait();
                tokio::select! { () = tokio::time::sleep(wait) => {}, () = stop.cancelled() => {} }
                continue;
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = decided.events.notified() => tokio::time::sleep(GATHER).await,
            () = stop.cancelled() => {}
        }
    }
}

/// Publishes some of what there is; answers whether there is more.
async fn publish_once(
    config: &Config,
    connection: &mut Option<PgConnection>,
    events: &mut Events,
    wanted: &BTreeSet<EventType>,
    max: i64,
) -> Result<bool, Error> {
    if !events.is_ready() {
        return Err(queue::Error::Away.into());
    }
    let is_new = connection.is_none();
    let connection = connected(config, connection, "onhand-consumer-events").await?;
    if is_new {
        db::events::begin_publishing(connection).await?;
    }
    let mut transaction = db::begin(connection).await?;
    let Some(reading) = db::events::next(&mut transaction, Reader::Broker, max).await? else {
        db::commit(transaction).await?;
        return Ok(false);
    };
    let more = reading.more;
    let messages: Vec<EventMessage> =
        reading.events(&mut transaction, wanted).await?.iter().map(message).collect::<Result<_, _>>()?;
    if !messages.is_empty() {
        events.publish(&messages).await?;
    }
    reading.told(&mut transaction).await?;
    db::commit(transaction).await?;
    Ok(more)
}

fn message(event: &Event) -> db::Result<EventMessage> {
    Ok(EventMessage {
        id: event.id.to_string(),
        kind: event.kind.as_str(),
        timestamp: u64::try_from(event.at.unix_timestamp()).unwrap_or(0),
        trace_parent: trace_parent(event.trace, event.id),
        body: event.message()?,
    })
}
