//! All of RabbitMQ: the connection and its return after a loss, exchanges and queues, publishing with confirms,
//! subscribing.
//!
//! Consuming, publishing commands and telling outcomes each have a connection of their own: under a memory or disk
//! alarm the broker stops reading from connections that publish, and an acknowledgement on such a one would hang with it
//! (<https://www.rabbitmq.com/docs/alarms>).
//!
//! **Architecture invariant**: no other module names `lapin`. A confirmation that carries a returned message is never
//! success. Nothing is ever requeued by a negative acknowledgement: that would break the order.

mod channel;
mod events;
mod link;
mod mailbox;
mod publisher;
mod replies;
mod retire;
mod subscription;
mod topology;

pub use events::{EventMessage, Events};
pub use link::Link;
pub(crate) use link::is_address;
pub use mailbox::{Mailbox, Taken};
pub use publisher::{PublishError, Publisher, PublisherLimits};
pub use replies::{Replies, listen, reply_queue};
pub use retire::{retire, waits};
pub use subscription::{Incoming, Message, Receipt, Subscription};
pub use topology::{Depth, Topology};

/// What can go wrong at the broker. `Display` never repeats its source.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the broker refused or the connection to it was lost")]
    Lapin(#[from] lapin::Error),
    #[error("the broker did not answer in time")]
    TimedOut,
    #[error("there is no connection to the broker, or it takes no messages")]
    Away,
    #[error("the broker's address is not valid: {0}")]
    Address(String),
    #[error("the broker takes no messages: a memory or disk alarm")]
    Blocked,
    #[error("the broker did not confirm a message")]
    Unconfirmed,
    #[error("the queue {0} is being consumed")]
    InUse(String),
    #[error("there is no queue {0}")]
    Missing(String),
}

impl Error {
    /// Reply code 404 of AMQP 0-9-1, `not-found`.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Lapin(error)
            if matches!(error.kind(), lapin::ErrorKind::ProtocolError(error) if error.get_id() == 404))
    }
}

pub type Result<T> = std::result::Result<T, Error>;

/// Longest time for one call to the broker other than a publish.
const CALL_SECONDS_MAX: u64 = 5;

/// Bounds a call to the broker.
async fn bounded<T>(call: impl Future<Output = std::result::Result<T, lapin::Error>>) -> Result<T> {
    let limit = std::time::Duration::from_secs(CALL_SECONDS_MAX);
    Ok(tokio::time::timeout(limit, call).await.map_err(|_| Error::TimedOut)??)
}
