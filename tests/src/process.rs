//! Parts of the system as processes of their own, to be killed.

use std::process::{ExitStatus, Stdio};

use tokio::process::{Child, ChildStdin, Command};

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
}
