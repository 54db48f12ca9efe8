//! The api: takes commands, publishes them, and tells what came of them.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`config`] | its settings |
//! | `state` | what all requests share |
//! | `auth` | whose key it is, without a look into the database on the hot path |
//! | [`keys`] | making and ending keys |
//! | `extract` | bodies and headers, each mistake told with its place |
//! | `answer` | what the answers to commands have in common |
//! | `error` | every error as a problem (RFC 9457) |
//! | `checks` | what is wrong with a request of the expected shape, all at once |
//! | `import` | whole catalogues, sent in |
//! | `live` | stock as it changes, for those who listen |
//! | `catalogue` | the bounds of what the catalogue takes |
//! | `delivery` | where an order goes, as requests say it |
//! | `page` | lists by pages |
//! | `commands` | sending a command and waiting for what comes of it |
//! | `recent` | idempotency keys that were just seen |
//! | `waiters` | requests that wait for an outcome |
//! | `routes` | one folder per noun, one file per verb |
//!
//! **Architecture invariants**: accepting an order touches no database once its caller's key is known, save to look whether
//! an idempotency key is decided or whose tier a customer has, and never depends on it. A `202` is sent only after the broker has
//! confirmed. No handler writes to the database what holds stock.

mod answer;
mod auth;
mod catalogue;
mod checks;
mod commands;
pub mod config;
mod delivery;
mod error;
mod extract;
mod import;
pub mod keys;
mod live;
mod page;
mod problems;
pub mod program;
mod recent;
mod routes;
mod state;
mod waiters;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::db;
use common::program::settings as read_settings;
use common::queue::{Link, Publisher, Topology, listen, reply_queue};
use common::steps::Steps;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use commands::Decide;
pub use config::Config;

use state::State;

/// What keeps the api from starting. Everything later is retried.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{address} can't be listened on: stop what uses it, or name another address")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("the store can't be used")]
    Store(#[source] db::Error),
    #[error("the broker's settings can't be used")]
    Broker(#[source] common::queue::Error),
    #[error("requests can't be served")]
    Serve(#[source] std::io::Error),
    /// Started again, it knows the new number.
    #[error("the store's number of partitions was changed from {from} to {to}: start again")]
    Resized { from: u16, to: u16 },
}

/// Where a program under test stops, and who decides instead of the consumers.
type Way = (Steps, Option<Arc<dyn Decide>>);

/// How long requests at hand may take to end once the api is told to stop.
const STOP_SECONDS_MAX: u64 = 20;

/// Serves until `stop`; then takes no new connections, answers the requests at hand, and ends.
///
/// It listens at once: until the store has been reached, `/livez` answers and everything else is `503`.
///
/// # Errors
/// Where the store was set up otherwise than configured, or is changed meanwhile.
pub async fn run(config: Config, listener: TcpListener, steps: Steps, stop: CancellationToken) -> Result<(), Error> {
    serve(config, listener, (steps, None), stop).await
}

/// Serves with commands decided by somebody else than the consumers: the same requests, checks and answers, so that another way to
/// decide can be compared.
///
/// # Errors
/// As [`run`].
pub async fn run_with(
    config: Config,
    listener: TcpListener,
    decider: Arc<dyn Decide>,
    stop: CancellationToken,
) -> Result<(), Error> {
    serve(config, listener, (Steps::none(), Some(decider)), stop).await
}

async fn serve(config: Config, listener: TcpListener, way: Way, stop: CancellationToken) -> Result<(), Error> {
    let slot = Arc::new(state::Slot::default());
    let router = routes::router(Arc::clone(&slot), config.body_bytes_max);
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "listening");
    }
    let background = CancellationToken::new();
    let stop = stop.child_token();
    let prepare = async {
        let result = prepare(&config, &slot, way, &background, &stop).await;
        if result.is_err() {
            stop.cancel();
        }
        result
    };
    let watch = async {
        let result = watch(&config, &slot, &stop).await;
        stop.cancel();
        result
    };
    let serve = async {
        let serving = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
        let bounded = async {
            stop.cancelled().await;
            tokio::time::sleep(Duration::from_secs(STOP_SECONDS_MAX)).await;
        };
        tokio::select! { served = serving => served.map_err(Error::Serve), () = bounded => Ok(()) }
    };
    let (prepared, watched, served) = tokio::join!(prepare, watch, serve);
    background.cancel();
    prepared.and(watched).and(served)
}

/// Looks every [`Config::keys_refresh_every`] whether the store's number of partitions was changed: what is published for the
/// old ones might be decided by another writer than the rest of its product. While the database is away nothing is known.
async fn watch(config: &Config, slot: &state::Slot, stop: &CancellationToken) -> Result<(), Error> {
    loop {
        tokio::select! {
            () = tokio::time::sleep(config.keys_refresh_every) => {},
            () = stop.cancelled() => return Ok(()),
        }
        let Some(state) = slot.get() else { continue };
        match state.read(|c| Box::pin(async move { db::setup::settings(c, None).await })).await {
            Ok(settings) if settings.partitions != state.partitions => {
                return Err(Error::Resized { from: state.partitions, to: settings.partitions });
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(?error, "the store's settings could not be read again"),
        }
    }
}

/// Reaches the store, then opens the way to the broker.
async fn prepare(
    config: &Config,
    slot: &state::Slot,
    way: Way,
    background: &CancellationToken,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let settings = read_settings(&config.servers, "onhand-api", stop).await.map_err(Error::Store)?;
    let Some(settings) = settings else { return Ok(()) };
    let instance = Uuid::now_v7();
    let topology = Arc::new(Topology::new(&config.servers.queues, settings.partitions));
    let open = |purpose: &str| {
        let name = format!("onhand api {instance} ({purpose})");
        Link::open(&config.servers.amqp_urls, name, Arc::clone(&topology), background.clone()).map_err(Error::Broker)
    };
    let publisher = Publisher::start(&open("commands")?, &topology, config.publisher);
    let servers = &config.servers;
    let limits = db::Limits { statement: config.database_wait, lock: config.database_wait, ..db::Limits::default() };
    let pool =
        db::pool(&servers.database_url, "onhand-api", limits, config.database_connections_max, config.database_wait)
            .map_err(Error::Store)?;
    let replies = reply_queue(&topology, instance);
    let state = Arc::new(State::new(config.clone(), &settings, publisher, pool, replies.clone(), (way, stop.clone())));
    let hear = Arc::clone(&state);
    tokio::spawn(listen(open("replies")?, replies, background.clone(), move |reply| hear.waiters.hear(reply)));
    tokio::spawn(waiters::look_up(Arc::clone(&state), background.clone()));
    tokio::spawn(auth::refresh(Arc::clone(&state), background.clone()));
    tokio::spawn(live::read(Arc::clone(&state), background.clone()));
    slot.fill(state);
    tracing::info!(api.instance = %instance, partitions = settings.partitions, "api started");
    Ok(())
}
