//! A system under load: Onhand, or a baseline behind the same api; each part a process of its own.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::ValueEnum;
use serde::Serialize;
use tokio::process::{Child, Command};

use crate::baseline;
use crate::bench::Store;
use crate::load::Connection;

pub(crate) const API: &str = "api";
pub(crate) const CONSUMER: &str = "consumer";

const READY_WAIT: Duration = Duration::from_secs(60);
const STOP_WAIT: Duration = Duration::from_secs(60);

/// Who decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Who {
    /// Onhand as it is
    Onhand,
    /// Onhand with batches of one and no message shared
    Unbatched,
    /// `SELECT … FOR UPDATE`, a transaction per order
    ForUpdate,
    /// `UPDATE … WHERE stock >= quantity`
    Guarded,
    /// A version column, three retries with backoff
    Optimistic,
    /// Serializable transactions, with retries
    Serializable,
}

impl Who {
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Whether it decides in a transaction per order, in the request.
    pub(crate) fn is_baseline(self) -> bool {
        !matches!(self, Self::Onhand | Self::Unbatched)
    }
}

/// How large a system is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Shape {
    pub(crate) consumers: usize,
    /// Connections of a baseline: it decides so many orders at once.
    pub(crate) pool: u32,
}

impl Default for Shape {
    fn default() -> Self {
        Self { consumers: 1, pool: 16 }
    }
}

/// A running system.
pub(crate) struct System {
    pub(crate) address: SocketAddr,
    pub(crate) key: String,
    pub(crate) api: Child,
    pub(crate) consumers: Vec<Child>,
    who: Who,
    settings: Vec<(&'static str, String)>,
    log: File,
}

impl System {
    pub(crate) async fn start(store: &Store, who: Who, shape: Shape) -> anyhow::Result<Self> {
        let mut system = Self::start_api(store, who, shape).await?;
        if !who.is_baseline() {
            for _ in 0..shape.consumers {
                system.start_consumer()?;
            }
        }
        system.until_deciding(store).await?;
        Ok(system)
    }

    /// Without anybody who decides: what is accepted waits.
    pub(crate) async fn start_api(store: &Store, who: Who, shape: Shape) -> anyhow::Result<Self> {
        let port = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let log = File::options().create(true).append(true).open(&store.log)?;
        let mut settings = vec![
            ("DATABASE_URL", store.database_url.clone()),
            ("AMQP_URL", store.amqp_url.clone()),
            ("ONHAND_HTTP", address.to_string()),
            ("ONHAND_QUEUE_PREFIX", store.name.clone()),
            ("RUST_LOG", "warn".to_owned()),
        ];
        if who == Who::Unbatched {
            settings.push(("ONHAND_BATCH_COMMANDS_MAX", "1".to_owned()));
            settings.push(("ONHAND_MESSAGE_COMMANDS_MAX", "1".to_owned()));
        }
        let arguments = match who {
            Who::Onhand | Who::Unbatched => vec![API.to_owned()],
            baseline => vec![baseline::ARGUMENT.to_owned(), baseline.name(), shape.pool.to_string()],
        };
        let api = spawn(&arguments, &settings, &log)?;
        let system = Self { address, key: store.key.clone(), api, consumers: Vec::new(), who, settings, log };
        system.until_ready().await?;
        Ok(system)
    }

    pub(crate) fn start_consumer(&mut self) -> anyhow::Result<()> {
        let name = format!("consumer-{}", self.consumers.len() + 1);
        let mut settings = self.settings.clone();
        settings.push(("ONHAND_CONSUMER_NAME", name));
        self.consumers.push(spawn(&[CONSUMER.to_owned()], &settings, &self.log)?);
        Ok(())
    }

    async fn until_ready(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_WAIT;
        loop {
            if let Ok(mut connection) = Connection::open(self.address, &self.key).await
                && let Ok(answer) = connection.send("GET", "/readyz", &[], String::new()).await
                && answer.status == 200
            {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < deadline, "the api was not ready within {READY_WAIT:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Until an order of every partition is decided.
    async fn until_deciding(&self, store: &Store) -> anyhow::Result<()> {
        if store.products.ids.len() < 2 || self.who.is_baseline() {
            return Ok(());
        }
        let mut connection = Connection::open(self.address, &self.key).await?;
        for id in store.products.ids.iter().take(100) {
            let body = format!(r#"{{"items":[{{"productId":"{id}","qty":1}}]}}"#);
            let answer = connection.order(body, true).await?;
            anyhow::ensure!(answer.status == 201, "an order was answered with {}", answer.status);
        }
        Ok(())
    }

    /// Imports a catalogue and waits until it is there.
    pub(crate) async fn import(&self, catalogue: &str, limit: Duration) -> anyhow::Result<()> {
        let mut connection = Connection::open(self.address, &self.key).await?;
        let headers = [("content-type", "text/csv"), ("idempotency-key", "bench")];
        let deadline = Instant::now() + limit;
        loop {
            let answer = connection.send("POST", "/imports", &headers, catalogue.to_owned()).await?;
            match answer.status {
                200 => return Ok(()),
                202 | 503 => tokio::time::sleep(Duration::from_millis(200)).await,
                status => anyhow::bail!("the catalogue was refused: {status}"),
            }
            anyhow::ensure!(Instant::now() < deadline, "the catalogue was not loaded within {limit:?}");
        }
    }

    /// Stops every part in order, as an operator would.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        for mut child in std::iter::once(self.api).chain(self.consumers) {
            // It ends when its standard input does.
            drop(child.stdin.take());
            let stopped = tokio::time::timeout(STOP_WAIT, child.wait()).await;
            stopped.context("a part did not stop in time")??;
        }
        Ok(())
    }
}

fn spawn(arguments: &[String], settings: &[(&'static str, String)], log: &File) -> anyhow::Result<Child> {
    Ok(Command::new(std::env::current_exe()?)
        .args(arguments)
        .envs(settings.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log.try_clone()?)
        .kill_on_drop(true)
        .spawn()?)
}
