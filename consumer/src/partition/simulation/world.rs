//! Queues, the store, the clients, and what goes wrong.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use common::db::partitions::Fenced;
use common::domain::{
    Action, Change, ChangeOrder, ChangeStock, Command, Currency, HoldKind, HoldTerms, Idempotency, Line, Money, Order,
    Payment, PlaceOrder, Site, State, StockChangeKind, StockLevel, Timestamp, VariantView, merge_lines,
};
use common::message::Queued;
use common::partition::partition_for;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use uuid::Uuid;

use super::writer::Writer;
use super::{Checker, Flaw, Tally};
use crate::partition::batch::Pending;
use crate::partition::decide::{Decisions, Seen};

pub(super) const PARTITIONS: u16 = 3;
const WRITERS: usize = 3;
const PRODUCTS: u128 = 4;
const WAREHOUSES: [Uuid; 2] = [Uuid::from_u128(1_001), Uuid::from_u128(1_002)];
/// Orders that clients still ask something of.
const RECENT_MAX: usize = 24;
/// Steps in which a world that is left in peace must have come to rest.
const QUIET_STEPS_MAX: u64 = 200_000;

/// What is locked until the end of a transaction, in the order in which it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Lock {
    Partition(u16),
    Order(Uuid),
    Stock(Uuid),
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lease {
    pub(super) owner: Option<usize>,
    pub(super) epoch: i64,
    pub(super) sequence: i64,
}

/// What is committed.
pub(super) struct Store {
    pub(super) stock: BTreeMap<Uuid, VariantView>,
    pub(super) orders: HashMap<Uuid, Order>,
    /// Those that hold something.
    pub(super) pending: BTreeSet<Uuid>,
    pub(super) ids: HashSet<Uuid>,
    pub(super) keys: HashMap<Uuid, Uuid>,
    pub(super) leases: Vec<Lease>,
    pub(super) locks: HashMap<Lock, usize>,
}

impl Store {
    pub(super) fn fenced(&self, partition: u16) -> Fenced {
        let Lease { epoch, sequence, .. } = self.leases[usize::from(partition)];
        Fenced { partition, epoch, sequence, counted_in: None }
    }

    /// Whether nothing of it is there yet.
    pub(super) fn is_new(&self, decisions: &Decisions) -> bool {
        let keys = decisions.orders.iter().filter_map(|(_, idempotency)| idempotency.map(|i| i.key));
        let ids = decisions.orders.iter().map(|(order, _)| order.id);
        let ids = ids.chain(decisions.commands.iter().map(|decided| decided.command.id));
        keys.into_iter().all(|key| !self.keys.contains_key(&key)) && ids.into_iter().all(|id| !self.ids.contains(&id))
    }

    fn put(&mut self, order: Order) {
        if *order.state() == State::Pending {
            self.pending.insert(order.id);
        } else {
            self.pending.remove(&order.id);
        }
        self.orders.insert(order.id, order);
    }

    /// The orders that hold something.
    pub(super) fn holding(&self) -> impl Iterator<Item = &Order> {
        self.pending.iter().filter_map(|id| self.orders.get(id))
    }

    pub(super) fn commit(&mut self, seen: &Seen, decisions: &Decisions) {
        for (order, idempotency) in &decisions.orders {
            self.ids.insert(order.id);
            self.keys.extend(idempotency.map(|i| (i.key, i.fingerprint)));
            self.put(order.clone());
        }
        self.ids.extend(decisions.commands.iter().map(|decided| decided.command.id));
        for id in &decisions.changed {
            self.put(seen.view.orders[id].clone());
        }
        for change in seen.view.stock.changes() {
            let levels = self.stock.get_mut(&change.variant).map(|view| &mut view.levels).into_iter().flatten();
            for level in levels.filter(|level| level.warehouse == change.warehouse) {
                (level.on_hand, level.reserved, level.version) = (change.on_hand, change.reserved, change.version);
            }
        }
        for (partition, reached) in &decisions.reached {
            self.leases[usize::from(*partition)].sequence = reached.sequence;
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Message {
    /// Its place in the queue, as it was published.
    pub(super) place: u64,
    pub(super) commands: Vec<Command>,
}

#[derive(Default)]
pub(super) struct Queue {
    pub(super) ready: VecDeque<Message>,
    pub(super) subscriber: Option<usize>,
    pub(super) unacknowledged: VecDeque<Message>,
    published: u64,
}

impl Queue {
    /// What was not acknowledged goes back to the head, in order. Answers with how much that is.
    pub(super) fn unsubscribe(&mut self) -> u64 {
        self.subscriber = None;
        let back = self.unacknowledged.len() as u64;
        while let Some(message) = self.unacknowledged.pop_back() {
            self.ready.push_front(message);
        }
        back
    }
}

pub(super) struct World {
    pub(super) random: SmallRng,
    pub(super) flaw: Option<Flaw>,
    pub(super) now: Timestamp,
    pub(super) store: Store,
    pub(super) queues: Vec<Queue>,
    pub(super) checker: Checker,
    pub(super) tally: Tally,
    writers: Vec<Writer>,
    commands: u128,
    recent: VecDeque<Uuid>,
    /// Published without a confirm: the client may ask again.
    unconfirmed: Vec<Command>,
    /// Which lock a writer waits for.
    waiting: HashMap<usize, Lock>,
}

impl World {
    pub(super) fn new(seed: u64, flaw: Option<Flaw>) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut checker = Checker::default();
        let mut stock = BTreeMap::new();
        for n in 1..=PRODUCTS {
            let levels = WAREHOUSES.map(|warehouse| StockLevel {
                warehouse,
                site: Site { zone: 1, open: true },
                on_hand: random.random_range(0..40),
                reserved: 0,
                version: 0,
            });
            let product = Uuid::from_u128(n);
            checker.stocked(product, levels.iter().map(|level| level.on_hand).sum());
            let price = Money { amount: 1, currency: Currency::try_from("EUR").expect("a currency") };
            let view = VariantView::new(product, "n".into(), "s".into(), price);
            stock.insert(product, VariantView { levels: levels.to_vec(), ..view });
        }
        let store = Store {
            stock,
            orders: HashMap::new(),
            pending: BTreeSet::new(),
            ids: HashSet::new(),
            keys: HashMap::new(),
            leases: vec![Lease::default(); usize::from(PARTITIONS)],
            locks: HashMap::new(),
        };
        Self {
            random,
            flaw,
            now: Timestamp::UNIX_EPOCH,
            store,
            queues: (0..PARTITIONS).map(|_| Queue::default()).collect(),
            checker,
            tally: Tally::default(),
            writers: (0..WRITERS).map(Writer::new).collect(),
            commands: 0,
            recent: VecDeque::new(),
            unconfirmed: Vec::new(),
            waiting: HashMap::new(),
        }
    }

    /// Something happens.
    pub(super) fn step(&mut self) -> Result<(), String> {
        self.tally.steps += 1;
        let writer = self.random.random_range(0..WRITERS);
        match self.random.random_range(0..1_000) {
            0..150 => self.publish(),
            150..160 => self.publish_again(),
            160..170 => self.now += Duration::from_secs(1),
            170..190 => self.lease(),
            190..193 => self.crash(writer)?,
            193..197 => self.lose_broker(writer),
            197..201 => self.with(writer, Writer::lose_database)?,
            _ => self.with(writer, Writer::step)?,
        }
        Ok(())
    }

    /// Without further trouble all that waits is decided, and every invariant holds.
    pub(super) fn settle(&mut self) -> Result<(), String> {
        for step in 0..QUIET_STEPS_MAX {
            self.tally.steps += 1;
            self.lease();
            for writer in 0..WRITERS {
                self.with(writer, Writer::step)?;
            }
            let waits = self.queues.iter().any(|queue| !queue.ready.is_empty() || !queue.unacknowledged.is_empty());
            if !waits && self.writers.iter().all(Writer::is_idle) {
                return self.checker.end(&self.store);
            }
            // A consumer that was frozen, or that another has relieved, is cut off by the broker at last.
            if step % 100 == 99 {
                (0..WRITERS).for_each(|writer| self.lose_broker(writer));
            }
        }
        Err("what waits is never decided".to_owned())
    }

    fn with(
        &mut self,
        writer: usize,
        act: impl FnOnce(&mut Writer, &mut Self) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut taken = std::mem::replace(&mut self.writers[writer], Writer::new(writer));
        let acted = act(&mut taken, self);
        self.writers[writer] = taken;
        acted
    }

    /// One to three commands for the same partition share a message.
    fn publish(&mut self) {
        let first = self.command();
        let partition = partition_for(&first, PARTITIONS);
        let mut commands = vec![first];
        for _ in 0..self.random.random_range(0..3) {
            let command = self.command();
            if partition_for(&command, PARTITIONS) == partition {
                commands.push(command);
            }
        }
        self.send(partition, commands);
    }

    /// A client that was told nothing asks again: the same command, or, on another day, the same request under another id.
    fn publish_again(&mut self) {
        if self.unconfirmed.is_empty() {
            return;
        }
        let n = self.random.random_range(0..self.unconfirmed.len());
        let mut command = self.unconfirmed.swap_remove(n);
        if command.idempotency.is_some() && self.random.random_bool(0.3) {
            command.id = self.id(partition_for(&command, PARTITIONS));
        }
        self.send(partition_for(&command, PARTITIONS), vec![command]);
    }

    fn send(&mut self, partition: u16, commands: Vec<Command>) {
        // Lost on its way, lost on the way back, or confirmed.
        let (arrives, confirmed) = match self.random.random_range(0..100) {
            0..3 => (false, false),
            3..8 => (true, false),
            _ => (true, true),
        };
        let queue = &mut self.queues[usize::from(partition)];
        if arrives {
            queue.published += 1;
            let place = queue.published;
            commands.iter().for_each(|command| self.checker.published(command, place));
            queue.ready.push_back(Message { place, commands: commands.clone() });
        }
        if confirmed {
            commands.iter().for_each(|command| self.checker.accepted(command));
        } else {
            self.unconfirmed.extend(commands);
        }
    }

    /// An id that names its partition, as the api's do.
    fn id(&mut self, partition: u16) -> Uuid {
        self.commands += 1;
        let mut bytes = (1_000_000 + self.commands).to_be_bytes();
        bytes[7] = partition.to_be_bytes()[1];
        Uuid::from_bytes(bytes)
    }

    fn command(&mut self) -> Command {
        let action = self.action();
        let mut command =
            Command { id: Uuid::nil(), account: Uuid::nil(), accepted_at: self.now, idempotency: None, action };
        command.id = self.id(partition_for(&command, PARTITIONS));
        if let Action::PlaceOrder(_) = command.action {
            self.recent.push_back(command.id);
            if self.recent.len() > RECENT_MAX {
                self.recent.pop_front();
            }
            command.idempotency = self.random.random_bool(0.5).then(|| Idempotency {
                key: Uuid::from_u128(self.commands),
                fingerprint: Uuid::from_u128(self.commands),
            });
        }
        command
    }

    fn action(&mut self) -> Action {
        let product = |random: &mut SmallRng| Uuid::from_u128(random.random_range(1..=PRODUCTS));
        match self.random.random_range(0..10) {
            0..2 if !self.recent.is_empty() => {
                let order_id = self.recent[self.random.random_range(0..self.recent.len())];
                let pays = self.random.random_bool(0.5);
                let change = if pays { Change::Pay(Payment::default()) } else { Change::Cancel };
                Action::ChangeOrder(ChangeOrder { order_id, change, reason: None })
            }
            2 => {
                let product = product(&mut self.random);
                Action::ChangeStock(ChangeStock {
                    product_id: product,
                    variant_id: product,
                    warehouse_id: WAREHOUSES[self.random.random_range(0..2)],
                    kind: StockChangeKind::Adjust,
                    quantity: if self.random.random_bool(0.7) { 6 } else { -2 },
                    reason: None,
                })
            }
            _ => {
                let lines: Vec<Line> = (0..self.random.random_range(1..4))
                    .map(|_| {
                        let (product, quantity) = (product(&mut self.random), self.random.random_range(1..4));
                        Line { product_id: product, variant_id: product, quantity, agreed: None }
                    })
                    .collect();
                let lines = merge_lines(lines).expect("small quantities");
                let hold = self.random.random_bool(0.5);
                let hold = hold
                    .then(|| HoldTerms { kind: HoldKind::Payment, window_seconds: self.random.random_range(1..20) });
                Action::PlaceOrder(PlaceOrder { customer: None, lines, hold, delivery: None, expected_total: None })
            }
        }
    }

    /// Somebody takes a partition: one that is free, or whose owner seems to be gone, perhaps wrongly. Not while its row is locked.
    fn lease(&mut self) {
        let partition = self.random.random_range(0..PARTITIONS);
        let (lease, writer) = (self.store.leases[usize::from(partition)], self.random.random_range(0..WRITERS));
        let is_lost = lease.owner.is_none() || self.random.random_bool(0.1);
        if self.store.locks.contains_key(&Lock::Partition(partition)) || !is_lost {
            return;
        }
        self.tally.takeovers += u64::from(lease.owner.is_some());
        let epoch = lease.epoch + 1;
        self.store.leases[usize::from(partition)] = Lease { owner: Some(writer), epoch, ..lease };
        self.writers[writer].hold(partition, epoch);
    }

    /// `kill -9`: what it had not committed is undone, what it had not acknowledged is handed out again, and its leases run out.
    fn crash(&mut self, writer: usize) -> Result<(), String> {
        self.tally.crashes += 1;
        self.with(writer, Writer::lose_database)?;
        self.lose_broker(writer);
        self.writers[writer] = Writer::new(writer);
        for lease in self.store.leases.iter_mut().filter(|lease| lease.owner == Some(writer)) {
            lease.owner = None;
        }
        Ok(())
    }

    fn lose_broker(&mut self, writer: usize) {
        for queue in self.queues.iter_mut().filter(|queue| queue.subscriber == Some(writer)) {
            self.tally.redelivered += queue.unsubscribe();
        }
        self.writers[writer].cut_off();
    }

    /// Takes a lock for a writer, if nobody else has it; an error where those who wait for each other wait in a circle.
    pub(super) fn lock(&mut self, writer: usize, lock: Lock) -> Result<bool, String> {
        let holder = *self.store.locks.entry(lock).or_insert(writer);
        if holder == writer {
            self.waiting.remove(&writer);
            return Ok(true);
        }
        self.waiting.insert(writer, lock);
        let mut next = holder;
        while let Some(holder) = self.waiting.get(&next).and_then(|lock| self.store.locks.get(lock)) {
            if *holder == writer {
                return Err(format!("a deadlock, of writer {writer} that waits for {lock:?}"));
            }
            if *holder == next {
                break;
            }
            next = *holder;
        }
        Ok(false)
    }

    /// The end of a writer's transaction.
    pub(super) fn unlock(&mut self, writer: usize) {
        self.store.locks.retain(|_, holder| *holder != writer);
        self.waiting.remove(&writer);
    }

    /// Commits what a writer has decided, if the store takes it.
    pub(super) fn commit(&mut self, batch: &[Pending], seen: &Seen, decisions: &mut Decisions) -> Result<bool, String> {
        if self.flaw != Some(Flaw::DecidesTwice) && !self.store.is_new(decisions) {
            return Ok(false);
        }
        self.checker.committed(batch.iter(), decisions)?;
        if self.flaw == Some(Flaw::LosesAnOutcome) && self.random.random_ratio(1, 50) {
            decisions.orders.pop();
        }
        self.store.commit(seen, decisions);
        if self.random.random_ratio(1, 20) { self.checker.stock(&self.store).map(|()| true) } else { Ok(true) }
    }
}

/// With somebody who waits for what comes of it.
pub(super) fn pending(command: &Command, partition: u16, epoch: i64) -> Pending {
    Pending { queued: Queued { command: command.clone(), reply_to: Some("r".to_owned()) }, partition, epoch }
}
