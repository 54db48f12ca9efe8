//! Deciding the commands of a batch in memory, in order, on the stock that the transaction has locked. Pure.

use std::collections::{BTreeMap, BTreeSet};

use common::db::commands::{CreatedProduct, Known};
use common::db::partitions::Reached;
use common::domain::{
    Action, Command, CreateProduct, Decision, Idempotency, Order, ProductOutcome, StockView, Timestamp, decide,
};
use common::message::Decided;
use uuid::Uuid;

use super::batch::Pending;

/// What the transaction has read under its locks.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) now: Timestamp,
    /// The number of the last decision of each partition.
    pub(super) sequences: BTreeMap<u16, i64>,
    pub(super) stock: StockView,
    pub(super) warehouses: BTreeSet<Uuid>,
    pub(super) known: Known,
}

/// What the transaction is to write, and whom to tell what.
#[derive(Debug, Default)]
pub(super) struct Decisions {
    pub(super) orders: Vec<(Order, Option<Idempotency>)>,
    pub(super) commands: Vec<CreatedProduct>,
    /// Those of `commands` that made a product.
    pub(super) products: Vec<(Uuid, CreateProduct)>,
    /// How far the log of each partition goes that decided something.
    pub(super) reached: BTreeMap<u16, Reached>,
    pub(super) replies: Vec<(String, Decided)>,
}

/// Decides a batch. What was decided before, in an earlier batch or earlier in this one, is not decided again.
pub(super) fn decide_batch(seen: &mut Seen, batch: &[Pending]) -> Decisions {
    let mut decisions = Decisions::default();
    for Pending { queued, partition, .. } in batch {
        let command = &queued.command;
        let told = match decided_before(&seen.known, command) {
            Some(told) => Some(told),
            None => {
                let sequence = seen.sequences.entry(*partition).or_default();
                *sequence += 1;
                let reached = Reached { sequence: *sequence, through: command.accepted_at };
                decisions.reached.insert(*partition, reached);
                let place = (*partition, *sequence);
                decide_one(seen, &mut decisions, command, place, queued.reply_to.is_some())
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

fn decide_one(
    seen: &mut Seen,
    decisions: &mut Decisions,
    command: &Command,
    (partition, sequence): (u16, i64),
    awaited: bool,
) -> Option<Decided> {
    let id = command.id;
    seen.known.ids.insert(id);
    seen.known.keys.extend(command.idempotency.map(|i| (i.key, i.fingerprint)));
    match (decide(&mut seen.stock, &seen.warehouses, command), &command.action) {
        (Decision::Order(outcome), Action::PlaceOrder(placed)) => {
            let order = Order {
                id,
                account_id: command.account,
                customer_id: placed.customer.clone(),
                partition,
                sequence,
                accepted_at: command.accepted_at,
                decided_at: seen.now,
                outcome,
            };
            let told = awaited.then(|| Decided::OrderV1(order.clone()));
            decisions.orders.push((order, command.idempotency));
            told
        }
        (Decision::Product(outcome), Action::CreateProduct(product)) => {
            if let ProductOutcome::Created { .. } = outcome {
                decisions.products.push((id, product.clone()));
            }
            decisions.commands.push(CreatedProduct {
                id,
                account: command.account,
                partition,
                sequence,
                idempotency: command.idempotency,
                product: product.clone(),
                outcome: outcome.clone(),
                accepted_at: command.accepted_at,
            });
            Some(Decided::ProductV1 { id, outcome })
        }
        (Decision::Order(_), Action::CreateProduct(_)) | (Decision::Product(_), Action::PlaceOrder(_)) => {
            unreachable!("the core answers an order with an order and a product with a product")
        }
    }
}

#[cfg(test)]
mod tests {
    //! Random batches against a model that decides one order at a time on a table of counts.

    use common::domain::{
        Currency, DEFAULT_WAREHOUSE, Line, Money, Outcome, PlaceOrder, StockLevel, VariantView, merge_lines,
    };
    use common::message::Queued;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const PRODUCTS: u128 = 6;
    const PARTITIONS: u16 = 3;
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
            action: Action::PlaceOrder(PlaceOrder { customer: None, lines }),
        };
        Pending { queued: Queued { command, reply_to: Some("r".into()) }, partition: asked.partition, epoch: 1 }
    }

    fn seen(counts: &[(i64, i64)]) -> Seen {
        let mut stock = StockView::default();
        for (product, &(here, there)) in (0..).zip(counts) {
            let level = |warehouse, on_hand| StockLevel { warehouse, on_hand, reserved: 0, version: 0 };
            let view = VariantView {
                product: Uuid::from_u128(product),
                name: "n".into(),
                sku: "s".into(),
                price: Money { amount: 1, currency: Currency::try_from("EUR").expect("a currency") },
                deleted: false,
                levels: vec![level(DEFAULT_WAREHOUSE, here), level(OTHER_WAREHOUSE, there)],
            };
            stock.insert(Uuid::from_u128(product), view);
        }
        Seen {
            now: Timestamp::UNIX_EPOCH,
            sequences: (0..PARTITIONS).map(|partition| (partition, 10)).collect(),
            stock,
            warehouses: BTreeSet::new(),
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
            Decided::ProductV1 { .. } | Decided::FailedV1 { .. } => panic!("{decided:?}"),
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
                let decisions = decide_batch(&mut seen, &batch);
                sequences.extend(decisions.orders.iter().map(|(order, _)| (order.partition, order.sequence)));
                for (partition, last) in &decisions.reached {
                    prop_assert_eq!(seen.sequences[partition], last.sequence);
                }
                answers.extend(decisions.replies.iter().map(|(_, decided)| told(decided)));
            }
            prop_assert_eq!(answers, expected);
            for (product, left) in (0..).zip(left) {
                let variant = seen.stock.variant(Uuid::from_u128(product)).expect("known");
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
