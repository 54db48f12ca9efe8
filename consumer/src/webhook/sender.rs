//! Sends what is due: of each endpoint a few at a time, so that a slow or dead one delays no other, and writes what came of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use common::db::webhooks::{Done, Room};
use common::db::{self, PgConnection};
use common::retry::Retry;
use tokio::sync::{Notify, Semaphore};
use tokio::task::{self, JoinSet};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::attempt::attempt;
use super::outbound::Outbound;
use crate::Config;
use crate::beside::connected;

/// How often it is looked for what is due, if nobody says that there is something.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long what is done waits for more, to be written together.
const WRITE_AFTER: Duration = Duration::from_millis(10);
/// Most deliveries to one endpoint at a time, of this consumer.
const AT_ONCE_MAX: usize = 16;
/// Most deliveries to one endpoint that this consumer has taken: those that are next are at hand.
const EACH_MAX: i64 = 64;
/// Of an endpoint of which nothing has come through lately so many are enough to see whether it does again.
const FAILING_MAX: i64 = 2;
/// Turns that the last of them waits for its own at the most.
const TURNS_MAX: i32 = 4;
/// Most deliveries that this consumer has taken.
const ALL_MAX: i64 = 2_048;
/// How much longer than they may take nobody else takes them: for what came of them to be written.
const CLAIM_MARGIN_SECONDS: i32 = 15;
/// Longest time for the database, whatever its own limits say: the network may be gone half way.
const TURN_LIMIT: Duration = Duration::from_secs(15);
/// How long what is on its way is waited for at the end.
const LAST_SECONDS_MAX: u64 = 5;

pub(super) struct Sender {
    config: Config,
    outbound: Arc<Outbound>,
    /// Says that there is something to be sent.
    due: Arc<Notify>,
    connection: Option<PgConnection>,
    sending: JoinSet<Done>,
    /// To which endpoint each of them goes.
    goes_to: HashMap<task::Id, Uuid>,
    /// Of each endpoint that some were taken of how many, and how they take turns.
    busy: HashMap<Uuid, Busy>,
    /// What came of some, not written yet.
    done: Vec<Done>,
}

struct Busy {
    taken: i64,
    turns: Arc<Semaphore>,
}

impl Sender {
    pub(super) fn new(config: Config, outbound: Outbound, due: Arc<Notify>) -> Self {
        let (connection, sending, goes_to) = (None, JoinSet::new(), HashMap::new());
        let (busy, done) = (HashMap::new(), Vec::new());
        Self { config, outbound: Arc::new(outbound), due, connection, sending, goes_to, busy, done }
    }

    pub(super) async fn run(mut self, stop: &CancellationToken) {
        let mut retry = Retry::default();
        while !stop.is_cancelled() {
            let working = tokio::time::timeout(TURN_LIMIT, self.work()).await;
            let wait = match working.unwrap_or(Err(db::Error::TimedOut)) {
                Ok(()) => {
                    retry.reset();
                    LOOK_EVERY
                }
                Err(error) => {
                    // Of a failed transaction's connection nothing is known.
                    self.connection = None;
                    tracing::warn!(error = &error as &dyn std::error::Error, "webhooks wait for the database");
                    retry.next_wait()
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {},
                () = self.due.notified(), if self.connection.is_some() => {},
                Some(done) = self.sending.join_next_with_id() => {
                    self.take(done);
                    tokio::time::sleep(WRITE_AFTER).await;
                }
                () = stop.cancelled() => {},
            }
        }
        self.end().await;
    }

    /// Writes what came of those that are done, and takes what is due.
    async fn work(&mut self) -> db::Result<()> {
        while let Some(done) = self.sending.try_join_next_with_id() {
            self.take(done);
        }
        self.write().await?;
        let room = Room {
            each: EACH_MAX,
            failing: FAILING_MAX,
            all: ALL_MAX - i64::try_from(self.sending.len()).unwrap_or(ALL_MAX),
        };
        if room.all <= 0 {
            return Ok(());
        }
        let busy: Vec<(Uuid, i64)> =
            self.busy.iter().map(|(endpoint, busy)| (*endpoint, EACH_MAX - busy.taken)).collect();
        let timeout = i32::try_from(self.config.webhooks.timeout.as_secs()).unwrap_or(i32::MAX);
        let connection = connected(&self.config, &mut self.connection, "onhand-consumer-webhooks").await?;
        let seconds = timeout.saturating_mul(TURNS_MAX).saturating_add(CLAIM_MARGIN_SECONDS);
        for claimed in db::webhooks::claim(connection, room, &busy, seconds).await? {
            let new = || Busy { taken: 0, turns: Arc::new(Semaphore::new(AT_ONCE_MAX)) };
            let busy = self.busy.entry(claimed.endpoint_id).or_insert_with(new);
            busy.taken += 1;
            let (outbound, schedule) = (Arc::clone(&self.outbound), self.config.webhooks.schedule.clone());
            let turns = Arc::clone(&busy.turns);
            let endpoint = claimed.endpoint_id;
            let sending = self.sending.spawn(async move {
                // It is never closed.
                let _turn = turns.acquire_owned().await;
                attempt(&outbound, &schedule, claimed).await
            });
            self.goes_to.insert(sending.id(), endpoint);
        }
        Ok(())
    }

    fn take(&mut self, done: Result<(task::Id, Done), task::JoinError>) {
        let id = done.as_ref().map_or_else(task::JoinError::id, |(id, _)| *id);
        if let Some(endpoint) = self.goes_to.remove(&id)
            && let Some(busy) = self.busy.get_mut(&endpoint)
        {
            busy.taken -= 1;
            if busy.taken == 0 {
                self.busy.remove(&endpoint);
            }
        }
        match done {
            Ok((_, done)) => self.done.push(done),
            // Taken again when its claim is over.
            Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "a delivery has panicked"),
        }
    }

    async fn write(&mut self) -> db::Result<()> {
        if self.done.is_empty() {
            return Ok(());
        }
        let failing = i64::try_from(self.config.webhooks.failing_max.as_secs()).unwrap_or(i64::MAX);
        let connection = connected(&self.config, &mut self.connection, "onhand-consumer-webhooks").await?;
        let mut transaction = db::begin(connection).await?;
        let disabled = db::webhooks::finish(&mut transaction, &self.done, failing).await?;
        for (endpoint, why) in &disabled {
            tracing::warn!(endpoint.id = %endpoint, why, "the webhook endpoint is disabled");
            db::webhooks::tell_of_disabled(&mut transaction, *endpoint, why).await?;
        }
        db::commit(transaction).await?;
        self.done.clear();
        Ok(())
    }

    /// Waits for what is on its way, a little, so that it is not sent twice.
    async fn end(mut self) {
        let last = async {
            while let Some(done) = self.sending.join_next_with_id().await {
                self.take(done);
            }
        };
        tokio::time::timeout(Duration::from_secs(LAST_SECONDS_MAX), last).await.ok();
        let written = tokio::time::timeout(Duration::from_secs(LAST_SECONDS_MAX), self.write()).await;
        if let Err(error) = written.unwrap_or(Err(db::Error::TimedOut)) {
            tracing::warn!(error = &error as &dyn std::error::Error, "some webhooks may be sent twice");
        }
    }
}
