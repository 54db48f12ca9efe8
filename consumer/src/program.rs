//! The consumer's command line.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use common::steps::Steps;
use tokio_util::sync::CancellationToken;

use crate::{Config, operate};

/// Decides the orders of a share of the partitions. Settings come from the environment: see .env.example.
#[derive(Parser)]
#[command(name = "consumer", version)]
struct Options {
    /// Answer operators' commands in JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Bring the database's schema up to date and set the store up, then end
    Migrate,
    #[command(flatten)]
    Operate(operate::Command),
}

/// Runs the program with these arguments, settings and steps until it is told to stop, by a signal or by `stop`.
pub fn main(
    arguments: impl Iterator<Item = OsString>,
    lookup: &dyn Fn(&str) -> Option<String>,
    steps: Steps,
    stop: CancellationToken,
) -> ExitCode {
    let options = Options::parse_from(std::iter::once(OsString::from("consumer")).chain(arguments));
    common::program::run(
        || Config::read(lookup),
        |config| config.log_json,
        async move |config| match options.command {
            Some(Command::Migrate) => common::program::migrate(&config.servers).await,
            Some(Command::Operate(command)) => operate::run(command, &config, options.json).await,
            None => {
                common::program::stop_on_signals(stop.clone())?;
                Ok(crate::run(config, steps, stop).await?)
            }
        },
    )
}
