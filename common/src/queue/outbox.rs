//! What a consumer sends: outcomes to api instances that wait, and dead letters. On a connection of its own.

use lapin::BasicProperties;
use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, FieldTable, LongString};
use std::sync::Arc;

use super::publisher::publish_confirmed;
use super::{Error, Link, Result, Topology, bounded};

/// Sends outcomes and dead letters.
#[derive(Clone)]
pub struct Outbox {
    link: Link,
    topology: Arc<Topology>,
}

impl Outbox {
    #[must_use]
    pub fn new(link: Link, topology: Arc<Topology>) -> Self {
        Self { link, topology }
    }

    /// Tells an api instance some outcomes, if it is still there. Not confirmed: whoever waits in vain looks into the
    /// database.
    ///
    /// # Errors
    /// Where the broker is away.
    pub async fn reply(&self, queue: &str, payload: &[u8]) -> Result<()> {
        let connection = self.link.connection().ok_or(Error::TimedOut)?;
        if connection.status().blocked() {
            return Err(Error::NotTaken);
        }
        let channel = bounded(connection.create_channel()).await?;
        let properties = BasicProperties::default().with_content_type("application/json".into());
        let publish =
            channel.basic_publish("".into(), queue.into(), BasicPublishOptions::default(), payload, properties);
        bounded(publish).await?;
        bounded(channel.close(200, "replied".into())).await
    }

    /// Puts what can't be decided where operators find it, with its reason. Confirmed.
    ///
    /// # Errors
    /// Where it was not taken: then what it came from must not be acknowledged.
    pub async fn dead_letter(&self, partition: u16, payload: &[u8], reason: &str) -> Result<()> {
        let connection = self.link.connection().ok_or(Error::TimedOut)?;
        let mut headers = FieldTable::default();
        headers.insert("onhand-reason".into(), AMQPValue::LongString(LongString::from(reason)));
        headers.insert("onhand-partition".into(), AMQPValue::LongInt(i32::from(partition)));
        let properties = BasicProperties::default().with_headers(headers);
        publish_confirmed(&connection, &self.topology.dead_letters(), "", payload, properties).await
    }
}
