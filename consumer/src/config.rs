//! The consumer's settings.

use std::time::Duration;

use common::config::{Mistakes, Reader, Servers};

use crate::lease::ROUNDS_IN_LEASE;

/// Everything that a consumer is told. See `.env.example`.
#[derive(Debug, Clone)]
pub struct Config {
    pub servers: Servers,
    /// For people, in logs and tables.
    pub name: String,
    /// How long a lease holds without being renewed: how long the partitions of a killed consumer stand still.
    pub lease: Duration,
    pub renew_every: Duration,
    /// Most commands decided in one transaction.
    pub batch_commands_max: usize,
    /// Longest wait for more commands while there is load; a lone one waits for nothing.
    pub batch_linger: Duration,
    /// How long a batch should take at the most: after one that took longer the next is smaller.
    pub batch_target: Duration,
    /// Most unacknowledged messages of one partition; each may hold many commands.
    pub prefetch: u16,
    /// How often reservations that are due are looked for.
    pub expiry_every: Duration,
    /// Most reservations that are released in one transaction.
    pub expiry_orders_max: u32,
    pub log_json: bool,
}

impl Config {
    /// Reads the settings.
    ///
    /// # Errors
    /// With every mistake at once.
    pub fn read(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, Mistakes> {
        let mut reader = Reader::new(lookup);
        let lease = reader.milliseconds("ONHAND_LEASE_MS", 5_000, 500, 60_000);
        let renew_every = reader.milliseconds("ONHAND_LEASE_RENEW_MS", 1_000, 50, 20_000);
        if renew_every * ROUNDS_IN_LEASE > lease {
            reader.mistake(format!("ONHAND_LEASE_RENEW_MS is more than ONHAND_LEASE_MS / {ROUNDS_IN_LEASE}"));
        }
        let config = Self {
            servers: Servers::read(&mut reader),
            name: reader.text("ONHAND_CONSUMER_NAME").unwrap_or_else(|| format!("consumer-{}", std::process::id())),
            lease,
            renew_every,
            batch_commands_max: reader.number("ONHAND_BATCH_COMMANDS_MAX", 1_000, 1, 10_000),
            batch_linger: reader.milliseconds("ONHAND_BATCH_LINGER_MS", 0, 0, 100),
            batch_target: reader.milliseconds("ONHAND_BATCH_TARGET_MS", 250, 10, 5_000),
            prefetch: reader.number("ONHAND_PREFETCH", 100, 1, 2_000),
            expiry_every: reader.milliseconds("ONHAND_EXPIRY_MS", 500, 10, 2_000),
            expiry_orders_max: reader.number("ONHAND_EXPIRY_ORDERS_MAX", 1_000, 1, 10_000),
            log_json: reader.text("ONHAND_LOG_FORMAT").as_deref() == Some("json"),
        };
        reader.finish(config)
    }
}
