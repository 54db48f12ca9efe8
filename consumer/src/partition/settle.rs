//! The transaction of a batch and what follows it: begin, fence, lock, decide, save, commit, acknowledge, tell.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::db::partitions::{Fenced, Moment};
use common::db::{self, Transaction};
use common::domain::{Action, Command, Expire, Order, StockChange, StockView, Timestamp, View};
use common::message::{Decided, Queued, Reply};
use common::partition::partition_of_order;
use common::queue;
use common::steps::{Step, Steps};
use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use uuid::Uuid;

use super::Writer;
use super::batch::{Batch, Dead, Pending};
use super::decide::{Decisions, Seen, decide_batch};
use crate::verdict::Failure;

const CONNECT_SECONDS_MAX: u64 = 5;
/// Longest time for a transaction, whatever the server's own limits say: the network may be gone half way.
const TRANSACTION_SECONDS_MAX: u64 = 15;

type Told = Vec<(String, Decided)>;

/// What one transaction is to do. It touches no other partitions than those of `epochs`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Work<'a> {
    /// The partitions, with the epochs under which they are held.
    pub(super) epochs: &'a BTreeMap<u16, i64>,
    pub(super) group: &'a [Pending],
    pub(super) dead: &'a [Dead],
    pub(super) expiry: Expiry<'a>,
}

/// Which holds a transaction ends, of those whose time is over.
#[derive(Debug, Clone, Copy)]
pub(super) enum Expiry<'a> {
    None,
    /// Those that the group's orders might want the stock of, except a few.
    OfGroup {
        limit: i64,
        except: &'a [Uuid],
    },
    /// Those of the partitions, except a few.
    OfPartitions {
        limit: i64,
        except: &'a [Uuid],
    },
}

/// What one transaction has done.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) told: Told,
    /// Holds that it has ended.
    pub(super) expired: usize,
    /// Whether the group was decided. Where there was more to be ended before than its limit, that is all that it did.
    pub(super) decided: bool,
}

impl Writer {
    /// Decides, commits and acknowledges a batch. What of it is done when something fails is not done again.
    pub(super) async fn settle(&mut self, batch: &mut Batch) -> Result<(), Failure> {
        let mut told = Vec::new();
        let mut release = true;
        while !batch.is_decided() {
            self.steps.reached(Step::Gathered).await;
            let (group, dead) = batch.next();
            let (count, began) = (group.len(), Instant::now());
            let epochs = group.iter().map(|pending| (pending.partition, pending.epoch));
            let epochs = epochs.chain(dead.iter().map(|dead| (dead.letter.partition, dead.epoch))).collect();
            let except = self.expiry.stuck();
            let limit = self.expiry.with_batch_max().filter(|_| release);
            let expiry = limit.map_or(Expiry::None, |limit| Expiry::OfGroup { limit, except: &except });
            let done = self.commit(Work { epochs: &epochs, group, dead, expiry }).await?;
            if done.decided {
                self.pace.decided(count, began.elapsed());
                told.extend(done.told);
                told.extend(batch.committed(count));
            } else {
                // What is due and can't be found among the orders is nobody's to release.
                release = done.expired > 0;
            }
        }
        self.steps.reached(Step::Committed).await;
        self.acknowledge(batch).await;
        self.steps.reached(Step::Acknowledged).await;
        self.replies.tell(told);
        Ok(())
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
            self.database = Some(db::connect(url, "onhand-consumer-writer", db::Limits::default(), wait).await?);
        }
        Ok(self.database.as_mut().ok_or(db::Error::TimedOut)?)
    }

    async fn transaction(&mut self, mut work: Work<'_>) -> Result<Done, Failure> {
        let partitions = self.topology.partitions();
        self.database().await?;
        let connection = self.database.as_mut().ok_or(db::Error::TimedOut)?;
        let mut transaction = db::begin(connection).await?;
        let (fenced, moment) = fence(&mut transaction, work.epochs).await?;
        let due = due(&mut transaction, &work, moment, partitions).await?;
        self.expiry.noted(&work.expiry, due.ids.len());
        if due.more {
            (work.group, work.dead) = (&[], &[]);
        }
        let (mut seen, expiries) =
            lock(&mut transaction, fenced, moment, &due.ids, work.group, partitions, &self.steps).await?;
        let mut decisions = decide_batch(&mut seen, expiries.iter().chain(work.group));
        save(&mut transaction, &seen, &mut decisions, self.config.lease).await?;
        if !work.dead.is_empty() {
            let letters: Vec<_> = work.dead.iter().map(|dead| dead.letter.clone()).collect();
            db::dead_letters::insert(&mut transaction, &letters, moment.now).await?;
        }
        self.steps.reached(Step::Saved).await;
        db::commit(transaction).await?;
        let expired = expiries.iter().map(|expiry| expiry.queued.command.orders().len()).sum();
        let decided = decisions.len();
        tracing::debug!(batch.len = work.group.len(), decided, expired, partitions = ?decisions.reached, "committed");
        Ok(Done { told: decisions.replies, expired, decided: !due.more })
    }
}

/// Locks the lease rows of the batch's partitions. Whoever's epoch is another has lost it.
async fn fence(
    transaction: &mut Transaction<'_>,
    epochs: &BTreeMap<u16, i64>,
) -> Result<(Vec<Fenced>, Moment), Failure> {
    let partitions: Vec<u16> = epochs.keys().copied().collect();
    let (fenced, moment) = db::partitions::fence(transaction, &partitions).await?;
    let lost = |row: &&Fenced| epochs.get(&row.partition) != Some(&row.epoch);
    let lost: Vec<u16> = fenced.iter().filter(lost).map(|row| row.partition).collect();
    if lost.is_empty() { Ok((fenced, moment)) } else { Err(Failure::Fenced(lost)) }
}

/// Orders whose holds are to be ended.
struct Due {
    ids: Vec<Uuid>,
    /// There may be more of them: what might want their stock is not decided yet.
    more: bool,
}

async fn due(
    transaction: &mut Transaction<'_>,
    work: &Work<'_>,
    Moment { now, is_due }: Moment,
    partitions: u16,
) -> Result<Due, Failure> {
    match work.expiry {
        Expiry::OfGroup { limit, except } if is_due => {
            let mut asked = BTreeMap::<Uuid, i64>::new();
            for (variant, pieces) in work.group.iter().flat_map(|pending| pending.queued.command.variants()) {
                let sum = asked.entry(variant).or_default();
                *sum = sum.saturating_add(pieces);
            }
            let asked: Vec<(Uuid, i64)> = asked.into_iter().filter(|(_, pieces)| *pieces > 0).collect();
            let ids = db::reservations::due_of(transaction, &asked, now, except, limit).await?;
            let more = i64::try_from(ids.len()).is_ok_and(|found| found >= limit);
            Ok(Due { ids, more })
        }
        Expiry::OfPartitions { limit, except } if is_due => {
            let held: Vec<u16> = work.epochs.keys().copied().collect();
            let ids = db::reservations::due(transaction, &held, partitions, now, except, limit).await?;
            Ok(Due { ids, more: false })
        }
        Expiry::None | Expiry::OfGroup { .. } | Expiry::OfPartitions { .. } => Ok(Due { ids: Vec::new(), more: false }),
    }
}

/// Locks orders, then stock, each in one fixed order, and reads what the decisions need. Answers also with the commands that
/// end the holds which, now that they are locked, are due.
async fn lock(
    transaction: &mut Transaction<'_>,
    fenced: Vec<Fenced>,
    Moment { now, .. }: Moment,
    due: &[Uuid],
    group: &[Pending],
    partitions: u16,
    steps: &Steps,
) -> Result<(Seen, Vec<Pending>), Failure> {
    let commands = || group.iter().map(|pending| &pending.queued.command);
    let orders: BTreeSet<Uuid> = commands().flat_map(Command::orders).chain(due).copied().collect();
    let orders = if orders.is_empty() {
        BTreeMap::new()
    } else {
        db::orders::lock(transaction, &orders.into_iter().collect::<Vec<Uuid>>()).await?
    };
    let due = due.iter().filter_map(|id| orders.get(id)).filter(|order| order.standing().is_due(now));
    let expiries = expiries(due, &fenced, now, partitions);
    let mut stock = lock_stock(transaction, group, &orders).await?;
    steps.reached(Step::Locked).await;
    let (mut placed, mut others) = (Asked::default(), Asked::default());
    let mut skus = Vec::new();
    for command in commands() {
        match &command.action {
            Action::PlaceOrder(_) => placed.push(command),
            Action::ChangeOrder(_) | Action::ChangeStock(_) | Action::Expire(_) => others.push(command),
            Action::CreateProduct(product) => {
                others.push(command);
                skus.push(product.sku.to_string());
            }
        }
    }
    let mut known = db::orders::known(transaction, &placed.ids, &placed.keys).await?;
    let mut warehouses = BTreeSet::new();
    if !others.ids.is_empty() {
        db::commands::known(transaction, &others.ids, &others.keys, &mut known).await?;
    }
    if !skus.is_empty() {
        warehouses = db::stock::warehouses(transaction).await?;
        for sku in db::products::skus_taken(transaction, &skus).await? {
            stock.take_sku(sku.into());
        }
    }
    let sequences = fenced.iter().map(|row| (row.partition, row.sequence)).collect();
    Ok((Seen { view: View { now, stock, orders, warehouses }, sequences, known }, expiries))
}

/// Locks the stock rows that the group names, and those that its orders hold.
async fn lock_stock(
    transaction: &mut Transaction<'_>,
    group: &[Pending],
    orders: &BTreeMap<Uuid, Order>,
) -> Result<StockView, Failure> {
    let commands = || group.iter().map(|pending| &pending.queued.command);
    let added = commands().filter_map(|command| match &command.action {
        Action::ChangeStock(change) if change.quantity > 0 => Some((change.variant_id, change.warehouse_id)),
        Action::ChangeStock(_)
        | Action::ChangeOrder(_)
        | Action::PlaceOrder(_)
        | Action::CreateProduct(_)
        | Action::Expire(_) => None,
    });
    let added: Vec<(Uuid, Uuid)> = added.collect();
    if !added.is_empty() {
        db::stock::open(transaction, &added).await?;
    }
    let held = orders.values().flat_map(|order| order.items().iter().map(|item| item.variant_id));
    let variants: BTreeSet<Uuid> =
        commands().flat_map(Command::variants).map(|(variant, _)| variant).chain(held).collect();
    Ok(db::stock::lock(transaction, &variants.into_iter().collect::<Vec<Uuid>>()).await?)
}

/// The commands that end the holds of these orders: one for each partition that they belong to, or, where such a one is not
/// held, for the first of those that are.
fn expiries<'a>(
    due: impl Iterator<Item = &'a Order>,
    fenced: &[Fenced],
    now: Timestamp,
    partitions: u16,
) -> Vec<Pending> {
    let mut by_partition = BTreeMap::<u16, (i64, Vec<Uuid>)>::new();
    for order in due {
        let home = partition_of_order(order.id, partitions);
        let Some(fenced) = fenced.iter().find(|fenced| fenced.partition == home).or(fenced.first()) else { continue };
        by_partition.entry(fenced.partition).or_insert((fenced.epoch, Vec::new())).1.push(order.id);
    }
    let expiry = |(partition, (epoch, order_ids))| {
        let command = Command {
            id: Uuid::now_v7(),
            account: Uuid::nil(),
            accepted_at: now,
            idempotency: None,
            action: Action::Expire(Expire { order_ids }),
        };
        Pending { queued: Queued { command, reply_to: None }, partition, epoch }
    };
    by_partition.into_iter().map(expiry).collect()
}

/// What to look for among the decided.
#[derive(Default)]
struct Asked {
    ids: Vec<Uuid>,
    keys: Vec<Uuid>,
}

impl Asked {
    fn push(&mut self, command: &Command) {
        self.ids.push(command.id);
        self.keys.extend(command.idempotency.map(|idempotency| idempotency.key));
    }
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
    if !decisions.reached.is_empty() {
        db::partitions::advance(transaction, &decisions.reached, decisions.len(), now, lease).await?;
    }
    Ok(())
}

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

    fn tell(&self, told: Told) {
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
