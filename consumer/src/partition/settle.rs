//! The transaction of a batch and what follows it: begin, fence, lock, decide, save, commit, acknowledge, tell.

use std::collections::BTreeMap;
use std::time::Duration;

use common::db::partitions::{Fenced, Moment};
use common::db::reservations::Window;
use common::db::{self, Transaction};
use common::domain::{Bundles, Order, StockChange, Timestamp};
use common::steps::Step;
use futures_util::future::join_all;
use tokio::time::Instant;
use uuid::Uuid;

use super::Writer;
use super::batch::{Batch, Dead, Pending};
use super::decide::{Decisions, Seen, decide_batch};
use super::lock::{bundles, expiries, is_more_due, lock, release, servings};
use super::serving::ToServe;
use super::tell::Told;
use crate::verdict::Failure;

const CONNECT_SECONDS_MAX: u64 = 5;
/// Longest time for a transaction, whatever the server's own limits say: the network may be gone half way.
const TRANSACTION_SECONDS_MAX: u64 = 15;

/// How long the server's plans for a writer's statements are kept: a store may grow a hundredfold in a minute.
const PLANS_KEPT: Duration = Duration::from_secs(5);

/// What one transaction is to do. It touches no other partitions than those of `epochs`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Work<'a> {
    /// The partitions, with the epochs under which they are held.
    pub(super) epochs: &'a BTreeMap<u16, i64>,
    pub(super) group: &'a [Pending],
    pub(super) dead: &'a [Dead],
    pub(super) release: Release<'a>,
}

/// Which holds a transaction ends, of those whose time is over.
#[derive(Debug, Clone, Copy)]
pub(super) enum Release<'a> {
    None,
    /// Those that the group needs the stock of.
    ForGroup,
    /// Those of these orders.
    Orders(&'a [Uuid]),
    /// None; these are served what they were promised.
    ToServe(&'a [ToServe]),
}

/// What one transaction has done.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) told: Told,
    /// Holds that it has ended.
    pub(super) expired: usize,
    /// How many of the group it has decided, from the first on: fewer where they need more to be set free.
    pub(super) decided: usize,
}

/// How far a batch has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Settled {
    Done,
    /// Holds were ended that its next command needs the stock of, and there are more.
    Releasing,
}

impl Writer {
    /// Decides, commits and acknowledges a batch. What of it is done when something fails is not done again.
    pub(super) async fn settle(&mut self, batch: &mut Batch) -> Result<Settled, Failure> {
        let mut told = Vec::new();
        while !batch.is_decided() {
            self.steps.reached(Step::Gathered).await;
            let (group, dead) = batch.next();
            let (asked, began) = (group.len(), Instant::now());
            let epochs = group.iter().map(|pending| (pending.partition, pending.epoch));
            let epochs = epochs.chain(dead.iter().map(|dead| (dead.letter.partition, dead.epoch))).collect();
            let release = if self.expiry.goes_with_batch() { Release::ForGroup } else { Release::None };
            let Done { told: more, expired, decided } =
                self.commit(Work { epochs: &epochs, group, dead, release }).await?;
            self.expiry.done_with_batch(expired, decided > 0);
            if decided == 0 && asked > 0 {
                self.replies.tell(told);
                return Ok(Settled::Releasing);
            }
            self.pace.decided(decided, began.elapsed());
            told.extend(more);
            told.extend(batch.committed(decided));
        }
        self.steps.reached(Step::Committed).await;
        self.acknowledge(batch).await;
        self.steps.reached(Step::Acknowledged).await;
        self.replies.tell(told);
        Ok(Settled::Done)
    }

    /// Acknowledges all partitions of a batch at once, unless the connection is lost meanwhile: on a dying one each would
    /// stand still until its time is over, for nothing.
    async fn acknowledge(&self, batch: &mut Batch) {
        let acknowledging = batch.take_receipts().into_iter().map(|(partition, receipt)| async move {
            if let Err(error) = receipt.acknowledge().await {
                tracing::warn!(partition, error = &error as &dyn std::error::Error, "not acknowledged: it comes again");
            }
        });
        tokio::select! {
            _ = join_all(acknowledging) => {}
            () = self.link.lost() => tracing::warn!("not acknowledged: the connection was lost, it comes again"),
        }
    }

    pub(super) async fn commit(&mut self, work: Work<'_>) -> Result<Done, Failure> {
        let limit = Duration::from_secs(TRANSACTION_SECONDS_MAX);
        // Cut off, the connection is dropped by the caller, and whatever became of the transaction is found by id.
        tokio::time::timeout(limit, self.transaction(work)).await.map_err(|_| Failure::TooLong)?
    }

    /// The writer's own connection: of what is done on it nobody else knows.
    pub(super) async fn database(&mut self) -> Result<&mut db::PgConnection, Failure> {
        if self.database.is_none() {
            let (url, wait) = (&self.config.servers.database_url, Duration::from_secs(CONNECT_SECONDS_MAX));
            let mut connection = db::connect(url, "onhand-consumer-writer", db::Limits::default(), wait).await?;
            db::plan_once(&mut connection).await?;
            self.database = Some(connection);
        }
        Ok(self.database.as_mut().ok_or(db::Error::TimedOut)?)
    }

    async fn transaction(&mut self, mut work: Work<'_>) -> Result<Done, Failure> {
        let partitions = self.topology.partitions();
        let (from, limit, except) = (self.expiry.due_from(), self.expiry.fit(), self.expiry.stuck());
        self.database().await?;
        let connection = self.database.as_mut().ok_or(db::Error::TimedOut)?;
        if self.planned_at.elapsed() > PLANS_KEPT {
            self.planned_at = Instant::now();
            db::forget_plans(connection).await?;
        }
        let mut transaction = db::begin(connection).await?;
        let (fenced, moment) = fence(&mut transaction, work.epochs, from).await?;
        self.expiry.saw(moment);
        let window = Window { now: moment.now, from, except: &except, limit };
        let bundles = if moment.bundles { bundles(&mut transaction, work.group).await? } else { Bundles::default() };
        let release = release(&mut transaction, &work, moment, &bundles, window).await?;
        if !release.orders.is_empty() && !work.group.is_empty() {
            self.expiry.begins_with_batch();
        }
        work.take(release.need.as_ref().map_or(work.group.len(), |need| need.take));
        let terms = match self.terms.take() {
            Some(known) if known.version == moment.terms => known,
            Some(_) | None => db::terms::in_force(&mut transaction).await?,
        };
        let moment = (moment, &*self.terms.insert(terms), &bundles);
        let (mut seen, due) = lock(&mut transaction, &fenced, moment, &release.orders, work.group, &self.steps).await?;
        if let Some(need) = &release.need
            && is_more_due(&mut transaction, &seen, &due, need, window).await?
        {
            work.take(0);
        }
        let expired = due.len();
        let expiries = expiries(&due, &fenced, seen.view.now, partitions);
        let servings = match work.release {
            Release::ToServe(orders) => servings(orders, &seen.view.orders, &fenced, seen.view.now, partitions),
            Release::None | Release::ForGroup | Release::Orders(_) => Vec::new(),
        };
        let own = expiries.iter().chain(&servings);
        let mut decisions = decide_batch(&mut seen, own.chain(work.group));
        let now = seen.view.now;
        let over = fenced.iter().filter(|fenced| fenced.counted_before(now)).map(|fenced| fenced.partition);
        let over: Vec<u16> = over.collect();
        if !over.is_empty() {
            db::partitions::close_minute(&mut transaction, &over, now).await?;
        }
        save(&mut transaction, &seen, &mut decisions, self.config.lease).await?;
        if !work.dead.is_empty() {
            let letters: Vec<_> = work.dead.iter().map(|dead| dead.letter.clone()).collect();
            db::dead_letters::insert(&mut transaction, &letters, seen.view.now).await?;
        }
        self.steps.reached(Step::Saved).await;
        db::commit(transaction).await?;
        self.decided.wake();
        let decided = work.group.len();
        tracing::debug!(batch.len = decided, expired, partitions = ?decisions.reached, "committed");
        Ok(Done { told: decisions.replies, expired, decided })
    }
}

impl Work<'_> {
    /// Leaves all but the first commands of the group to another transaction; with none of them, what is put aside too.
    fn take(&mut self, count: usize) {
        if count == 0 && !self.group.is_empty() {
            self.dead = &[];
        }
        self.group = &self.group[..count.min(self.group.len())];
    }
}

/// Locks the lease rows of the batch's partitions. Whoever's epoch is another has lost it.
async fn fence(
    transaction: &mut Transaction<'_>,
    epochs: &BTreeMap<u16, i64>,
    due_from: Option<Timestamp>,
) -> Result<(Vec<Fenced>, Moment), Failure> {
    let partitions: Vec<u16> = epochs.keys().copied().collect();
    let (fenced, moment) = db::partitions::fence(transaction, &partitions, due_from).await?;
    let lost = |row: &&Fenced| epochs.get(&row.partition) != Some(&row.epoch);
    let lost: Vec<u16> = fenced.iter().filter(lost).map(|row| row.partition).collect();
    if lost.is_empty() { Ok((fenced, moment)) } else { Err(Failure::Fenced(lost)) }
}

async fn save(
    transaction: &mut Transaction<'_>,
    seen: &Seen,
    decisions: &mut Decisions,
    lease: Duration,
) -> Result<(), Failure> {
    let now = seen.view.now;
    if !decisions.products.is_empty() {
        db::products::insert(transaction, &mut decisions.products, now).await?;
    }
    if !decisions.variants.is_empty() {
        db::products::insert_variants(transaction, &mut decisions.variants, now).await?;
    }
    db::products::insert_components(transaction, &decisions.products).await?;
    let capped: Vec<Uuid> = decisions.capped.iter().copied().collect();
    if !capped.is_empty() {
        db::backorders::open(transaction, &capped).await?;
    }
    if !decisions.commands.is_empty() {
        db::commands::insert(transaction, &mut decisions.commands, now).await?;
    }
    let changes: Vec<StockChange> = seen.view.stock.changes().collect();
    if !changes.is_empty() {
        db::stock::save(transaction, &changes).await?;
    }
    if !decisions.orders.is_empty() {
        db::orders::insert(transaction, &mut decisions.orders).await?;
    }
    if !decisions.changed.is_empty() {
        let changed: Vec<&Order> = decisions.changed.iter().filter_map(|id| seen.view.orders.get(id)).collect();
        db::orders::change(transaction, &changed, &decisions.history, now).await?;
    }
    if !decisions.moved.is_empty() {
        db::movements::insert(transaction, &decisions.moved, now).await?;
    }
    if !decisions.unapplied.is_empty() {
        db::payments::insert(transaction, &decisions.unapplied, now).await?;
    }
    if !capped.is_empty() {
        db::backorders::save(transaction, &seen.view.stock, &capped).await?;
    }
    if !decisions.low.is_empty() {
        db::low_stock::insert(transaction, &decisions.low, now).await?;
    }
    if !decisions.reached.is_empty() {
        db::partitions::advance(transaction, &decisions.reached, decisions.len(), now, lease).await?;
    }
    Ok(())
}
