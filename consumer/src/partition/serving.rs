//! When the writer serves what was promised: orders that stock has arrived for, the oldest first, a few at a time between batches.

use std::collections::BTreeSet;
use std::time::Duration;

use common::db;
use common::partition::partition_of_order;
use tokio::time::Instant;
use uuid::Uuid;

use super::Writer;
use super::settle::{Release, Work};
use crate::verdict::{Failure, Verdict};

/// How often it is looked for what can be served, after nothing could be.
const EVERY: Duration = Duration::from_secs(1);
const LOOK_LIMIT: Duration = Duration::from_secs(5);
/// Most orders that are looked up together, to be served one after the other.
const LOOK_MAX: usize = 5_000;
/// Most orders that are served together.
const ORDERS_MAX: usize = 500;
/// How long an order that can't be served by itself is left alone before it is tried again.
const STUCK: Duration = Duration::from_secs(300);

/// An order with the variants that it can be served of.
pub(super) type ToServe = (Uuid, Vec<Uuid>);

/// What the writer knows of orders that wait for stock.
#[derive(Debug)]
pub(super) struct Service {
    at: Instant,
    /// The next ones, the oldest last.
    next: Vec<ToServe>,
    /// How long a transaction that serves should take at the most.
    target: Duration,
    /// Most orders of the next transaction: less, while some fail together or take long.
    fit: usize,
    /// Orders that fail by themselves, for whatever reason, and since when: an operator must look.
    stuck: BTreeSet<Uuid>,
    stuck_since: Instant,
}

impl Service {
    pub(super) fn new(target: Duration) -> Self {
        let now = Instant::now();
        Self { at: now, next: Vec::new(), target, fit: ORDERS_MAX, stuck: BTreeSet::new(), stuck_since: now }
    }

    /// Takes the oldest, as many as fit.
    fn take(&mut self) -> Vec<ToServe> {
        let left = self.next.len().saturating_sub(self.fit);
        let mut orders = self.next.split_off(left);
        orders.reverse();
        orders
    }
}

impl Writer {
    /// Serves some orders, if it is time to.
    pub(super) async fn serve(&mut self) {
        if self.service.at > Instant::now() {
            return;
        }
        let again = match self.serve_once().await {
            Ok(()) => !self.service.next.is_empty(),
            Err(failure) => {
                // Of a failed transaction's connection nothing is known, and of what was looked up not much.
                self.database = None;
                self.service.next.clear();
                tracing::warn!(error = &failure as &dyn std::error::Error, "what was promised is not served yet");
                let alone = self.service.fit == 1;
                self.service.fit = (self.service.fit / 2).max(1);
                !alone && matches!(failure.verdict(), Verdict::RetryLess | Verdict::Isolate)
            }
        };
        self.service.at = Instant::now() + if again { Duration::ZERO } else { EVERY };
    }

    async fn serve_once(&mut self) -> Result<(), Failure> {
        if self.service.next.is_empty() {
            self.service.next = self.look_for_orders().await?;
        }
        // Of those whose partitions have been let go since, their new owner takes care.
        let partitions = self.topology.partitions();
        let mut orders = self.service.take();
        orders.retain(|(order, _)| self.held.contains_key(&partition_of_order(*order, partitions)));
        if orders.is_empty() {
            return Ok(());
        }
        let homes = orders.iter().map(|(order, _)| partition_of_order(*order, partitions));
        let epochs = homes.filter_map(|home| Some((home, self.held.get(&home)?.epoch))).collect();
        let (release, began) = (Release::ToServe(&orders), Instant::now());
        match self.commit(Work { epochs: &epochs, group: &[], dead: &[], release }).await {
            Ok(_) => {
                let fit = self.service.fit;
                let slow = began.elapsed() > self.service.target;
                self.service.fit = if slow { (fit / 2).max(1) } else { (fit * 2).min(ORDERS_MAX) };
                tracing::info!(orders = orders.len(), "stock has arrived for orders");
                Ok(())
            }
            Err(failure) => {
                if let [(order, _)] = orders.as_slice()
                    && failure.verdict() == Verdict::Isolate
                {
                    tracing::error!(order.id = %order, "this order can't be served: an operator must look");
                    self.service.stuck.insert(*order);
                }
                Err(failure)
            }
        }
    }

    /// Orders of the held partitions that there is stock for, asked for without a lock: the oldest last.
    async fn look_for_orders(&mut self) -> Result<Vec<ToServe>, Failure> {
        let held: Vec<u16> = self.held.keys().copied().collect();
        if held.is_empty() {
            return Ok(Vec::new());
        }
        if self.service.stuck_since.elapsed() > STUCK {
            self.service.stuck.clear();
            self.service.stuck_since = Instant::now();
        }
        let limit = i64::try_from(LOOK_MAX + self.service.stuck.len()).unwrap_or(i64::MAX);
        let partitions = self.topology.partitions();
        let connection = self.database().await?;
        let looking = db::backorders::to_serve(connection, &held, partitions, limit);
        let found = tokio::time::timeout(LOOK_LIMIT, looking).await.unwrap_or(Err(db::Error::TimedOut))?;
        Ok(found.into_iter().filter(|(order, _)| !self.service.stuck.contains(order)).rev().collect())
    }
}
