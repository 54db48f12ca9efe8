//! When the writer ends holds whose time is over: a few at a time between batches, so that a hundred thousand due at once hold
//! no order up; and with a batch, those that it needs the stock of, so that a late sweep never hides stock.

use std::collections::BTreeSet;
use std::time::Duration;

use common::db;
use common::db::partitions::Moment;
use common::db::reservations::Window;
use common::domain::Timestamp;
use common::partition::partition_of_order;
use tokio::time::Instant;
use uuid::Uuid;

use super::Writer;
use super::settle::{Release, Work};
use crate::verdict::{Failure, Verdict};

/// How long holds are ended by sweeps alone after a batch has failed with those that it was to end.
const APART: Duration = Duration::from_secs(5);
const LOOK_LIMIT: Duration = Duration::from_secs(5);
/// How long a hold that fails by itself is left alone before it is tried again.
const STUCK: Duration = Duration::from_secs(300);
/// Most holds that are left alone. Past it all are tried again.
const STUCK_MAX: usize = 1_000;
/// A new hold is due after its decision, which was begun at most so long ago when it is seen, with room for a clock that is set
/// back a little.
const SEEN_LATE: Duration = Duration::from_secs(30);
/// How often it is looked for holds that were due at any time before, whatever clocks have done.
const LOOK_BACK_EVERY: Duration = Duration::from_secs(60);
/// Transactions in a row that were to end holds for a batch and found none to end, before the batch is decided all the same.
const FRUITLESS_MAX: u32 = 10;

/// What the writer knows of holds that are due.
#[derive(Debug)]
pub(super) struct Expiry {
    every: Duration,
    orders_max: i64,
    /// How long a transaction that ends holds should take at the most.
    target: Duration,
    /// Most holds that the next transaction ends: less, while some fail together or take long.
    fit: i64,
    /// When to sweep next.
    pub(super) at: Instant,
    /// No hold is due that was due before, and when that was last made sure.
    due_from: Option<Timestamp>,
    looked_back: Instant,
    /// Holds that fail by themselves, for whatever reason, and since when: an operator must look.
    stuck: BTreeSet<Uuid>,
    stuck_since: Instant,
    /// Whether the last transaction of a batch was to end holds too.
    with_batch: bool,
    fruitless: u32,
    apart_until: Option<Instant>,
}

impl Expiry {
    pub(super) fn new(every: Duration, orders_max: u32, target: Duration) -> Self {
        let now = Instant::now();
        Self {
            every,
            orders_max: i64::from(orders_max),
            target,
            fit: i64::from(orders_max),
            at: now,
            due_from: None,
            looked_back: now,
            stuck: BTreeSet::new(),
            stuck_since: now,
            with_batch: false,
            fruitless: 0,
            apart_until: None,
        }
    }

    /// Whether a batch's transaction is to end holds.
    pub(super) fn goes_with_batch(&mut self) -> bool {
        self.with_batch = false;
        self.apart_until.take_if(|until| *until <= Instant::now());
        self.apart_until.is_none() && self.fruitless < FRUITLESS_MAX
    }

    /// Most holds of a transaction.
    pub(super) fn fit(&self) -> i64 {
        self.fit
    }

    /// Holds that are not to be touched.
    pub(super) fn stuck(&self) -> Vec<Uuid> {
        self.stuck.iter().copied().collect()
    }

    /// No hold was due before this moment; `None` where that is not known.
    pub(super) fn due_from(&mut self) -> Option<Timestamp> {
        if self.looked_back.elapsed() > LOOK_BACK_EVERY {
            self.looked_back = Instant::now();
            self.due_from = None;
        }
        self.due_from
    }

    pub(super) fn saw(&mut self, moment: Moment) {
        let Moment { now, due, .. } = moment;
        self.due_from = Some(due.map_or(now, |due| due.min(now)) - SEEN_LATE);
    }

    /// A batch's transaction is about to end holds.
    pub(super) fn begins_with_batch(&mut self) {
        self.with_batch = true;
    }

    /// A batch's transaction has ended so many holds, and decided something or not.
    pub(super) fn done_with_batch(&mut self, expired: usize, decided: bool) {
        self.with_batch = false;
        self.fruitless = if decided || expired > 0 { 0 } else { self.fruitless + 1 };
    }

    /// A batch has failed for something that was to be written. Answers whether that may have been a hold's doing: then none
    /// is ended with batches for a while. Where it fails without, it was the batch's.
    pub(super) fn is_suspect(&mut self) -> bool {
        self.apart_until = self.with_batch.then(|| Instant::now() + APART);
        std::mem::take(&mut self.with_batch)
    }

    /// A transaction that was to end holds took too long.
    pub(super) fn shrink(&mut self) {
        self.fit = (self.fit / 2).max(1);
    }

    /// After a sweep that has ended so many: at once where there may be more.
    fn swept(&mut self, expired: usize, took: Duration) {
        let full = i64::try_from(expired).is_ok_and(|expired| expired >= self.fit);
        if took > self.target {
            self.shrink();
        } else {
            self.fit = self.fit.saturating_mul(2).min(self.orders_max);
        }
        self.at = Instant::now() + if full { Duration::ZERO } else { self.every };
    }

    fn set_aside(&mut self, ids: &[Uuid]) {
        if self.stuck.is_empty() || self.stuck.len() >= STUCK_MAX {
            self.stuck.clear();
            self.stuck_since = Instant::now();
        }
        for id in ids {
            tracing::error!(order.id = %id, "this reservation can't be released: an operator must look");
            self.stuck.insert(*id);
        }
    }
}

impl Writer {
    /// Ends some holds whose time is over, then takes a batch that waits, so that neither starves the other.
    pub(super) async fn sweep(&mut self) {
        let began = Instant::now();
        match self.sweep_once().await {
            Ok(expired) => {
                self.expiry.swept(expired, began.elapsed());
                self.serve().await;
            }
            Err(failure) => {
                // Of a failed transaction's connection nothing is known.
                self.database = None;
                tracing::warn!(error = &failure as &dyn std::error::Error, "due reservations are not released yet");
                let alone = self.expiry.fit == 1;
                let again = match failure.verdict() {
                    Verdict::RetryLess | Verdict::Isolate => !alone,
                    // Its keeper tells which partitions are lost.
                    Verdict::Forget(_) | Verdict::Retry => false,
                };
                if again {
                    self.expiry.shrink();
                }
                self.expiry.at = Instant::now() + if again { Duration::ZERO } else { self.config.expiry_every };
            }
        }
        if self.pending.is_none()
            && let Ok(incoming) = self.incoming.try_recv()
        {
            self.receive(incoming).await;
        }
    }

    /// Ends as many holds as fit, of those that are due longest; answers with how many.
    async fn sweep_once(&mut self) -> Result<usize, Failure> {
        let due = self.due().await?;
        if due.is_empty() {
            return Ok(0);
        }
        // Only their partitions are locked: the leases of the others can be renewed meanwhile.
        let partitions = self.topology.partitions();
        let homes = due.iter().map(|order| partition_of_order(*order, partitions));
        let epochs = homes.filter_map(|home| Some((home, self.held.get(&home)?.epoch))).collect();
        let release = Release::Orders(&due);
        match self.commit(Work { epochs: &epochs, group: &[], dead: &[], release }).await {
            Ok(done) => {
                tracing::info!(expired = done.expired, "reservations have expired");
                Ok(done.expired)
            }
            Err(failure) => {
                if due.len() == 1 && failure.verdict() == Verdict::Isolate {
                    self.expiry.set_aside(&due);
                }
                Err(failure)
            }
        }
    }

    /// The orders of the held partitions whose time is over, asked for without a lock.
    async fn due(&mut self) -> Result<Vec<Uuid>, Failure> {
        let held: Vec<u16> = self.held.keys().copied().collect();
        if held.is_empty() {
            return Ok(Vec::new());
        }
        if self.expiry.stuck_since.elapsed() > STUCK {
            self.expiry.stuck.clear();
            self.expiry.stuck_since = Instant::now();
        }
        let (from, limit, except) = (self.expiry.due_from(), self.expiry.fit, self.expiry.stuck());
        let partitions = self.topology.partitions();
        let connection = self.database().await?;
        let looking = async {
            let moment = db::reservations::next_due(connection, from).await?;
            if !moment.is_due() {
                return Ok((moment, Vec::new()));
            }
            let window = Window { now: moment.now, from, except: &except, limit };
            Ok((moment, db::reservations::due(connection, &held, partitions, window).await?))
        };
        let looked: db::Result<_> = tokio::time::timeout(LOOK_LIMIT, looking).await.unwrap_or(Err(db::Error::TimedOut));
        let (moment, due) = looked?;
        self.expiry.saw(moment);
        Ok(due)
    }
}
