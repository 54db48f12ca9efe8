//! The consumer's settings.

use std::time::Duration;

use common::address::Networks;
use common::config::{Mistakes, Reader, Servers};
use common::event::EventType;

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
    pub webhooks: Webhooks,
    /// What is published at the broker for services inside: nothing where it is empty.
    pub events: Vec<EventType>,
    pub log_json: bool,
}

/// How subscribers are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhooks {
    /// Longest time for an attempt.
    pub timeout: Duration,
    pub schedule: Schedule,
    /// An endpoint of which for so long nothing has come through is disabled.
    pub failing_max: Duration,
    /// For how many days what was delivered, or given up, is kept.
    pub kept_days: i32,
    /// Networks that are not public and may be sent to all the same.
    pub networks: Networks,
}

/// After which attempt how long is waited for the next, in seconds; after the last one it is given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule(pub Vec<u32>);

impl Default for Schedule {
    /// About a day.
    fn default() -> Self {
        Self(vec![5, 5 * 60, 30 * 60, 2 * 3_600, 5 * 3_600, 10 * 3_600, 10 * 3_600])
    }
}

impl Webhooks {
    fn read(reader: &mut Reader<'_>) -> Self {
        const FAILING: &str = "ONHAND_WEBHOOK_FAILING_SECONDS_MAX";
        const SCHEDULE: &str = "ONHAND_WEBHOOK_RETRIES_SECONDS";
        let schedule = reader.text(SCHEDULE).map(|text| {
            let waits = text.split(',').map(|wait| wait.trim().parse().ok().filter(|wait| *wait <= RETRY_SECONDS_MAX));
            waits.collect::<Option<Vec<u32>>>().filter(|waits| waits.len() <= RETRIES_MAX)
        });
        let schedule = match schedule {
            None => Schedule::default(),
            Some(Some(waits)) => Schedule(waits),
            Some(None) => {
                let expected = format!("up to {RETRIES_MAX} numbers from 0 to {RETRY_SECONDS_MAX} are expected");
                reader.mistake(format!("{SCHEDULE}: {expected}, separated by commas"));
                Schedule::default()
            }
        };
        Self {
            timeout: reader.milliseconds("ONHAND_WEBHOOK_TIMEOUT_MS", 15_000, 100, 60_000),
            schedule,
            failing_max: Duration::from_secs(reader.number(FAILING, 5 * 86_400, 1, 365 * 86_400)),
            kept_days: reader.number("ONHAND_WEBHOOK_KEPT_DAYS", 30, 1, 3_650),
            networks: reader.networks("ONHAND_WEBHOOK_NETWORKS"),
        }
    }
}

/// The types of events to publish.
fn events(reader: &mut Reader<'_>) -> Vec<EventType> {
    const EVENTS: &str = "ONHAND_EVENTS";
    let Some(text) = reader.text(EVENTS) else { return Vec::new() };
    let named: Option<Vec<Vec<EventType>>> =
        text.split(',').map(|pattern| EventType::matching(pattern.trim())).collect();
    named.map(|kinds| kinds.concat()).unwrap_or_else(|| {
        let all: Vec<&str> = EventType::published().map(EventType::as_str).collect();
        reader.mistake(format!(
            "{EVENTS}: *, or some of {} are expected, separated by commas; also as order.*",
            all.join(", ")
        ));
        Vec::new()
    })
}

const RETRIES_MAX: usize = 100;
const RETRY_SECONDS_MAX: u32 = 30 * 86_400;

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
            webhooks: Webhooks::read(&mut reader),
            events: events(&mut reader),
            log_json: reader.text("ONHAND_LOG_FORMAT").as_deref() == Some("json"),
        };
        reader.finish(config)
    }
}
