//! What a batch locks, in one fixed order (orders, then limits, then stock), and reads for its decisions; and which holds it ends before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use common::db::commands::Known;
use common::db::partitions::{Fenced, Moment};
use common::db::reservations::Window;
use common::db::terms::StoredTerms;
use common::db::{self, Transaction};
use common::domain::{
    Action, Bundles, Command, CreateProduct, CreateVariant, Expire, Limits, Order, OrderItem, Serve, Serving,
    StockChangeKind, StockView, Timestamp, VariantView, View,
};
use common::message::Queued;
use common::partition::partition_of_order;
use common::steps::{Step, Steps};
use uuid::Uuid;

use super::batch::Pending;
use super::decide::Seen;
use super::need::Need;
use super::serving::ToServe;
use super::settle::{Release, Work};
use crate::verdict::Failure;

/// Orders whose holds are to be ended, and what for.
#[derive(Default)]
pub(super) struct Released {
    pub(super) orders: Vec<Uuid>,
    /// What the group needs to be set free, where some hold is due at all.
    pub(super) need: Option<Need>,
}

pub(super) async fn release(
    transaction: &mut Transaction<'_>,
    work: &Work<'_>,
    moment: Moment,
    bundles: &Bundles,
    window: Window<'_>,
) -> Result<Released, Failure> {
    match work.release {
        Release::Orders(orders) => Ok(Released { orders: orders.to_vec(), need: None }),
        Release::ToServe(orders) => {
            Ok(Released { orders: orders.iter().map(|(order, _)| *order).collect(), need: None })
        }
        Release::ForGroup if moment.is_due() => {
            let commands = || work.group.iter().map(|pending| &pending.queued.command);
            let variants = drawn(work.group, bundles);
            let stock = db::stock::peek(transaction, &variants.iter().copied().collect::<Vec<Uuid>>(), bundles).await?;
            let stock =
                variants.into_iter().filter_map(|variant| Some((variant, stock.variant(variant)?.sum()))).collect();
            let need = Need::of(commands(), bundles, &stock, window.limit);
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
pub(super) async fn is_more_due(
    transaction: &mut Transaction<'_>,
    seen: &Seen,
    due: &[Order],
    need: &Need,
    window: Window<'_>,
) -> Result<bool, Failure> {
    let freed = seen.view.stock.without(due);
    let missing = need.still_missing(|variant| freed.variant(variant).map(VariantView::sum).unwrap_or_default());
    if missing.is_empty() {
        return Ok(false);
    }
    let except: Vec<Uuid> = due.iter().map(|order| order.id).chain(window.except.iter().copied()).collect();
    let window = Window { except: &except, limit: 1, ..window };
    Ok(!db::reservations::due_of(transaction, &missing, window).await?.is_empty())
}

/// Locks orders, then stock, each in one fixed order, and reads what the decisions need. Answers also with the orders whose
/// holds, now that they are locked, are due.
pub(super) async fn lock(
    transaction: &mut Transaction<'_>,
    fenced: &[Fenced],
    (Moment { now, limits, .. }, terms, bundles): (Moment, &StoredTerms, &Bundles),
    release: &[Uuid],
    group: &[Pending],
    steps: &Steps,
) -> Result<(Seen, Vec<Order>), Failure> {
    let commands = || group.iter().map(|pending| &pending.queued.command);
    let orders: BTreeSet<Uuid> = commands().flat_map(Command::orders).chain(release.iter().copied()).collect();
    let orders = if orders.is_empty() {
        BTreeMap::new()
    } else {
        db::orders::lock(transaction, &orders.into_iter().collect::<Vec<Uuid>>()).await?
    };
    let due = release.iter().filter_map(|id| orders.get(id)).filter(|order| order.standing().is_due(now));
    let due: Vec<Order> = due.cloned().collect();
    let limits = if limits { lock_limits(transaction, commands(), now).await? } else { Limits::default() };
    let stock = lock_stock(transaction, group, bundles, &orders).await?;
    steps.reached(Step::Locked).await;
    let mut view = View { now, stock, orders, warehouses: BTreeMap::new(), terms: Arc::clone(&terms.terms), limits };
    let known = read(transaction, &mut view, commands()).await?;
    let sequences = fenced.iter().map(|row| (row.partition, row.sequence)).collect();
    Ok((Seen { view, terms: terms.version, sequences, known }, due))
}

/// Locks the limits of what is ordered, and counts what its customers have of it.
async fn lock_limits(
    transaction: &mut Transaction<'_>,
    commands: impl Iterator<Item = &Command>,
    now: Timestamp,
) -> Result<Limits, Failure> {
    let (mut products, mut asked) = (BTreeSet::new(), BTreeSet::new());
    for command in commands {
        let Action::PlaceOrder(order) = &command.action else { continue };
        for line in &order.lines {
            products.insert(line.product_id);
            asked.extend(order.customer.clone().map(|customer| (customer, line.product_id)));
        }
    }
    Ok(if products.is_empty() {
        Limits::default()
    } else {
        db::limits::lock(transaction, &products, &asked, now).await?
    })
}

/// Reads, under the locks, what else the decisions look at; answers with what was decided before.
async fn read(
    transaction: &mut Transaction<'_>,
    view: &mut View,
    commands: impl Iterator<Item = &Command>,
) -> Result<Known, Failure> {
    let (mut placed, mut others) = (Asked::default(), Asked::default());
    let (mut skus, mut names_warehouse) = (Vec::new(), false);
    for command in commands {
        match &command.action {
            Action::PlaceOrder(_) => placed.push(command),
            Action::ChangeOrder(_) | Action::SetBackorders(_) | Action::Expire(_) | Action::Serve(_) => {
                others.push(command);
            }
            Action::ChangeStock(_) | Action::TransferStock(_) => {
                others.push(command);
                names_warehouse = true;
            }
            Action::CreateProduct(CreateProduct { sku, .. }) | Action::CreateVariant(CreateVariant { sku, .. }) => {
                others.push(command);
                names_warehouse = true;
                skus.push(sku.to_string());
            }
        }
    }
    let mut known = db::orders::known(transaction, &placed.ids, &placed.keys).await?;
    if !others.ids.is_empty() {
        db::commands::known(transaction, &others.ids, &others.keys, &mut known).await?;
    }
    if names_warehouse {
        view.warehouses = db::warehouses::sites(transaction).await?;
    }
    if !skus.is_empty() {
        for sku in db::products::skus_taken(transaction, &skus).await? {
            view.stock.take_sku(sku.into());
        }
    }
    Ok(known)
}

/// Locks the stock rows that the group names, and those that its orders hold.
async fn lock_stock(
    transaction: &mut Transaction<'_>,
    group: &[Pending],
    bundles: &Bundles,
    orders: &BTreeMap<Uuid, Order>,
) -> Result<StockView, Failure> {
    let commands = || group.iter().map(|pending| &pending.queued.command);
    let added = commands().flat_map(|command| match &command.action {
        Action::ChangeStock(change) if change.quantity > 0 || change.kind == StockChangeKind::Count => {
            vec![(change.variant_id, change.warehouse_id)]
        }
        Action::TransferStock(transfer) => {
            vec![(transfer.variant_id, transfer.from_id), (transfer.variant_id, transfer.to_id)]
        }
        Action::ChangeStock(_)
        | Action::SetBackorders(_)
        | Action::Serve(_)
        | Action::ChangeOrder(_)
        | Action::PlaceOrder(_)
        | Action::CreateProduct(_)
        | Action::CreateVariant(_)
        | Action::Expire(_) => Vec::new(),
    });
    let added: Vec<(Uuid, Uuid)> = added.collect();
    if !added.is_empty() {
        db::stock::open(transaction, &added).await?;
    }
    let mut variants = drawn(group, bundles);
    variants.extend(commands().flat_map(Command::variants).map(|(variant, _)| variant));
    variants.extend(orders.values().flat_map(Order::items).flat_map(OrderItem::drawn));
    Ok(db::stock::lock(transaction, &variants.into_iter().collect::<Vec<Uuid>>(), bundles).await?)
}

/// Which of what the group names is a bundle.
pub(super) async fn bundles(transaction: &mut Transaction<'_>, group: &[Pending]) -> Result<Bundles, Failure> {
    let named = group.iter().flat_map(|pending| pending.queued.command.variants()).map(|(variant, _)| variant);
    let named: BTreeSet<Uuid> = named.collect();
    Ok(db::bundles::of(transaction, &named.into_iter().collect::<Vec<Uuid>>()).await?)
}

/// The variants whose stock the group draws on.
fn drawn(group: &[Pending], bundles: &Bundles) -> BTreeSet<Uuid> {
    let named = group.iter().flat_map(|pending| pending.queued.command.variants());
    if bundles.is_empty() {
        return named.map(|(variant, _)| variant).collect();
    }
    named.flat_map(|(variant, pieces)| bundles.draw(variant, pieces)).map(|(variant, _)| variant).collect()
}

/// The commands that end the holds of these orders: one for each partition that they belong to, or, where such a one is not
/// held, for the first of those that are.
pub(super) fn expiries(due: &[Order], fenced: &[Fenced], now: Timestamp, partitions: u16) -> Vec<Pending> {
    let due = due.iter().map(|order| (order.id, order.id));
    own(due, fenced, now, partitions, |order_ids| Action::Expire(Expire { order_ids }))
}

/// The commands that serve these orders, likewise; of those that are locked and may be.
pub(super) fn servings(
    to_serve: &[ToServe],
    orders: &BTreeMap<Uuid, Order>,
    fenced: &[Fenced],
    now: Timestamp,
    partitions: u16,
) -> Vec<Pending> {
    let servings = to_serve.iter().filter_map(|(order_id, variant_ids)| {
        let order = orders.get(order_id).filter(|order| order.is_to_be_served())?;
        let (order_id, variant_ids) = (*order_id, variant_ids.clone());
        Some((order_id, Serving { order_id, revision: order.revision(), variant_ids }))
    });
    own(servings, fenced, now, partitions, |orders| Action::Serve(Serve { orders }))
}

/// A command of the writer's own for each partition that the orders belong to.
fn own<T>(
    orders: impl Iterator<Item = (Uuid, T)>,
    fenced: &[Fenced],
    now: Timestamp,
    partitions: u16,
    action: impl Fn(Vec<T>) -> Action,
) -> Vec<Pending> {
    let mut by_partition = BTreeMap::<u16, (i64, Vec<T>)>::new();
    for (order, what) in orders {
        let home = partition_of_order(order, partitions);
        let Some(fenced) = fenced.iter().find(|fenced| fenced.partition == home).or(fenced.first()) else { continue };
        by_partition.entry(fenced.partition).or_insert((fenced.epoch, Vec::new())).1.push(what);
    }
    let pending = |(partition, (epoch, of))| {
        let (id, account, accepted_at) = (Uuid::now_v7(), Uuid::nil(), now);
        let command = Command { id, account, accepted_at, idempotency: None, action: action(of) };
        Pending { queued: Queued { command, reply_to: None }, partition, epoch }
    };
    by_partition.into_iter().map(pending).collect()
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
