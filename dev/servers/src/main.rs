//! Private servers by themselves: to run a command with them, and to make the query data anew.

mod queries;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context as _;
use servers::{GUARD_ARGUMENT, Options, Servers};

const USAGE: &str = "usage:
  servers run COMMAND [ARGUMENT ...]   run a command with private servers, at DATABASE_URL and AMQP_URL
  servers queries [--check]            make the query data in .sqlx anew, or tell whether it is up to date";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let first = arguments.next().and_then(|first| first.into_string().ok());
    let result = match first.as_deref() {
        Some(GUARD_ARGUMENT) => return servers::guard::main(arguments),
        Some("run") => block_on(run(arguments.collect())),
        Some("queries") => block_on(queries(arguments.next().is_some_and(|argument| argument == "--check"))),
        _ => Err(anyhow::anyhow!(USAGE)),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}

async fn run(command: Vec<OsString>) -> anyhow::Result<ExitCode> {
    let (program, arguments) = command.split_first().context(USAGE)?;
    let servers = start(true).await?;
    // Ctrl-C reaches the command as well: we end when it has ended, and with us the servers.
    let _interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
    let status = tokio::process::Command::new(program)
        .args(arguments)
        .env("DATABASE_URL", servers.database_url())
        .env("AMQP_URL", servers.amqp_urls().join(","))
        .status()
        .await;
    servers.stop().await?;
    let code = status.context("the command can't be run")?.code().unwrap_or(1);
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

async fn queries(check: bool) -> anyhow::Result<ExitCode> {
    let servers = start(false).await?;
    let prepared = queries::prepare(servers.database_url(), check).await;
    servers.stop().await?;
    prepared.map(|()| ExitCode::SUCCESS)
}

async fn start(rabbitmq: bool) -> anyhow::Result<Servers> {
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
        rabbitmq,
    };
    Ok(Servers::start(options, |progress| eprintln!("  {progress}")).await?)
}
