//! The api's settings.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use common::config::{Mistakes, Reader, Servers};
use common::queue::PublisherLimits;

/// Everything that the api is told. See `.env.example`.
#[derive(Debug, Clone)]
pub struct Config {
    pub servers: Servers,
    pub http_address: SocketAddr,
    pub publisher: PublisherLimits,
    /// Largest body of a request; past it `413`.
    pub body_bytes_max: usize,
    /// Longest `Prefer: wait` that is honoured; a longer wish is cut to it.
    pub wait_max: Duration,
    /// After this an id that was never decided is not pending any more but unknown.
    pub pending_max: Duration,
    pub database_connections_max: u32,
    /// Longest wait for the database to answer one read.
    pub database_wait: Duration,
    /// How often known keys are looked up again: how long a revoked one still works at the most.
    pub keys_refresh_every: Duration,
    pub log_json: bool,
}

impl Config {
    /// Reads the settings.
    ///
    /// # Errors
    /// With every mistake at once.
    pub fn read(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, Mistakes> {
        let mut reader = Reader::new(lookup);
        let default = PublisherLimits::default();
        let publisher = PublisherLimits {
            in_flight_max: reader.number("ONHAND_IN_FLIGHT_MAX", default.in_flight_max, 1, 1_000_000),
            message_commands_max: reader.number("ONHAND_MESSAGE_COMMANDS_MAX", default.message_commands_max, 1, 4_096),
            message_bytes_max: reader.number("ONHAND_MESSAGE_BYTES_MAX", default.message_bytes_max, 1, 16 << 20),
            confirm: reader.milliseconds("ONHAND_CONFIRM_MS", 3_000, 100, 60_000),
        };
        let seconds = |reader: &mut Reader<'_>, name: &str, default: u64, most: u64| {
            Duration::from_secs(reader.number(name, default, 1, most))
        };
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
        let config = Self {
            servers: Servers::read(&mut reader),
            http_address: reader
                .parsed("ONHAND_HTTP", "127.0.0.1:8080", "an address such as 0.0.0.0:8080")
                .unwrap_or(any),
            publisher,
            body_bytes_max: reader.number("ONHAND_BODY_BYTES_MAX", 64 * 1024, 1_024, 16 << 20),
            wait_max: seconds(&mut reader, "ONHAND_WAIT_SECONDS_MAX", 30, 300),
            pending_max: seconds(&mut reader, "ONHAND_PENDING_SECONDS_MAX", 86_400, 31_536_000),
            database_connections_max: reader.number("ONHAND_DATABASE_CONNECTIONS_MAX", 10, 1, 1_000),
            database_wait: reader.milliseconds("ONHAND_DATABASE_WAIT_MS", 2_000, 50, 60_000),
            keys_refresh_every: reader.milliseconds("ONHAND_KEYS_REFRESH_MS", 2_000, 50, 60_000),
            log_json: reader.text("ONHAND_LOG_FORMAT").as_deref() == Some("json"),
        };
        reader.finish(config)
    }
}
