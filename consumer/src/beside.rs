//! What those share who work beside the writer: connections, and how they are woken.

use std::time::Duration;

use common::db::{self, PgConnection};
use tokio::sync::Notify;

use crate::Config;

const CONNECT_SECONDS_MAX: u64 = 5;
/// Longest time for a piece of work at the database, whatever its own limits say: the network may be gone half way.
pub(crate) const WORK_LIMIT: Duration = Duration::from_secs(20);

/// What is decided close together is told together: it is waited so long for more.
pub(crate) const GATHER: Duration = Duration::from_millis(5);

/// Says that something was decided, to those who tell of it.
#[derive(Debug, Default)]
pub(crate) struct Decided {
    pub(crate) webhooks: Notify,
    pub(crate) events: Notify,
}

impl Decided {
    pub(crate) fn wake(&self) {
        self.webhooks.notify_one();
        self.events.notify_one();
    }
}

/// The connection at hand, or a new one.
pub(crate) async fn connected<'a>(
    config: &Config,
    connection: &'a mut Option<PgConnection>,
    name: &str,
) -> db::Result<&'a mut PgConnection> {
    if connection.is_none() {
        let (url, wait) = (&config.servers.database_url, Duration::from_secs(CONNECT_SECONDS_MAX));
        // Whoever publishes what a transaction has read may take longer than a writer.
        let limits = db::Limits { idle_in_transaction: WORK_LIMIT, ..db::Limits::default() };
        *connection = Some(db::connect(url, name, limits, wait).await?);
    }
    connection.as_mut().ok_or(db::Error::TimedOut)
}
