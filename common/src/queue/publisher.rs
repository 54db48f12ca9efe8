//! Publishing commands: persistent, mandatory, confirmed. Commands that wait for the same partition share a message.
//!
//! There is no timer: while one publish of a partition is unconfirmed, what arrives for it waits and goes out together in
//! the next. So a lone command waits for nothing, and a busy partition pays for one confirm per message, not per command.
//! Within a partition messages are confirmed one after the other, so the order of confirms is the order of the queue (I-6).

use std::sync::Arc;
use std::time::{Duration, Instant};

use lapin::options::BasicPublishOptions;
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::channel::KeptChannel;
use super::{Link, Topology};
use crate::message;

/// Delivery mode 2 of AMQP 0-9-1: kept on disk.
pub(super) const PERSISTENT: u8 = 2;

/// A refused lane changes its channel, but not more often than this: a queue that is full notes each new channel.
const RENEW_EVERY: Duration = Duration::from_secs(1);

/// Bounds of the publisher.
#[derive(Debug, Clone, Copy)]
pub struct PublisherLimits {
    /// Most commands that are held, waiting or unconfirmed.
    pub in_flight_max: usize,
    /// Most commands in one message.
    pub message_commands_max: usize,
    /// Most bytes in one message (a single command may be larger).
    pub message_bytes_max: usize,
    /// Longest wait for a confirm.
    pub confirm: Duration,
}

impl Default for PublisherLimits {
    fn default() -> Self {
        Self {
            in_flight_max: 10_000,
            message_commands_max: 256,
            message_bytes_max: 256 * 1024,
            confirm: Duration::from_secs(3),
        }
    }
}

/// Why a command was not confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    #[error("there is no connection to the broker")]
    Unavailable,
    #[error("the broker takes no messages: a memory or disk alarm")]
    Blocked,
    #[error("the partition's queue refuses: it is full, or has no leader now")]
    Refused,
    #[error("too many commands are in flight")]
    Overloaded,
    /// Sent but not confirmed: it may be decided or not.
    #[error("the broker did not confirm in time")]
    Unconfirmed,
}

impl PublishError {
    /// Whether the command certainly did not reach the queue.
    #[must_use]
    pub fn is_certain(self) -> bool {
        match self {
            Self::Unavailable | Self::Blocked | Self::Refused | Self::Overloaded => true,
            Self::Unconfirmed => false,
        }
    }
}

/// Publishes commands. Cheap to clone.
#[derive(Clone)]
pub struct Publisher {
    partitions: Arc<[mpsc::UnboundedSender<Waiting>]>,
    in_flight: Arc<Semaphore>,
    link: Link,
}

struct Waiting {
    command: Vec<u8>,
    confirm: oneshot::Sender<std::result::Result<(), PublishError>>,
    /// Bounds the senders above: each command in flight holds one.
    _permit: OwnedSemaphorePermit,
}

impl Publisher {
    /// Starts a task per partition on `link`.
    #[must_use]
    pub fn start(link: &Link, topology: &Arc<Topology>, limits: PublisherLimits) -> Self {
        let partitions = (0..topology.partitions())
            .map(|partition| {
                let (sender, waiting) = mpsc::unbounded_channel();
                let lane = Lane {
                    partition,
                    link: link.clone(),
                    exchange: topology.commands_exchange(),
                    limits,
                    channel: KeptChannel::with_confirms(),
                    renewed: None,
                };
                tokio::spawn(lane.run(waiting));
                sender
            })
            .collect();
        Self { partitions, in_flight: Arc::new(Semaphore::new(limits.in_flight_max)), link: link.clone() }
    }

    /// Publishes one encoded command; `Ok` once a majority of the queue's replicas has it on disk.
    ///
    /// # Errors
    /// Where it is not confirmed. A caller that stops waiting does not take the command back.
    pub async fn publish(&self, partition: u16, command: Vec<u8>) -> std::result::Result<(), PublishError> {
        let permit = Arc::clone(&self.in_flight).try_acquire_owned().map_err(|_| PublishError::Overloaded)?;
        let (confirm, confirmed) = oneshot::channel();
        let lane = self.partitions.get(usize::from(partition)).ok_or(PublishError::Unavailable)?;
        lane.send(Waiting { command, confirm, _permit: permit }).map_err(|_| PublishError::Unavailable)?;
        confirmed.await.unwrap_or(Err(PublishError::Unavailable))
    }

    /// Whether a publish has a chance now.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.link.is_ready()
    }
}

/// The publishes of one partition, one after the other.
struct Lane {
    partition: u16,
    link: Link,
    exchange: String,
    limits: PublisherLimits,
    channel: KeptChannel,
    /// When a refusal last made it change its channel.
    renewed: Option<Instant>,
}

impl Lane {
    async fn run(mut self, mut waiting: mpsc::UnboundedReceiver<Waiting>) {
        let mut held_over = None;
        loop {
            let first = match held_over.take() {
                Some(first) => first,
                None => match waiting.recv().await {
                    Some(first) => first,
                    None => return,
                },
            };
            let mut batch = vec![first];
            let mut bytes = batch[0].command.len();
            while batch.len() < self.limits.message_commands_max
                && let Ok(next) = waiting.try_recv()
            {
                bytes += next.command.len();
                if bytes > self.limits.message_bytes_max {
                    held_over = Some(next);
                    break;
                }
                batch.push(next);
            }
            let outcome = self.publish(&batch).await;
            for waiting in batch {
                // Whoever has stopped waiting is not to be told.
                waiting.confirm.send(outcome).ok();
            }
        }
    }

    async fn publish(&mut self, batch: &[Waiting]) -> std::result::Result<(), PublishError> {
        let Some(connection) = self.link.connection() else {
            return Err(self.failed(PublishError::Unavailable, batch.len()));
        };
        let published = if connection.status().blocked() {
            Err(PublishError::Blocked)
        } else {
            self.publish_on(&connection, batch).await
        };
        published.map_err(|error| {
            // Under an alarm the connection is sound, only not read from; otherwise silence means that it is dead.
            if error == PublishError::Unconfirmed && !connection.status().blocked() {
                self.link.suspect(&connection);
            }
            self.failed(error, batch.len())
        })
    }

    async fn publish_on(
        &mut self,
        connection: &Arc<Connection>,
        batch: &[Waiting],
    ) -> std::result::Result<(), PublishError> {
        let channel = self.channel.on(connection).await.map_err(|_| PublishError::Unavailable)?;
        let payload = message::envelope(batch.iter().map(|waiting| waiting.command.as_slice()));
        let key = self.partition.to_string();
        let confirmed = publish_persistent(&channel, &self.exchange, &key, &payload);
        match tokio::time::timeout(self.limits.confirm, confirmed).await {
            Ok(Ok(Confirmation::Ack(None))) => Ok(()),
            Ok(Ok(Confirmation::Nack(_))) => {
                self.renew_channel(batch.len());
                Err(PublishError::Refused)
            }
            // A returned message may belong to another publish (lapin attaches it to the next confirm): never success.
            Ok(Ok(Confirmation::Ack(Some(_)) | Confirmation::NotRequested)) | Ok(Err(_)) | Err(_) => {
                Err(PublishError::Unconfirmed)
            }
        }
    }

    /// The broker refuses what a full queue has no room for. RabbitMQ 3.10.8 also refuses what a channel brings first to a
    /// queue whose leader has just died, and asks that dead leader for as long as the channel lives.
    fn renew_channel(&mut self, commands: usize) {
        if self.renewed.is_none_or(|at| at.elapsed() >= RENEW_EVERY) {
            tracing::warn!(
                partition = self.partition,
                commands,
                "the queue refuses commands: it is full, or has no leader"
            );
            self.renewed = Some(Instant::now());
            self.channel = KeptChannel::with_confirms();
        }
    }

    fn failed(&self, error: PublishError, commands: usize) -> PublishError {
        let partition = self.partition;
        match error {
            // Told once by the link or the lane; here it would be a line for each order that is refused.
            PublishError::Unavailable | PublishError::Blocked | PublishError::Refused | PublishError::Overloaded => {
                tracing::debug!(partition, commands, %error, "commands were not published");
            }
            PublishError::Unconfirmed => {
                tracing::warn!(partition, commands, %error, "commands were not confirmed");
            }
        }
        error
    }
}

/// Publishes a message that outlives the broker, mandatory, on a channel with confirms; answers with its confirmation.
pub(super) async fn publish_persistent(
    channel: &Channel,
    exchange: &str,
    key: &str,
    payload: &[u8],
) -> lapin::Result<Confirmation> {
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let properties =
        BasicProperties::default().with_delivery_mode(PERSISTENT).with_content_type("application/json".into());
    channel.basic_publish(exchange.into(), key.into(), options, payload, properties).await?.await
}
