//! Taking messages one by one, of queues that nobody subscribes to.

use lapin::options::BasicGetOptions;

use super::channel::KeptChannel;
use super::subscription::Receipt;
use super::{Error, Link, Result, Topology, bounded};

/// A message that was taken and is to be acknowledged; else it comes again when its channel is closed.
pub struct Taken {
    pub body: Vec<u8>,
    /// What it was published with.
    pub routing_key: String,
    pub receipt: Receipt,
}

/// Takes messages on a channel of its own.
pub struct Mailbox {
    link: Link,
    channel: KeptChannel,
}

impl Mailbox {
    #[must_use]
    pub fn new(link: Link) -> Self {
        Self { link, channel: KeptChannel::without_confirms() }
    }

    /// Whether something waits in a queue, as far as the broker knows at the moment.
    ///
    /// # Errors
    /// Where the broker is away.
    pub async fn has_any(&self, queue: &str) -> Result<bool> {
        let connection = self.link.connection().ok_or(Error::TimedOut)?;
        Ok(Topology::depth(&connection, queue).await?.is_some_and(|depth| depth.messages > 0))
    }

    /// The next message of a queue, if there is one.
    ///
    /// # Errors
    /// Where the broker is away, takes no messages, or there is no such queue.
    pub async fn take(&mut self, queue: &str) -> Result<Option<Taken>> {
        let connection = self.link.connection().ok_or(Error::TimedOut)?;
        if connection.status().blocked() {
            return Err(Error::Blocked);
        }
        let channel = self.channel.on(&connection).await?;
        let message = bounded(channel.basic_get(queue.into(), BasicGetOptions::default())).await?;
        Ok(message.map(|message| Taken {
            body: message.delivery.data,
            routing_key: message.delivery.routing_key.to_string(),
            receipt: Receipt(message.delivery.acker),
        }))
    }

    /// Gives back what was taken and not acknowledged.
    pub async fn give_back(&mut self) {
        self.channel.close().await;
    }
}
