//! Empties the two queues where messages end that found no other: nothing that was confirmed stays lying about.
//!
//! | queue | how messages come there | what becomes of them |
//! | --- | --- | --- |
//! | `P.unroutable` | published while their queue was not there (deleted by hand, or of a partition that is no more) | published again, to the partition that they belong to now |
//! | `P.dead-letters` | given up by the broker after a million deliveries | rows of the table of dead letters |
//!
//! The consumer that holds partition 0 looks every few seconds: one at a time, so that what lies in order is put back in
//! order. Should it die between publishing and acknowledging, a command is published twice, and decided once.

use std::sync::Arc;
use std::time::Duration;

use common::clock;
use common::config::Servers;
use common::db::dead_letters::DeadLetter;
use common::db::{self, PgConnection, dead_letters};
use common::message::{self, Opened, Queued};
use common::partition::{PARTITIONS_MAX, partition_for};
use common::queue::{self, Link, Mailbox, PublishError, Publisher, PublisherLimits, Taken, Topology};
use futures_util::future::try_join_all;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Most messages of one look: what comes back at once is left to the next.
const MESSAGES_MAX: usize = 1_000;
const CONNECT_SECONDS_MAX: u64 = 5;

pub(crate) struct Rescue {
    consumer: Uuid,
    servers: Servers,
    topology: Arc<Topology>,
    mailbox: Mailbox,
    publisher: Publisher,
}

/// Why a message stays where it is until the next look.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the broker is away")]
    Queue(#[from] queue::Error),
    #[error("a command could not be published again")]
    Publish(#[from] PublishError),
    #[error("a command could not be encoded")]
    Encode(#[from] message::Unreadable),
    #[error("dead letters could not be written")]
    Database(#[from] db::Error),
}

impl Rescue {
    /// On a link that may be blocked: nothing here is urgent.
    pub(crate) fn new(consumer: Uuid, servers: Servers, topology: Arc<Topology>, link: &Link) -> Self {
        let publisher = Publisher::start(link, &topology, PublisherLimits::default());
        Self { consumer, servers, topology, mailbox: Mailbox::new(link.clone()), publisher }
    }

    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! { () = tokio::time::sleep(LOOK_EVERY) => {}, () = stop.cancelled() => return }
            if !self.publisher.is_ready() {
                continue;
            }
            if let Err(error) = self.look().await {
                tracing::warn!(error = &error as &dyn std::error::Error, "stray messages stay where they are");
                self.mailbox.give_back().await;
            }
        }
    }

    async fn look(&mut self) -> Result<(), Error> {
        let (unroutable, given_up) = (self.topology.unroutable(), self.topology.dead_letters());
        if !self.mailbox.has_any(&unroutable).await? && !self.mailbox.has_any(&given_up).await? {
            return Ok(());
        }
        let mut database = self.database().await?;
        if db::partitions::owner(&mut database, 0).await? != Some(self.consumer) {
            return Ok(());
        }
        for _ in 0..MESSAGES_MAX {
            let Some(taken) = self.mailbox.take(&unroutable).await? else { break };
            self.route(&mut database, &taken).await?;
            taken.receipt.acknowledge().await?;
        }
        for _ in 0..MESSAGES_MAX {
            let Some(taken) = self.mailbox.take(&given_up).await? else { break };
            bury(&mut database, given_up_letters(&taken)).await?;
            taken.receipt.acknowledge().await?;
        }
        Ok(())
    }

    /// Publishes what a message holds to the partitions that it belongs to now, in its order.
    async fn route(&self, database: &mut PgConnection, taken: &Taken) -> Result<(), Error> {
        let (commands, unreadable) = read(taken);
        tracing::warn!(
            routing_key = taken.routing_key,
            commands = commands.len(),
            "a message without a queue is put back"
        );
        let mut publishing = Vec::with_capacity(commands.len());
        for queued in &commands {
            let partition = partition_for(&queued.command, self.topology.partitions());
            publishing.push(self.publisher.publish(partition, message::encode(queued)?));
        }
        try_join_all(publishing).await?;
        bury(database, unreadable).await
    }

    /// A connection for one look: it is seldom needed.
    async fn database(&self) -> db::Result<PgConnection> {
        let (url, wait) = (&self.servers.database_url, Duration::from_secs(CONNECT_SECONDS_MAX));
        db::connect(url, "onhand-consumer-rescue", db::Limits::default(), wait).await
    }
}

async fn bury(database: &mut PgConnection, letters: Vec<DeadLetter>) -> Result<(), Error> {
    if letters.is_empty() {
        return Ok(());
    }
    tracing::error!(letters = letters.len(), "stray commands go to the dead letters");
    let mut transaction = db::begin(database).await?;
    dead_letters::insert(&mut transaction, &letters, clock::now()).await?;
    Ok(db::commit(transaction).await?)
}

/// The commands of a message, and what of it can't be read.
fn read(taken: &Taken) -> (Vec<Queued>, Vec<DeadLetter>) {
    let partition = partition(taken);
    match message::open(&taken.body) {
        Ok(Opened { commands, unreadable }) => {
            (commands, unreadable.into_iter().map(|stray| DeadLetter::of_stray(partition, stray)).collect())
        }
        Err(error) => (Vec::new(), vec![DeadLetter::of_message(partition, taken.body.clone(), &error)]),
    }
}

fn given_up_letters(taken: &Taken) -> Vec<DeadLetter> {
    let (commands, mut letters) = read(taken);
    let reason = "the broker has given it up: it was delivered again and again and never acknowledged";
    letters.extend(commands.iter().map(|queued| DeadLetter::of_command(partition(taken), queued, reason.to_owned())));
    letters
}

/// The partition that a message was published to; 0 where its key is none.
fn partition(taken: &Taken) -> u16 {
    taken.routing_key.parse().ok().filter(|partition| *partition < PARTITIONS_MAX).unwrap_or_default()
}
