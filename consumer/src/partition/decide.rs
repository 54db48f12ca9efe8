//! Deciding the commands of a batch in memory, in order, on the stock that the transaction has locked. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use common::db::commands::CreatedProduct;
use common::db::orders::Known;
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
    pub(super) orders: Known,
    /// Decided commands other than orders, with the fingerprints of their requests.
    pub(super) commands: HashMap<Uuid, Option<Uuid>>,
}

/// What the transaction is to write, and whom to tell what.
#[derive(Debug, Default)]
pub(super) struct Decisions {
    pub(super) orders: Vec<(Order, Option<Idempotency>)>,
    pub(super) commands: Vec<CreatedProduct>,
    /// Those of `commands` that made a product.
    pub(super) products: Vec<(Uuid, CreateProduct)>,
    /// The last number of each partition that decided something.
    pub(super) reached: BTreeMap<u16, i64>,
    pub(super) replies: Vec<(String, Decided)>,
}

/// Decides a batch. What was decided before, in an earlier batch or earlier in this one, is not decided again.
pub(super) fn decide_batch(seen: &mut Seen, batch: &[Pending]) -> Decisions {
    let mut decisions = Decisions::default();
    for Pending { queued, partition, .. } in batch {
        let command = &queued.command;
        let told = match decided_before(seen, command) {
            Some(told) => told,
            None => {
                let sequence = seen.sequences.entry(*partition).or_default();
                *sequence += 1;
                decisions.reached.insert(*partition, *sequence);
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

/// `Some` where the command must not be decided, with what to tell whoever waits for it.
fn decided_before(seen: &Seen, command: &Command) -> Option<Option<Decided>> {
    let id = command.id;
    let decided = match &command.action {
        Action::PlaceOrder(_) => match command.idempotency.and_then(|i| Some((i, seen.orders.keys.get(&i.key)?))) {
            Some((idempotency, fingerprint)) if idempotency.fingerprint != *fingerprint => Decided::KeyReusedV1 { id },
            Some(_) => Decided::EarlierV1 { id },
            None if seen.orders.ids.contains(&id) => Decided::EarlierV1 { id },
            None => return None,
        },
        Action::CreateProduct(_) => {
            let fingerprint = seen.commands.get(&id)?;
            if *fingerprint == command.idempotency.map(|i| i.fingerprint) {
                Decided::EarlierV1 { id }
            } else {
                Decided::KeyReusedV1 { id }
            }
        }
    };
    Some(Some(decided))
}

fn decide_one(
    seen: &mut Seen,
    decisions: &mut Decisions,
    command: &Command,
    (partition, sequence): (u16, i64),
    awaited: bool,
) -> Option<Decided> {
    let id = command.id;
    let fingerprint = command.idempotency.map(|i| i.fingerprint);
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
            seen.orders.ids.insert(id);
            seen.orders.keys.extend(command.idempotency.map(|i| (i.key, i.fingerprint)));
            let told = awaited.then(|| Decided::OrderV1(order.clone()));
            decisions.orders.push((order, command.idempotency));
            told
        }
        (Decision::Product(outcome), Action::CreateProduct(product)) => {
            if let ProductOutcome::Created { .. } = outcome {
                decisions.products.push((id, product.clone()));
            }
            seen.commands.insert(id, fingerprint);
            decisions.commands.push(CreatedProduct {
                id,
                account: command.account,
                partition,
                sequence,
                fingerprint,
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
