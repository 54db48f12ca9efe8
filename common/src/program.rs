//! What the two programs' `main` have in common: runtime, logs, signals, and an error told on one line.

use std::fmt::Display;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::{Mistakes, Servers};
use crate::retry::Retry;
use crate::{db, telemetry};

/// What ends a program before its time.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

const CONNECT_SECONDS_MAX: u64 = 10;

/// The programs make and drop much that is small, on several threads: the system's allocator took a sixth of the api's time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Reads the settings, starts logging and a runtime, runs `body`, and tells what went wrong.
pub fn run<C>(
    read: impl FnOnce() -> Result<C, Mistakes>,
    log_json: impl FnOnce(&C) -> bool,
    body: impl AsyncFnOnce(C) -> Result<(), Failure>,
) -> ExitCode {
    let config = match read() {
        Ok(config) => config,
        Err(mistakes) => return fail(&mistakes),
    };
    telemetry::init(log_json(&config));
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    match runtime.block_on(body(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&chain(error.as_ref())),
    }
}

/// Cancels `stop` on SIGINT (Ctrl-C) and SIGTERM.
///
/// # Errors
/// Where the signals can't be listened for.
pub fn stop_on_signals(stop: CancellationToken) -> std::io::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::spawn(async move {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        stop.cancel();
    });
    Ok(())
}

/// Brings the schema up to date and sets the store up.
///
/// # Errors
/// Where the database is away or was set up otherwise.
pub async fn migrate(servers: &Servers) -> Result<(), Failure> {
    // A migration may take its time; the limits are for orders.
    let limits = db::Limits { statement: Duration::ZERO, ..db::Limits::default() };
    let wait = Duration::from_secs(CONNECT_SECONDS_MAX);
    let mut connection = db::connect(&servers.database_url, "onhand-migrate", limits, wait).await?;
    let settings = db::setup::migrate(&mut connection, servers.partitions).await?;
    tracing::info!(partitions = settings.partitions, "the store is up to date");
    Ok(())
}

/// Reads the store's settings, waiting for the database and for its migration; `None` where `stop` came first.
///
/// # Errors
/// Where the store was set up otherwise than configured.
pub async fn settings(
    servers: &Servers,
    name: &str,
    stop: &CancellationToken,
) -> db::Result<Option<db::setup::Settings>> {
    let mut retry = Retry::default();
    loop {
        let wait = Duration::from_secs(CONNECT_SECONDS_MAX);
        let read = async {
            let mut connection = db::connect(&servers.database_url, name, db::Limits::default(), wait).await?;
            db::setup::settings(&mut connection, servers.partitions).await
        };
        match read.await {
            Ok(settings) => return Ok(Some(settings)),
            Err(error @ db::Error::OtherPartitions { .. }) => return Err(error),
            Err(error) => {
                let wait = retry.next_wait();
                tracing::warn!(error = &error as &dyn std::error::Error, ?wait, "the store is not there yet");
                tokio::select! { () = tokio::time::sleep(wait) => {}, () = stop.cancelled() => return Ok(None) }
            }
        }
    }
}

/// An error with its causes on one line. A cause that its effect has told already is left out: not every library keeps to
/// telling each once.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    for cause in std::iter::successors(error.source(), |cause| cause.source()).map(ToString::to_string) {
        if !told.ends_with(&cause) {
            told.push_str(": ");
            told.push_str(&cause);
        }
    }
    told
}

fn fail(error: &dyn Display) -> ExitCode {
    // Not through the log, which may not have been started.
    eprintln!("error: {error}");
    ExitCode::FAILURE
}
