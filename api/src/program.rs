//! The api's command line.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use common::steps::Steps;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{Config, Error};

/// Takes orders over HTTP. Settings come from the environment: see .env.example.
#[derive(Parser)]
#[command(name = "api", version)]
struct Options {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Bring the database's schema up to date and set the store up, then end
    Migrate,
    /// Make and end API keys
    #[command(subcommand)]
    Keys(crate::keys::Command),
}

/// Runs the program with these arguments, settings and steps until it is told to stop, by a signal or by `stop`.
pub fn main(
    arguments: impl Iterator<Item = OsString>,
    lookup: &dyn Fn(&str) -> Option<String>,
    steps: Steps,
    stop: CancellationToken,
) -> ExitCode {
    let options = Options::parse_from(std::iter::once(OsString::from("api")).chain(arguments));
    common::program::run(
        || Config::read(lookup),
        |config| config.log_json,
        async move |config| match options.command {
            Some(Command::Migrate) => common::program::migrate(&config.servers).await,
            Some(Command::Keys(command)) => crate::keys::run(command, &config.servers).await,
            None => {
                common::program::stop_on_signals(stop.clone())?;
                let address = config.http_address;
                let listener = TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })?;
                Ok(crate::run(config, listener, steps, stop).await?)
            }
        },
    )
}
