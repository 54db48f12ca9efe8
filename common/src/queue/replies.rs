//! Outcomes on their way from a consumer to the api instance that waits for them.

use futures_util::StreamExt as _;
use lapin::BasicProperties;
use lapin::options::{BasicConsumeOptions, BasicPublishOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use tokio_util::sync::CancellationToken;

use super::channel::KeptChannel;
use super::{Error, Link, Result, Topology, bounded};
use crate::message::Reply;
use crate::retry::Retry;

/// The name of an instance's reply queue.
#[must_use]
pub fn reply_queue(topology: &Topology, instance: uuid::Uuid) -> String {
    topology.replies(&instance.simple().to_string())
}

/// Tells outcomes to api instances. Not confirmed: whoever waits in vain looks into the database.
pub struct Replies {
    link: Link,
    channel: KeptChannel,
}

impl Replies {
    #[must_use]
    pub fn new(link: Link) -> Self {
        Self { link, channel: KeptChannel::without_confirms() }
    }

    /// Tells an api instance some outcomes, if it is still there.
    ///
    /// # Errors
    /// Where the broker is away or takes no messages.
    pub async fn tell(&mut self, queue: &str, payload: &[u8]) -> Result<()> {
        let connection = self.link.connection().ok_or(Error::TimedOut)?;
        if connection.status().blocked() {
            return Err(Error::Blocked);
        }
        let channel = self.channel.on(&connection).await?;
        let properties = BasicProperties::default().with_content_type("application/json".into());
        let publish =
            channel.basic_publish("".into(), queue.into(), BasicPublishOptions::default(), payload, properties);
        bounded(publish).await.map(drop)
    }
}

/// Hears replies on an exclusive queue of this name and hands them to `hear`, again after each loss, until `stop`.
pub async fn listen(mut link: Link, queue: String, stop: CancellationToken, hear: impl Fn(Reply)) {
    let mut retry = Retry::default();
    loop {
        let heard = tokio::select! {
            heard = hear_until_lost(&mut link, &queue, &hear) => heard,
            () = stop.cancelled() => return,
        };
        match heard {
            Ok(()) => retry.reset(),
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "replies are not heard"),
        }
        tokio::select! { () = tokio::time::sleep(retry.next_wait()) => {}, () = stop.cancelled() => return }
    }
}

async fn hear_until_lost(link: &mut Link, queue: &str, hear: &impl Fn(Reply)) -> Result<()> {
    let connection = link.connected().await;
    let channel = bounded(connection.create_channel()).await?;
    let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
    bounded(channel.queue_declare(queue.into(), options, FieldTable::default())).await?;
    let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    let mut replies = bounded(channel.basic_consume(queue.into(), "".into(), options, FieldTable::default())).await?;
    while let Some(delivery) = replies.next().await {
        match serde_json::from_slice(&delivery?.data) {
            Ok(reply) => hear(reply),
            Err(error) => tracing::warn!(%error, "a reply that can't be read"),
        }
    }
    Ok(())
}
