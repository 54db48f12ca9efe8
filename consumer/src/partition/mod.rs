//! The one writer of all partitions that a consumer holds: receive, decide, settle.
//!
//! A batch is what is waiting: the first message is taken as soon as it is there, and with it whatever else has arrived,
//! of whatever partition, within the bounds of [`pace`]. While a batch is decided the next one gathers, so batches grow
//! under load and a lone order waits for nothing. One task does it all, so nothing here needs a lock.

mod batch;
mod decide;
mod expiry;
mod lock;
mod need;
mod pace;
mod serving;
mod settle;
#[cfg(test)]
mod simulation;
mod tell;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use common::db::PgConnection;
use common::db::partitions::Lease;
use common::db::terms::StoredTerms;
use common::queue::{Incoming, Link, Subscription, Topology};
use common::retry::Retry;
use common::steps::Steps;
use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::Config;
use crate::beside::Decided;
use crate::verdict::Verdict;
use batch::Batch;
use expiry::Expiry;
use pace::{Next, Pace};
use serving::Service;
use settle::Settled;
use tell::Replies;

/// Messages that have been received and not yet taken into a batch, over all partitions.
const INCOMING_MAX: usize = 1_024;

/// What the keeper of the leases tells the writer.
pub(crate) enum Control {
    Hold(Vec<Lease>),
    /// Finish the batch at hand, then touch this partition no more.
    LetGo {
        lease: Lease,
        done: oneshot::Sender<()>,
    },
    Stop {
        done: oneshot::Sender<()>,
    },
}

/// The partitions that have nothing to decide: what their keeper says of them when it renews their leases.
#[derive(Debug, Default)]
pub(crate) struct Idle(Mutex<BTreeSet<u16>>);

impl Idle {
    fn set(&self, partitions: BTreeSet<u16>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = partitions;
    }

    pub(crate) fn get(&self) -> Vec<u16> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }
}

struct Holding {
    epoch: i64,
    subscription: Option<Subscription>,
}

pub(crate) struct Writer {
    config: Config,
    topology: Arc<Topology>,
    link: Link,
    replies: Replies,
    steps: Steps,
    control: mpsc::UnboundedReceiver<Control>,
    incoming: mpsc::Receiver<Incoming>,
    sink: mpsc::Sender<Incoming>,
    held: BTreeMap<u16, Holding>,
    subscriptions: u64,
    database: Option<PgConnection>,
    /// When what it plans was last forgotten.
    planned_at: Instant,
    /// The terms of sale that were last in force.
    terms: Option<StoredTerms>,
    pace: Pace,
    expiry: Expiry,
    service: Service,
    idle: Arc<Idle>,
    decided: Arc<Decided>,
    /// A batch that could not be decided yet. Nothing else is received while it waits.
    pending: Option<Batch>,
    /// When to try again: to decide the pending batch, or to subscribe to what is not subscribed.
    retry: Retry,
    retry_at: Option<Instant>,
}

impl Writer {
    pub(crate) fn new(
        config: Config,
        topology: Arc<Topology>,
        link: Link,
        outcomes: Link,
        steps: Steps,
        control: mpsc::UnboundedReceiver<Control>,
        (idle, decided): (Arc<Idle>, Arc<Decided>),
    ) -> Self {
        let pace = Pace::new(config.batch_commands_max, config.batch_linger, config.batch_target);
        let expiry = Expiry::new(config.expiry_every, config.expiry_orders_max, config.batch_target);
        let service = Service::new(config.batch_target);
        let (sink, incoming) = mpsc::channel(INCOMING_MAX);
        let replies = Replies::start(common::queue::Replies::new(outcomes));
        Self {
            config,
            topology,
            link,
            replies,
            steps,
            control,
            incoming,
            sink,
            held: BTreeMap::new(),
            subscriptions: 0,
            database: None,
            planned_at: Instant::now(),
            terms: None,
            pace,
            expiry,
            service,
            idle,
            decided,
            pending: None,
            retry: Retry::default(),
            retry_at: None,
        }
    }

    pub(crate) async fn run(mut self) {
        let mut link = self.link.clone();
        loop {
            let retry_at = self.retry_at;
            let retry = async {
                match retry_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                control = self.control.recv() => match control {
                    Some(Control::Hold(leases)) => self.hold(&leases).await,
                    Some(Control::LetGo { lease, done }) => {
                        self.let_go(lease).await;
                        // The keeper may have stopped waiting.
                        done.send(()).ok();
                    }
                    Some(Control::Stop { done }) => {
                        self.let_all_go().await;
                        done.send(()).ok();
                        return self.replies.stop().await;
                    }
                    None => return self.let_all_go().await,
                },
                () = link.changed() => self.subscribe().await,
                () = retry => self.try_again().await,
                () = tokio::time::sleep_until(self.expiry.at) => self.sweep().await,
                Some(incoming) = self.incoming.recv(), if self.pending.is_none() => self.receive(incoming).await,
            }
        }
    }

    async fn hold(&mut self, leases: &[Lease]) {
        for lease in leases {
            if self.held.get(&lease.partition).is_some_and(|holding| holding.epoch == lease.epoch) {
                continue;
            }
            // One of an earlier epoch is closed: two subscriptions of ours would wait for one another.
            self.drop_partition(lease.partition).await;
            self.held.insert(lease.partition, Holding { epoch: lease.epoch, subscription: None });
        }
        self.subscribe().await;
    }

    /// Called between batches. Nothing of the partition is half done: either committed, or not begun and redelivered.
    async fn let_go(&mut self, lease: Lease) {
        if self.held.get(&lease.partition).is_some_and(|holding| holding.epoch == lease.epoch) {
            self.drop_partition(lease.partition).await;
        }
    }

    async fn drop_partition(&mut self, partition: u16) {
        if let Some(Holding { subscription: Some(subscription), .. }) = self.held.remove(&partition) {
            subscription.close().await;
        }
        if let Some(batch) = &mut self.pending {
            batch.forget(&[partition]);
        }
        self.pending.take_if(|batch| batch.is_done());
        self.note_idle(None);
    }

    /// Notes which partitions have nothing to decide, while a batch is decided or held, or none is.
    fn note_idle(&self, batch: Option<&Batch>) {
        let mut idle = BTreeSet::new();
        // What else has arrived may be of any partition.
        if self.incoming.is_empty() {
            let busy = batch.or(self.pending.as_ref()).map(Batch::partitions).unwrap_or_default();
            let subscribed = self.held.iter().filter(|(_, holding)| holding.subscription.is_some());
            idle.extend(subscribed.map(|(partition, _)| *partition).filter(|partition| !busy.contains(partition)));
        }
        self.idle.set(idle);
    }

    async fn let_all_go(&mut self) {
        let subscriptions = std::mem::take(&mut self.held).into_values().filter_map(|holding| holding.subscription);
        join_all(subscriptions.map(Subscription::close)).await;
        self.pending = None;
        self.idle.set(BTreeSet::new());
    }

    /// Subscribes to every held partition that is not, where there is a connection.
    async fn subscribe(&mut self) {
        let Some(connection) = self.link.connection() else {
            for holding in self.held.values_mut() {
                holding.subscription = None;
            }
            return;
        };
        for (partition, holding) in &mut self.held {
            if holding.subscription.is_some() {
                continue;
            }
            self.subscriptions += 1;
            let (id, prefetch) = (self.subscriptions, self.config.prefetch);
            match Subscription::open(&connection, &self.topology, *partition, id, prefetch, self.sink.clone()).await {
                Ok(subscription) => holding.subscription = Some(subscription),
                Err(error) => {
                    tracing::warn!(partition, error = &error as &dyn std::error::Error, "no subscription");
                    // A new connection declares the queue. Of one that has no leader now, the others need not suffer.
                    if error.is_not_found() {
                        self.link.suspect(&connection);
                    }
                    self.retry_at.get_or_insert(Instant::now() + self.retry.next_wait());
                }
            }
        }
        self.note_idle(None);
    }

    async fn receive(&mut self, incoming: Incoming) {
        let batch = self.gather(incoming).await;
        self.settle_or_hold(batch).await;
    }

    /// What is waiting, as much as fits, and under load what comes within a moment.
    async fn gather(&mut self, first: Incoming) -> Batch {
        let mut batch = Batch::new(self.pace.fit());
        let mut next = Some(first);
        let began = Instant::now();
        while let Some(incoming) = next {
            self.take(&mut batch, incoming);
            next = if batch.undecided() < self.pace.fit() { self.incoming.try_recv().ok() } else { None };
            if next.is_none()
                && let Next::Wait(left) = self.pace.next(batch.undecided(), began.elapsed())
            {
                next = tokio::time::timeout(left, self.incoming.recv()).await.ok().flatten();
            }
        }
        batch
    }

    fn take(&mut self, batch: &mut Batch, incoming: Incoming) {
        match incoming {
            Incoming::Message(message) => {
                if let Some(epoch) = self.epoch_of(message.partition, message.subscription) {
                    batch.add(message, epoch);
                }
            }
            Incoming::Ended { partition, subscription } => self.ended(partition, subscription),
        }
    }

    /// The epoch under which a message may be decided; `None` where its subscription has ended: it comes again.
    fn epoch_of(&self, partition: u16, subscription: u64) -> Option<i64> {
        let holding = self.held.get(&partition)?;
        (holding.subscription.as_ref()?.id == subscription).then_some(holding.epoch)
    }

    fn ended(&mut self, partition: u16, subscription: u64) {
        if self.epoch_of(partition, subscription).is_some()
            && let Some(holding) = self.held.get_mut(&partition)
        {
            tracing::warn!(partition, "the subscription has ended");
            holding.subscription = None;
            self.retry_at.get_or_insert(Instant::now() + self.retry.next_wait());
        }
    }

    async fn try_again(&mut self) {
        self.retry_at = None;
        self.subscribe().await;
        if let Some(batch) = self.pending.take() {
            self.settle_or_hold(batch).await;
        }
    }

    /// Decides and settles a batch, or holds it for later. Never negatively acknowledges: that would break the order.
    async fn settle_or_hold(&mut self, batch: Batch) {
        self.note_idle(Some(&batch));
        self.pending = self.settle_all(batch).await;
        self.note_idle(None);
    }

    /// Answers with what could not be decided yet.
    async fn settle_all(&mut self, mut batch: Batch) -> Option<Batch> {
        while !batch.is_done() {
            let failure = match self.settle(&mut batch).await {
                Ok(Settled::Done) => {
                    self.retry.reset();
                    return None;
                }
                Ok(Settled::Releasing) => {
                    // At once, when the keeper was listened to.
                    self.retry_at = Some(Instant::now());
                    return Some(batch);
                }
                Err(failure) => failure,
            };
            // Of a failed transaction's connection nothing is known.
            self.database = None;
            let error = &failure as &dyn std::error::Error;
            match failure.verdict() {
                Verdict::Forget(partitions) => {
                    tracing::warn!(
                        ?partitions,
                        batch.len = batch.undecided(),
                        "fenced: nothing was committed with the old epoch"
                    );
                    batch.forget(&partitions);
                    for partition in partitions {
                        self.drop_partition(partition).await;
                    }
                }
                Verdict::Isolate if self.expiry.is_suspect() => {
                    tracing::error!(
                        error,
                        "the batch fails, perhaps for a reservation that was to be released with it"
                    );
                }
                Verdict::Isolate if batch.halve() => {
                    tracing::error!(error, batch.len = batch.undecided(), "the batch fails: it is decided by halves");
                }
                Verdict::Isolate if batch.undecided() > 0 => batch.condemn(common::program::chain(error)),
                verdict @ (Verdict::Retry | Verdict::RetryLess | Verdict::Isolate) => {
                    if verdict == Verdict::RetryLess {
                        batch.halve();
                        self.expiry.shrink();
                    }
                    let wait = self.retry.next_wait();
                    tracing::warn!(error, batch.len = batch.undecided(), ?wait, "the batch is held");
                    self.retry_at = Some(Instant::now() + wait);
                    return Some(batch);
                }
            }
        }
        None
    }
}
