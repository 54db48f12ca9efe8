//! The consumer: decides the orders of the partitions it holds.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`config`] | its settings |
//! | `lease` | holds a fair share of the partitions, each with an epoch |
//! | `partition` | receive, decide, settle: the one writer of those partitions |
//! | `verdict` | what an error means for a batch |
//! | `rescue` | empties the queues where messages end that found no other |
//! | `webhook` | tells subscribers what was decided |
//! | `events` | tells services inside, by the broker |
//! | `beside` | what those share who work beside the writer |
//! | [`replay`] | decides what was decided again, and compares |
//! | `operate` | what operators ask on the command line |
//!
//! **Architecture invariants**: nothing is acknowledged before it is committed. The writer sends nothing to the broker
//! inside a transaction. One batch spans all partitions that this consumer holds and is committed once.

mod beside;
pub mod config;
mod events;
mod lease;
mod operate;
mod partition;
pub mod program;
pub mod replay;
mod rescue;
mod verdict;
mod webhook;

use std::sync::Arc;

use common::db;
use common::program::settings as read_settings;
use common::queue::{Events, Link, Topology};
use common::steps::Steps;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use config::Config;

/// What keeps a consumer from starting, or ends it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the store can't be used")]
    Store(#[source] db::Error),
    #[error("the broker's settings can't be used")]
    Broker(#[source] common::queue::Error),
    /// Better to end, and be started again, than to hold leases and decide nothing.
    #[error("the writer has panicked")]
    Writer(#[source] tokio::task::JoinError),
    #[error("the rescue of stray messages has panicked")]
    Rescue(#[source] tokio::task::JoinError),
    #[error("the sender of webhooks has panicked")]
    Webhooks(#[source] tokio::task::JoinError),
    #[error("the publisher of events has panicked")]
    Events(#[source] tokio::task::JoinError),
    /// Started again, it knows the new number.
    #[error("the store's number of partitions was changed from {from} to {to}: start again")]
    Resized { from: u16, to: u16 },
}

/// Runs a consumer until `stop`; then finishes the batch at hand, lets its partitions go and ends.
///
/// # Errors
/// Where the store was set up otherwise than configured, or the writer has panicked.
pub async fn run(config: Config, steps: Steps, stop: CancellationToken) -> Result<(), Error> {
    let id = Uuid::now_v7();
    let settings = read_settings(&config.servers, "onhand-consumer", &stop).await.map_err(Error::Store)?;
    let Some(settings) = settings else { return Ok(()) };
    let topology = Arc::new(Topology::new(&config.servers.queues, settings.partitions));
    // The links outlive `stop`: the last batch is still to be acknowledged.
    let links = CancellationToken::new();
    // A frozen consumer is the active one of its queues until the broker closes its connection: not for much longer than
    // its leases last.
    let open = |purpose: &str| {
        let name = format!("onhand consumer {} ({purpose})", config.name);
        let (urls, topology) = (&config.servers.amqp_urls, Arc::clone(&topology));
        Link::open_watched(urls, name, topology, config.lease, links.clone()).map_err(Error::Broker)
    };
    let (control, orders) = mpsc::unbounded_channel();
    let (idle, decided) = (Arc::new(partition::Idle::default()), Arc::new(beside::Decided::default()));
    let (commands, outcomes) = (open("commands")?, open("outcomes")?);
    let rescue = rescue::Rescue::new(id, config.servers.clone(), Arc::clone(&topology), &outcomes);
    let writer = partition::Writer::new(
        config.clone(),
        Arc::clone(&topology),
        commands.clone(),
        outcomes,
        steps,
        orders,
        (Arc::clone(&idle), Arc::clone(&decided)),
    );
    tracing::info!(consumer.id = %id, name = config.name, partitions = settings.partitions, "consumer started");
    let stop = stop.child_token();
    let stop_with_writer = stop.clone().drop_guard();
    let writing = tokio::spawn(async move {
        let _stop_at_the_end = stop_with_writer;
        writer.run().await;
    });
    let (rescue_until, stop_with_rescue) = (stop.clone(), stop.clone().drop_guard());
    let rescuing = tokio::spawn(async move {
        let _stop_at_the_end = stop_with_rescue;
        rescue.run(rescue_until).await;
    });
    let (tell_until, stop_with_webhooks) = (stop.clone(), stop.clone().drop_guard());
    let telling = webhook::run(config.clone(), Arc::clone(&decided), tell_until);
    let telling = tokio::spawn(async move {
        let _stop_at_the_end = stop_with_webhooks;
        telling.await;
    });
    let publishing = if config.events.is_empty() {
        None
    } else {
        let events = Events::new(open("events")?, &topology);
        let (publish_until, stop_with_events) = (stop.clone(), stop.clone().drop_guard());
        let publishing = events::run(config.clone(), events, decided, publish_until);
        Some(tokio::spawn(async move {
            let _stop_at_the_end = stop_with_events;
            publishing.await;
        }))
    };
    let from = settings.partitions;
    let resized = lease::Keeper::new(id, config, from, control, idle, commands).keep(&stop).await;
    let written = writing.await;
    let rescued = rescuing.await;
    let told = telling.await;
    let published = if let Some(publishing) = publishing { publishing.await } else { Ok(()) };
    links.cancel();
    tracing::info!(consumer.id = %id, "consumer stopped");
    written.map_err(Error::Writer)?;
    rescued.map_err(Error::Rescue)?;
    told.map_err(Error::Webhooks)?;
    published.map_err(Error::Events)?;
    resized.map_or(Ok(()), |to| Err(Error::Resized { from, to }))
}
