//! A connection that comes back. lapin's own recovery is off: what is lost with a connection (unconfirmed publishes,
//! unacknowledged deliveries) is for its user to settle, so its user is told.

use std::sync::Arc;
use std::time::Duration;

use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{CALL_SECONDS_MAX, Error, Result, Topology};
use crate::retry::Retry;

/// Seconds between heartbeats, where the address does not say: a dead peer is noticed after two.
const HEARTBEAT_SECONDS: u16 = 10;
/// How often a connection's state is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const CLOSE_SECONDS_MAX: u64 = 2;

/// A supervised connection: there, or on its way back.
#[derive(Clone)]
pub struct Link {
    current: watch::Receiver<Option<Arc<Connection>>>,
    suspect: Arc<Notify>,
}

impl Link {
    /// Connects, declares the topology, and does so again whenever the connection is lost, until `stop`.
    ///
    /// # Errors
    /// Where an address is malformed.
    pub fn open(urls: &[SecretString], name: String, topology: Arc<Topology>, stop: CancellationToken) -> Result<Self> {
        Self::open_watched(urls, name, topology, Duration::MAX, stop)
    }

    /// Connects and declares nothing: for who asks about what is there.
    ///
    /// # Errors
    /// Where an address is malformed.
    pub fn open_to_ask(urls: &[SecretString], name: String, stop: CancellationToken) -> Result<Self> {
        Self::start(urls, name, None, Duration::MAX, stop)
    }

    /// The same with heartbeats at least as often as `heartbeat` (whole seconds, 1 at the least): the broker notices within
    /// twice that time that this end is frozen, or gone without a word.
    ///
    /// # Errors
    /// Where an address is malformed.
    pub fn open_watched(
        urls: &[SecretString],
        name: String,
        topology: Arc<Topology>,
        heartbeat: Duration,
        stop: CancellationToken,
    ) -> Result<Self> {
        Self::start(urls, name, Some(topology), heartbeat, stop)
    }

    fn start(
        urls: &[SecretString],
        name: String,
        topology: Option<Arc<Topology>>,
        heartbeat: Duration,
        stop: CancellationToken,
    ) -> Result<Self> {
        let uris = urls.iter().map(|url| parse(url, heartbeat)).collect::<Result<Vec<AMQPUri>>>()?;
        let (sender, current) = watch::channel(None);
        let suspect = Arc::new(Notify::new());
        let link = Self { current, suspect: Arc::clone(&suspect) };
        tokio::spawn(supervise(uris, name, topology, sender, suspect, stop));
        Ok(link)
    }

    /// The connection, where there is one now.
    #[must_use]
    pub fn connection(&self) -> Option<Arc<Connection>> {
        self.current.borrow().clone().filter(|connection| connection.status().connected())
    }

    /// Whether a publish has a chance: connected, and the broker takes messages.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.connection().is_some_and(|connection| !connection.status().blocked())
    }

    /// Waits until there is a connection. Never ends after the link was stopped.
    pub async fn connected(&mut self) -> Arc<Connection> {
        loop {
            let connection = self.current.borrow_and_update().clone();
            if let Some(connection) = connection {
                return connection;
            }
            self.changed().await;
        }
    }

    /// Waits until the connection comes or goes. Never ends after the link was stopped.
    pub async fn changed(&mut self) {
        if self.current.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until there is no connection; returns at once where there is none.
    pub async fn lost(&self) {
        // An error says that the link was stopped: then there is none either.
        drop(self.current.clone().wait_for(Option::is_none).await);
    }

    /// Reports that a connection looks dead: it is closed and made anew. Of an earlier connection it says nothing new.
    pub fn suspect(&self, connection: &Arc<Connection>) {
        if self.current.borrow().as_ref().is_some_and(|current| Arc::ptr_eq(current, connection)) {
            self.suspect.notify_waiters();
        }
    }
}

/// Whether a text is a broker's address.
pub(crate) fn is_address(text: &str) -> bool {
    text.parse::<AMQPUri>().is_ok()
}

fn parse(url: &SecretString, heartbeat: Duration) -> Result<AMQPUri> {
    let mut uri: AMQPUri = url.expose_secret().parse().map_err(Error::Address)?;
    let seconds_max = u16::try_from(heartbeat.as_secs()).unwrap_or(u16::MAX).max(1);
    let seconds = uri.query.heartbeat.unwrap_or(HEARTBEAT_SECONDS);
    // 0 turns heartbeats off: whoever asks for that gets it.
    uri.query.heartbeat = Some(seconds.min(seconds_max));
    Ok(uri)
}

async fn supervise(
    uris: Vec<AMQPUri>,
    name: String,
    topology: Option<Arc<Topology>>,
    current: watch::Sender<Option<Arc<Connection>>>,
    suspect: Arc<Notify>,
    stop: CancellationToken,
) {
    let mut brokers: Vec<Broker> = uris.into_iter().map(|uri| Broker { uri, attempt: None }).collect();
    let mut retry = Retry::default();
    while !stop.is_cancelled() {
        match connect(&mut brokers, &name, topology.as_deref()).await {
            Ok(connection) => {
                tracing::debug!(link = name, "connected to the broker");
                retry.reset();
                let connection = Arc::new(connection);
                // Listened for before anybody has the connection: none of its users can be too early.
                let suspected = suspect.notified();
                tokio::pin!(suspected);
                suspected.as_mut().enable();
                current.send_replace(Some(Arc::clone(&connection)));
                tokio::select! {
                    () = until_lost(&connection) => {},
                    () = suspected => {},
                    () = stop.cancelled() => {},
                }
                current.send_replace(None);
                close(&connection).await;
                if !stop.is_cancelled() {
                    tracing::warn!(link = name, "the connection to the broker was lost");
                }
            }
            Err(error) => {
                let wait = retry.next_wait();
                tracing::warn!(
                    link = name,
                    error = &error as &dyn std::error::Error,
                    ?wait,
                    "no connection to the broker"
                );
                // With several brokers, the next attempt begins with another one.
                brokers.rotate_left(1);
                tokio::select! { () = tokio::time::sleep(wait) => {}, () = stop.cancelled() => {} }
            }
        }
    }
}

/// A broker's address, with the attempt to connect to it that has not ended: one that takes the connection and then says
/// nothing. It is waited for again instead of being dropped, since lapin would keep its thread and its socket for ever.
struct Broker {
    uri: AMQPUri,
    attempt: Option<JoinHandle<lapin::Result<Connection>>>,
}

impl Broker {
    async fn connect(&mut self, name: &str) -> Result<Connection> {
        let attempt = self.attempt.get_or_insert_with(|| {
            let (uri, name) = (self.uri.clone(), name.to_owned());
            let properties = ConnectionProperties::default().with_connection_name(name.into());
            tokio::spawn(async move { Connection::connect_uri(uri, properties).await })
        });
        let limit = Duration::from_secs(CALL_SECONDS_MAX);
        let ended = tokio::time::timeout(limit, attempt).await.map_err(|_| Error::TimedOut)?;
        self.attempt = None;
        ended.map_err(|_| Error::TimedOut)?.map_err(Error::from)
    }
}

async fn connect(brokers: &mut [Broker], name: &str, topology: Option<&Topology>) -> Result<Connection> {
    let mut last = Error::TimedOut;
    for broker in brokers {
        match broker.connect(name).await {
            Ok(connection) => {
                if let Some(topology) = topology {
                    topology.declare(&connection).await?;
                }
                return Ok(connection);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn until_lost(connection: &Connection) {
    while connection.status().connected() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn close(connection: &Connection) {
    let closing = connection.close(200, "closing".into());
    match tokio::time::timeout(Duration::from_secs(CLOSE_SECONDS_MAX), closing).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "the connection was closed already"),
        Err(_) => tracing::debug!("the broker did not answer the close"),
    }
}
