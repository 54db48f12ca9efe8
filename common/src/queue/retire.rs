//! Changing the number of queues: seeing that nothing waits in them, and giving up those of partitions that are no more.
//!
//! A passive declaration is no proof: of a queue that has no leader at the moment, or a slow one, it tells that nothing is in
//! it. Only its leader can take a subscriber, and gives it what is there.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use lapin::options::QueueDeleteOptions;
use lapin::types::FieldTable;
use lapin::{Channel, Confirmation, Connection};
use tokio::sync::mpsc;

use super::channel::KeptChannel;
use super::publisher::publish_persistent;
use super::{Error, Incoming, Link, Message, Result, Subscription, Topology, bounded};

const PREFETCH: u16 = 100;
/// How long a queue is listened to before it is taken for empty.
const EMPTY_AFTER: Duration = Duration::from_secs(1);
/// The same for one that is unbound and to be deleted: longer than an api waits for a confirm by default, so that what was
/// under way has arrived, or was not promised.
const GONE_AFTER: Duration = Duration::from_secs(5);

/// Tells the first partition in whose queue something waits, if there is one.
///
/// # Errors
/// Where the broker is away, or a queue is not there or is being consumed.
pub async fn waits(link: &Link, topology: &Topology) -> Result<Option<u16>> {
    let connection = link.connection().ok_or(Error::TimedOut)?;
    let looking = (0..topology.partitions()).map(async |partition| {
        let queue = topology.commands_queue(partition);
        match Topology::depth(&connection, &queue).await? {
            None => return Err(Error::Missing(queue)),
            Some(depth) if depth.consumers > 0 => return Err(Error::InUse(queue)),
            Some(_) => {}
        }
        let mut listener = Listener::to(&connection, topology, partition).await?;
        let found = listener.next(EMPTY_AFTER).await?.is_some();
        // What was taken goes back to the head of its queue.
        listener.subscription.close().await;
        Ok(found.then_some(partition))
    });
    Ok(try_join_all(looking).await?.into_iter().flatten().next())
}

/// Unbinds and deletes the queue of a partition. What was still published for it, by an api that did not know yet, is handed
/// to [`Topology::unroutable`], from where consumers put it where it belongs. Answers with the messages handed on.
///
/// # Errors
/// Where the broker is away, or the queue is being consumed. To be called again until it succeeds: nothing is lost.
pub async fn retire(link: &Link, topology: &Topology, partition: u16) -> Result<u32> {
    let connection = link.connection().ok_or(Error::TimedOut)?;
    let queue = topology.commands_queue(partition);
    match Topology::depth(&connection, &queue).await? {
        None => return Ok(0),
        Some(depth) if depth.consumers > 0 => return Err(Error::InUse(queue)),
        Some(_) => {}
    }
    let channel = KeptChannel::with_confirms().on(&connection).await?;
    let (exchange, key) = (topology.commands_exchange(), partition.to_string());
    bounded(channel.queue_unbind(queue.as_str().into(), exchange.into(), key.into(), FieldTable::default())).await?;
    let mut listener = Listener::to(&connection, topology, partition).await?;
    let mut handed_on = 0;
    while let Some(message) = listener.next(GONE_AFTER).await? {
        hand_on(&channel, topology, message).await?;
        handed_on += 1;
    }
    listener.subscription.close().await;
    let deleted = bounded(channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default())).await?;
    if deleted > 0 {
        tracing::error!(
            partition,
            messages = deleted,
            "messages were deleted with the queue: they came after all was still"
        );
    }
    bounded(channel.close(200, "retired".into())).await?;
    Ok(handed_on)
}

/// Publishes a message once more, as unroutable.
async fn hand_on(channel: &Channel, topology: &Topology, message: Message) -> Result<()> {
    let (unroutable, key) = (topology.unroutable(), message.partition.to_string());
    match bounded(publish_persistent(channel, &unroutable, &key, &message.body)).await? {
        Confirmation::Ack(None) => message.receipt.acknowledge().await,
        Confirmation::Ack(Some(_)) | Confirmation::Nack(_) | Confirmation::NotRequested => Err(Error::Unconfirmed),
    }
}

/// Whoever listens whether anything comes.
struct Listener {
    subscription: Subscription,
    incoming: mpsc::Receiver<Incoming>,
}

impl Listener {
    async fn to(connection: &Arc<Connection>, topology: &Topology, partition: u16) -> Result<Self> {
        let (sink, incoming) = mpsc::channel(usize::from(PREFETCH));
        let subscription = Subscription::open(connection, topology, partition, 0, PREFETCH, sink).await?;
        Ok(Self { subscription, incoming })
    }

    /// The next message; `None` where none comes for so long.
    async fn next(&mut self, silence: Duration) -> Result<Option<Message>> {
        match tokio::time::timeout(silence, self.incoming.recv()).await {
            Err(_) => Ok(None),
            Ok(Some(Incoming::Message(message))) => Ok(Some(message)),
            Ok(Some(Incoming::Ended { .. }) | None) => Err(Error::TimedOut),
        }
    }
}
