//! The transaction of a batch and what follows it: begin, fence, lock, decide, save, commit, acknowledge, tell.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::db::partitions::{Fenced, Moment};
use common::db::reservations::Window;
use common::db::stock::Sum;
use common::db::{self, Transaction};
use common::domain::{Action, Command, Expire, Order, StockChange, StockLevel, StockView, Timestamp, View};
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
use super::need::Need;
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
            self.database = Some(db::connect(url, "onhand-consumer-writer", db::Limits::default(), wait).await?);
        }
        Ok(self.database.as_mut().ok_or(db::Error::TimedOut)?)
    }

    async fn transaction(&mut self, mut work: Work<'_>) -> Result<Done, Failure> {
        let partitions = self.topology.partitions();
        let (from, limit, except) = (self.expiry.due_from(), self.expiry.fit(), self.expiry.stuck());
        self.database().await?;
        let connection = self.database.as_mut().ok_or(db::Error::TimedOut)?;
        let mut transaction = db::begin(connection).await?;
        let (fenced, moment) = fence(&mut transaction, work.epochs, from).await?;
        self.expiry.saw(moment);
        let window = Window { now: moment.now, from, except: &except, limit };
        let release = release(&mut transaction, &work, moment, window).await?;
        if !release.orders.is_empty() && !work.group.is_empty() {
            self.expiry.begins_with_batch();
        }
        work.take(release.need.as_ref().map_or(work.group.len(), |need| need.take));
        let (mut seen, due) = lock(&mut transaction, &fenced, moment, &release.orders, work.group, &self.steps).await?;
        if let Some(need) = &release.need
            && is_more_due(&mut transaction, &seen, &due, need, window).await?
        {
            work.take(0);
        }
        let expired = due.len();
        let expiries = expiries(&due, &fenced, moment.now, partitions);
        let mut decisions = decide_batch(&mut seen, expiries.iter().chain(work.group));
        save(&mut transaction, &seen, &mut decisions, self.config.lease).await?;
        if !work.dead.is_empty() {
            let letters: Vec<_> = work.dead.iter().map(|dead| dead.letter.clone()).collect();
            db::dead_letters::insert(&mut transaction, &letters, moment.now).await?;
        }
        self.steps.reached(Step::Saved).await;
        db::commit(transaction).await?;
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

/// Orders whose holds are to be ended, and what for.
#[derive(Default)]
struct Released {
    orders: Vec<Uuid>,
    /// What the group needs to be set free, where some hold is due at all.
    need: Option<Need>,
}

async fn release(
    transaction: &mut Transaction<'_>,
    work: &Work<'_>,
    moment: Moment,
    window: Window<'_>,
) -> Result<Released, Failure> {
    match work.release {
        Release::Orders(orders) => Ok(Released { orders: orders.to_vec(), need: None }),
        Release::ForGroup if moment.is_due() => {
            let commands = || work.group.iter().map(|pending| &pending.queued.command);
            let variants: BTreeSet<Uuid> = commands().flat_map(Command::variants).map(|(variant, _)| variant).collect();
            let stock = db::stock::sums(transaction, &variants.into_iter().collect::<Vec<Uuid>>()).await?;
            let need = Need::of(commands(), &stock, window.limit);
            let missing: Vec<(Uuid, i64)> = need.missing.iter().map(|(variant, pieces)| (*variant, *pieces)).collect();
            if missing.is_empty() {
                return Ok(Released { orders: Vec::new(), need: Some(need) });
            }
            let due = db::reservations::due_of(transaction, &missing, window).await?;
            let orders: BTreeSet<Uuid> = due.into_iter().map(|piece| piece.order).collect();
            // Where nothing is due of what the first one misses there is nothing to wait for.
            let take = if orders.is_empty() { need.take.max(1) } else { need.take };
            Ok(Released { orders: orders.into_iter().collect(), need: Some(Need { take, ..need }) })
        }
        Release::None | Release::ForGroup => Ok(Released::default()),
    }
}

/// Whether the group needs more than is about to be set free, and more is due: another writer may have taken some, or ended
/// these holds itself. To be asked under the locks, under which no further order may be locked.
async fn is_more_due(
    transaction: &mut Transaction<'_>,
    seen: &Seen,
    due: &[Order],
    need: &Need,
    window: Window<'_>,
) -> Result<bool, Failure> {
    let mut freed = BTreeMap::<Uuid, i64>::new();
    for item in due.iter().flat_map(Order::items) {
        *freed.entry(item.variant_id).or_default() += i64::from(item.quantity);
    }
    let locked = |variant| {
        let levels = seen.view.stock.variant(variant).map(|variant| variant.levels.as_slice()).unwrap_or_default();
        let sum = |of: fn(&StockLevel) -> i64| levels.iter().map(of).sum();
        Sum { on_hand: sum(|level| level.on_hand), available: sum(StockLevel::available) }
    };
    let missing = need.still_missing(locked, &freed);
    if missing.is_empty() {
        return Ok(false);
    }
    let except: Vec<Uuid> = due.iter().map(|order| order.id).chain(window.except.iter().copied()).collect();
    let window = Window { except: &except, limit: 1, ..window };
    Ok(!db::reservations::due_of(transaction, &missing, window).await?.is_empty())
}

/// Locks orders, then stock, each in one fixed order, and reads what the decisions need. Answers also with the orders whose
/// holds, now that they are locked, are due.
async fn lock(
    transaction: &mut Transaction<'_>,
    fenced: &[Fenced],
    Moment { now, .. }: Moment,
    release: &[Uuid],
    group: &[Pending],
    steps: &Steps,
) -> Result<(Seen, Vec<Order>), Failure> {
    let commands = || group.iter().map(|pending| &pending.queued.command);
    let orders: BTreeSet<Uuid> = commands().flat_map(Command::orders).chain(release).copied().collect();
    let orders = if orders.is_empty() {
        BTreeMap::new()
    } else {
        db::orders::lock(transaction, &orders.into_iter().collect::<Vec<Uuid>>()).await?
    };
    let due = release.iter().filter_map(|id| orders.get(id)).filter(|order| order.standing().is_due(now));
    let due: Vec<Order> = due.cloned().collect();
    let mut stock = lock_stock(transaction, group, &orders).await?;
    steps.reached(Step::Locked).await;
    let (mut placed, mut others) = (Asked::default(), Asked::default());
    let (mut skus, mut names_warehouse) = (Vec::new(), false);
    for command in commands() {
        match &command.action {
            Action::PlaceOrder(_) => placed.push(command),
            Action::ChangeOrder(_) | Action::Expire(_) => others.push(command),
            Action::ChangeStock(_) => {
                others.push(command);
                names_warehouse = true;
            }
            Action::CreateProduct(product) => {
                others.push(command);
                names_warehouse = true;
                skus.push(product.sku.to_string());
            }
        }
    }
    let mut known = db::orders::known(transaction, &placed.ids, &placed.keys).await?;
    if !others.ids.is_empty() {
        db::commands::known(transaction, &others.ids, &others.keys, &mut known).await?;
    }
    let warehouses = if names_warehouse { db::stock::warehouses(transaction).await? } else { BTreeSet::new() };
    if !skus.is_empty() {
        for sku in db::products::skus_taken(transaction, &skus).await? {
            stock.take_sku(sku.into());
        }
    }
    let sequences = fenced.iter().map(|row| (row.partition, row.sequence)).collect();
    Ok((Seen { view: View { now, stock, orders, warehouses }, sequences, known }, due))
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
fn expiries(due: &[Order], fenced: &[Fenced], now: Timestamp, partitions: u16) -> Vec<Pending> {
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
