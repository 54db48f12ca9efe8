//! When the writer ends holds whose time is over: a few at a time between batches, so that a hundred thousand due at once hold
//! no order up; and with a batch, those that it might want the stock of, so that a late sweep never hides stock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::db;
use tokio::time::Instant;
use uuid::Uuid;

use super::Writer;
use super::settle::{Expiry as Which, Work};
use crate::verdict::{Failure, Verdict};

/// How long holds are ended by sweeps alone after a batch has failed with those that it was to end.
const APART: Duration = Duration::from_secs(5);
const LOOK_LIMIT: Duration = Duration::from_secs(5);
/// Most holds that are left alone because they can't be ended. Past it they are tried again.
const STUCK_MAX: usize = 1_000;

/// What the writer knows of sweeps.
#[derive(Debug)]
pub(super) struct Expiry {
    every: Duration,
    orders_max: i64,
    /// Most holds that the next sweep ends: less, while some fail together.
    fit: i64,
    /// When to sweep next.
    pub(super) at: Instant,
    /// Holds that fail by themselves, for whatever reason: an operator must look.
    stuck: BTreeSet<Uuid>,
    /// Whether the last transaction of a batch was to end holds too.
    with_batch: bool,
    apart_until: Option<Instant>,
}

impl Expiry {
    pub(super) fn new(every: Duration, orders_max: u32) -> Self {
        let orders_max = i64::from(orders_max);
        let (fit, at, stuck) = (orders_max, Instant::now(), BTreeSet::new());
        Self { every, orders_max, fit, at, stuck, with_batch: false, apart_until: None }
    }

    /// Most holds that a batch's transaction is to end; `None` while it is to end none.
    pub(super) fn with_batch_max(&mut self) -> Option<i64> {
        self.with_batch = false;
        self.apart_until.take_if(|until| *until <= Instant::now());
        self.apart_until.is_none().then_some(self.orders_max)
    }

    /// Holds that are not to be touched.
    pub(super) fn stuck(&self) -> Vec<Uuid> {
        self.stuck.iter().copied().collect()
    }

    /// A transaction is about to end so many.
    pub(super) fn noted(&mut self, which: &Which<'_>, count: usize) {
        self.with_batch = count > 0 && matches!(which, Which::OfGroup { .. });
    }

    /// A batch has failed for something that was to be written. Answers whether that may have been a hold's doing: then none
    /// is ended with batches for a while.
    pub(super) fn is_suspect(&mut self) -> bool {
        if self.with_batch {
            self.apart_until = Some(Instant::now() + APART);
        }
        std::mem::take(&mut self.with_batch)
    }

    /// After a sweep that has ended so many: at once where there may be more.
    fn swept(&mut self, expired: usize) {
        let full = i64::try_from(expired).is_ok_and(|expired| expired >= self.fit);
        self.fit = self.fit.saturating_mul(2).min(self.orders_max);
        self.at = Instant::now() + if full { Duration::ZERO } else { self.every };
    }

    fn failed(&mut self) {
        self.at = Instant::now() + self.every;
    }
}

impl Writer {
    /// Ends some holds whose time is over, then takes a batch that waits, so that neither starves the other.
    pub(super) async fn sweep(&mut self) {
        self.sweep_once().await;
        if self.pending.is_none()
            && let Ok(incoming) = self.incoming.try_recv()
        {
            self.receive(incoming).await;
        }
    }

    async fn sweep_once(&mut self) {
        let epochs: BTreeMap<u16, i64> = self.held.iter().map(|(p, holding)| (*p, holding.epoch)).collect();
        match self.is_something_due(&epochs).await {
            Ok(true) => {}
            Ok(false) => return self.expiry.swept(0),
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "due reservations could not be looked for");
                self.database = None;
                return self.expiry.failed();
            }
        }
        let stuck = self.expiry.stuck();
        let expiry = Which::OfPartitions { limit: self.expiry.fit, except: &stuck };
        match self.commit(Work { epochs: &epochs, group: &[], dead: &[], expiry }).await {
            Ok(done) => {
                if done.expired > 0 {
                    tracing::info!(expired = done.expired, "reservations have expired");
                }
                self.expiry.swept(done.expired);
            }
            Err(failure) => {
                // Of a failed transaction's connection nothing is known.
                self.database = None;
                tracing::warn!(error = &failure as &dyn std::error::Error, "due reservations are not released yet");
                match failure.verdict() {
                    Verdict::RetryLess => self.expiry.fit = (self.expiry.fit / 2).max(1),
                    Verdict::Isolate if self.expiry.fit > 1 => self.expiry.fit /= 2,
                    Verdict::Isolate => self.set_aside(&epochs).await,
                    // Its keeper tells which partitions are lost.
                    Verdict::Forget(_) | Verdict::Retry => {}
                }
                self.expiry.failed();
            }
        }
    }

    /// Whether some hold's time is over, of whatever partition: asked without a lock.
    async fn is_something_due(&mut self, epochs: &BTreeMap<u16, i64>) -> Result<bool, Failure> {
        if epochs.is_empty() {
            return Ok(false);
        }
        let connection = self.database().await?;
        let looking = db::reservations::next_due(connection);
        let (now, due) = tokio::time::timeout(LOOK_LIMIT, looking).await.map_err(|_| Failure::TooLong)??;
        Ok(due.is_some_and(|due| due <= now))
    }

    /// The one that is due longest fails by itself: the others go on without it.
    async fn set_aside(&mut self, epochs: &BTreeMap<u16, i64>) {
        let held: Vec<u16> = epochs.keys().copied().collect();
        let except = self.expiry.stuck();
        let partitions = self.topology.partitions();
        let Ok(connection) = self.database().await else { return };
        let looking = async {
            let (now, _) = db::reservations::next_due(connection).await?;
            db::reservations::due(connection, &held, partitions, now, &except, 1).await
        };
        let Ok(Ok(due)) = tokio::time::timeout(LOOK_LIMIT, looking).await else {
            self.database = None;
            return;
        };
        if self.expiry.stuck.len() >= STUCK_MAX {
            self.expiry.stuck.clear();
        }
        for id in due {
            tracing::error!(order.id = %id, "this reservation can't be released: an operator must look");
            self.expiry.stuck.insert(id);
        }
    }
}
