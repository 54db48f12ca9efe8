//! The api and the consumers, each a process of its own: this executable again, with the name of the part.
//!
//! A child ends by itself when its parent is gone, however it went: its standard input, a pipe from the parent, ends.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

pub(crate) const API: &str = "api";
pub(crate) const CONSUMER: &str = "consumer";

const STOP_SECONDS_MAX: u64 = 30;
/// How long a part that has died stays down.
const RESTART_AFTER: Duration = Duration::from_secs(1);

/// In a child: cancelled when the parent is gone or asks to stop.
pub(crate) fn stop_with_parent() -> CancellationToken {
    let stop = CancellationToken::new();
    let token = stop.clone();
    std::thread::spawn(move || {
        // Nothing is ever written: it ends, or fails, when the parent is gone.
        let mut nothing = [0; 1];
        while matches!(std::io::stdin().read(&mut nothing), Ok(1..)) {}
        token.cancel();
    });
    stop
}

/// How to start a part.
pub(crate) struct Part {
    /// For people: `api`, `consumer-1`.
    pub(crate) name: String,
    pub(crate) argument: &'static str,
    pub(crate) settings: Vec<(&'static str, String)>,
    pub(crate) log: PathBuf,
}

impl Part {
    fn spawn(&self) -> anyhow::Result<Child> {
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("{} can't be written", self.log.display()))?;
        Command::new(std::env::current_exe()?)
            .arg(self.argument)
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C reaches the parent alone, which stops its children in order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("{} can't be started", self.name))
    }

    /// Runs the part until `stop`, again whenever it dies.
    pub(crate) async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        loop {
            let mut child = self.spawn()?;
            // Taken out: waiting for a child closes what it still has.
            let life_line = child.stdin.take();
            tokio::select! {
                ended = child.wait() => {
                    let status = ended?;
                    eprintln!("{} has ended ({status}) and is started again: see {}", self.name, self.log.display());
                    tokio::select! { () = tokio::time::sleep(RESTART_AFTER) => {}, () = stop.cancelled() => return Ok(()) }
                }
                () = stop.cancelled() => {
                    drop(life_line);
                    if tokio::time::timeout(Duration::from_secs(STOP_SECONDS_MAX), child.wait()).await.is_err() {
                        child.kill().await?;
                    }
                    return Ok(());
                }
            }
        }
    }
}
