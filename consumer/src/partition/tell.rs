//! Telling outcomes to those who wait.

use std::collections::BTreeMap;
use std::time::Duration;

use common::message::{Decided, Reply};
use common::queue;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Outcomes, each with the queue of who waits for it.
pub(super) type Told = Vec<(String, Decided)>;

/// Tells outcomes to those who wait, beside the writer: a slow broker never holds up a decision.
pub(super) struct Replies {
    sender: Option<mpsc::Sender<Told>>,
    task: JoinHandle<()>,
}

/// Batches whose outcomes wait to be told. Past it they are not told, and whoever waits looks into the database.
const UNTOLD_BATCHES_MAX: usize = 256;
const STOP_SECONDS_MAX: u64 = 2;

impl Replies {
    pub(super) fn start(mut replies: queue::Replies) -> Self {
        let (sender, mut batches) = mpsc::channel::<Told>(UNTOLD_BATCHES_MAX);
        let task = tokio::spawn(async move {
            while let Some(told) = batches.recv().await {
                let mut by_queue = BTreeMap::<String, Vec<Decided>>::new();
                for (queue, decided) in told {
                    by_queue.entry(queue).or_default().push(decided);
                }
                for (queue, decided) in by_queue {
                    tell(&mut replies, &queue, &Reply { decided }).await;
                }
            }
        });
        Self { sender: Some(sender), task }
    }

    pub(super) fn tell(&self, told: Told) {
        if !told.is_empty()
            && let Some(sender) = &self.sender
            && sender.try_send(told).is_err()
        {
            tracing::warn!("outcomes are not told: too many wait to be");
        }
    }

    /// Tells what is left, within bounds.
    pub(super) async fn stop(&mut self) {
        self.sender = None;
        if tokio::time::timeout(Duration::from_secs(STOP_SECONDS_MAX), &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

async fn tell(replies: &mut queue::Replies, queue: &str, reply: &Reply) {
    let told = match serde_json::to_vec(reply) {
        Ok(payload) => replies.tell(queue, &payload).await,
        Err(error) => {
            tracing::error!(%error, "outcomes that JSON can't hold");
            return;
        }
    };
    if let Err(error) = told {
        tracing::warn!(error = &error as &dyn std::error::Error, "outcomes are not told");
    }
}
