//! Receiving the commands of one partition.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::Acker;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{Result, Topology, bounded};

const CLOSE_SECONDS_MAX: u64 = 2;

/// What arrives on a subscription.
pub enum Incoming {
    Message(Message),
    /// The stream has ended: its channel or connection is gone, or the queue was deleted.
    Ended {
        partition: u16,
        subscription: u64,
    },
}

/// One message, to be acknowledged once what it holds is committed.
pub struct Message {
    pub partition: u16,
    /// Which subscription it came on: after that has ended, the message comes again on another.
    pub subscription: u64,
    pub body: Vec<u8>,
    pub receipt: Receipt,
}

/// Acknowledges a message and all before it on the same subscription.
pub struct Receipt(pub(super) Acker);

impl Receipt {
    /// Acknowledges. On a subscription that has ended it does nothing: the messages come again.
    ///
    /// # Errors
    /// Where the connection is lost while it is sent.
    pub async fn acknowledge(self) -> Result<()> {
        bounded(self.0.ack(BasicAckOptions { multiple: true })).await.map(drop)
    }
}

/// A subscription to one partition's queue, on a channel of its own.
pub struct Subscription {
    pub id: u64,
    channel: Channel,
    forward: JoinHandle<()>,
}

impl Subscription {
    /// Subscribes; messages go to `sink` in the queue's order, `prefetch` unacknowledged ones at the most.
    ///
    /// # Errors
    /// Where the broker is away or refuses.
    pub async fn open(
        connection: &Arc<Connection>,
        topology: &Topology,
        partition: u16,
        id: u64,
        prefetch: u16,
        sink: mpsc::Sender<Incoming>,
    ) -> Result<Self> {
        let channel = bounded(connection.create_channel()).await?;
        bounded(channel.basic_qos(prefetch, BasicQosOptions::default())).await?;
        // A fresh tag for each subscription: RabbitMQ confuses a single active consumer that comes back under its old one.
        let tag = uuid::Uuid::new_v4().to_string();
        let queue = topology.commands_queue(partition);
        let options = BasicConsumeOptions::default();
        let mut stream =
            bounded(channel.basic_consume(queue.as_str().into(), tag.as_str().into(), options, FieldTable::default()))
                .await?;
        let forward = tokio::spawn(async move {
            while let Some(Ok(delivery)) = stream.next().await {
                let receipt = Receipt(delivery.acker);
                let message = Message { partition, subscription: id, body: delivery.data, receipt };
                if sink.send(Incoming::Message(message)).await.is_err() {
                    return;
                }
            }
            // Nobody to tell where the receiver has gone first.
            sink.send(Incoming::Ended { partition, subscription: id }).await.ok();
        });
        Ok(Self { id, channel, forward })
    }

    /// Ends the subscription; what is unacknowledged goes back to the head of the queue, in order. The channel is closed
    /// before the stream is dropped: a cancelled consumer would keep its unacknowledged messages while the next is served.
    pub async fn close(self) {
        let closing = self.channel.close(200, "partition released".into());
        match tokio::time::timeout(Duration::from_secs(CLOSE_SECONDS_MAX), closing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the channel was closed already"),
            Err(_) => tracing::debug!("the broker did not answer the close of a channel"),
        }
        self.forward.abort();
    }
}
