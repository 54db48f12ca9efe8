//! Requests that wait for an outcome. It arrives as a reply of the consumer, or, should that be lost with a crash, is
//! found in the database.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common::message::{Decided, Reply};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::commands;
use crate::state::State;

/// How often the database is asked for outcomes that have not been told.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long an outcome may take to be told before the database is asked.
const LOOK_AFTER: Duration = Duration::from_millis(250);
/// Most ids asked for at once.
const LOOK_IDS_MAX: usize = 1_000;

struct Waiter {
    look_from: Instant,
    outcome: oneshot::Sender<Decided>,
}

/// Who waits for which id.
#[derive(Default)]
pub(crate) struct Waiters(Mutex<HashMap<Uuid, Vec<Waiter>>>);

/// A place among the waiters, given up when dropped.
pub(crate) struct Wait<'a> {
    waiters: &'a Waiters,
    id: Uuid,
    outcome: oneshot::Receiver<Decided>,
}

impl Waiters {
    /// Waits from now on. To be called before the command is published, so that no reply comes too early.
    pub(crate) fn wait(&self, id: Uuid) -> Wait<'_> {
        let (sender, outcome) = oneshot::channel();
        let waiter = Waiter { look_from: Instant::now() + LOOK_AFTER, outcome: sender };
        self.lock().entry(id).or_default().push(waiter);
        Wait { waiters: self, id, outcome }
    }

    /// Hands outcomes to who waits for them.
    pub(crate) fn hear(&self, reply: Reply) {
        let mut waiting = self.lock();
        for decided in reply.decided {
            let id = decided.id();
            if let Decided::EarlierV1 { .. } = decided {
                // Its outcome is in the database: to be looked up at once.
                for waiter in waiting.get_mut(&id).into_iter().flatten() {
                    waiter.look_from = Instant::now();
                }
            } else {
                let mut waiters = waiting.remove(&id).unwrap_or_default();
                let last = waiters.pop();
                // Whoever has stopped waiting is not to be told.
                for waiter in waiters {
                    waiter.outcome.send(decided.clone()).ok();
                }
                if let Some(last) = last {
                    last.outcome.send(decided).ok();
                }
            }
        }
    }

    fn due(&self) -> Vec<Uuid> {
        let now = Instant::now();
        let waiting = self.lock();
        let due = waiting.iter().filter(|(_, waiters)| waiters.iter().any(|waiter| waiter.look_from <= now));
        due.map(|(id, _)| *id).take(LOOK_IDS_MAX).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Vec<Waiter>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wait<'_> {
    /// The outcome, if it is known within `limit`.
    pub(crate) async fn outcome(mut self, limit: Duration) -> Option<Decided> {
        tokio::time::timeout(limit, &mut self.outcome).await.ok()?.ok()
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.outcome.close();
        let mut waiting = self.waiters.lock();
        if let Some(waiters) = waiting.get_mut(&self.id) {
            waiters.retain(|waiter| !waiter.outcome.is_closed());
            if waiters.is_empty() {
                waiting.remove(&self.id);
            }
        }
    }
}

/// Looks for outcomes that have not been told, all in one query, until `stop`.
pub(crate) async fn look_up(state: Arc<State>, stop: CancellationToken) {
    loop {
        tokio::select! { () = tokio::time::sleep(LOOK_EVERY) => {}, () = stop.cancelled() => return }
        let due = state.waiters.due();
        if due.is_empty() {
            continue;
        }
        let found = state.read(move |c| Box::pin(async move { commands::outcomes(c, &due).await }));
        match found.await {
            Ok(decided) => state.waiters.hear(Reply { decided }),
            Err(error) => tracing::debug!(?error, "outcomes could not be looked up"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(id: u128) -> Decided {
        Decided::KeyReusedV1 { id: Uuid::from_u128(id) }
    }

    #[tokio::test]
    async fn everyone_who_waits_for_an_id_is_told_and_nobody_is_left() {
        let waiters = Waiters::default();
        let (first, second) = (waiters.wait(Uuid::from_u128(1)), waiters.wait(Uuid::from_u128(1)));
        let other = waiters.wait(Uuid::from_u128(2));
        waiters.hear(Reply { decided: vec![decided(1), decided(3)] });
        let limit = Duration::from_secs(1);
        assert_eq!(first.outcome(limit).await, Some(decided(1)));
        assert_eq!(second.outcome(limit).await, Some(decided(1)));
        assert_eq!(other.outcome(Duration::ZERO).await, None);
        assert!(waiters.lock().is_empty());
    }

    #[tokio::test]
    async fn an_earlier_decision_is_looked_up_at_once() {
        let waiters = Waiters::default();
        let id = Uuid::from_u128(1);
        let _wait = waiters.wait(id);
        assert!(waiters.due().is_empty());
        waiters.hear(Reply { decided: vec![Decided::EarlierV1 { id }] });
        assert_eq!(waiters.due(), [id]);
    }
}
