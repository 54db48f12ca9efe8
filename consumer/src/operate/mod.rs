//! What operators ask on the command line. Tables for people, or JSON (`--json`) with the same content.
//!
//! | module | commands |
//! | --- | --- |
//! | `partitions` | `partitions` |
//! | `consumers` | `consumers`, `drain` |
//! | `dead_letters` | `dead-letters list`, `show`, `requeue`, `discard` |
//! | `proof` | `verify`, `replay` |
//! | `resize` | `resize` |

mod consumers;
mod dead_letters;
mod partitions;
mod proof;
mod resize;
mod table;

use std::sync::Arc;
use std::time::Duration;

use common::db::{self, PgConnection};
use common::program::Failure;
use common::queue::{Link, Topology};
use serde::Serialize;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::Config;

const CONNECT_SECONDS_MAX: u64 = 10;
/// For the servers' own lists of who is connected.
const NAME: &str = "onhand-operator";

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Who writes each partition, what waits for it and for how long, how fast it is decided
    Partitions(partitions::Options),
    /// Which consumers there are, and what each holds
    Consumers,
    /// Ask a consumer to let go of its partitions and to take no more; wait until it has
    Drain(consumers::Drain),
    /// Commands that can't be read or always fail
    #[command(subcommand)]
    DeadLetters(dead_letters::Command),
    /// Decide the recorded commands of a partition again, and compare outcomes and stock with what is stored
    Replay {
        /// Its number, from 0 on
        partition: u16,
    },
    /// Check every numbered invariant that the database shows, in one snapshot, by reading all of it
    Verify,
    /// Change the number of partitions: while no api and no consumer runs, and nothing waits
    Resize(resize::Options),
}

/// Runs a command and prints what came of it.
pub(crate) async fn run(command: Command, config: &Config, json: bool) -> Result<(), Failure> {
    let operator = Operator { config, json };
    match command {
        Command::Partitions(options) => partitions::show(&operator, &options).await,
        Command::Consumers => consumers::show(&operator).await,
        Command::Drain(options) => consumers::drain(&operator, &options).await,
        Command::DeadLetters(command) => dead_letters::run(&operator, command).await,
        Command::Replay { partition } => proof::replay(&operator, partition).await,
        Command::Verify => proof::verify(&operator).await,
        Command::Resize(options) => resize::run(&operator, &options).await,
    }
}

/// Whoever asks, with the way to the servers.
struct Operator<'a> {
    config: &'a Config,
    json: bool,
}

impl Operator<'_> {
    /// A connection whose statements may take their time.
    async fn database(&self) -> db::Result<PgConnection> {
        let limits =
            db::Limits { statement: Duration::ZERO, idle_in_transaction: Duration::ZERO, ..db::Limits::default() };
        let wait = Duration::from_secs(CONNECT_SECONDS_MAX);
        db::connect(&self.config.servers.database_url, NAME, limits, wait).await
    }

    /// The broker as it is: nothing is declared, so that who asks in the wrong place is told so.
    async fn broker(&self, partitions: u16) -> Result<Broker, Failure> {
        let stop = CancellationToken::new();
        let link = Link::open_to_ask(&self.config.servers.amqp_urls, NAME.to_owned(), stop.clone())?;
        self.reached(link, partitions, stop).await
    }

    /// The same, where what is missing is to be declared.
    async fn declared_broker(&self, partitions: u16) -> Result<Broker, Failure> {
        let (servers, stop) = (&self.config.servers, CancellationToken::new());
        let topology = Arc::new(Topology::new(&servers.queues, partitions));
        let link = Link::open(&servers.amqp_urls, NAME.to_owned(), topology, stop.clone())?;
        self.reached(link, partitions, stop).await
    }

    async fn reached(&self, mut link: Link, partitions: u16, stop: CancellationToken) -> Result<Broker, Failure> {
        let topology = Arc::new(Topology::new(&self.config.servers.queues, partitions));
        let connecting = tokio::time::timeout(Duration::from_secs(CONNECT_SECONDS_MAX), link.connected()).await;
        connecting.map_err(|_| "the broker can't be reached: check AMQP_URL")?;
        Ok(Broker { link, topology, _stop_at_the_end: stop.drop_guard() })
    }

    /// Prints what was found: as JSON, or as `human` tells it.
    fn print<T: Serialize>(&self, found: &T, human: impl FnOnce() -> String) -> Result<(), Failure> {
        let text = if self.json { serde_json::to_string_pretty(found)? } else { human() };
        println!("{}", text.trim_end());
        Ok(())
    }
}

/// A way to the broker, for one command.
struct Broker {
    link: Link,
    topology: Arc<Topology>,
    _stop_at_the_end: DropGuard,
}

impl Broker {
    /// An error where the queues of this store are not there: another broker, or another prefix.
    async fn has_queues(&self) -> Result<(), Failure> {
        for partition in 0..self.topology.partitions() {
            let queue = self.topology.commands_queue(partition);
            if self.depth(&queue).await?.is_none() {
                return Err(format!("there is no queue {queue}: check AMQP_URL and ONHAND_QUEUE_PREFIX").into());
            }
        }
        Ok(())
    }

    /// Messages and consumers of a queue, where it is there.
    async fn depth(&self, queue: &str) -> Result<Option<common::queue::Depth>, Failure> {
        let connection = self.link.connection().ok_or("the connection to the broker was lost: try again")?;
        Ok(Topology::depth(&connection, queue).await?)
    }
}
