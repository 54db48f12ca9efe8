//! Exchanges and queues, declared alike by every program whenever it connects.
//!
//! | name | kind | holds |
//! | --- | --- | --- |
//! | `P.commands` | direct exchange | routes a command by its partition's number; what it can't route goes to `P.unroutable` |
//! | `P.commands.N` | quorum queue | commands that wait for partition N; bounded, single active consumer |
//! | `P.unroutable` | fanout exchange, quorum queue | what had no queue: nothing is lost |
//! | `P.dead-letters` | fanout exchange, quorum queue | what the broker itself has given up, see `DELIVERIES_MAX` |
//! | `P.events` | topic exchange | events for whoever binds a queue of their own; the routing key is the event's type |
//! | `P.replies.*` | exclusive queue of one api instance | outcomes that it waits for |
//!
//! Arguments of a queue can't be changed once it is declared: a change of them is a migration.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{Channel, Connection, ExchangeKind};

use super::{Result, bounded};
use crate::config::Queues;

/// Deliveries of one message before the broker takes it for poison. Large, and the same on every version of RabbitMQ: a
/// consumer that dies takes its whole prefetch along, so a small limit would drop what is innocent.
const DELIVERIES_MAX: i64 = 1_000_000;

/// What is in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    /// Messages that wait to be delivered: without those that a consumer has and has not acknowledged.
    pub messages: u32,
    pub consumers: u32,
}

/// Names and arguments of everything that is declared.
#[derive(Debug, Clone)]
pub struct Topology {
    prefix: String,
    partitions: u16,
    bytes_max: u64,
}

impl Topology {
    #[must_use]
    pub fn new(queues: &Queues, partitions: u16) -> Self {
        Self { prefix: queues.prefix.clone(), partitions, bytes_max: queues.bytes_max }
    }

    #[must_use]
    pub fn partitions(&self) -> u16 {
        self.partitions
    }

    #[must_use]
    pub fn commands_exchange(&self) -> String {
        format!("{}.commands", self.prefix)
    }

    #[must_use]
    pub fn commands_queue(&self, partition: u16) -> String {
        format!("{}.commands.{partition}", self.prefix)
    }

    #[must_use]
    pub fn dead_letters(&self) -> String {
        format!("{}.dead-letters", self.prefix)
    }

    #[must_use]
    pub fn unroutable(&self) -> String {
        format!("{}.unroutable", self.prefix)
    }

    #[must_use]
    pub fn events_exchange(&self) -> String {
        format!("{}.events", self.prefix)
    }

    #[must_use]
    pub fn replies(&self, instance: &str) -> String {
        format!("{}.replies.{instance}", self.prefix)
    }

    /// Declares everything that is not there. A queue that is there with other arguments is an error.
    pub(super) async fn declare(&self, connection: &Connection) -> Result<()> {
        let channel = bounded(connection.create_channel()).await?;
        for name in [self.unroutable(), self.dead_letters()] {
            exchange(&channel, &name, ExchangeKind::Fanout, FieldTable::default()).await?;
            queue(&channel, &name, quorum()).await?;
            bind(&channel, &name, &name, "").await?;
        }
        exchange(&channel, &self.events_exchange(), ExchangeKind::Topic, FieldTable::default()).await?;
        let mut arguments = FieldTable::default();
        arguments.insert("alternate-exchange".into(), text(self.unroutable()));
        exchange(&channel, &self.commands_exchange(), ExchangeKind::Direct, arguments).await?;
        for partition in 0..self.partitions {
            let name = self.commands_queue(partition);
            queue(&channel, &name, self.commands_arguments()).await?;
            bind(&channel, &name, &self.commands_exchange(), &partition.to_string()).await?;
        }
        bounded(channel.close(200, "declared".into())).await
    }

    fn commands_arguments(&self) -> FieldTable {
        let mut arguments = quorum();
        arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
        arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(DELIVERIES_MAX));
        arguments.insert("x-dead-letter-exchange".into(), text(self.dead_letters()));
        arguments.insert("x-dead-letter-strategy".into(), text("at-least-once".to_owned()));
        arguments.insert("x-overflow".into(), text("reject-publish".to_owned()));
        let bytes = i64::try_from(self.bytes_max).unwrap_or(i64::MAX);
        arguments.insert("x-max-length-bytes".into(), AMQPValue::LongLongInt(bytes));
        arguments
    }

    /// What is in a queue; `None` where there is no such queue.
    ///
    /// # Errors
    /// Where the broker is away.
    pub async fn depth(connection: &Connection, queue: &str) -> Result<Option<Depth>> {
        let channel = bounded(connection.create_channel()).await?;
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        match bounded(channel.queue_declare(queue.into(), options, FieldTable::default())).await {
            Ok(found) => {
                bounded(channel.close(200, "asked".into())).await?;
                Ok(Some(Depth { messages: found.message_count(), consumers: found.consumer_count() }))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes every queue and what waits in it. For tests and for setting a store up afresh.
    ///
    /// # Errors
    /// Where the broker is away.
    pub async fn delete(&self, connection: &Connection) -> Result<()> {
        let channel = bounded(connection.create_channel()).await?;
        let queues = (0..self.partitions).map(|partition| self.commands_queue(partition));
        for name in queues.chain([self.unroutable(), self.dead_letters()]) {
            bounded(channel.queue_delete(name.as_str().into(), QueueDeleteOptions::default())).await?;
        }
        for name in [self.commands_exchange(), self.events_exchange(), self.unroutable(), self.dead_letters()] {
            bounded(channel.exchange_delete(name.as_str().into(), lapin::options::ExchangeDeleteOptions::default()))
                .await?;
        }
        bounded(channel.close(200, "deleted".into())).await
    }
}

fn text(value: String) -> AMQPValue {
    AMQPValue::LongString(LongString::from(value))
}

fn quorum() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("quorum".to_owned()));
    arguments
}

async fn exchange(channel: &Channel, name: &str, kind: ExchangeKind, arguments: FieldTable) -> Result<()> {
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    bounded(channel.exchange_declare(name.into(), kind, options, arguments)).await
}

async fn queue(channel: &Channel, name: &str, arguments: FieldTable) -> Result<()> {
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    bounded(channel.queue_declare(name.into(), options, arguments)).await.map(drop)
}

async fn bind(channel: &Channel, queue: &str, exchange: &str, key: &str) -> Result<()> {
    let options = QueueBindOptions::default();
    bounded(channel.queue_bind(queue.into(), exchange.into(), key.into(), options, FieldTable::default())).await
}
