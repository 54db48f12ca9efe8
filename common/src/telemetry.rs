//! Structured logs on standard error: lines for people, or JSON with `ONHAND_LOG_FORMAT=json`; filtered by `RUST_LOG`
//! (default `info`). Field names are the same everywhere: `order.id`, `partition`, `epoch`, `batch.len`.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Installs the subscriber. A second call does nothing.
pub fn init(json: bool) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,lapin=off,sqlx=warn,tower=warn,hyper=warn"));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let installed = if json { logs.json().try_init() } else { logs.try_init() };
    if installed.is_err() {
        tracing::debug!("a subscriber was installed before");
    }
}
