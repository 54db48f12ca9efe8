//! Publishing events for whoever binds a queue to their exchange.

use std::sync::Arc;

use futures_util::future::try_join_all;
use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{BasicProperties, Channel, Confirmation, Connection};

use super::channel::KeptChannel;
use super::publisher::PERSISTENT;
use super::{Error, Link, Result, Topology, bounded};

/// An event as it is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventMessage {
    /// The same however often it is published.
    pub id: String,
    /// The routing key too.
    pub kind: &'static str,
    /// Seconds since 1970.
    pub timestamp: u64,
    /// A W3C trace context.
    pub trace_parent: String,
    pub body: String,
}

/// Publishes events, in order, on a channel of its own.
pub struct Events {
    link: Link,
    channel: KeptChannel,
    exchange: String,
    /// What was last published was not confirmed.
    doubtful: bool,
}

/// Most messages on their way: what follows one that is refused is not published before it.
const UNCONFIRMED_MAX: usize = 256;

impl Events {
    #[must_use]
    pub fn new(link: Link, topology: &Topology) -> Self {
        Self { link, channel: KeptChannel::with_confirms(), exchange: topology.events_exchange(), doubtful: false }
    }

    /// Whether a publish has a chance now.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.link.is_ready()
    }

    /// Publishes; `Ok` once every queue that is bound for them has them all. What no queue is bound for is gone.
    ///
    /// # Errors
    /// Where that is not so: some may have been published all the same.
    pub async fn publish(&mut self, messages: &[EventMessage]) -> Result<()> {
        let connection = self.link.connection().ok_or(Error::Away)?;
        if connection.status().blocked() {
            return Err(Error::Blocked);
        }
        let published = self.publish_on(&connection, messages).await;
        self.doubtful = published.is_err();
        if let Err(error) = &published {
            // What it has not confirmed it never will, for anybody: a refusing queue's leader may have died.
            self.channel.close().await;
            // Without the exchange its connection is made anew, which declares it.
            if (matches!(error, Error::TimedOut) && !connection.status().blocked()) || error.is_not_found() {
                self.link.suspect(&connection);
            }
        }
        published
    }

    async fn publish_on(&mut self, connection: &Arc<Connection>, messages: &[EventMessage]) -> Result<()> {
        let channel = self.channel.on(connection).await?;
        // While some queue refuses, the others are not filled with the same messages over and over: one is tried first.
        let (first, rest) = messages.split_at(if self.doubtful { 1.min(messages.len()) } else { 0 });
        for some in first.chunks(1).chain(rest.chunks(UNCONFIRMED_MAX)) {
            bounded(self.publish_some(&channel, some)).await?.into_iter().try_for_each(
                |confirmed| match confirmed {
                    Confirmation::Ack(_) => Ok(()),
                    Confirmation::Nack(_) | Confirmation::NotRequested => Err(Error::Unconfirmed),
                },
            )?;
        }
        Ok(())
    }

    async fn publish_some(&self, channel: &Channel, messages: &[EventMessage]) -> lapin::Result<Vec<Confirmation>> {
        let mut confirms = Vec::with_capacity(messages.len());
        for message in messages {
            let (exchange, key) = (self.exchange.as_str().into(), message.kind.into());
            let (options, body) = (BasicPublishOptions::default(), message.body.as_bytes());
            confirms.push(channel.basic_publish(exchange, key, options, body, properties(message)).await?);
        }
        try_join_all(confirms).await
    }
}

fn properties(message: &EventMessage) -> BasicProperties {
    let mut headers = FieldTable::default();
    let trace_parent = LongString::from(message.trace_parent.as_str());
    headers.insert("traceparent".into(), AMQPValue::LongString(trace_parent));
    BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_content_type("application/json".into())
        .with_message_id(message.id.as_str().into())
        .with_type(message.kind.into())
        .with_timestamp(message.timestamp)
        .with_app_id("onhand".into())
        .with_headers(headers)
}
