//! Decisions of orders, made of what is stored of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use sqlx::types::Json;
use uuid::Uuid;

use super::changed::variant_view;
use super::{Item, Level, Made, Row, Variant, json, stocked, view};
use crate::db::{Error, Result, orders};
use crate::domain::{
    Action, Allocation, Bundles, Command, Component, Confirmed, Currency, Decision, HoldTerms, Limit, Limits, Line,
    Money, OrderItem, Outcome, PlaceOrder, Placed, Refusal, StockView, Terms, VariantView,
};

pub(super) fn refused(row: Row, terms: &BTreeMap<i64, Arc<Terms>>, bundles: &Bundles) -> Result<Made> {
    let placed: Placed = json(row.refusal.unwrap_or_default())?;
    let mut saw = view(row.decided_at);
    saw.terms = in_force(row.terms, terms)?;
    saw.stock = looked_at(&placed, row.variants, row.levels, bundles)?;
    saw.limits = limits(&placed.refusal, row.customer.as_deref().unwrap_or_default());
    // For how long it was to reserve is not known, and makes no difference.
    let hold = placed.hold.map(|kind| HoldTerms { kind, window_seconds: 1 });
    let (lines, delivery) = (placed.lines.clone(), placed.delivery.clone());
    let action = PlaceOrder { customer: row.customer, lines, hold, delivery, expected_total: placed.expected_total };
    let (id, account, accepted_at) = (row.id, row.account, row.accepted_at);
    let command = Command { id, account, accepted_at, idempotency: None, action: Action::PlaceOrder(action) };
    Ok(Made { command, saw, decision: Decision::Order(Outcome::Refused(placed)) })
}

/// A confirmed order as it is stored, and the stock rows that it took from as they were before.
pub(super) fn confirmed(row: Row, terms: &BTreeMap<i64, Arc<Terms>>, bundles: &Bundles) -> Result<Made> {
    let total = row.currency.zip(row.total).ok_or(Error::Corrupt("an order is neither confirmed nor refused"))?;
    let total = Money { amount: total.1, currency: currency(&total.0)? };
    let items = items(row.items.map(|Json(items)| items).unwrap_or_default(), total.currency);
    let levels = row.levels.map(|Json(levels)| levels).unwrap_or_default();
    let mut saw = view(row.decided_at);
    saw.terms = in_force(row.terms, terms)?;
    for component in items.iter().flat_map(|item| bundles.of(item.variant_id).to_vec()) {
        let view = component_view(&component)?;
        saw.stock.insert(component.variant_id, taken_from(view, component.variant_id, &levels, &items)?);
    }
    for item in &items {
        let view = VariantView::new(item.product_id, item.name.clone(), item.sku.clone(), item.unit_price);
        let view = VariantView { components: bundles.of(item.variant_id), ..view };
        saw.stock.insert(item.variant_id, taken_from(view, item.variant_id, &levels, &items)?);
    }
    let hold = orders::hold(row.hold.as_deref(), row.due_at)?;
    let hold_terms = hold.map(|hold| {
        let window = u32::try_from((hold.due_at - row.decided_at).whole_seconds());
        let window_seconds = window.map_err(|_| Error::Corrupt("an order's hold"))?;
        Ok::<_, Error>(HoldTerms { kind: hold.kind, window_seconds })
    });
    let lines = items.iter().map(|item| Line {
        product_id: item.product_id,
        variant_id: item.variant_id,
        quantity: item.quantity,
        agreed: None,
    });
    let delivery = row.delivery.map(|Json(delivery)| delivery);
    let action = PlaceOrder {
        customer: row.customer,
        lines: lines.collect(),
        hold: hold_terms.transpose()?,
        delivery: delivery.as_ref().map(|delivery| Box::new(delivery.wish.clone())),
        expected_total: None,
    };
    let confirmed = Confirmed { items, total, tax: row.tax.unwrap_or_default(), delivery, hold };
    let (id, account, accepted_at) = (row.id, row.account, row.accepted_at);
    let command = Command { id, account, accepted_at, idempotency: None, action: Action::PlaceOrder(action) };
    Ok(Made { command, saw, decision: Decision::Order(Outcome::Confirmed(confirmed)) })
}

/// A variant as it was before these items took from it.
fn taken_from(view: VariantView, variant: Uuid, levels: &[Level], items: &[OrderItem]) -> Result<VariantView> {
    let taken = items.iter().flat_map(|item| item.allocations.iter().map(|a| (item.stock_of(a), a)));
    let taken: Vec<&Allocation> = taken.filter(|(of, _)| *of == variant).map(|(_, allocation)| allocation).collect();
    let ahead = taken.iter().map(|allocation| allocation.ahead).max().unwrap_or_default();
    let mut view = stocked(view, variant, levels, ahead)?;
    if let Some(backorders) = &mut view.backorders {
        backorders.expected_on = taken.iter().find_map(|allocation| allocation.expected_on);
    }
    Ok(view)
}

/// The rows of one order, sorted by line, as its items.
pub(super) fn items(rows: Vec<Item>, currency: Currency) -> Vec<OrderItem> {
    let mut lines = Vec::<(i16, OrderItem)>::new();
    for item in rows {
        let allocation = Allocation {
            warehouse_id: item.warehouse,
            quantity: item.quantity,
            stock_version: item.version,
            component_id: item.bundle.map(|_| item.variant),
            ahead: item.ahead,
            expected_on: item.expected_on,
        };
        let sold = item.sold.unwrap_or(item.quantity);
        match lines.last_mut() {
            Some((line, known)) if *line == item.line => {
                known.quantity += sold;
                known.allocations.push(allocation);
            }
            _ => {
                let order_item = OrderItem {
                    product_id: item.product,
                    variant_id: item.bundle.unwrap_or(item.variant),
                    name: item.name,
                    sku: item.sku,
                    quantity: sold,
                    unit_price: Money { amount: item.amount, currency },
                    allocations: vec![allocation],
                };
                lines.push((item.line, order_item));
            }
        }
    }
    lines.into_iter().map(|(_, item)| item).collect()
}

/// The terms of a version.
fn in_force(version: Option<i64>, terms: &BTreeMap<i64, Arc<Terms>>) -> Result<Arc<Terms>> {
    let known = terms.get(&version.unwrap_or_default());
    known.cloned().ok_or(Error::Corrupt("an order names terms that there never were"))
}

pub(super) fn currency(text: &str) -> Result<Currency> {
    Currency::try_from(text).map_err(|_| Error::Corrupt("a price's currency"))
}

/// The limits that a refusal was for.
fn limits(refusal: &Refusal, customer: &str) -> Limits {
    let mut limits = Limits::default();
    match refusal {
        Refusal::CustomerRequired { product_ids } => {
            let any = Limit { quantity: 1, window_seconds: None };
            limits.of = product_ids.iter().map(|product| (*product, any)).collect();
        }
        Refusal::LimitExceeded { products } => {
            for over in products {
                limits.of.insert(over.product_id, over.limit);
                limits.bought.insert((customer.to_owned(), over.product_id), over.bought);
            }
        }
        Refusal::UnknownProduct { .. }
        | Refusal::DeletedProduct { .. }
        | Refusal::MixedCurrencies { .. }
        | Refusal::TotalTooLarge
        | Refusal::NoDelivery
        | Refusal::InsufficientStock { .. }
        | Refusal::TotalChanged { .. } => {}
    }
    limits
}

/// What a refusal had looked at.
fn looked_at(
    placed: &Placed,
    variants: Option<Json<Vec<Variant>>>,
    levels: Option<Json<Vec<Level>>>,
    bundles: &Bundles,
) -> Result<StockView> {
    let (mut unknown, mut deleted) = match &placed.refusal {
        Refusal::UnknownProduct { product_ids } => (product_ids.clone(), Vec::new()),
        Refusal::DeletedProduct { product_ids } => (Vec::new(), product_ids.clone()),
        Refusal::MixedCurrencies { .. }
        | Refusal::TotalTooLarge
        | Refusal::NoDelivery
        | Refusal::CustomerRequired { .. }
        | Refusal::LimitExceeded { .. }
        | Refusal::InsufficientStock { .. }
        | Refusal::TotalChanged { .. } => Default::default(),
    };
    // A refusal lists a product once per line. Lines that today's catalogue does not have are still unknown; of the rest
    // so many were unknown then as the list has left.
    let today: Vec<Variant> = variants.map(|Json(variants)| variants).unwrap_or_default();
    let known = |line: &Line| today.iter().any(|v| (v.variant, v.product) == (line.variant_id, line.product_id));
    for line in placed.lines.iter().filter(|line| !known(line)) {
        take(&mut unknown, line.product_id);
    }
    let levels = levels.map(|Json(levels)| levels).unwrap_or_default();
    let mut saw = StockView::default();
    for component in placed.lines.iter().flat_map(|line| bundles.of(line.variant_id).to_vec()) {
        let view = component_view(&component)?;
        saw.insert(component.variant_id, seen_by(view, component.variant_id, &levels, placed)?);
    }
    for variant in today {
        if take(&mut unknown, variant.product) {
            continue;
        }
        // Where it was the reason, the price is among what was asked; else it may be another today, and is of no matter.
        let price = Money { amount: 0, currency: currency(&variant.currency)? };
        let deleted = take(&mut deleted, variant.product);
        let view = VariantView::new(variant.product, variant.name, variant.sku, price);
        let view = VariantView { deleted, components: bundles.of(variant.variant), ..view };
        saw.insert(variant.variant, seen_by(view, variant.variant, &levels, placed)?);
    }
    Ok(saw)
}

/// What a bundle draws on: of its name and price nothing is looked at.
fn component_view(component: &Component) -> Result<VariantView> {
    Ok(VariantView { product: component.product_id, ..variant_view(component.variant_id, &[])? })
}

/// A variant as a refusal says that it was.
fn seen_by(view: VariantView, variant: Uuid, levels: &[Level], placed: &Placed) -> Result<VariantView> {
    let short = match &placed.refusal {
        Refusal::InsufficientStock { lines } => lines.iter().find(|line| line.variant_id == variant),
        Refusal::UnknownProduct { .. }
        | Refusal::DeletedProduct { .. }
        | Refusal::MixedCurrencies { .. }
        | Refusal::TotalTooLarge
        | Refusal::NoDelivery
        | Refusal::CustomerRequired { .. }
        | Refusal::LimitExceeded { .. }
        | Refusal::TotalChanged { .. } => None,
    };
    let beside = placed.beside.iter().find(|seen| seen.variant_id == variant).map(|seen| seen.ahead);
    let ahead = short.map(|line| line.ahead).or(beside).unwrap_or_default();
    let mut view = stocked(view, variant, levels, ahead)?;
    if let (Some(short), Some(backorders)) = (short, &mut view.backorders) {
        backorders.level.site.open = short.promisable > 0;
    }
    Ok(view)
}

/// Takes one occurrence out of a list; answers whether there was one.
fn take(list: &mut Vec<Uuid>, id: Uuid) -> bool {
    list.iter().position(|known| *known == id).map(|index| list.swap_remove(index)).is_some()
}
