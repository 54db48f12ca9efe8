//! What must hold, followed decision by decision.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use common::db::commands::CommandOutcome;
use common::domain::{Action, Change, ChangeOutcome, Command, Order, Outcome, Refusal, State, StockOutcome};
use common::message::Decided;
use uuid::Uuid;

use super::world::Store;
use crate::partition::batch::Pending;
use crate::partition::decide::Decisions;

#[derive(Default)]
pub(super) struct Checker {
    /// Pieces of each product that are neither sold nor reserved.
    free: BTreeMap<Uuid, i64>,
    /// What stands: its pieces.
    standing: HashMap<Uuid, Vec<(Uuid, i64)>>,
    /// Each decided command with its place in the log.
    decided: HashMap<Uuid, (u16, i64)>,
    /// The same request may come under another id.
    keys: HashMap<Uuid, Uuid>,
    /// The last number and epoch of each partition's log.
    reached: BTreeMap<u16, (i64, i64)>,
    /// Each command's place in the queue, as it was published first.
    published: HashMap<Uuid, u64>,
    /// The place of the last one that was decided.
    last: BTreeMap<u16, u64>,
    accepted: BTreeSet<Uuid>,
    told: Vec<Decided>,
}

impl Checker {
    pub(super) fn decided(&self) -> u64 {
        self.decided.len() as u64
    }

    pub(super) fn stocked(&mut self, product: Uuid, pieces: i64) {
        self.free.insert(product, pieces);
    }

    pub(super) fn published(&mut self, command: &Command, place: u64) {
        self.published.entry(command.id).or_insert(place);
        self.keys.extend(command.idempotency.map(|idempotency| (command.id, idempotency.key)));
    }

    pub(super) fn accepted(&mut self, command: &Command) {
        self.accepted.insert(command.id);
    }

    pub(super) fn told(&mut self, decided: Decided) {
        self.told.push(decided);
    }

    /// Follows what a transaction has committed, in the order in which it was decided.
    pub(super) fn committed<'a>(
        &mut self,
        batch: impl Iterator<Item = &'a Pending>,
        decisions: &Decisions,
    ) -> Result<(), String> {
        let mut noted = HashMap::<Uuid, usize>::new();
        for Pending { queued, partition, epoch } in batch {
            let command = &queued.command;
            // One that comes twice in a batch is to be decided once.
            let n = noted.entry(command.id).or_default();
            let order = decisions.orders.iter().map(|(order, _)| order).filter(|order| order.id == command.id).nth(*n);
            let other = decisions.commands.iter().filter(|decided| decided.command.id == command.id).nth(*n);
            *n += 1;
            let sequence = match (order, other) {
                (Some(order), _) => order.sequence,
                (None, Some(decided)) => decided.sequence,
                // Decided before.
                (None, None) => continue,
            };
            self.logged(command, (*partition, sequence), *epoch)?;
            match order {
                Some(order) => self.placed(command, order)?,
                None => self.other(command, other.map(|decided| &decided.outcome), decisions)?,
            }
        }
        Ok(())
    }

    /// I-5, I-6 and I-8.
    fn logged(&mut self, command: &Command, (partition, sequence): (u16, i64), epoch: i64) -> Result<(), String> {
        let id = command.id;
        if let Some(before) = self.decided.insert(id, (partition, sequence)) {
            return Err(format!("I-5: {id} is decided at {before:?} and at {:?}", (partition, sequence)));
        }
        let (last, reached) = self.reached.get(&partition).copied().unwrap_or_default();
        if sequence != last + 1 {
            return Err(format!("I-8: in partition {partition} {sequence} follows {last}"));
        }
        if epoch < reached {
            return Err(format!("I-8: in partition {partition} epoch {epoch} commits after {reached}"));
        }
        self.reached.insert(partition, (sequence, epoch));
        if let Some(place) = self.published.get(&id) {
            let last = self.last.insert(partition, *place).unwrap_or_default();
            if *place < last {
                return Err(format!(
                    "I-6: {id}, place {place} in partition {partition}, is decided after place {last}"
                ));
            }
        }
        Ok(())
    }

    /// I-1, I-4 and I-9.
    fn placed(&mut self, command: &Command, order: &Order) -> Result<(), String> {
        let Action::PlaceOrder(placed) = &command.action else { return Err("an order of another command".to_owned()) };
        let lines: Vec<(Uuid, i64)> =
            placed.lines.iter().map(|line| (line.variant_id, i64::from(line.quantity))).collect();
        let free = |product: &Uuid| self.free.get(product).copied().unwrap_or_default();
        match &order.outcome {
            Outcome::Confirmed(confirmed) => {
                let given = |product: &Uuid| -> i64 {
                    let items = confirmed.items.iter().filter(|item| item.variant_id == *product);
                    items.flat_map(|item| &item.allocations).map(|allocation| i64::from(allocation.quantity)).sum()
                };
                if let Some((product, asked)) = lines.iter().find(|(product, asked)| given(product) != *asked) {
                    return Err(format!(
                        "I-4: {} has {} of {product}, and asked for {asked}",
                        order.id,
                        given(product)
                    ));
                }
                if let Some((product, asked)) = lines.iter().find(|(product, asked)| free(product) < *asked) {
                    return Err(format!(
                        "I-1: {} is given {asked} of {product}: {} are there",
                        order.id,
                        free(product)
                    ));
                }
                for (product, pieces) in &lines {
                    *self.free.entry(*product).or_default() -= pieces;
                }
                self.standing.insert(order.id, lines);
                Ok(())
            }
            Outcome::Refused(refused) => match &refused.refusal {
                Refusal::InsufficientStock { .. } if lines.iter().all(|(product, asked)| free(product) >= *asked) => {
                    Err(format!("I-9: {} is refused {lines:?}, and all of it is there", order.id))
                }
                Refusal::InsufficientStock { .. } => Ok(()),
                other => Err(format!("I-9: {} is refused: {other:?}", order.id)),
            },
        }
    }

    fn other(
        &mut self,
        command: &Command,
        outcome: Option<&CommandOutcome>,
        decisions: &Decisions,
    ) -> Result<(), String> {
        match (&command.action, outcome) {
            (Action::ChangeOrder(change), Some(CommandOutcome::Change(ChangeOutcome::Changed { .. }))) => {
                match change.change {
                    Change::Cancel => self.set_free(change.order_id),
                    _ => Ok(()),
                }
            }
            (Action::ChangeStock(change), Some(CommandOutcome::Stock(StockOutcome::Changed { .. }))) => {
                let free = self.free.entry(change.variant_id).or_default();
                *free += change.quantity;
                if *free < 0 { Err(format!("I-1: {change:?} leaves {free}")) } else { Ok(()) }
            }
            (Action::Expire(_), _) => {
                let ended = decisions.history.iter().filter(|entry| entry.command == command.id);
                ended
                    .filter(|entry| matches!(entry.state, State::Cancelled { .. }))
                    .try_for_each(|e| self.set_free(e.order))
            }
            _ => Ok(()),
        }
    }

    fn set_free(&mut self, order: Uuid) -> Result<(), String> {
        let pieces = self.standing.remove(&order).ok_or_else(|| format!("I-5: {order} is cancelled twice"))?;
        for (product, pieces) in pieces {
            *self.free.entry(product).or_default() += pieces;
        }
        Ok(())
    }

    /// I-1 to I-3: the stock rows are what the decisions leave.
    pub(super) fn stock(&self, store: &Store) -> Result<(), String> {
        for (product, view) in &store.stock {
            if let Some(level) = view.levels.iter().find(|level| level.reserved < 0 || level.on_hand < level.reserved) {
                return Err(format!("I-1: {product}: {level:?}"));
            }
            let free: i64 = view.levels.iter().map(|level| level.on_hand - level.reserved).sum();
            if self.free.get(product) != Some(&free) {
                return Err(format!("I-2: {product}: {free} are free, and should be {:?}", self.free.get(product)));
            }
            let held = store.holding().flat_map(Order::items);
            let held =
                held.filter(|item| item.variant_id == *product).map(|item| i64::from(item.quantity)).sum::<i64>();
            let reserved: i64 = view.levels.iter().map(|level| level.reserved).sum();
            if held != reserved {
                return Err(format!("I-3: {product}: {reserved} are reserved, and {held} held"));
            }
        }
        Ok(())
    }

    /// I-5 and I-7: what was accepted is decided, is in the store, and is what was told.
    pub(super) fn end(&self, store: &Store) -> Result<(), String> {
        let by_key: BTreeSet<Uuid> = self.decided.keys().filter_map(|id| self.keys.get(id)).copied().collect();
        let is_decided =
            |id: &Uuid| self.decided.contains_key(id) || self.keys.get(id).is_some_and(|key| by_key.contains(key));
        if let Some(lost) = self.accepted.iter().find(|id| !is_decided(id)) {
            return Err(format!("I-5: {lost} was accepted and is not decided"));
        }
        if let Some(lost) = self.decided.keys().find(|id| !store.ids.contains(*id)) {
            return Err(format!("I-5: {lost} was decided and is not stored"));
        }
        for told in &self.told {
            match told {
                Decided::OrderV1(order) => match store.orders.get(&order.id) {
                    Some(stored) if stored.outcome == order.outcome && stored.sequence == order.sequence => {}
                    stored => return Err(format!("I-7: told {order:?}, and stored is {stored:?}")),
                },
                other if store.ids.contains(&other.id()) => {}
                Decided::EarlierV1 { id } if is_decided(id) => {}
                other => return Err(format!("I-7: told {other:?}, and nothing is stored")),
            }
        }
        self.stock(store)
    }
}
