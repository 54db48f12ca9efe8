//! Deciding the commands of a batch in memory, in order, on what the transaction has locked. Pure.

use std::collections::{BTreeMap, BTreeSet};

use common::db::commands::{CommandOutcome, DecidedCommand, Known};
use common::db::low_stock::Crossed;
use common::db::movements::Caused;
use common::db::orders::Entry;
use common::db::partitions::{Counts, Reached};
use common::db::payments::Unapplied;
use common::domain::{
    Action, Change, ChangeOrder, ChangeOutcome, ChangeStock, Changed, Command, CreateProduct, CreateVariant, Decision,
    Idempotency, Movement, Order, Outcome, ProductOutcome, StockOutcome, TransferStock, View, decide,
};
use common::message::Decided;
use uuid::Uuid;

use super::batch::Pending;

/// What the transaction has read under its locks.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) view: View,
    /// The version of the view's terms of sale.
    pub(super) terms: i64,
    /// The number of the last decision of each partition.
    pub(super) sequences: BTreeMap<u16, i64>,
    pub(super) known: Known,
}

/// What the transaction is to write, and whom to tell what.
#[derive(Debug, Default)]
pub(super) struct Decisions {
    pub(super) orders: Vec<(Order, Option<Idempotency>)>,
    pub(super) commands: Vec<DecidedCommand>,
    /// Those of `commands` that made a product.
    pub(super) products: Vec<(Uuid, CreateProduct)>,
    /// Those of `commands` that made a variant.
    pub(super) variants: Vec<(Uuid, CreateVariant)>,
    /// Changes of orders' states, and the orders that they were of: as they are now, they are in the view.
    pub(super) history: Vec<Entry>,
    pub(super) changed: BTreeSet<Uuid>,
    pub(super) moved: Vec<Caused>,
    pub(super) unapplied: Vec<Unapplied>,
    pub(super) low: Vec<Crossed>,
    /// Variants whose rule for backorders was set: what it is now is in the view.
    pub(super) capped: BTreeSet<Uuid>,
    /// How far the log of each partition goes that decided something.
    pub(super) reached: BTreeMap<u16, Reached>,
    pub(super) replies: Vec<(String, Decided)>,
}

impl Decisions {
    pub(super) fn len(&self) -> usize {
        self.orders.len() + self.commands.len()
    }
}

/// Decides a batch. What was decided before, in an earlier batch or earlier in this one, is not decided again.
pub(super) fn decide_batch<'a>(seen: &mut Seen, batch: impl Iterator<Item = &'a Pending> + Clone) -> Decisions {
    // An order that is placed in this batch may be changed in it too.
    let changed: BTreeSet<Uuid> = batch.clone().flat_map(|pending| pending.queued.command.orders()).collect();
    let mut decisions = Decisions::default();
    for Pending { queued, partition, .. } in batch {
        let command = &queued.command;
        let told = match decided_before(&seen.known, command) {
            Some(told) => Some(told),
            None => {
                let place = decisions.place(seen, command, *partition);
                seen.known.ids.insert(command.id);
                seen.known.keys.extend(command.idempotency.map(|i| (i.key, i.fingerprint)));
                let decision = decide(&mut seen.view, command);
                let told = decisions.note(seen, command, place, decision);
                let Place { partition, sequence } = place;
                let crossed = seen.view.stock.take_crossings().into_iter();
                decisions.low.extend(crossed.map(|crossing| Crossed {
                    crossing,
                    partition,
                    sequence,
                    command: command.id,
                }));
                if let Some((order, _)) = decisions.orders.last()
                    && order.id == command.id
                    && changed.contains(&order.id)
                {
                    seen.view.orders.insert(order.id, order.clone());
                }
                queued.reply_to.is_some().then(|| told.tell(seen, &decisions))
            }
        };
        if let (Some(queue), Some(told)) = (&queued.reply_to, told) {
            decisions.replies.push((queue.clone(), told));
        }
    }
    decisions
}

/// What to tell whoever waits for a command that must not be decided, since it, or its key, was.
fn decided_before(known: &Known, command: &Command) -> Option<Decided> {
    let id = command.id;
    match command.idempotency.and_then(|idempotency| Some((idempotency, known.keys.get(&idempotency.key)?))) {
        Some((idempotency, decided)) if idempotency.fingerprint != *decided => Some(Decided::KeyReusedV1 { id }),
        Some(_) => Some(Decided::EarlierV1 { id }),
        None => known.ids.contains(&id).then_some(Decided::EarlierV1 { id }),
    }
}

/// A place in the log.
#[derive(Debug, Clone, Copy)]
struct Place {
    partition: u16,
    sequence: i64,
}

/// What to tell whoever waits, made only where somebody does.
enum Told {
    /// The last of the orders.
    Order,
    Product(Uuid, ProductOutcome),
    Change(Uuid, ChangeOutcome, Uuid),
    Stock(Uuid, StockOutcome),
    /// Nobody waits for what a writer does by itself.
    Swept(Uuid),
}

impl Told {
    fn tell(self, seen: &Seen, decisions: &Decisions) -> Decided {
        match self {
            Told::Order => decisions.orders.last().map_or_else(
                || unreachable!("an order was just decided"),
                |(order, _)| Decided::OrderV1(order.clone()),
            ),
            Told::Product(id, outcome) => Decided::ProductV1 { id, outcome },
            Told::Change(id, outcome, order) => {
                // Of one that is not meant nothing is told.
                let known = outcome != ChangeOutcome::Unknown;
                let order = seen.view.orders.get(&order).filter(|_| known).cloned();
                Decided::ChangeV1 { id, outcome, order }
            }
            Told::Stock(id, outcome) => Decided::StockV1 { id, outcome },
            Told::Swept(id) => Decided::EarlierV1 { id },
        }
    }
}

impl Decisions {
    /// The next number of a partition's log.
    fn place(&mut self, seen: &mut Seen, command: &Command, partition: u16) -> Place {
        let sequence = seen.sequences.entry(partition).or_default();
        *sequence += 1;
        let sequence = *sequence;
        let reached = self.reached.entry(partition).or_default();
        reached.sequence = sequence;
        if !matches!(command.action, Action::Expire(_) | Action::Serve(_)) {
            reached.through = Some(command.accepted_at);
        }
        Place { partition, sequence }
    }

    fn counts(&mut self, place: Place) -> &mut Counts {
        &mut self.reached.entry(place.partition).or_default().counts
    }

    /// Takes down what a decision means for the tables.
    fn note(&mut self, seen: &Seen, command: &Command, place: Place, decision: Decision) -> Told {
        let id = command.id;
        match (decision, &command.action) {
            (Decision::Order(outcome), Action::PlaceOrder(placed)) => {
                self.note_order(seen, command, place, placed.customer.clone(), outcome);
                Told::Order
            }
            (Decision::Product(outcome, moved), Action::CreateProduct(product)) => {
                if let ProductOutcome::Created { .. } = outcome {
                    self.products.push((id, product.clone()));
                }
                self.note_moved(moved, id, None);
                self.note_command(command, place, CommandOutcome::Product(outcome.clone()));
                Told::Product(id, outcome)
            }
            (Decision::Product(outcome, moved), Action::CreateVariant(variant)) => {
                if let ProductOutcome::Created { .. } = outcome {
                    self.variants.push((id, variant.clone()));
                }
                self.note_moved(moved, id, None);
                self.note_command(command, place, CommandOutcome::Product(outcome.clone()));
                Told::Product(id, outcome)
            }
            (Decision::Change(outcome, moved), Action::ChangeOrder(change)) => {
                self.note_moved(moved, id, change.reason.as_ref());
                self.note_change(seen, command, place, change, &outcome);
                self.note_command(command, place, CommandOutcome::Change(outcome.clone()));
                Told::Change(id, outcome, change.order_id)
            }
            (
                Decision::Stock(outcome, moved),
                Action::ChangeStock(ChangeStock { reason, .. }) | Action::TransferStock(TransferStock { reason, .. }),
            ) => {
                self.note_moved(moved, id, reason.as_ref());
                self.note_command(command, place, CommandOutcome::Stock(outcome.clone()));
                Told::Stock(id, outcome)
            }
            (Decision::Stock(outcome, moved), Action::SetBackorders(set)) => {
                self.note_moved(moved, id, None);
                self.capped.extend(matches!(outcome, StockOutcome::Changed { .. }).then_some(set.variant_id));
                self.note_command(command, place, CommandOutcome::Stock(outcome.clone()));
                Told::Stock(id, outcome)
            }
            (Decision::Swept(changed, moved), action @ (Action::Expire(_) | Action::Serve(_))) => {
                self.note_moved(moved, id, None);
                let count = changed.len();
                for changed in changed {
                    self.note_entry(command, place, changed, None, None);
                }
                let outcome = if let Action::Expire(_) = action {
                    self.counts(place).expired += i64::try_from(count).unwrap_or(i64::MAX);
                    CommandOutcome::Expired(count)
                } else {
                    CommandOutcome::Served(count)
                };
                self.note_command(command, place, outcome);
                Told::Swept(id)
            }
            (decision, action) => unreachable!("the core answered {action:?} with {decision:?}"),
        }
    }

    fn note_order(
        &mut self,
        seen: &Seen,
        command: &Command,
        place: Place,
        customer_id: Option<String>,
        outcome: Outcome,
    ) {
        let counts = self.counts(place);
        match &outcome {
            Outcome::Confirmed(confirmed) => {
                counts.confirmed += 1;
                counts.reserved += i64::from(confirmed.hold.is_some());
            }
            Outcome::Refused(placed) if placed.refusal.status() == 409 => counts.conflicts += 1,
            Outcome::Refused(_) => counts.unfulfillable += 1,
        }
        let order = Order {
            id: command.id,
            account_id: command.account,
            customer_id,
            partition: place.partition,
            sequence: place.sequence,
            accepted_at: command.accepted_at,
            decided_at: seen.view.now,
            terms: seen.terms,
            outcome,
            since: None,
        };
        self.orders.push((order, command.idempotency));
    }

    fn note_change(
        &mut self,
        seen: &Seen,
        command: &Command,
        place: Place,
        change: &ChangeOrder,
        outcome: &ChangeOutcome,
    ) {
        let order = change.order_id;
        match outcome {
            ChangeOutcome::Changed { revision } => {
                let Some(now) = seen.view.orders.get(&order) else { return };
                let state = now.state().clone();
                match &change.change {
                    Change::Pay(_) | Change::Confirm => {
                        let took = seen.view.now - now.decided_at;
                        let counts = self.counts(place);
                        counts.converted += 1;
                        counts.payment_ms += i64::try_from(took.whole_milliseconds()).unwrap_or(i64::MAX).max(0);
                    }
                    Change::Cancel | Change::Release => {
                        let released = now.hold().is_some() && !now.standing().converted;
                        self.counts(place).released += i64::from(released);
                    }
                    Change::Process | Change::Ship { .. } | Change::Deliver | Change::Return { .. } => {}
                }
                let pieces = now.since.as_ref().map(|since| since.pieces.clone()).unwrap_or_default();
                let changed = Changed { order, revision: *revision, state, pieces };
                self.note_entry(command, place, changed, Some(command.account), change.reason.clone());
            }
            ChangeOutcome::Refused { .. } | ChangeOutcome::Unknown => {
                // What was applied before the order was cancelled, and is told again, is nobody's to refund twice.
                let applied = seen.view.orders.get(&order).and_then(|order| order.standing().payment);
                if let Change::Pay(payment) = &change.change
                    && applied != Some(payment)
                {
                    self.counts(place).unapplied += 1;
                    let problem = match outcome {
                        ChangeOutcome::Refused { obstacle, .. } => Some(*obstacle),
                        ChangeOutcome::Changed { .. } | ChangeOutcome::Unchanged { .. } | ChangeOutcome::Unknown => {
                            None
                        }
                    };
                    let (account, payment) = (command.account, payment.clone());
                    self.unapplied.push(Unapplied { command: command.id, order, account, problem, payment });
                }
            }
            ChangeOutcome::Unchanged { .. } => {}
        }
    }

    fn note_entry(
        &mut self,
        command: &Command,
        Place { partition, sequence }: Place,
        Changed { order, revision, state, pieces }: Changed,
        account: Option<Uuid>,
        reason: Option<String>,
    ) {
        self.changed.insert(order);
        self.history.push(Entry {
            order,
            revision,
            state,
            partition,
            sequence,
            command: command.id,
            account,
            reason,
            pieces,
        });
    }

    fn note_command(&mut self, command: &Command, Place { partition, sequence }: Place, outcome: CommandOutcome) {
        self.commands.push(DecidedCommand { command: command.clone(), partition, sequence, outcome });
    }

    fn note_moved(&mut self, moved: Vec<Movement>, command: Uuid, reason: Option<&String>) {
        self.moved.extend(moved.into_iter().map(|movement| Caused { movement, command, reason: reason.cloned() }));
    }
}

#[cfg(test)]
mod tests {
    //! Random batches against a model that decides one order at a time on a table of counts.

    use common::domain::{
        Currency, DEFAULT_WAREHOUSE, Limits, Line, Money, PlaceOrder, Site, StockLevel, StockView, Timestamp,
        VariantView, merge_lines,
    };
    use std::sync::Arc;

    use common::message::Queued;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const PRODUCTS: u128 = 6;
    const PARTITIONS: u16 = 3;
    const SITE: Site = Site { zone: 1, open: true };
    const OTHER_WAREHOUSE: Uuid = Uuid::from_u128(2);

    /// An order as the model knows it.
    #[derive(Debug, Clone)]
    struct Asked {
        id: u128,
        /// The key and which of its requests this is.
        key: Option<(u128, u128)>,
        partition: u16,
        lines: Vec<(u128, i32)>,
    }

    fn asked() -> impl Strategy<Value = Asked> {
        let key = proptest::option::weighted(0.3, (0..8_u128, 0..2_u128));
        // Ids and keys come again, as after a redelivery or a retry; the product past the last is unknown.
        (0..40_u128, key, 0..PARTITIONS, vec((0..=PRODUCTS, 1..4_i32), 1..5)).prop_map(|(id, key, partition, lines)| {
            Asked { id: key.map_or(id, |(key, request)| 1_000 + key * 2 + request), key, partition, lines }
        })
    }

    fn pending(asked: &Asked) -> Pending {
        let line = |&(product, quantity): &(u128, i32)| Line {
            product_id: Uuid::from_u128(product),
            variant_id: Uuid::from_u128(product),
            quantity,
            agreed: None,
        };
        let lines = merge_lines(asked.lines.iter().map(line)).expect("small quantities");
        let idempotency = asked
            .key
            .map(|(key, request)| Idempotency { key: Uuid::from_u128(key), fingerprint: Uuid::from_u128(request) });
        let command = Command {
            id: Uuid::from_u128(asked.id),
            account: Uuid::nil(),
            accepted_at: Timestamp::UNIX_EPOCH,
            idempotency,
            action: Action::PlaceOrder(PlaceOrder {
                customer: None,
                lines,
                hold: None,
                delivery: None,
                expected_total: None,
            }),
        };
        Pending { queued: Queued { command, reply_to: Some("r".into()) }, partition: asked.partition, epoch: 1 }
    }

    fn seen(counts: &[(i64, i64)]) -> Seen {
        let mut stock = StockView::default();
        for (product, &(here, there)) in (0..).zip(counts) {
            let level = |warehouse, on_hand| StockLevel { warehouse, site: SITE, on_hand, reserved: 0, version: 0 };
            let product = Uuid::from_u128(product);
            let price = Money { amount: 1, currency: Currency::try_from("EUR").expect("a currency") };
            let levels = vec![level(DEFAULT_WAREHOUSE, here), level(OTHER_WAREHOUSE, there)];
            let view = VariantView::new(product, "n".into(), "s".into(), price);
            stock.insert(product, VariantView { levels, ..view });
        }
        let (orders, warehouses) = (BTreeMap::new(), BTreeMap::new());
        Seen {
            view: View {
                now: Timestamp::UNIX_EPOCH,
                stock,
                orders,
                warehouses,
                terms: Arc::default(),
                limits: Limits::default(),
            },
            terms: 1,
            sequences: (0..PARTITIONS).map(|partition| (partition, 10)).collect(),
            known: Known::default(),
        }
    }

    /// What the model says of one order.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Expected {
        Confirmed,
        Short,
        Unknown,
        Earlier,
        KeyReused,
    }

    fn model(counts: &mut [i64], log: &mut Vec<Asked>, asked: &Asked) -> Expected {
        for before in log.iter() {
            match (asked.key, before.key) {
                (Some((key, request)), Some((same, other))) if key == same => {
                    return if request == other { Expected::Earlier } else { Expected::KeyReused };
                }
                _ if asked.id == before.id => return Expected::Earlier,
                _ => {}
            }
        }
        log.push(asked.clone());
        if asked.lines.iter().any(|(product, _)| *product == PRODUCTS) {
            return Expected::Unknown;
        }
        let mut after = counts.to_vec();
        for (product, quantity) in &asked.lines {
            after[usize::try_from(*product).expect("small")] -= i64::from(*quantity);
        }
        if after.iter().any(|count| *count < 0) {
            return Expected::Short;
        }
        counts.copy_from_slice(&after);
        Expected::Confirmed
    }

    fn told(decided: &Decided) -> Expected {
        match decided {
            Decided::EarlierV1 { .. } => Expected::Earlier,
            Decided::KeyReusedV1 { .. } => Expected::KeyReused,
            Decided::OrderV1(Order { outcome: Outcome::Confirmed(_), .. }) => Expected::Confirmed,
            Decided::OrderV1(Order { outcome: Outcome::Refused(placed), .. }) => {
                if placed.refusal.status() == 409 {
                    Expected::Short
                } else {
                    Expected::Unknown
                }
            }
            Decided::ProductV1 { .. }
            | Decided::ChangeV1 { .. }
            | Decided::StockV1 { .. }
            | Decided::FailedV1 { .. } => panic!("{decided:?}"),
        }
    }

    proptest! {
        #[test]
        fn any_cut_into_batches_decides_as_one_at_a_time_does(
            counts in vec((0..8_i64, 0..8_i64), 6),
            orders in vec(asked(), 1..60),
            cuts in vec(1..20_usize, 60),
        ) {
            let mut left: Vec<i64> = counts.iter().map(|(here, there)| here + there).collect();
            let mut log = Vec::new();
            let expected: Vec<Expected> = orders.iter().map(|asked| model(&mut left, &mut log, asked)).collect();

            let mut seen = seen(&counts);
            let (mut answers, mut sequences) = (Vec::new(), Vec::new());
            let mut rest: Vec<Pending> = orders.iter().map(pending).collect();
            for cut in cuts {
                let batch: Vec<Pending> = rest.drain(..cut.min(rest.len())).collect();
                let decisions = decide_batch(&mut seen, batch.iter());
                sequences.extend(decisions.orders.iter().map(|(order, _)| (order.partition, order.sequence)));
                for (partition, last) in &decisions.reached {
                    prop_assert_eq!(seen.sequences[partition], last.sequence);
                }
                answers.extend(decisions.replies.iter().map(|(_, decided)| told(decided)));
            }
            prop_assert_eq!(answers, expected);
            for (product, left) in (0..).zip(left) {
                let variant = seen.view.stock.variant(Uuid::from_u128(product)).expect("known");
                prop_assert_eq!(variant.levels.iter().map(StockLevel::available).sum::<i64>(), left);
                prop_assert!(variant.levels.iter().all(|level| level.available() >= 0));
            }
            // Without a gap, without a repeat, in the order of the queue.
            for partition in 0..PARTITIONS {
                let of_it: Vec<i64> = sequences.iter().filter(|(p, _)| *p == partition).map(|(_, s)| *s).collect();
                prop_assert_eq!(&of_it, &(11..).take(of_it.len()).collect::<Vec<i64>>());
            }
            prop_assert_eq!(sequences.len(), log.len());
        }
    }
}
