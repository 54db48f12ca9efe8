//! Parts of the system as processes of their own, to be killed.

use std::process::{ExitStatus, Stdio};

use reqwest::Method;
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdin, Command};

use crate::app::CLIENT_KEY;
use crate::http::Client;

/// Runs the program under test to its end; answers how it ended and what it printed.
pub async fn output(arguments: &[&str], settings: &[(&str, String)]) -> (ExitStatus, String) {
    let mut command = Command::new(crate::shared::program());
    command.args(arguments).envs(settings.iter().map(|(name, value)| (name, value)));
    let running = command.stdin(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true).output();
    let output = tokio::time::timeout(crate::PATIENCE, running).await.expect("it does not end").unwrap();
    (output.status, String::from_utf8(output.stdout).unwrap())
}

/// A running part. Dropped, it is killed.
pub struct Process {
    child: Child,
    /// Closed, the part stops by itself.
    life_line: Option<ChildStdin>,
}

impl Process {
    /// Starts the program under test with these arguments and settings.
    #[must_use]
    pub fn start(arguments: &[&str], settings: &[(&str, String)]) -> Self {
        let mut command = Command::new(crate::shared::program());
        command.args(arguments).envs(settings.iter().map(|(name, value)| (name, value)));
        let mut child = command.stdin(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let life_line = child.stdin.take();
        Self { child, life_line }
    }

    /// Starts an api on a port of its own and waits until it is ready; answers with a client of it.
    pub async fn api(settings: &[(&'static str, String)]) -> (Self, Client) {
        let free = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap();
        let mut settings = settings.to_vec();
        settings.push(("ONHAND_HTTP", free.to_string()));
        let api = Self::start(&["api"], &settings);
        let client = Client::new(format!("http://{free}"), CLIENT_KEY);
        crate::until("the api is ready", async || {
            let answer = client.send(Method::GET, "/readyz", &[], None).await;
            answer.is_ok_and(|answer| answer.status == 200)
        })
        .await;
        (api, client)
    }

    /// `kill -9`.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Asks it to stop, as its parent does, and waits until it has.
    pub async fn stop(&mut self) -> ExitStatus {
        self.life_line = None;
        tokio::time::timeout(crate::PATIENCE, self.child.wait()).await.expect("it does not stop").unwrap()
    }

    /// Waits until it ends by itself.
    pub async fn wait(&mut self) -> ExitStatus {
        tokio::time::timeout(crate::PATIENCE, self.child.wait()).await.expect("it does not end").unwrap()
    }

    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// What it holds of the machine's memory.
    #[must_use]
    pub fn memory(&self) -> Memory {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let kib = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
        };
        Memory { resident_mib: kib("VmRSS") / 1_024, peak_mib: kib("VmHWM") / 1_024 }
    }
}

/// A process's resident memory (`proc(5)`), now and at its most so far.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    pub resident_mib: u64,
    pub peak_mib: u64,
}
