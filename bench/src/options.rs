//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::scenario::Kind;
use crate::system::Who;

/// Measures Onhand against transactions per order, on private servers with fsync on and quorum queues.
#[derive(Parser)]
#[command(name = "bench", version)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Every scenario against every system, in alternating rounds; writes a report
    Compare(Compare),
    /// Where the time of an order goes: CPU by process, and the database's statements
    Profile(Profile),
    /// Onhand with much stored, much waiting, and other numbers of partitions and consumers
    Growth(Growth),
}

#[derive(Args)]
pub(crate) struct Compare {
    /// Which scenarios; all by default
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) scenarios: Vec<Kind>,
    /// Which systems; all by default
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) systems: Vec<Who>,
    /// Clients of Onhand at full load; of a baseline, its best number up to so many
    #[arg(long, default_value_t = 256)]
    pub(crate) clients: usize,
    /// Connections of a baseline that are tried, each with twice as many clients; it is measured with what suits it best
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 4, 8, 16, 32, 64])]
    pub(crate) pools: Vec<u32>,
    #[command(flatten)]
    pub(crate) conditions: Conditions,
    /// Where the report is written
    #[arg(long, default_value = "bench/results")]
    pub(crate) results: PathBuf,
}

#[derive(Args, Clone, Copy)]
pub(crate) struct Conditions {
    /// Partitions of the store, unless they are what is measured: with one consumer, the fewer the larger are messages
    #[arg(long, default_value_t = 2)]
    pub(crate) partitions: u16,
    /// Seconds that are measured, of each system in each round
    #[arg(long, default_value_t = 6)]
    pub(crate) seconds: u64,
    /// Seconds of load before them
    #[arg(long, default_value_t = 2)]
    pub(crate) warm_up: u64,
    /// Rounds, each over all systems; medians of them are told
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
}

impl Conditions {
    pub(crate) fn measured(self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    pub(crate) fn warm_up(self) -> Duration {
        Duration::from_secs(self.warm_up)
    }
}

#[derive(Args)]
pub(crate) struct Profile {
    #[arg(long, value_enum, default_value = "hot")]
    pub(crate) scenario: Kind,
    #[arg(long, default_value_t = 256)]
    pub(crate) clients: usize,
    #[command(flatten)]
    pub(crate) conditions: Conditions,
    /// Where the report is written
    #[arg(long, default_value = "bench/results")]
    pub(crate) results: PathBuf,
}

#[derive(Args)]
pub(crate) struct Growth {
    /// Orders that are stored before, in one of the measurements
    #[arg(long, default_value_t = 10_000_000)]
    pub(crate) stored: u64,
    /// Orders that wait, in another
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) waiting: u64,
    #[command(flatten)]
    pub(crate) conditions: Conditions,
    /// Where the report is written
    #[arg(long, default_value = "bench/results")]
    pub(crate) results: PathBuf,
}
