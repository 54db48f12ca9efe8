//! The guard: a process of its own that starts the servers, watches them, and stops them when its parent is gone, however
//! it went. It learns of that by its standard input, a pipe from the parent, coming to its end.

use std::ffi::OsString;
use std::io::{BufRead as _, Write as _};
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

use crate::layout::Layout;
use crate::postgres::Postgres;
use crate::rabbitmq::RabbitMq;
use crate::{Ask, Asked, Spec, Told, install};

const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Runs the guard. `arguments` are those behind [`crate::GUARD_ARGUMENT`].
#[must_use]
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&Told::Error(format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

struct Running {
    layout: Layout,
    postgres: Option<Postgres>,
    rabbitmq: Option<RabbitMq>,
}

fn run(mut arguments: impl Iterator<Item = OsString>) -> Result<()> {
    let spec = arguments.next().and_then(|spec| spec.into_string().ok()).context("the guard is told nothing")?;
    let spec: Spec = serde_json::from_str(&spec)?;
    outlive_signals()?;
    let asks = listen();
    let mut running = Running { layout: Layout::take(&spec.data, &progress)?, postgres: None, rabbitmq: None };
    let result = running.start(&spec).and_then(|()| running.watch(&asks));
    let stopped = running.stop();
    let data = running.layout.data.clone();
    drop(running);
    if spec.temporary {
        std::fs::remove_dir_all(&data).with_context(|| format!("{} can't be deleted", data.display()))?;
    }
    result.and(stopped)
}

/// Signals that are meant for the whole group (Ctrl-C, the end of a terminal or of a service) end the parent, and with its
/// end comes ours, when it needs the servers no more.
fn outlive_signals() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let _entered = runtime.enter();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        // The handler stays for good; what it would tell is not listened for.
        drop(signal(kind)?);
    }
    Ok(())
}

impl Running {
    fn start(&mut self, spec: &Spec) -> Result<()> {
        let log = self.layout.log_path("install");
        let programs = install::programs(spec.postgres, spec.rabbitmq, &log, &progress)?;
        self.layout.prepare(&progress)?;
        // RabbitMQ takes seconds, PostgreSQL a fraction of one: they start side by side.
        if spec.rabbitmq {
            progress("starting RabbitMQ");
            self.rabbitmq = Some(RabbitMq::start(&self.layout, &programs.rabbitmq, spec.brokers)?);
        }
        let mut database_url = String::new();
        if spec.postgres {
            progress("starting PostgreSQL");
            let postgres = Postgres::start(&self.layout, &programs.postgres, &spec.postgres_settings)?;
            database_url = postgres.url(&self.layout);
            self.postgres = Some(postgres);
        }
        let mut amqp_urls = Vec::new();
        if let Some(rabbitmq) = &mut self.rabbitmq {
            rabbitmq.wait(&self.layout)?;
            amqp_urls = rabbitmq.urls(&self.layout);
        }
        tell(&Told::Ready { database_url, amqp_urls });
        Ok(())
    }

    /// Until the parent is gone, or a server has ended by itself.
    fn watch(&mut self, asks: &mpsc::Receiver<Asked>) -> Result<()> {
        loop {
            match asks.recv_timeout(LOOK_EVERY) {
                Ok(Asked { number, ask }) => {
                    let result = self.answer(ask).map_err(|error| format!("{error:#}"));
                    tell(&Told::Answer { number, result });
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.postgres.as_mut().is_some_and(Postgres::has_ended) {
                bail!("PostgreSQL has ended: {}", self.layout.last_words("postgres"));
            }
            if let Some(log) = self.rabbitmq.as_mut().and_then(RabbitMq::has_ended) {
                bail!("RabbitMQ has ended: {}", self.layout.last_words(&log));
            }
        }
    }

    fn answer(&mut self, ask: Ask) -> Result<String> {
        let (layout, missing) = (&self.layout, "there is no such private server");
        match ask {
            Ask::KillBroker(index) => self.rabbitmq.as_mut().context(missing)?.kill(index)?,
            Ask::StartBroker(index) => {
                let rabbitmq = self.rabbitmq.as_mut().context(missing)?;
                rabbitmq.run(layout, index)?;
                rabbitmq.wait_for(layout, index)?;
            }
            Ask::Rabbitmqctl { index, arguments } => {
                return self.rabbitmq.as_ref().context(missing)?.ctl(layout, index, &arguments);
            }
            Ask::KillPostgres => self.postgres.as_mut().context(missing)?.kill()?,
            Ask::StartPostgres => self.postgres.as_mut().context(missing)?.run(layout)?,
        }
        Ok(String::new())
    }

    fn stop(&mut self) -> Result<()> {
        let rabbitmq = self.rabbitmq.as_mut().map_or(Ok(()), RabbitMq::stop);
        let postgres = self.postgres.as_mut().map_or(Ok(()), Postgres::stop);
        rabbitmq.and(postgres)
    }
}

/// Hears what the parent asks for; the channel closes when the parent is gone.
fn listen() -> mpsc::Receiver<Asked> {
    let (sender, asks) = mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            match serde_json::from_str(&line) {
                Ok(asked) => {
                    if sender.send(asked).is_err() {
                        return;
                    }
                }
                Err(error) => tell(&Told::Error(format!("the guard was asked for what it does not know: {error}"))),
            }
        }
    });
    asks
}

fn progress(text: &str) {
    tell(&Told::Progress(text.to_owned()));
}

fn tell(told: &Told) {
    let mut line = serde_json::to_vec(told).unwrap_or_default();
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    // A parent that is gone hears nothing, and its end is noticed elsewhere.
    out.write_all(&line).and_then(|()| out.flush()).ok();
}
