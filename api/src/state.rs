//! What all requests share.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use common::db::setup::Settings;
use common::db::{self, PgConnection, PgPool};
use common::ids::OrderIds;
use common::queue::Publisher;
use common::steps::Steps;
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::auth::Keys;
use crate::commands::Decide;
use crate::error::Error;
use crate::live::Live;
use crate::recent::RecentKeys;
use crate::waiters::Waiters;
use crate::{Config, Way};

/// Most catalogues that one api imports at once: each is held in memory.
const IMPORTS_MAX: usize = 2;

/// Everything that a handler may need.
pub(crate) struct State {
    pub(crate) config: Config,
    pub(crate) partitions: u16,
    pub(crate) ids: OrderIds,
    pub(crate) publisher: Publisher,
    pub(crate) keys: Keys,
    pub(crate) recent_keys: RecentKeys,
    pub(crate) waiters: Waiters,
    /// Where outcomes for this instance are sent.
    pub(crate) reply_queue: String,
    pub(crate) live: Live,
    /// Catalogues that may be imported at once.
    pub(crate) imports: Arc<Semaphore>,
    pub(crate) steps: Steps,
    /// Who decides instead of the consumers.
    pub(crate) decider: Option<Arc<dyn Decide>>,
    /// Set when the api is told to stop: what would go on for ever ends.
    pub(crate) stopping: CancellationToken,
    pool: PgPool,
}

impl State {
    pub(crate) fn new(
        config: Config,
        settings: &Settings,
        publisher: Publisher,
        pool: PgPool,
        reply_queue: String,
        ((steps, decider), stopping): (Way, CancellationToken),
    ) -> Self {
        Self {
            config,
            partitions: settings.partitions,
            ids: OrderIds::new(&settings.id_key, rand::random()),
            publisher,
            keys: Keys::default(),
            recent_keys: RecentKeys::default(),
            waiters: Waiters::default(),
            reply_queue,
            live: Live::default(),
            imports: Arc::new(Semaphore::new(IMPORTS_MAX)),
            steps,
            decider,
            stopping,
            pool,
        }
    }

    /// Reads from the database, or writes what holds no stock, within [`Config::database_wait`]. The read runs in a task of its own: a client that hangs
    /// up does not cut it off half way and leave the pooled connection in doubt. A connection that does not answer in time
    /// is closed: it would take up room in the pool for as long as the network's own limits.
    pub(crate) async fn read<T, F>(&self, read: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, db::Result<T>> + Send + 'static,
    {
        let (pool, wait) = (self.pool.clone(), self.config.database_wait);
        let reading = tokio::spawn(async move {
            let mut connection = pool.acquire().await?;
            match tokio::time::timeout(wait, read(&mut connection)).await {
                Ok(read) => read,
                Err(_) => {
                    connection.close_on_drop();
                    Err(db::Error::TimedOut)
                }
            }
        });
        reading.await.map_err(|panic| Error::Internal(panic.to_string()))?.map_err(Error::Database)
    }
}

/// Longest wait for the database where the request goes on without it.
const SOON: Duration = Duration::from_millis(500);

impl State {
    /// The same as [`State::read`], bounded more closely: for what a request can do without.
    pub(crate) async fn read_soon<T, F>(&self, read: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, db::Result<T>> + Send + 'static,
    {
        let reading = tokio::time::timeout(SOON, self.read(read));
        reading.await.unwrap_or(Err(Error::Database(db::Error::TimedOut)))
    }
}

/// The state, once the store has been reached.
#[derive(Default)]
pub(crate) struct Slot(OnceLock<Arc<State>>);

impl Slot {
    pub(crate) fn fill(&self, state: Arc<State>) {
        if self.0.set(state).is_err() {
            tracing::error!("the state was filled twice");
        }
    }

    pub(crate) fn get(&self) -> Option<&Arc<State>> {
        self.0.get()
    }
}

/// The state for a handler; `503` until the store has been reached.
pub(crate) struct App(pub(crate) Arc<State>);

impl FromRequestParts<Arc<Slot>> for App {
    type Rejection = Error;

    async fn from_request_parts(_: &mut Parts, slot: &Arc<Slot>) -> Result<Self, Error> {
        slot.get().map(|state| Self(Arc::clone(state))).ok_or(Error::Starting)
    }
}
