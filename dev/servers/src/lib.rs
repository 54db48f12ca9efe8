//! Private PostgreSQL and RabbitMQ: for the one command that runs everything, for the tests and for the benchmarks. Nothing
//! relies on a server that happens to run on the machine, and nothing is left running.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`guard`] | a process of its own that starts the servers, watches them, and stops them when its parent is gone |
//! | `layout` | where everything lies in a data folder, and as which user the servers run |
//! | `postgres`, `rabbitmq` | how to start each |
//! | `process` | signals and bounded waits |
//! | `install` | finds the servers' programs, or installs them |
//!
//! **Architecture invariant**: this package knows nothing of orders, so it works while the rest does not compile.

pub mod guard;
mod install;
mod layout;
mod postgres;
mod process;
mod rabbitmq;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// The first argument with which an executable is the guard.
pub const GUARD_ARGUMENT: &str = "servers-guard";

/// Longest time that the guard may take to stop its servers.
const STOP_SECONDS_MAX: u64 = 60;

/// What to start, and where.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where data and logs are kept; made where it is not there.
    pub data: PathBuf,
    /// Whether the folder is deleted at the end.
    pub temporary: bool,
    /// 1, or 3 for a cluster.
    pub brokers: usize,
    /// A program, and the first arguments with which it calls [`guard::main`].
    pub guard: Vec<OsString>,
    /// More settings of PostgreSQL (`-c name=value`).
    pub postgres_settings: Vec<(String, String)>,
    pub postgres: bool,
    pub rabbitmq: bool,
}

/// One line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Guard(String),
    #[error("{0}")]
    Missing(String),
    #[error("the guard of the private servers can't be started: {0}")]
    Spawn(#[source] std::io::Error),
    #[error("the private servers have ended unexpectedly")]
    Ended,
    #[error("the private servers did not stop in {STOP_SECONDS_MAX} s: they are killed, and recover at the next start")]
    Stop,
}

/// Where a program is that is needed beside the servers, by tests for instance; it is installed from its Debian package where it is
/// missing and that is possible.
///
/// # Errors
/// With one line that says what to do.
pub fn program(name: &str, package: &str) -> Result<PathBuf, Error> {
    let log = std::env::temp_dir().join("onhand-install.log");
    install::program(name, package, &log, &|_| {}).map_err(|error| Error::Missing(error.to_string()))
}

/// What the guard is told at its start.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Spec {
    data: PathBuf,
    temporary: bool,
    brokers: usize,
    postgres_settings: Vec<(String, String)>,
    postgres: bool,
    rabbitmq: bool,
}

/// What the guard tells, one JSON line each.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Told {
    Progress(String),
    Ready {
        database_url: String,
        amqp_urls: Vec<String>,
    },
    /// The guard ends.
    Error(String),
    /// To what it was asked under this number: what a command has printed, or why it could not be done.
    Answer {
        number: u64,
        result: Result<String, String>,
    },
}

/// What the guard is asked, one JSON line each, with a number: an answer that nobody waits for any more is not taken for
/// another's.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Asked {
    number: u64,
    ask: Ask,
}

/// What the guard does to its servers. For tests of what must survive it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Ask {
    KillBroker(usize),
    StartBroker(usize),
    Rabbitmqctl { index: usize, arguments: Vec<String> },
    KillPostgres,
    StartPostgres,
}

/// Running servers. Dropped, they are stopped by their guard.
#[derive(Debug)]
pub struct Servers {
    guard: Child,
    asks: ChildStdin,
    tells: Lines<BufReader<ChildStdout>>,
    asked: u64,
    database_url: String,
    amqp_urls: Vec<String>,
}

impl Servers {
    /// Starts the servers; `progress` is told what is being done.
    ///
    /// # Errors
    /// In one line that says what to do.
    pub async fn start(options: Options, mut progress: impl FnMut(&str)) -> Result<Self, Error> {
        let spec = Spec {
            data: options.data,
            temporary: options.temporary,
            brokers: options.brokers,
            postgres_settings: options.postgres_settings,
            postgres: options.postgres,
            rabbitmq: options.rabbitmq,
        };
        let spec = serde_json::to_string(&spec).map_err(|error| Error::Guard(error.to_string()))?;
        let (program, arguments) = options.guard.split_first().ok_or(Error::Ended)?;
        let mut guard = Command::new(program)
            .args(arguments)
            .arg(spec)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C reaches the parent alone: the servers are stopped last, in order.
            .process_group(0)
            .spawn()
            .map_err(Error::Spawn)?;
        let (asks, tells) = guard.stdin.take().zip(guard.stdout.take()).ok_or(Error::Ended)?;
        let tells = BufReader::new(tells).lines();
        let mut servers = Self { guard, asks, tells, asked: 0, database_url: String::new(), amqp_urls: Vec::new() };
        loop {
            match servers.told().await {
                Some(Told::Progress(text)) => progress(&text),
                Some(Told::Ready { database_url, amqp_urls }) => {
                    (servers.database_url, servers.amqp_urls) = (database_url, amqp_urls);
                    return Ok(servers);
                }
                Some(Told::Error(text)) => return Err(Error::Guard(text)),
                Some(Told::Answer { .. }) => {}
                None => return Err(Error::Ended),
            }
        }
    }

    /// `postgres://...` of the private database; empty where none was asked for.
    #[must_use]
    pub fn database_url(&self) -> &str {
        &self.database_url
    }

    /// `amqp://...` of each broker; empty where none was asked for.
    #[must_use]
    pub fn amqp_urls(&self) -> &[String] {
        &self.amqp_urls
    }

    /// Stops the servers and waits until they are gone.
    ///
    /// # Errors
    /// Where they do not stop in time.
    pub async fn stop(self) -> Result<(), Error> {
        let Self { mut guard, asks, .. } = self;
        drop(asks);
        match tokio::time::timeout(Duration::from_secs(STOP_SECONDS_MAX), guard.wait()).await {
            Ok(_) => Ok(()),
            Err(_) => {
                guard.kill().await.map_err(Error::Spawn)?;
                Err(Error::Stop)
            }
        }
    }

    /// Waits until a server ends by itself.
    pub async fn exited(&mut self) -> Error {
        loop {
            match self.told().await {
                Some(Told::Error(text)) => return Error::Guard(text),
                Some(Told::Progress(_) | Told::Ready { .. } | Told::Answer { .. }) => {}
                None => return Error::Ended,
            }
        }
    }

    /// Kills a broker, as a crash would.
    ///
    /// # Errors
    /// Where there is no such broker or the guard is gone.
    pub async fn kill_broker(&mut self, index: usize) -> Result<(), Error> {
        self.ask(Ask::KillBroker(index)).await.map(drop)
    }

    /// Starts a killed broker again, at the same address, and waits until it takes connections.
    ///
    /// # Errors
    /// Where it does not start.
    pub async fn start_broker(&mut self, index: usize) -> Result<(), Error> {
        self.ask(Ask::StartBroker(index)).await.map(drop)
    }

    /// Runs `rabbitmqctl` with these arguments against a broker; answers with what it prints. What it prints for people
    /// alone is left out (`--quiet`).
    ///
    /// # Errors
    /// Where the command fails, with its message: the servers run on.
    pub async fn rabbitmqctl(&mut self, index: usize, arguments: &[&str]) -> Result<String, Error> {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        self.ask(Ask::Rabbitmqctl { index, arguments }).await
    }

    /// Kills PostgreSQL, as a crash would.
    ///
    /// # Errors
    /// Where the guard is gone.
    pub async fn kill_postgres(&mut self) -> Result<(), Error> {
        self.ask(Ask::KillPostgres).await.map(drop)
    }

    /// Starts PostgreSQL again, at the same address, and waits until it has recovered.
    ///
    /// # Errors
    /// Where it does not start.
    pub async fn start_postgres(&mut self) -> Result<(), Error> {
        self.ask(Ask::StartPostgres).await.map(drop)
    }

    async fn ask(&mut self, ask: Ask) -> Result<String, Error> {
        self.asked += 1;
        let asked = Asked { number: self.asked, ask };
        let mut line = serde_json::to_vec(&asked).map_err(|error| Error::Guard(error.to_string()))?;
        line.push(b'\n');
        self.asks.write_all(&line).await.map_err(|_| Error::Ended)?;
        loop {
            match self.told().await {
                Some(Told::Answer { number, result }) if number == self.asked => return result.map_err(Error::Guard),
                Some(Told::Error(text)) => return Err(Error::Guard(text)),
                Some(Told::Progress(_) | Told::Ready { .. } | Told::Answer { .. }) => {}
                None => return Err(Error::Ended),
            }
        }
    }

    async fn told(&mut self) -> Option<Told> {
        let line = self.tells.next_line().await.ok().flatten()?;
        Some(serde_json::from_str(&line).unwrap_or(Told::Progress(line)))
    }
}

/// Deletes the servers' data in a folder that no servers are running on.
///
/// # Errors
/// Where servers are running on it or something can't be deleted.
pub fn wipe(data: &Path) -> Result<(), Error> {
    layout::wipe(data).map_err(|error| Error::Guard(format!("{error:#}")))
}

/// Writes a file that its owner alone may read.
///
/// # Errors
/// Where it can't be written.
pub fn write_private(path: &Path, contents: &str) -> std::io::Result<()> {
    layout::write_private(path, contents)
}
