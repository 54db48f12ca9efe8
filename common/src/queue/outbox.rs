//! What a consumer sends: outcomes to api instances that wait, and dead letters. On a connection of its own.

use std::sync::Arc;

use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{BasicProperties, Confirmation, Connection};

use super::channel::KeptChannel;
use super::publisher::PERSISTENT;
use super::{Error, Link, Result, Topology, bounded};

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
        let channel = self.channel.on(&ready(&self.link)?).await?;
        let properties = BasicProperties::default().with_content_type("application/json".into());
        let publish =
            channel.basic_publish("".into(), queue.into(), BasicPublishOptions::default(), payload, properties);
        bounded(publish).await.map(drop)
    }
}

/// Puts aside what can't be decided, where operators find it.
pub struct DeadLetters {
    link: Link,
    topology: Arc<Topology>,
    channel: KeptChannel,
}

impl DeadLetters {
    #[must_use]
    pub fn new(link: Link, topology: Arc<Topology>) -> Self {
        Self { link, topology, channel: KeptChannel::with_confirms() }
    }

    /// Puts a command aside with its reason. Confirmed.
    ///
    /// # Errors
    /// Where it was not taken: then what it came from must not be acknowledged.
    pub async fn bury(&mut self, partition: u16, payload: &[u8], reason: &str) -> Result<()> {
        let channel = self.channel.on(&ready(&self.link)?).await?;
        let mut headers = FieldTable::default();
        headers.insert("onhand-reason".into(), AMQPValue::LongString(LongString::from(reason)));
        headers.insert("onhand-partition".into(), AMQPValue::LongInt(i32::from(partition)));
        let properties = BasicProperties::default().with_headers(headers).with_delivery_mode(PERSISTENT);
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let exchange = self.topology.dead_letters();
        let sent = channel.basic_publish(exchange.as_str().into(), "".into(), options, payload, properties);
        let confirmation = bounded(async { sent.await?.await }).await?;
        if confirmation == Confirmation::Ack(None) { Ok(()) } else { Err(Error::NotTaken) }
    }
}

/// The connection, where a publish has a chance.
fn ready(link: &Link) -> Result<Arc<Connection>> {
    let connection = link.connection().ok_or(Error::TimedOut)?;
    if connection.status().blocked() { Err(Error::NotTaken) } else { Ok(connection) }
}
