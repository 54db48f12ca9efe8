//! Giving up the queue of a partition that is no more.

use lapin::Confirmation;
use lapin::options::QueueDeleteOptions;
use lapin::types::FieldTable;
use tokio::sync::mpsc;

use super::channel::KeptChannel;
use super::publisher::publish_persistent;
use super::{Error, Incoming, Link, Result, Subscription, Topology, bounded};

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
    let (exchange, unroutable, key) = (topology.commands_exchange(), topology.unroutable(), partition.to_string());
    let unbinding = channel.queue_unbind(
        queue.as_str().into(),
        exchange.as_str().into(),
        key.as_str().into(),
        FieldTable::default(),
    );
    bounded(unbinding).await?;
    // From here on nothing is added.
    let waiting = Topology::depth(&connection, &queue).await?.map_or(0, |depth| depth.messages);
    if waiting > 0 {
        let (sink, mut incoming) = mpsc::channel(usize::from(PREFETCH));
        let subscription = Subscription::open(&connection, topology, partition, 0, PREFETCH, sink).await?;
        for _ in 0..waiting {
            let limit = std::time::Duration::from_secs(super::CALL_SECONDS_MAX);
            let next = tokio::time::timeout(limit, incoming.recv()).await.map_err(|_| Error::TimedOut)?;
            let Some(Incoming::Message(message)) = next else { return Err(Error::TimedOut) };
            let published = publish_persistent(&channel, &unroutable, &key, &message.body);
            match bounded(published).await? {
                Confirmation::Ack(None) => message.receipt.acknowledge().await?,
                Confirmation::Ack(Some(_)) | Confirmation::Nack(_) | Confirmation::NotRequested => {
                    return Err(Error::TimedOut);
                }
            }
        }
        subscription.close().await;
    }
    let options = QueueDeleteOptions { if_empty: true, if_unused: true, ..QueueDeleteOptions::default() };
    bounded(channel.queue_delete(queue.as_str().into(), options)).await?;
    bounded(channel.close(200, "retired".into())).await?;
    Ok(waiting)
}
