//! The transaction of a batch and what follows it: begin, fence, lock, decide, save, commit, acknowledge, tell.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::db::partitions::Fenced;
use common::db::{self, Transaction};
use common::domain::{Action, Command, StockChange, Timestamp};
use common::message::{Decided, Reply};
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

impl Writer {
    /// Decides, commits and acknowledges a batch. What of it is done when something fails is not done again.
    pub(super) async fn settle(&mut self, batch: &mut Batch) -> Result<(), Failure> {
        let mut told = Vec::new();
        while !batch.is_decided() {
            self.steps.reached(Step::Gathered).await;
            let (group, dead) = batch.next();
            let (count, began) = (group.len(), Instant::now());
            told.extend(self.commit(group, dead).await?);
            self.pace.decided(count, began.elapsed());
            told.extend(batch.committed(count));
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

    async fn commit(&mut self, group: &[Pending], dead: &[Dead]) -> Result<Told, Failure> {
        let limit = Duration::from_secs(TRANSACTION_SECONDS_MAX);
        // Cut off, the connection is dropped by the caller, and whatever became of the transaction is found by id.
        tokio::time::timeout(limit, self.transaction(group, dead)).await.map_err(|_| Failure::TooLong)?
    }

    async fn transaction(&mut self, group: &[Pending], dead: &[Dead]) -> Result<Told, Failure> {
        if self.database.is_none() {
            let (url, wait) = (&self.config.servers.database_url, Duration::from_secs(CONNECT_SECONDS_MAX));
            self.database = Some(db::connect(url, "onhand-consumer-writer", db::Limits::default(), wait).await?);
        }
        let connection = self.database.as_mut().ok_or(db::Error::TimedOut)?;
        let mut transaction = db::begin(connection).await?;
        let epochs = group.iter().map(|pending| (pending.partition, pending.epoch));
        let epochs = epochs.chain(dead.iter().map(|dead| (dead.letter.partition, dead.epoch))).collect();
        let (fenced, now) = fence(&mut transaction, &epochs).await?;
        let mut seen = lock(&mut transaction, fenced, now, group, &self.steps).await?;
        let mut decisions = decide_batch(&mut seen, group);
        save(&mut transaction, &seen, &mut decisions, self.config.lease).await?;
        if !dead.is_empty() {
            let letters: Vec<_> = dead.iter().map(|dead| dead.letter.clone()).collect();
            db::dead_letters::insert(&mut transaction, &letters, now).await?;
        }
        self.steps.reached(Step::Saved).await;
        db::commit(transaction).await?;
        let decided = decisions.orders.len() + decisions.commands.len();
        tracing::debug!(batch.len = group.len(), decided, partitions = ?decisions.reached, "committed");
        Ok(decisions.replies)
    }
}

/// Locks the lease rows of the batch's partitions. Whoever's epoch is another has lost it.
async fn fence(
    transaction: &mut Transaction<'_>,
    epochs: &BTreeMap<u16, i64>,
) -> Result<(Vec<Fenced>, Timestamp), Failure> {
    let partitions: Vec<u16> = epochs.keys().copied().collect();
    let (fenced, now) = db::partitions::fence(transaction, &partitions).await?;
    let lost = |row: &&Fenced| epochs.get(&row.partition) != Some(&row.epoch);
    let lost: Vec<u16> = fenced.iter().filter(lost).map(|row| row.partition).collect();
    if lost.is_empty() { Ok((fenced, now)) } else { Err(Failure::Fenced(lost)) }
}

/// Locks the batch's stock, and reads what the decisions need.
async fn lock(
    transaction: &mut Transaction<'_>,
    fenced: Vec<Fenced>,
    now: Timestamp,
    group: &[Pending],
    steps: &Steps,
) -> Result<Seen, Failure> {
    let variants: BTreeSet<_> = group.iter().flat_map(|pending| pending.queued.command.variants()).collect();
    let variants: Vec<_> = variants.into_iter().collect();
    let mut stock = db::stock::lock(transaction, &variants).await?;
    steps.reached(Step::Locked).await;
    let (mut orders, mut products) = (Asked::default(), Asked::default());
    let mut skus = Vec::new();
    for Pending { queued, .. } in group {
        match &queued.command.action {
            Action::PlaceOrder(_) => orders.push(&queued.command),
            Action::CreateProduct(product) => {
                products.push(&queued.command);
                skus.push(product.sku.to_string());
            }
        }
    }
    let mut known = db::orders::known(transaction, &orders.ids, &orders.keys).await?;
    let mut warehouses = BTreeSet::new();
    if !products.ids.is_empty() {
        db::commands::known(transaction, &products.ids, &products.keys, &mut known).await?;
        warehouses = db::stock::warehouses(transaction).await?;
        for sku in db::products::skus_taken(transaction, &skus).await? {
            stock.take_sku(sku.into());
        }
    }
    let sequences = fenced.iter().map(|row| (row.partition, row.sequence)).collect();
    Ok(Seen { now, sequences, stock, warehouses, known })
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
    if !decisions.commands.is_empty() {
        db::products::insert(transaction, &mut decisions.products, seen.now).await?;
        db::commands::insert(transaction, &mut decisions.commands, seen.now).await?;
    }
    let changes: Vec<StockChange> = seen.stock.changes().collect();
    if !changes.is_empty() {
        db::stock::save(transaction, &changes).await?;
    }
    if !decisions.orders.is_empty() {
        db::orders::insert(transaction, &mut decisions.orders).await?;
    }
    if !decisions.reached.is_empty() {
        let decided = decisions.orders.len() + decisions.commands.len();
        db::partitions::advance(transaction, &decisions.reached, decided, lease).await?;
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
