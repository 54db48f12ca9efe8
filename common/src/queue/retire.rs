//! Giving up the queue of a partition that is no more.

use std::sync::Arc;
use std::time::Duration;

use lapin::options::QueueDeleteOptions;
use lapin::types::FieldTable;
use lapin::{Channel, Confirmation, Connection};
use tokio::sync::mpsc;

use super::channel::KeptChannel;
use super::publisher::publish_persistent;
use super::{CALL_SECONDS_MAX, Depth, Error, Incoming, Link, Result, Subscription, Topology, bounded};

const PREFETCH: u16 = 100;

/// Unbinds and deletes the queue of a partition. What was still published for it, by an api that did not know yet, is handed
/// to [`Topology::unroutable`], from where consumers put it where it belongs. Answers with the messages handed on.
///
/// # Errors
/// Where the broker is away, or the queue has a consumer. To be called again until it succeeds: nothing is lost.
pub async fn retire(link: &Link, topology: &Topology, partition: u16) -> Result<u32> {
    let connection = link.connection().ok_or(Error::TimedOut)?;
    let queue = topology.commands_queue(partition);
    let Some(depth) = Topology::depth(&connection, &queue).await? else { return Ok(0) };
    if depth.consumers > 0 {
        return Err(Error::InUse(queue));
    }
    let channel = KeptChannel::with_confirms().on(&connection).await?;
    let (exchange, key) = (topology.commands_exchange(), partition.to_string());
    let unbinding = channel.queue_unbind(
        queue.as_str().into(),
        exchange.as_str().into(),
        key.as_str().into(),
        FieldTable::default(),
    );
    bounded(unbinding).await?;
    // From here on nothing is added. Quorum queues know no deletion on condition that they are empty: so it is looked.
    let mut handed_on = 0;
    loop {
        let Some(depth) = Topology::depth(&connection, &queue).await? else { break };
        match depth {
            Depth { consumers: 1.., .. } => return Err(Error::InUse(queue)),
            Depth { messages: 0, .. } => {
                bounded(channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default())).await?;
                break;
            }
            Depth { messages, .. } => {
                hand_on(&connection, &channel, topology, partition, messages).await?;
                handed_on += messages;
            }
        }
    }
    bounded(channel.close(200, "retired".into())).await?;
    Ok(handed_on)
}

/// Publishes so many messages of a queue once more, as unroutable.
async fn hand_on(
    connection: &Arc<Connection>,
    channel: &Channel,
    topology: &Topology,
    partition: u16,
    messages: u32,
) -> Result<()> {
    let (unroutable, key) = (topology.unroutable(), partition.to_string());
    let (sink, mut incoming) = mpsc::channel(usize::from(PREFETCH));
    let subscription = Subscription::open(connection, topology, partition, 0, PREFETCH, sink).await?;
    for _ in 0..messages {
        let next = tokio::time::timeout(Duration::from_secs(CALL_SECONDS_MAX), incoming.recv()).await;
        let Ok(Some(Incoming::Message(message))) = next else { return Err(Error::TimedOut) };
        match bounded(publish_persistent(channel, &unroutable, &key, &message.body)).await? {
            Confirmation::Ack(None) => message.receipt.acknowledge().await?,
            Confirmation::Ack(Some(_)) | Confirmation::Nack(_) | Confirmation::NotRequested => {
                return Err(Error::Unconfirmed);
            }
        }
    }
    subscription.close().await;
    Ok(())
}
