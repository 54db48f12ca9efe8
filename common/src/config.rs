//! Settings from the environment. Each program reads all of its settings at start and reports all mistakes at once.
//! `.env.example` names every variable with its default and unit.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use crate::address::Networks;
use secrecy::SecretString;

/// Reads variables and collects what is wrong with them.
pub struct Reader<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    mistakes: Vec<String>,
}

/// Every mistake, one per line.
#[derive(Debug, thiserror::Error)]
#[error("the configuration is not valid:\n  {}", .0.join("\n  "))]
pub struct Mistakes(Vec<String>);

impl<'a> Reader<'a> {
    /// `lookup` answers with a variable's value, where it is set.
    #[must_use]
    pub fn new(lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { lookup, mistakes: Vec::new() }
    }

    /// A value with a default, within bounds (both included).
    pub fn number<T>(&mut self, name: &str, default: T, least: T, most: T) -> T
    where
        T: FromStr + PartialOrd + Display + Copy,
    {
        let Some(text) = self.text(name) else { return default };
        match text.parse() {
            Ok(value) if value >= least && value <= most => value,
            _ => {
                self.mistakes.push(format!("{name} is {text:?}: a number from {least} to {most} is expected"));
                default
            }
        }
    }

    /// Networks such as `127.0.0.0/8`, separated by commas; none where it is not set.
    pub fn networks(&mut self, name: &str) -> Networks {
        Networks::parse(&self.text(name).unwrap_or_default()).unwrap_or_else(|wrong| {
            self.mistakes.push(format!("{name} holds {wrong:?}: a network such as 127.0.0.0/8 is expected"));
            Networks::default()
        })
    }

    /// Notes a mistake that is not of one variable alone.
    pub fn mistake(&mut self, mistake: String) {
        self.mistakes.push(mistake);
    }

    /// A time in milliseconds.
    pub fn milliseconds(&mut self, name: &str, default: u64, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.number(name, default, least, most))
    }

    /// A value that parses, with a default.
    pub fn parsed<T: FromStr>(&mut self, name: &str, default: &str, expected: &str) -> Option<T> {
        let text = self.text(name).unwrap_or_else(|| default.to_owned());
        let value = text.parse().ok();
        if value.is_none() {
            self.mistakes.push(format!("{name} is {text:?}: {expected} is expected"));
        }
        value
    }

    /// The addresses of servers, separated by commas, which must be set and each be `valid`. They hold passwords: a
    /// mistake does not repeat them.
    pub fn addresses(&mut self, name: &str, expected: &str, valid: impl Fn(&str) -> bool) -> Vec<SecretString> {
        let Some(text) = self.text(name) else {
            self.mistakes.push(format!("{name} is not set: {expected} is expected"));
            return Vec::new();
        };
        let addresses: Vec<&str> = text.split(',').map(str::trim).collect();
        if !addresses.iter().all(|address| valid(address)) {
            self.mistakes.push(format!("{name} is not an address: {expected} is expected"));
        }
        addresses.into_iter().map(SecretString::from).collect()
    }

    /// A value, where it is set and not empty.
    pub fn text(&mut self, name: &str) -> Option<String> {
        (self.lookup)(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// The settings, if nothing was wrong.
    ///
    /// # Errors
    /// With every mistake that was met.
    pub fn finish<T>(self, settings: T) -> Result<T, Mistakes> {
        if self.mistakes.is_empty() { Ok(settings) } else { Err(Mistakes(self.mistakes)) }
    }
}

/// Looks variables up in the process's environment.
#[must_use]
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Where the servers are, and what the store was set up with.
#[derive(Debug, Clone)]
pub struct Servers {
    pub database_url: SecretString,
    /// One or more addresses of the same broker or cluster.
    pub amqp_urls: Vec<SecretString>,
    pub queues: Queues,
    /// Said when the store is set up; a program that is told otherwise refuses to start. `None`: whatever the store has,
    /// or [`PARTITIONS_DEFAULT`] where it is set up now.
    pub partitions: Option<u16>,
}

/// Partitions of a store that is set up without a word about them.
pub const PARTITIONS_DEFAULT: u16 = 8;

/// Names and bounds of the queues.
#[derive(Debug, Clone)]
pub struct Queues {
    /// Begins the name of every exchange and queue.
    pub prefix: String,
    /// Most bytes waiting in one partition's queue; past it the broker refuses.
    pub bytes_max: u64,
}

impl Servers {
    pub fn read(reader: &mut Reader<'_>) -> Self {
        let expected = "postgres://USER:PASSWORD@HOST:PORT/DATABASE";
        let database_url = reader.addresses("DATABASE_URL", expected, crate::db::is_address).into_iter().next();
        let expected = "amqp://USER:PASSWORD@HOST:PORT/%2f (several: separated by commas)";
        let amqp_urls = reader.addresses("AMQP_URL", expected, crate::queue::is_address);
        let partitions = reader
            .text("ONHAND_PARTITIONS")
            .map(|_| reader.number("ONHAND_PARTITIONS", PARTITIONS_DEFAULT, 1, crate::partition::PARTITIONS_MAX));
        Self {
            database_url: database_url.unwrap_or_default(),
            amqp_urls,
            queues: Queues {
                prefix: reader.text("ONHAND_QUEUE_PREFIX").unwrap_or_else(|| "onhand".to_owned()),
                bytes_max: reader.number("ONHAND_QUEUE_BYTES_MAX", 1 << 30, 1 << 16, 1 << 40),
            },
            partitions,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_none_is_told_without_repeating_it() {
        for (database, broker, mistakes) in [
            ("postgres://u:secret@h:5432/onhand", "amqp://u:secret@h:5672/%2f,amqps://h", 0),
            ("h:secret", "amqp://h", 1),
            ("mysql://u:secret@h/onhand", "http://u:secret@h", 2),
            ("postgres://u:secret@h:99999/onhand", "amqp://h,secret", 2),
        ] {
            let lookup = |name: &str| match name {
                "DATABASE_URL" => Some(database.to_owned()),
                "AMQP_URL" => Some(broker.to_owned()),
                _ => None,
            };
            let mut reader = Reader::new(&lookup);
            Servers::read(&mut reader);
            assert_eq!(reader.mistakes.len(), mistakes, "{:?}", reader.mistakes);
            assert!(!reader.mistakes.join("").contains("secret"), "{:?}", reader.mistakes);
        }
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let lookup = |name: &str| match name {
            "ONHAND_PARTITIONS" => Some("257".to_owned()),
            "AMQP_URL" => Some("amqp://a, amqp://b".to_owned()),
            _ => None,
        };
        let mut reader = Reader::new(&lookup);
        let servers = Servers::read(&mut reader);
        assert_eq!(servers.amqp_urls.len(), 2);
        let told = reader.finish(()).expect_err("two mistakes").to_string();
        assert!(told.contains("DATABASE_URL is not set"), "{told}");
        assert!(told.contains("ONHAND_PARTITIONS is \"257\": a number from 1 to 256 is expected"), "{told}");
    }
}
