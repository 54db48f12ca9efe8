//! Starts everything in order, and stops it in the reverse order.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Parser as _;
use common::config::{self, Reader, environment};
use common::db;
use secrecy::SecretString;
use servers::Servers;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::children::{API, CONSUMER, Part};
use crate::http::ask;
use crate::keys::Keys;
use crate::options::Options;
use crate::{addresses, banner, catalogue};

const READY_SECONDS_MAX: u64 = 60;
const CONNECT_SECONDS_MAX: u64 = 10;

pub(crate) fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.context("no runtime").and_then(|runtime| runtime.block_on(run(options)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    common::program::stop_on_signals(stop.clone())?;
    let started = Instant::now();
    check_address(options.http).await?;
    let data = prepare_data(&options)?;
    start_and_serve(&options, &data, started, &stop).await
}

/// Fails in one line where somebody else has the address.
async fn check_address(http: SocketAddr) -> anyhow::Result<()> {
    match TcpListener::bind(http).await {
        Ok(_) => Ok(()),
        Err(error) => anyhow::bail!("{http} can't be listened on ({error}): stop what uses it, or pass --http ADDR"),
    }
}

fn prepare_data(options: &Options) -> anyhow::Result<PathBuf> {
    let data = std::path::absolute(&options.data)?;
    if options.fresh {
        servers::wipe(&data)?;
        match std::fs::remove_file(data.join("keys.json")) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).context("the keys can't be deleted"),
        }
    }
    std::fs::create_dir_all(data.join("log")).with_context(|| format!("{} can't be created", data.display()))?;
    Ok(data)
}

async fn start_and_serve(
    options: &Options,
    data: &Path,
    started: Instant,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let starting = start_servers(options, data);
    let (mut private, settings) = tokio::select! {
        started = starting => started?,
        () = stop.cancelled() => return Ok(()),
    };
    let parts = CancellationToken::new();
    let mut running = JoinSet::new();
    let result = {
        let serve = serve(options, data, &settings, started, (&mut running, &parts));
        tokio::select! {
            served = serve => served,
            () = stop.cancelled() => Ok(()),
            error = died(&mut private) => Err(error),
        }
    };
    if result.is_ok() {
        eprintln!("\nstopping ...");
    }
    parts.cancel();
    while running.join_next().await.is_some() {}
    if let Some(private) = private {
        private.stop().await?;
    }
    result
}

async fn died(private: &mut Option<Servers>) -> anyhow::Error {
    match private {
        Some(servers) => servers.exited().await.into(),
        None => std::future::pending().await,
    }
}

/// Private servers for what the environment does not name, and the settings that lead to them.
async fn start_servers(options: &Options, data: &Path) -> anyhow::Result<(Option<Servers>, config::Servers)> {
    let (database, amqp) = (environment("DATABASE_URL"), environment("AMQP_URL"));
    anyhow::ensure!(
        !options.fresh || (database.is_none() && amqp.is_none()),
        "--fresh deletes private servers' data only: unset DATABASE_URL and AMQP_URL, or leave it out"
    );
    let private = if database.is_some() && amqp.is_some() {
        None
    } else {
        let guard = vec![std::env::current_exe()?.into_os_string(), servers::GUARD_ARGUMENT.into()];
        let options = servers::Options {
            data: data.to_owned(),
            temporary: false,
            brokers: options.brokers,
            guard,
            postgres_settings: Vec::new(),
            postgres: database.is_none(),
            rabbitmq: amqp.is_none(),
        };
        Some(Servers::start(options, |progress| eprintln!("  {progress}")).await?)
    };
    let url = |given: Option<String>, ours: Option<String>| given.or(ours).unwrap_or_default();
    let database = url(database, private.as_ref().map(|servers| servers.database_url().to_owned()));
    let amqp = url(amqp, private.as_ref().map(|servers| servers.amqp_urls().join(",")));
    let lookup = |name: &str| match name {
        "DATABASE_URL" => Some(database.clone()),
        "AMQP_URL" => Some(amqp.clone()),
        _ => environment(name),
    };
    let mut reader = Reader::new(&lookup);
    let settings = config::Servers::read(&mut reader);
    Ok((private, reader.finish(settings)?))
}

/// Sets the store up, starts the parts, tells what to try, and goes on for ever.
async fn serve(
    options: &Options,
    data: &Path,
    servers: &config::Servers,
    started: Instant,
    (running, stop): (&mut JoinSet<anyhow::Result<()>>, &CancellationToken),
) -> anyhow::Result<()> {
    eprintln!("  preparing the store");
    let limits = db::Limits { statement: Duration::ZERO, ..db::Limits::default() };
    let wait = Duration::from_secs(CONNECT_SECONDS_MAX);
    let connecting = db::connect(&servers.database_url, "onhand-dev", limits, wait).await;
    let mut connection = connecting.context("the database can't be reached: check DATABASE_URL")?;
    db::setup::migrate(&mut connection, servers.partitions).await?;
    let keys = Keys::load(data)?;
    let operator = keys.register(&mut connection).await?;
    let _kept = addresses::keep(data, servers)?;
    for part in parts(options, data, servers) {
        running.spawn(part.run(stop.clone()));
    }
    until_ready(options.http).await.with_context(|| format!("see {}", data.join("log").display()))?;
    eprintln!("  loading the demo shop");
    catalogue::load(&mut connection, options.http, (operator, &keys.operator)).await?;
    let shown = banner::Shown::find(&mut connection).await?;
    eprintln!("  ready after {:.1} s", started.elapsed().as_secs_f64());
    drop(connection);
    banner::print(options.http, &keys, options.consumers, data, shown.as_ref());
    match running.join_next().await {
        Some(ended) => ended?.context("a part can't be run"),
        None => Ok(()),
    }
}

fn parts(options: &Options, data: &Path, servers: &config::Servers) -> Vec<Part> {
    use secrecy::ExposeSecret as _;
    let amqp: Vec<&str> = servers.amqp_urls.iter().map(SecretString::expose_secret).collect();
    // Whoever tries webhooks out receives them here.
    let networks = addresses::lookup("ONHAND_WEBHOOK_NETWORKS").unwrap_or_else(|| "127.0.0.0/8, ::1/128".to_owned());
    let common = [
        ("DATABASE_URL", servers.database_url.expose_secret().to_owned()),
        ("AMQP_URL", amqp.join(",")),
        ("ONHAND_WEBHOOK_NETWORKS", networks),
    ];
    let part = |name: String, argument, (variable, value): (&'static str, String)| Part {
        log: data.join("log").join(format!("{name}.log")),
        settings: common.iter().cloned().chain([(variable, value)]).collect(),
        name,
        argument,
    };
    let consumers = (1..=options.consumers).map(|n| format!("consumer-{n}"));
    std::iter::once(part("api".to_owned(), API, ("ONHAND_HTTP", options.http.to_string())))
        .chain(consumers.map(|name| part(name.clone(), CONSUMER, ("ONHAND_CONSUMER_NAME", name))))
        .collect()
}

async fn until_ready(http: SocketAddr) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(READY_SECONDS_MAX);
    loop {
        match ask(http, "GET /readyz", &[], b"").await {
            Ok((200, _)) => return Ok(()),
            _ if Instant::now() > deadline => anyhow::bail!("the api was not ready within {READY_SECONDS_MAX} s"),
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
