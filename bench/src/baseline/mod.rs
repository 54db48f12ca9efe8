//! What a team would write instead: the order is decided in the request, in a transaction of its own.
//!
//! The same api in front: authentication, checks, ids and answers. The same tables behind, with the same rows per order. Only the
//! decision is another; each is written as its friends would tune it: as few round trips as it can do with, prepared statements, rows
//! locked in one order, a pool of the size that suits it best.

mod pay;
mod place;

use std::process::ExitCode;
use std::str::FromStr as _;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use api::Decide;
use common::domain::{Action, Change, Command};
use common::message::Decided;
use common::queue::PublishError;
use futures_util::future::BoxFuture;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

use crate::system::Who;

/// The first argument with which an executable is a baseline: then which, and how many connections it has.
pub(crate) const ARGUMENT: &str = "baseline";

/// As Onhand's writer: plans that were made when a table was small are not kept for longer.
const PLANS_KEPT: Duration = Duration::from_secs(5);
/// Attempts of a transaction that others were in the way of, before the client is told to come again.
const SERIALIZABLE_ATTEMPTS_MAX: u32 = 10;
/// The first one and three more.
const OPTIMISTIC_ATTEMPTS_MAX: u32 = 4;
/// The first wait before another attempt; doubled each time, and drawn from half of it to all of it.
const BACKOFF: Duration = Duration::from_millis(2);
const BACKOFF_MAX: Duration = Duration::from_millis(50);

/// Decides in a transaction per order.
pub(crate) struct Baseline {
    who: Who,
    connections: Connections,
    /// Numbers of decisions, which the tables want: a team's own tables would do without, so they cost nothing here.
    sequence: AtomicI64,
}

pub(crate) fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(2);
    let who = arguments.next().and_then(|name| <Who as clap::ValueEnum>::from_str(&name, false).ok());
    let connections = arguments.next().and_then(|number| number.parse().ok());
    let (Some(who), Some(connections)) = (who, connections) else {
        eprintln!("error: which baseline, and how many connections");
        return ExitCode::FAILURE;
    };
    common::program::run(
        || api::Config::read(&common::config::environment),
        |config| config.log_json,
        async move |config| {
            let stop = CancellationToken::new();
            let token = stop.clone();
            // It ends with its parent: its standard input does.
            std::thread::spawn(move || {
                std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).ok();
                token.cancel();
            });
            use secrecy::ExposeSecret as _;
            let options = PgConnectOptions::from_str(config.servers.database_url.expose_secret())?
                // As Onhand's writer: to plan these statements takes longer than to run them.
                .options([("plan_cache_mode", "force_generic_plan")]);
            let mut first = PgConnection::connect_with(&options).await?;
            let last: i64 = sqlx::query_scalar(
                "SELECT max(last) FROM (SELECT max(sequence) AS last FROM orders UNION ALL SELECT max(sequence) FROM commands
                 UNION ALL SELECT max(sequence) FROM partitions) numbers",
            )
            .fetch_one(&mut first)
            .await?;
            let connections = Connections { options, room: Semaphore::new(connections), free: Mutex::default() };
            let baseline = Arc::new(Baseline { who, connections, sequence: AtomicI64::new(last + 1) });
            let listener = TcpListener::bind(config.http_address).await?;
            Ok(api::run_with(config, listener, baseline, stop).await?)
        },
    )
}

/// What keeps a transaction from being the last attempt.
#[derive(Debug)]
enum Failure {
    /// Somebody else was in the way.
    Conflict,
    Database(sqlx::Error),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
        // Serialization failures and deadlocks.
        match code.as_deref() {
            Some("40001" | "40P01") => Self::Conflict,
            _ => Self::Database(error),
        }
    }
}

/// So many connections and no more, taken in turn. A pool that asks the server whether a connection is alive, before and after it is
/// used, would be two round trips more for each order.
struct Connections {
    options: PgConnectOptions,
    room: Semaphore,
    free: Mutex<Vec<Connection>>,
}

struct Connection {
    connection: PgConnection,
    planned_at: Instant,
}

impl Connections {
    async fn take(&self) -> Result<(SemaphorePermit<'_>, Connection), Failure> {
        let closed = |_| Failure::Database(sqlx::Error::PoolClosed);
        let turn = self.room.acquire().await.map_err(closed)?;
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut taken = match free {
            Some(free) => free,
            None => {
                Connection { connection: PgConnection::connect_with(&self.options).await?, planned_at: Instant::now() }
            }
        };
        if taken.planned_at.elapsed() > PLANS_KEPT {
            taken.planned_at = Instant::now();
            sqlx::raw_sql("DISCARD PLANS").execute(&mut taken.connection).await?;
        }
        Ok((turn, taken))
    }

    fn give_back(&self, connection: Connection) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }
}

impl Decide for Baseline {
    fn decide(&self, partition: u16, command: Command) -> BoxFuture<'_, Result<Decided, PublishError>> {
        Box::pin(async move {
            let attempts = match self.who {
                Who::Optimistic => OPTIMISTIC_ATTEMPTS_MAX,
                _ => SERIALIZABLE_ATTEMPTS_MAX,
            };
            for attempt in 0..attempts {
                if attempt > 0 {
                    let most = (BACKOFF * 2_u32.pow(attempt - 1)).min(BACKOFF_MAX);
                    tokio::time::sleep(most.mul_f64(rand::random_range(0.5..1.0))).await;
                }
                match self.attempt(partition, &command).await {
                    Ok(decided) => return Ok(decided),
                    Err(Failure::Conflict) => {}
                    Err(Failure::Database(error)) => {
                        eprintln!("error: {error}");
                        return Err(PublishError::Unconfirmed);
                    }
                }
            }
            Err(PublishError::Overloaded)
        })
    }
}

impl Baseline {
    async fn attempt(&self, partition: u16, command: &Command) -> Result<Decided, Failure> {
        let (_turn, mut connection) = self.connections.take().await?;
        let c = &mut connection.connection;
        let decided = match &command.action {
            Action::PlaceOrder(order) => self.place(c, partition, command, order).await,
            Action::ChangeOrder(change) if matches!(change.change, Change::Pay(_)) => {
                self.pay(c, command, change.order_id).await
            }
            _ => Err(Failure::Database(sqlx::Error::Protocol("only orders and payments are measured".to_owned()))),
        };
        // Of one whose statement failed, or was given up half way, nothing is known: it is not used again.
        if !matches!(decided, Err(Failure::Database(_))) {
            self.connections.give_back(connection);
        }
        decided
    }

    fn next_sequence(&self) -> i64 {
        self.sequence.fetch_add(1, Ordering::Relaxed)
    }
}
