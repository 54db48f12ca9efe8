//! The transaction of a batch and what follows it: begin, fence, lock, decide, save, commit, acknowledge, tell.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::db::{self, Transaction};
use common::domain::{Action, StockChange};
use common::message::{Decided, Reply};
use common::queue;
use common::steps::{Step, Steps};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Writer;
use super::batch::{Batch, Pending};
use super::decide::{Decisions, Seen, decide_batch};
use crate::verdict::Failure;

const CONNECT_SECONDS_MAX: u64 = 5;
/// Longest time for a transaction, whatever the server's own limits say: the network may be gone half way.
const TRANSACTION_SECONDS_MAX: u64 = 15;

type Told = Vec<(String, Decided)>;

impl Writer {
    /// Decides, commits and acknowledges a batch. What of it is done when something fails is not done again.
    pub(super) async fn settle(&mut self, batch: &mut Batch) -> Result<(), Failure> {
        while let Some(dead) = batch.next_dead() {
            let buried = self.dead_letters.bury(dead.partition, &dead.bytes, &dead.reason).await;
            buried.map_err(Failure::DeadLetter)?;
            batch.buried();
        }
        let mut told = Vec::new();
        while batch.undecided() > 0 {
            let group = batch.group();
            let count = group.len();
            told.extend(self.commit(group).await?);
            batch.decided(count);
        }
        self.steps.reached(Step::Committed).await;
        for (partition, receipt) in batch.take_receipts() {
            if let Err(error) = receipt.acknowledge().await {
                tracing::warn!(partition, error = &error as &dyn std::error::Error, "not acknowledged: it comes again");
            }
        }
        self.steps.reached(Step::Acknowledged).await;
        self.replies.tell(told);
        Ok(())
    }

    async fn commit(&mut self, group: &[Pending]) -> Result<Told, Failure> {
        let limit = Duration::from_secs(TRANSACTION_SECONDS_MAX);
        // Cut off, the connection is dropped by the caller, and whatever became of the transaction is found by id.
        tokio::time::timeout(limit, self.transaction(group)).await.map_err(|_| Failure::TooLong)?
    }

    async fn transaction(&mut self, group: &[Pending]) -> Result<Told, Failure> {
        if self.database.is_none() {
            let (url, wait) = (&self.config.servers.database_url, Duration::from_secs(CONNECT_SECONDS_MAX));
            self.database = Some(db::connect(url, "onhand-consumer-writer", db::Limits::default(), wait).await?);
        }
        let connection = self.database.as_mut().ok_or(db::Error::TimedOut)?;
        let mut transaction = db::begin(connection).await?;
        let mut seen = lock(&mut transaction, group, &self.steps).await?;
        let mut decisions = decide_batch(&mut seen, group);
        save(&mut transaction, &seen, &mut decisions).await?;
        self.steps.reached(Step::Saved).await;
        db::commit(transaction).await?;
        let decided = decisions.orders.len() + decisions.commands.len();
        tracing::debug!(batch.len = group.len(), decided, partitions = ?decisions.reached, "committed");
        Ok(decisions.replies)
    }
}

/// Fences the batch's partitions, locks its stock, and reads what the decisions need.
async fn lock(transaction: &mut Transaction<'_>, group: &[Pending], steps: &Steps) -> Result<Seen, Failure> {
    let epochs: BTreeMap<u16, i64> = group.iter().map(|pending| (pending.partition, pending.epoch)).collect();
    let partitions: Vec<u16> = epochs.keys().copied().collect();
    let (fenced, now) = db::partitions::fence(transaction, &partitions).await?;
    let lost: Vec<u16> =
        fenced.iter().filter(|row| epochs.get(&row.partition) != Some(&row.epoch)).map(|row| row.partition).collect();
    if !lost.is_empty() {
        return Err(Failure::Fenced(lost));
    }
    let variants: BTreeSet<_> = group.iter().flat_map(|pending| pending.queued.command.variants()).collect();
    let variants: Vec<_> = variants.into_iter().collect();
    let mut stock = db::stock::lock(transaction, &variants).await?;
    steps.reached(Step::Locked).await;
    let (mut ids, mut keys, mut products, mut skus) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for Pending { queued, .. } in group {
        match &queued.command.action {
            Action::PlaceOrder(_) => {
                ids.push(queued.command.id);
                keys.extend(queued.command.idempotency.map(|idempotency| idempotency.key));
            }
            Action::CreateProduct(product) => {
                products.push(queued.command.id);
                skus.push(product.sku.to_string());
            }
        }
    }
    let orders = db::orders::known(transaction, &ids, &keys).await?;
    let (mut commands, mut warehouses) = Default::default();
    if !products.is_empty() {
        commands = db::commands::known(transaction, &products).await?;
        warehouses = db::stock::warehouses(transaction).await?;
        for sku in db::products::skus_taken(transaction, &skus).await? {
            stock.take_sku(sku.into());
        }
    }
    let sequences = fenced.iter().map(|row| (row.partition, row.sequence)).collect();
    Ok(Seen { now, sequences, stock, warehouses, orders, commands })
}

async fn save(transaction: &mut Transaction<'_>, seen: &Seen, decisions: &mut Decisions) -> Result<(), Failure> {
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
        db::partitions::advance(transaction, &decisions.reached).await?;
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
