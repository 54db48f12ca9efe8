//! The api's settings.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use common::address::Networks;
use common::config::{Mistakes, Reader, Servers};
use common::db::customers::Tier;
use common::domain::WINDOW_SECONDS_MAX;
use common::queue::PublisherLimits;

/// Everything that the api is told. See `.env.example`.
#[derive(Debug, Clone)]
pub struct Config {
    pub servers: Servers,
    pub http_address: SocketAddr,
    pub publisher: PublisherLimits,
    /// Largest body of a request; past it `413`.
    pub body_bytes_max: usize,
    /// Largest catalogue that is imported at once; past it `413`.
    pub import_bytes_max: usize,
    /// Longest `Prefer: wait` that is honoured; a longer wish is cut to it.
    pub wait_max: Duration,
    /// After this an id that was never decided is not pending any more but unknown.
    pub pending_max: Duration,
    pub database_connections_max: u32,
    /// Longest wait for the database to answer one read.
    pub database_wait: Duration,
    /// How often known keys are looked up again: how long a revoked one still works at the most.
    pub keys_refresh_every: Duration,
    pub windows: Windows,
    /// Most listeners to live stock at once; past it `503`.
    pub listeners_max: usize,
    /// Networks that are not public and that webhooks may be sent to all the same.
    pub webhook_networks: Networks,
    pub log_json: bool,
}

/// How long stock is reserved, in seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Windows {
    /// For an order that is to be paid by no method in particular.
    pub payment: u32,
    pub by_method: BTreeMap<String, u32>,
    pub reservation: u32,
    /// Of the above, for customers of the priority tier.
    pub priority_percent: u32,
}

impl Windows {
    fn read(reader: &mut Reader<'_>) -> Self {
        const METHODS: &str = "ONHAND_PAYMENT_WINDOWS_SECONDS";
        let mut by_method = BTreeMap::new();
        for pair in reader.text(METHODS).unwrap_or_default().split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let window = pair.split_once(':').and_then(|(method, seconds)| {
                let seconds =
                    seconds.trim().parse().ok().filter(|seconds| (1..=WINDOW_SECONDS_MAX).contains(seconds))?;
                Some((method.trim().to_owned(), seconds))
            });
            match window {
                Some((method, seconds)) => by_method.insert(method, seconds),
                None => {
                    let expected = format!("METHOD:SECONDS with 1 to {WINDOW_SECONDS_MAX} seconds is expected");
                    reader.mistake(format!("{METHODS} holds {pair:?}: {expected}"));
                    continue;
                }
            };
        }
        Self {
            payment: reader.number("ONHAND_PAYMENT_WINDOW_SECONDS", 900, 1, WINDOW_SECONDS_MAX),
            by_method,
            reservation: reader.number("ONHAND_RESERVATION_WINDOW_SECONDS", 900, 1, WINDOW_SECONDS_MAX),
            priority_percent: reader.number("ONHAND_PRIORITY_WINDOW_PERCENT", 200, 100, 10_000),
        }
    }

    /// For an order that is to be paid.
    #[must_use]
    pub fn payment(&self, method: Option<&str>, tier: Tier) -> u32 {
        let window = method.and_then(|method| self.by_method.get(method)).copied().unwrap_or(self.payment);
        self.of_tier(window, tier)
    }

    /// For a reservation.
    #[must_use]
    pub fn reservation(&self, tier: Tier) -> u32 {
        self.of_tier(self.reservation, tier)
    }

    fn of_tier(&self, window: u32, tier: Tier) -> u32 {
        match tier {
            Tier::Standard => window,
            Tier::Priority => {
                let longer = u64::from(window) * u64::from(self.priority_percent) / 100;
                u32::try_from(longer).unwrap_or(u32::MAX).min(WINDOW_SECONDS_MAX)
            }
        }
    }
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
            import_bytes_max: reader.number("ONHAND_IMPORT_BYTES_MAX", 64 << 20, 1_024, 1 << 30),
            wait_max: seconds(&mut reader, "ONHAND_WAIT_SECONDS_MAX", 30, 300),
            pending_max: seconds(&mut reader, "ONHAND_PENDING_SECONDS_MAX", 86_400, 31_536_000),
            database_connections_max: reader.number("ONHAND_DATABASE_CONNECTIONS_MAX", 10, 1, 1_000),
            database_wait: reader.milliseconds("ONHAND_DATABASE_WAIT_MS", 2_000, 50, 60_000),
            keys_refresh_every: reader.milliseconds("ONHAND_KEYS_REFRESH_MS", 2_000, 50, 60_000),
            windows: Windows::read(&mut reader),
            listeners_max: reader.number("ONHAND_LISTENERS_MAX", 10_000, 1, 1_000_000),
            webhook_networks: reader.networks("ONHAND_WEBHOOK_NETWORKS"),
            log_json: reader.text("ONHAND_LOG_FORMAT").as_deref() == Some("json"),
        };
        reader.finish(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_by_method_and_longer_for_the_priority_tier() {
        let lookup = |name: &str| match name {
            "ONHAND_PAYMENT_WINDOWS_SECONDS" => Some("card:600, bank-transfer:86400".to_owned()),
            "ONHAND_PRIORITY_WINDOW_PERCENT" => Some("150".to_owned()),
            _ => None,
        };
        let windows = Windows::read(&mut Reader::new(&lookup));
        for (method, tier, expected) in [
            (None, Tier::Standard, 900),
            (Some("card"), Tier::Standard, 600),
            (Some("bank-transfer"), Tier::Priority, 129_600),
            (Some("another"), Tier::Priority, 1_350),
        ] {
            assert_eq!(windows.payment(method, tier), expected, "{method:?} {tier:?}");
        }
        assert_eq!((windows.reservation(Tier::Standard), windows.reservation(Tier::Priority)), (900, 1_350));
    }

    #[test]
    fn a_window_that_is_none_is_a_mistake() {
        for text in ["card", "card:", "card:0", "card:99999999999", "card:10,cash:x"] {
            let lookup = |name: &str| (name == "ONHAND_PAYMENT_WINDOWS_SECONDS").then(|| text.to_owned());
            let mut reader = Reader::new(&lookup);
            Windows::read(&mut reader);
            assert!(reader.finish(()).is_err(), "{text}");
        }
    }
}
