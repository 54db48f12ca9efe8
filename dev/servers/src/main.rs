//! `cargo run -p servers -- run COMMAND...`: runs a command with private servers, then stops them.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context as _;
use servers::{GUARD_ARGUMENT, Options, Servers};

const USAGE: &str = "usage: servers run COMMAND [ARGUMENT ...]\n\
    Starts a private PostgreSQL and RabbitMQ, runs COMMAND with DATABASE_URL and AMQP_URL set, and stops both.";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let first = arguments.next().and_then(|first| first.into_string().ok());
    let result = match first.as_deref() {
        Some(GUARD_ARGUMENT) => return servers::guard::main(arguments),
        Some("run") => run(arguments.collect()),
        _ => Err(anyhow::anyhow!(USAGE)),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(command: Vec<OsString>) -> anyhow::Result<ExitCode> {
    let (program, arguments) = command.split_first().context(USAGE)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let folder = tempfile::Builder::new().prefix("onhand-").tempdir()?.keep();
        // Closed to all but its owner, it would keep the servers' user out.
        std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o711))?;
        let options = Options {
            data: folder,
            temporary: true,
            brokers: 1,
            guard: vec![std::env::current_exe()?.into_os_string(), GUARD_ARGUMENT.into()],
            postgres_settings: Vec::new(),
            postgres: true,
            rabbitmq: true,
        };
        let servers = Servers::start(options, |progress| eprintln!("  {progress}")).await?;
        let status = tokio::process::Command::new(program)
            .args(arguments)
            .env("DATABASE_URL", servers.database_url())
            .env("AMQP_URL", servers.amqp_urls().join(","))
            .status()
            .await;
        servers.stop().await?;
        let code = status.context("the command can't be run")?.code().unwrap_or(1);
        Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
    })
}
