//! The command line of `cargo run --release`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

use crate::addresses;

/// Runs all of Onhand on this machine: private PostgreSQL and RabbitMQ, the api, consumers, and a demo shop.
///
/// Where `DATABASE_URL` or `AMQP_URL` is set, that server is used instead of a private one. Every setting of the api and of
/// the consumers (see .env.example) is passed on to them.
///
/// `onhand consumer COMMAND` and `onhand api COMMAND` (from another terminal, in the same folder) ask what is running: see
/// `onhand consumer --help`.
#[derive(Debug, Parser)]
#[command(name = "onhand", version)]
pub(crate) struct Options {
    /// Where the api listens
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub(crate) http: SocketAddr,

    /// Where data, keys and logs are kept
    #[arg(long, value_name = "DIR", env = addresses::VARIABLE, default_value = addresses::DATA)]
    pub(crate) data: PathBuf,

    /// How many consumers share the partitions
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) consumers: u16,

    /// How many RabbitMQ nodes: 1, or 3 for a cluster on this machine
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = brokers)]
    pub(crate) brokers: usize,

    /// Begin with nothing: deletes the private servers' data and the keys first
    #[arg(long)]
    pub(crate) fresh: bool,
}

fn brokers(text: &str) -> Result<usize, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        _ => Err("1 or 3 is expected".to_owned()),
    }
}
