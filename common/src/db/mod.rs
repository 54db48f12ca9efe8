//! All SQL, one file per aggregate, checked at compile time against the query data in `.sqlx`. Functions take a
//! connection and answer with domain types; what a row looks like stays here.
//!
//! **Architecture invariant**: no other module names `sqlx::query`. No function here begins a transaction: who calls says
//! where it begins and ends.

pub mod accounts;
pub mod backorders;
pub mod bundles;
pub mod carts;
pub mod categories;
pub mod commands;
pub mod consumers;
pub mod customers;
pub mod dead_letters;
pub mod events;
pub mod figures;
pub mod imports;
pub mod limits;
pub mod log;
pub mod low_stock;
pub mod movements;
pub mod orders;
pub mod partitions;
pub mod payments;
pub mod products;
pub mod reservations;
pub mod setup;
pub mod stock;
pub mod terms;
pub mod verify;
pub mod warehouses;
pub mod webhooks;

use std::str::FromStr as _;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _};

pub use sqlx::{PgConnection, PgPool};

/// A connection of a pool.
pub type PoolConnection = sqlx::pool::PoolConnection<sqlx::Postgres>;

/// An open transaction. Dropped, it is rolled back.
pub type Transaction<'a> = sqlx::Transaction<'a, sqlx::Postgres>;

/// What can go wrong at the database. `Display` never repeats its source.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the database refused or did not answer")]
    Sqlx(#[source] sqlx::Error),
    #[error("the database's schema could not be brought up to date")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    #[error("a stored row does not make sense: {0}")]
    Corrupt(&'static str),
    #[error("{expected} rows of {table} were to be written, {written} were")]
    RowCount { table: &'static str, expected: usize, written: u64 },
    #[error("the store was set up with {stored} partitions, this program is configured with {configured}")]
    OtherPartitions { stored: u16, configured: u16 },
    #[error("the database did not answer in time")]
    TimedOut,
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Sqlx(error)
    }
}

pub type Result<T> = std::result::Result<T, Error>;

/// Limits that hold on a connection. A statement that runs into one fails; nothing waits for ever.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub statement: Duration,
    pub lock: Duration,
    /// How long the server lets a transaction stand idle before it ends the connection: a frozen program's locks.
    pub idle_in_transaction: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            statement: Duration::from_secs(10),
            lock: Duration::from_secs(2),
            idle_in_transaction: Duration::from_secs(5),
        }
    }
}

/// Whether a text is a database's address.
pub(crate) fn is_address(text: &str) -> bool {
    ["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme))
        && PgConnectOptions::from_str(text).is_ok()
}

fn options(url: &SecretString, name: &str, limits: Limits) -> Result<PgConnectOptions> {
    let milliseconds = |duration: Duration| duration.as_millis().to_string();
    Ok(PgConnectOptions::from_str(url.expose_secret())?
        .application_name(name)
        .options([
            ("statement_timeout", milliseconds(limits.statement)),
            ("lock_timeout", milliseconds(limits.lock)),
            ("idle_in_transaction_session_timeout", milliseconds(limits.idle_in_transaction)),
            ("tcp_keepalives_idle", "10".to_owned()),
            ("tcp_keepalives_interval", "3".to_owned()),
            ("tcp_keepalives_count", "3".to_owned()),
            ("client_connection_check_interval", "2000".to_owned()),
            // What the server might be set to otherwise: a promise is kept through a crash.
            ("synchronous_commit", "on".to_owned()),
            // A statement here takes less time than to compile it, whatever it is expected to cost.
            ("jit", "off".to_owned()),
        ])
        .disable_statement_logging())
}

/// One connection, for a writer that must know what its transaction has done. Bounded by `wait`.
///
/// # Errors
/// Where the server can't be reached in time or refuses.
pub async fn connect(url: &SecretString, name: &str, limits: Limits, wait: Duration) -> Result<PgConnection> {
    let options = options(url, name, limits)?;
    tokio::time::timeout(wait, PgConnection::connect_with(&options))
        .await
        .map_err(|_| Error::TimedOut)?
        .map_err(Error::from)
}

/// A pool for reads, connected when first used. `wait` bounds how long a reader waits for a connection.
///
/// # Errors
/// Where the address is malformed.
pub fn pool(url: &SecretString, name: &str, limits: Limits, size: u32, wait: Duration) -> Result<PgPool> {
    Ok(PgPoolOptions::new().max_connections(size).acquire_timeout(wait).connect_lazy_with(options(url, name, limits)?))
}

/// Has every statement of a connection planned anew when it is next run. A plan that was made when a table was small is kept
/// until the server has analysed the table again, a minute or so later, however much that has grown meanwhile.
///
/// # Errors
/// Where the database is away.
pub async fn forget_plans(connection: &mut PgConnection) -> Result<()> {
    sqlx::query!("DISCARD PLANS").execute(connection).await?;
    Ok(())
}

/// Has a connection's statements planned once for all their arguments, and not each time anew: of a writer's, that took longer than to
/// run them.
///
/// # Errors
/// Where the database is away.
pub async fn plan_once(connection: &mut PgConnection) -> Result<()> {
    sqlx::query!("SET plan_cache_mode = force_generic_plan").execute(&mut *connection).await?;
    // Planned while a table is small, all of it would be read each time when it is small no more. A writer names every row that it wants.
    sqlx::query!("SET enable_seqscan = off").execute(connection).await?;
    Ok(())
}

/// Begins a transaction. Never under a timeout or a `select!` on a pooled connection: cancelled, sqlx 0.9 would leave the
/// connection inside a transaction that nobody commits.
///
/// # Errors
/// Where the database is away.
pub async fn begin(connection: &mut PgConnection) -> Result<Transaction<'_>> {
    Ok(connection.begin().await?)
}

/// Begins a transaction that sees one moment of the database however long it reads, and writes nothing. For questions about
/// everything that is stored: what the planner expects of such a one is far off, and a nested loop over millions of rows
/// would not end.
///
/// # Errors
/// Where the database is away.
pub async fn begin_snapshot(connection: &mut PgConnection) -> Result<Transaction<'_>> {
    let mut transaction = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    sqlx::query!("SET LOCAL enable_nestloop = off").execute(&mut *transaction).await?;
    // Such a question takes seconds to compile, however few rows there are.
    sqlx::query!("SET LOCAL jit = off").execute(&mut *transaction).await?;
    Ok(transaction)
}

/// Commits. An error here leaves open whether it was committed.
///
/// # Errors
/// Where the database is away or refuses.
pub async fn commit(transaction: Transaction<'_>) -> Result<()> {
    Ok(transaction.commit().await?)
}

impl Error {
    /// Whether the server is to blame, or the moment: trying the same again later may work. Otherwise what was asked for is
    /// at fault. In doubt the server is: what is tried again is late, what is given up is lost.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            // Classes 22 and 23: what was to be written is not possible, save for a unique key that another partition's
            // writer has just taken, which the next attempt finds.
            Self::Sqlx(sqlx::Error::Database(error)) => error
                .code()
                .is_none_or(|code| code == "23505" || !["22", "23"].iter().any(|class| code.starts_with(class))),
            Self::Sqlx(sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::Encode(_))
            | Self::Corrupt(_) => false,
            // A row that another writer has just written is found by the next attempt.
            Self::Sqlx(_)
            | Self::Migrate(_)
            | Self::OtherPartitions { .. }
            | Self::RowCount { .. }
            | Self::TimedOut => true,
        }
    }

    /// Whether less at once may work: a statement took too long.
    #[must_use]
    pub fn is_too_much(&self) -> bool {
        match self {
            Self::Sqlx(sqlx::Error::Database(error)) => error.code().as_deref() == Some("57014"),
            _ => false,
        }
    }
}
