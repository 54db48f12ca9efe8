//! Decisions of other commands, made of what is stored of them, of the orders that they were about, and of the ledger.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use sqlx::types::Json;
use uuid::Uuid;

use super::placed::{currency, items};
use super::{Item, Level, Made, Row, json, stocked, view};
use crate::db::{Error, Result, orders, partitions};
use crate::domain::{
    Action, Backorders, CancelReason, Cause, ChangeOrder, ChangeOutcome, ChangeStock, Changed, Command, Component,
    Confirmed, CreateProduct, CreateVariant, Decision, Delivery, Expire, Money, Movement, Order, Outcome, Payment,
    PiecesSince, ProductOutcome, Serve, Serving, SetBackorders, Since, Site, State, StockLevel, StockOutcome,
    Timestamp, Tracking, TransferStock, VariantView, View,
};

/// Of a warehouse that stock is only moved in.
const ANY_SITE: Site = Site { zone: 1, open: true };

/// What has become of an order by a command of a writer's own.
#[derive(Debug, Deserialize)]
pub(super) struct Entered {
    revision: i32,
    pieces: Option<PiecesSince>,
}

/// An order as it stood before a command.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stood {
    id: Uuid,
    account: Uuid,
    customer: Option<String>,
    partition: i16,
    sequence: i64,
    #[serde(with = "time::serde::rfc3339")]
    accepted_at: Timestamp,
    #[serde(with = "time::serde::rfc3339")]
    decided_at: Timestamp,
    currency: Option<String>,
    total: Option<i64>,
    tax: i64,
    terms: i64,
    delivery: Option<Box<Delivery>>,
    refusal: Option<Value>,
    hold: Option<String>,
    #[serde(with = "time::serde::rfc3339::option")]
    due_at: Option<Timestamp>,
    items: Option<Vec<Item>>,
    revision: i32,
    status: Option<String>,
    tracking: Option<Tracking>,
    cancel_reason: Option<String>,
    #[serde(with = "time::serde::rfc3339::option")]
    paid_at: Option<Timestamp>,
    payment: Option<Payment>,
    pieces: Option<PiecesSince>,
}

/// A line of the ledger that a command has caused.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Moved {
    variant: Uuid,
    warehouse: Uuid,
    version: i64,
    cause: String,
    on_hand: i64,
    reserved: i64,
    order: Option<Uuid>,
}

pub(super) fn made(row: Row) -> Result<Made> {
    let levels = row.levels.map(|Json(levels)| levels).unwrap_or_default();
    let moved = row.moved.map(|Json(moved)| moved).unwrap_or_default();
    let moved = moved.into_iter().map(Movement::try_from).collect::<Result<Vec<_>>>()?;
    let outcome = row.outcome.unwrap_or_default();
    let mut saw = view(row.decided_at);
    for stood in row.stood.into_iter().flat_map(|Json(stood)| stood) {
        let order = Order::try_from(stood)?;
        saw.orders.insert(order.id, order);
    }
    for variant in levels.iter().map(|level| level.variant) {
        saw.stock.insert(variant, variant_view(variant, &levels)?);
    }
    let Some(Value::Object(body)) = row.body else { return Err(Error::Corrupt("a command without a body")) };
    let (kind, body) = body.into_iter().next().ok_or(Error::Corrupt("a command without a body"))?;
    let (action, decision) = match kind.as_str() {
        "CreateProductV1" => {
            let (product, outcome): (CreateProduct, ProductOutcome) = (json(body)?, json(outcome)?);
            look_at_components(&mut saw, &product, &outcome)?;
            (Action::CreateProduct(product), Decision::Product(outcome, moved))
        }
        "CreateVariantV1" => {
            let (variant, outcome): (CreateVariant, ProductOutcome) = (json(body)?, json(outcome)?);
            look_at_product(&mut saw, &variant, &outcome)?;
            (Action::CreateVariant(variant), Decision::Product(outcome, moved))
        }
        "TransferStockV1" => {
            let (transfer, outcome): (TransferStock, StockOutcome) = (json(body)?, json(outcome)?);
            look_at_rows(&mut saw, &transfer, &outcome, &levels)?;
            (Action::TransferStock(transfer), Decision::Stock(outcome, moved))
        }
        "ChangeOrderV1" => {
            let (change, outcome): (ChangeOrder, ChangeOutcome) = (json(body)?, json(outcome)?);
            (Action::ChangeOrder(change), Decision::Change(outcome, moved))
        }
        "ChangeStockV1" => {
            let (change, outcome): (ChangeStock, StockOutcome) = (json(body)?, json(outcome)?);
            look_at_stock(&mut saw, &change, &outcome, &levels)?;
            (Action::ChangeStock(change), Decision::Stock(outcome, moved))
        }
        "SetBackordersV1" => {
            let (set, outcome): (SetBackorders, StockOutcome) = (json(body)?, json(outcome)?);
            look_at_backorders(&mut saw, &set, &outcome, &levels)?;
            (Action::SetBackorders(set), Decision::Stock(outcome, moved))
        }
        "ServeV1" => {
            let serve: Serve = json(body)?;
            let changed = served(&saw, &serve, row.entered.map(|Json(entered)| entered).unwrap_or_default());
            (Action::Serve(serve), Decision::Swept(changed, moved))
        }
        "ExpireV1" => {
            let expire: Expire = json(body)?;
            let entered = row.entered.map(|Json(entered)| entered).unwrap_or_default();
            let changed = expired(&expire, &entered);
            (Action::Expire(expire), Decision::Swept(changed, moved))
        }
        _ => return Err(Error::Corrupt("a command's kind")),
    };
    let (id, account, accepted_at) = (row.id, row.account, row.accepted_at);
    let command = Command { id, account, accepted_at, idempotency: None, action };
    Ok(Made { command, saw, decision })
}

/// What its history says has expired, in the order of the command.
fn expired(expire: &Expire, entered: &BTreeMap<Uuid, Entered>) -> Vec<Changed> {
    let state = State::Cancelled { reason: CancelReason::PaymentTimeout };
    let of = |order: &Uuid| {
        Some(Changed {
            order: *order,
            revision: entered.get(order)?.revision,
            state: state.clone(),
            pieces: PiecesSince::default(),
        })
    };
    expire.order_ids.iter().filter_map(of).collect()
}

/// What its history says was served, in the order of the command.
fn served(saw: &View, serve: &Serve, mut entered: BTreeMap<Uuid, Entered>) -> Vec<Changed> {
    let of = |serving: &Serving| {
        let order = serving.order_id;
        let Entered { revision, pieces } = entered.remove(&order)?;
        let state = saw.orders.get(&order)?.state().clone();
        Some(Changed { order, revision, state, pieces: pieces.unwrap_or_default() })
    };
    serve.orders.iter().filter_map(of).collect()
}

/// A rule for backorders looks at what may be promised, and at the cap that there was: that is believed.
fn look_at_backorders(saw: &mut View, set: &SetBackorders, outcome: &StockOutcome, levels: &[Level]) -> Result<()> {
    let mut view = VariantView { product: set.product_id, ..variant_view(set.variant_id, levels)? };
    let level = view.backorders.as_ref().map(|backorders| backorders.level.clone());
    let level = level.unwrap_or(Backorders::none().level);
    let cap = match *outcome {
        StockOutcome::UnknownProduct => return Ok(()),
        StockOutcome::IsBundle => {
            saw.stock.insert(set.variant_id, some_bundle(set.product_id)?);
            return Ok(());
        }
        StockOutcome::BelowPromised { promised, .. } => promised + level.available(),
        StockOutcome::Changed { on_hand, .. } => set.cap.unwrap_or_default() - (on_hand - level.on_hand),
        StockOutcome::UnknownWarehouse
        | StockOutcome::Transferred { .. }
        | StockOutcome::Short { .. }
        | StockOutcome::TooMuch { .. } => 0,
    };
    view.backorders = Some(Backorders { cap, expected_on: None, level });
    saw.stock.insert(set.variant_id, view);
    Ok(())
}

/// A change of stock looks at the variant, where it is known, and its row, where it has one.
fn look_at_stock(saw: &mut View, change: &ChangeStock, outcome: &StockOutcome, levels: &[Level]) -> Result<()> {
    match outcome {
        StockOutcome::UnknownProduct => {}
        StockOutcome::Changed { .. }
        | StockOutcome::Transferred { .. }
        | StockOutcome::UnknownWarehouse
        | StockOutcome::IsBundle
        | StockOutcome::BelowPromised { .. }
        | StockOutcome::Short { .. }
        | StockOutcome::TooMuch { .. } => {
            let view = VariantView { product: change.product_id, ..variant_view(change.variant_id, levels)? };
            saw.stock.insert(change.variant_id, view);
        }
    }
    if *outcome == StockOutcome::IsBundle {
        saw.stock.insert(change.variant_id, some_bundle(change.product_id)?);
    }
    if let StockOutcome::Short { version: 0, .. } = outcome {
        // There was no row, or one that never held anything: both look the same.
        saw.warehouses.insert(change.warehouse_id, ANY_SITE);
    }
    Ok(())
}

/// A new product looks at whether its SKU is taken, and its warehouse and the components of a bundle are known.
fn look_at_components(saw: &mut View, product: &CreateProduct, outcome: &ProductOutcome) -> Result<()> {
    saw.stock = Default::default();
    match outcome {
        ProductOutcome::Created { .. } => {
            saw.warehouses.insert(product.warehouse_id, ANY_SITE);
            for component in &product.components {
                let known = variant_view(component.variant_id, &[])?;
                saw.stock.insert(component.variant_id, VariantView { product: component.product_id, ..known });
            }
        }
        ProductOutcome::UnknownComponent => drop(saw.warehouses.insert(product.warehouse_id, ANY_SITE)),
        ProductOutcome::SkuTaken => saw.stock.take_sku(product.sku.clone()),
        ProductOutcome::UnknownProduct | ProductOutcome::UnknownWarehouse | ProductOutcome::OtherCurrency => {}
    }
    Ok(())
}

/// A new variant looks at its product: that it was there, and in which currency, is believed.
fn look_at_product(saw: &mut View, variant: &CreateVariant, outcome: &ProductOutcome) -> Result<()> {
    let known = VariantView { product: variant.product_id, ..variant_view(variant.product_id, &[])? };
    let price = Money { amount: 0, currency: variant.price.map_or(known.price.currency, |price| price.currency) };
    saw.stock = Default::default();
    match outcome {
        ProductOutcome::UnknownProduct => return Ok(()),
        ProductOutcome::SkuTaken => saw.stock.take_sku(variant.sku.clone()),
        ProductOutcome::UnknownWarehouse | ProductOutcome::UnknownComponent => {}
        ProductOutcome::Created { .. } | ProductOutcome::OtherCurrency => {
            saw.warehouses.insert(variant.warehouse_id, ANY_SITE);
        }
    }
    let price = if *outcome == ProductOutcome::OtherCurrency { another(price)? } else { price };
    saw.stock.insert(variant.product_id, VariantView { price, ..known });
    Ok(())
}

/// A price in any other currency.
fn another(price: Money) -> Result<Money> {
    let other = if price.currency.as_str() == "XXX" { "XTS" } else { "XXX" };
    Ok(Money { currency: currency(other)?, ..price })
}

/// A transfer looks at both rows; where it was refused, at the one that the outcome tells of: the other had room.
fn look_at_rows(saw: &mut View, transfer: &TransferStock, outcome: &StockOutcome, levels: &[Level]) -> Result<()> {
    let variant = transfer.variant_id;
    let mut view = VariantView { product: transfer.product_id, ..variant_view(variant, levels)? };
    let row = |warehouse, on_hand, version| StockLevel { warehouse, site: ANY_SITE, on_hand, reserved: 0, version };
    match *outcome {
        StockOutcome::UnknownProduct => return Ok(()),
        StockOutcome::UnknownWarehouse => view.levels.clear(),
        StockOutcome::IsBundle => view = some_bundle(transfer.product_id)?,
        StockOutcome::Short { version, .. } => {
            if version == 0 {
                view.levels.retain(|level| level.warehouse != transfer.from_id);
                view.levels.push(row(transfer.from_id, 0, 0));
            }
            view.levels.push(row(transfer.to_id, 0, 0));
        }
        StockOutcome::TooMuch { .. } => view.levels.push(row(transfer.from_id, transfer.quantity, 1)),
        StockOutcome::Transferred { .. } | StockOutcome::Changed { .. } | StockOutcome::BelowPromised { .. } => {}
    }
    saw.stock.insert(variant, view);
    Ok(())
}

/// A variant of which only the stock matters.
pub(super) fn variant_view(variant: Uuid, levels: &[Level]) -> Result<VariantView> {
    let price = Money { amount: 0, currency: currency("XXX")? };
    let (name, sku): (Arc<str>, Arc<str>) = ("".into(), "".into());
    stocked(VariantView::new(variant, name, sku, price), variant, levels, 0)
}

/// A bundle, whatever it is made of.
fn some_bundle(product: Uuid) -> Result<VariantView> {
    let components = [Component { product_id: product, variant_id: product, quantity: 1 }].into();
    Ok(VariantView { components, ..variant_view(product, &[])? })
}

impl TryFrom<Moved> for Movement {
    type Error = Error;

    fn try_from(moved: Moved) -> Result<Self> {
        let Moved { variant, warehouse, version, cause, on_hand, reserved, order } = moved;
        let cause = Cause::try_from(cause.as_str()).map_err(|()| Error::Corrupt("a movement's cause"))?;
        Ok(Self { variant, warehouse, version, cause, on_hand, reserved, order })
    }
}

impl TryFrom<Stood> for Order {
    type Error = Error;

    fn try_from(stood: Stood) -> Result<Self> {
        let outcome = match (stood.refusal, stood.currency.zip(stood.total)) {
            (Some(placed), None) => Outcome::Refused(json(placed)?),
            (None, Some((code, amount))) => {
                let (currency, hold) = (currency(&code)?, orders::hold(stood.hold.as_deref(), stood.due_at)?);
                let items = items(stood.items.unwrap_or_default(), currency);
                let (total, tax, delivery) = (Money { amount, currency }, stood.tax, stood.delivery);
                Outcome::Confirmed(Confirmed { items, total, tax, delivery, hold })
            }
            _ => return Err(Error::Corrupt("an order is neither confirmed nor refused")),
        };
        let since = match (stood.revision, stood.status) {
            (0, None) => None,
            (revision, Some(status)) => {
                let state = orders::state(&status, stood.tracking, stood.cancel_reason.as_deref())?;
                Some(Since {
                    state,
                    revision,
                    paid_at: stood.paid_at,
                    payment: stood.payment,
                    pieces: stood.pieces.unwrap_or_default(),
                })
            }
            _ => return Err(Error::Corrupt("a command names a revision that the order's history does not have")),
        };
        Ok(Self {
            id: stood.id,
            account_id: stood.account,
            customer_id: stood.customer,
            partition: partitions::number(stood.partition)?,
            sequence: stood.sequence,
            accepted_at: stood.accepted_at,
            decided_at: stood.decided_at,
            terms: stood.terms,
            outcome,
            since,
        })
    }
}
