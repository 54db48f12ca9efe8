//! A writer, one step at a time: what [`super::super::settle`] does with real servers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use common::db::commands::Known;
use common::domain::{Command, Limits, Order, OrderItem, StockView, View};
use uuid::Uuid;

use super::Flaw;
use super::world::{Lock, PARTITIONS, World, pending};
use crate::partition::batch::Pending;
use crate::partition::decide::{Decisions, Seen, decide_batch};
use crate::partition::lock::expiries;
use rand::RngExt as _;

/// Messages of a partition that fit into a batch.
const MESSAGES_MAX: usize = 3;
/// Orders whose holds are ended at once.
const EXPIRED_MAX: usize = 4;

pub(super) struct Writer {
    number: usize,
    /// The epochs of the leases that it believes to have.
    held: BTreeMap<u16, i64>,
    batch: Vec<Pending>,
    /// The last message of each partition, on a subscription that still is.
    receipts: BTreeMap<u16, u64>,
    release: Vec<Uuid>,
    wanted: VecDeque<Lock>,
    stage: Stage,
}

enum Stage {
    Idle,
    Fencing,
    LockingOrders,
    LockingStock,
    Decided(Box<(Vec<Pending>, Seen, Decisions)>),
    Committed(Decisions),
    Acknowledged(Decisions),
}

impl Writer {
    pub(super) fn new(number: usize) -> Self {
        Self {
            number,
            held: BTreeMap::new(),
            batch: Vec::new(),
            receipts: BTreeMap::new(),
            release: Vec::new(),
            wanted: VecDeque::new(),
            stage: Stage::Idle,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Idle)
    }

    pub(super) fn hold(&mut self, partition: u16, epoch: i64) {
        self.held.insert(partition, epoch);
    }

    /// The connection to the broker is gone: what it has of it can't be acknowledged.
    pub(super) fn cut_off(&mut self) {
        self.receipts.clear();
    }

    pub(super) fn step(&mut self, world: &mut World) -> Result<(), String> {
        match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Idle => {
                self.subscribe(world);
                self.gather(world);
            }
            Stage::Fencing if self.lock_next(world)? => self.stage = Stage::Fencing,
            Stage::Fencing => self.fence(world),
            Stage::LockingOrders if self.lock_next(world)? => self.stage = Stage::LockingOrders,
            Stage::LockingOrders => self.want_stock(world),
            Stage::LockingStock if self.lock_next(world)? => self.stage = Stage::LockingStock,
            Stage::LockingStock => self.decide(world),
            Stage::Decided(decided) => self.commit(world, *decided)?,
            Stage::Committed(decisions) => {
                self.acknowledge(world);
                self.stage = Stage::Acknowledged(decisions);
            }
            Stage::Acknowledged(decisions) => Self::tell(world, &decisions),
        }
        Ok(())
    }

    /// The connection is gone. A commit that was on its way may have arrived.
    pub(super) fn lose_database(&mut self, world: &mut World) -> Result<(), String> {
        match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Idle => return Ok(()),
            Stage::Decided(mut decided) => {
                let (batch, seen, decisions) = &mut *decided;
                if world.random.random_bool(0.5) {
                    world.commit(batch, seen, decisions)?;
                }
                self.begin();
            }
            Stage::Fencing | Stage::LockingOrders | Stage::LockingStock => self.begin(),
            // Between transactions it is not missed.
            stage @ (Stage::Committed(_) | Stage::Acknowledged(_)) => self.stage = stage,
        }
        world.unlock(self.number);
        Ok(())
    }

    fn subscribe(&mut self, world: &mut World) {
        for partition in self.held.keys() {
            world.queues[usize::from(*partition)].subscriber.get_or_insert(self.number);
        }
    }

    fn gather(&mut self, world: &mut World) {
        self.batch.clear();
        self.receipts.clear();
        for (&partition, &epoch) in &self.held {
            let queue = &mut world.queues[usize::from(partition)];
            if queue.subscriber != Some(self.number) {
                continue;
            }
            for message in queue.ready.drain(..queue.ready.len().min(MESSAGES_MAX)) {
                self.batch.extend(message.commands.iter().map(|command| pending(command, partition, epoch)));
                self.receipts.insert(partition, message.place);
                queue.unacknowledged.push_back(message);
            }
        }
        let due = world.store.holding().filter(|order| order.standing().is_due(world.now));
        self.release = due.map(|order| order.id).take(EXPIRED_MAX).collect();
        if !self.batch.is_empty() || (!self.release.is_empty() && !self.held.is_empty()) {
            self.begin();
        }
    }

    /// Begins a transaction.
    fn begin(&mut self) {
        let mut partitions: BTreeSet<u16> = self.batch.iter().map(|pending| pending.partition).collect();
        if partitions.is_empty() {
            partitions.extend(self.held.keys().next());
        }
        self.wanted = partitions.into_iter().map(Lock::Partition).collect();
        self.stage = Stage::Fencing;
    }

    /// Takes the next lock, or waits for it. Answers whether there is one still to be had.
    fn lock_next(&mut self, world: &mut World) -> Result<bool, String> {
        let Some(&next) = self.wanted.front() else { return Ok(false) };
        if world.lock(self.number, next)? {
            self.wanted.pop_front();
        }
        Ok(!self.wanted.is_empty())
    }

    fn fence(&mut self, world: &mut World) {
        let held = |partition: u16| self.batch.iter().find(|p| p.partition == partition).map(|p| p.epoch);
        let locked = (0..PARTITIONS).filter(|p| world.store.locks.get(&Lock::Partition(*p)) == Some(&self.number));
        let lost = locked.filter(|partition| {
            let epoch = held(*partition).or_else(|| self.held.get(partition).copied());
            epoch != Some(world.store.fenced(*partition).epoch)
        });
        let lost: Vec<u16> = lost.collect();
        if lost.is_empty() || world.flaw == Some(Flaw::IsNotFenced) {
            let orders = self.batch.iter().flat_map(|pending| pending.queued.command.orders());
            let orders: BTreeSet<Uuid> = orders.chain(self.release.iter().copied()).collect();
            // A row that is not there can't be locked.
            let there = orders.into_iter().filter(|id| world.store.orders.contains_key(id));
            self.wanted = there.map(Lock::Order).collect();
            self.stage = Stage::LockingOrders;
            return;
        }
        world.unlock(self.number);
        for partition in lost {
            self.batch.retain(|pending| pending.partition != partition);
            self.receipts.remove(&partition);
            self.held.remove(&partition);
            let queue = &mut world.queues[usize::from(partition)];
            if queue.subscriber == Some(self.number) {
                world.tally.redelivered += queue.unsubscribe();
            }
        }
        if !self.batch.is_empty() {
            self.begin();
        }
    }

    /// The orders that it has locked.
    fn locked_orders(&self, world: &World) -> BTreeMap<Uuid, Order> {
        let locked = world.store.locks.iter().filter(|(_, holder)| **holder == self.number);
        locked
            .filter_map(|(lock, _)| match lock {
                Lock::Order(id) => Some((*id, world.store.orders.get(id)?.clone())),
                Lock::Partition(_) | Lock::Stock(_) => None,
            })
            .collect()
    }

    fn want_stock(&mut self, world: &World) {
        let orders = self.locked_orders(world);
        let named = self.batch.iter().flat_map(|pending| pending.queued.command.variants()).map(|(variant, _)| variant);
        let drawn = orders.values().flat_map(Order::items).flat_map(OrderItem::drawn);
        let mut variants: Vec<Uuid> = named.chain(drawn).collect();
        if world.flaw == Some(Flaw::LocksInNoOrder) {
            variants.reverse();
        } else {
            variants.sort_unstable();
            variants.dedup();
        }
        self.wanted = variants.into_iter().map(Lock::Stock).collect();
        self.stage = Stage::LockingStock;
        if world.flaw == Some(Flaw::LocksNoStock) {
            self.wanted.clear();
        }
    }

    fn decide(&mut self, world: &mut World) {
        let mut stock = StockView::default();
        let orders = self.locked_orders(world);
        let drawn = orders.values().flat_map(Order::items).flat_map(OrderItem::drawn);
        let named = self.batch.iter().flat_map(|pending| pending.queued.command.variants()).map(|(variant, _)| variant);
        for variant in named.chain(drawn).collect::<BTreeSet<Uuid>>() {
            if let Some(view) = world.store.stock.get(&variant) {
                stock.insert(variant, view.clone());
            }
        }
        let fenced: Vec<_> = (0..PARTITIONS)
            .filter(|p| world.store.locks.get(&Lock::Partition(*p)) == Some(&self.number))
            .map(|p| world.store.fenced(p))
            .collect();
        let due =
            self.release.iter().filter_map(|id| orders.get(id)).filter(|order| order.standing().is_due(world.now));
        let due: Vec<Order> = due.cloned().collect();
        let now = world.now;
        let view = View {
            now,
            stock,
            orders,
            warehouses: BTreeMap::new(),
            terms: Default::default(),
            limits: Limits::default(),
        };
        let sequences = fenced.iter().map(|row| (row.partition, row.sequence)).collect();
        let known = if world.flaw == Some(Flaw::DecidesTwice) { Known::default() } else { self.known(world) };
        let mut seen = Seen { view, terms: 0, sequences, known };
        let own = expiries(&due, &fenced, now, PARTITIONS);
        let batch: Vec<Pending> = own.into_iter().chain(self.batch.iter().cloned()).collect();
        let decisions = decide_batch(&mut seen, batch.iter());
        match world.flaw {
            Some(Flaw::AcknowledgesEarly) => self.acknowledge(world),
            Some(Flaw::TellsEarly) => Self::tell(world, &decisions),
            _ => {}
        }
        self.stage = Stage::Decided(Box::new((batch, seen, decisions)));
    }

    /// What of the batch was decided before, as it is under the locks.
    fn known(&self, world: &World) -> Known {
        let mut known = Known::default();
        for Command { id, idempotency, .. } in self.batch.iter().map(|pending| &pending.queued.command) {
            known.ids.extend(world.store.ids.get(id));
            let key = idempotency.map(|idempotency| idempotency.key);
            known.keys.extend(key.and_then(|key| Some((key, *world.store.keys.get(&key)?))));
        }
        known
    }

    fn commit(
        &mut self,
        world: &mut World,
        (batch, seen, mut decisions): (Vec<Pending>, Seen, Decisions),
    ) -> Result<(), String> {
        let committed = world.commit(&batch, &seen, &mut decisions)?;
        world.unlock(self.number);
        if committed {
            self.stage = Stage::Committed(decisions);
        } else {
            // Another partition's row of the same key: the next attempt finds it.
            self.begin();
        }
        Ok(())
    }

    fn acknowledge(&mut self, world: &mut World) {
        for (partition, place) in std::mem::take(&mut self.receipts) {
            let queue = &mut world.queues[usize::from(partition)];
            if queue.subscriber == Some(self.number) {
                while queue.unacknowledged.front().is_some_and(|message| message.place <= place) {
                    queue.unacknowledged.pop_front();
                }
            }
        }
    }

    fn tell(world: &mut World, decisions: &Decisions) {
        for (_, decided) in &decisions.replies {
            world.checker.told(decided.clone());
        }
    }
}
