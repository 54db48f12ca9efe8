//! What an order comes to: from where it would be served, and for how much. Nothing is taken.

use std::collections::BTreeSet;

use super::{
    AMOUNT_MAX, Allocation, Confirmed, Currency, Delivery, DeliveryTier, DeliveryWish, Line, Money, OrderItem, Piece,
    PlaceOrder, Rate, Refusal, ShortLine, StockLevel, StockView, Terms, Timestamp, VariantView, Wanted, allocate,
};

/// The order as it would be confirmed `now`, its stock versions and its hold not yet set, whoever its customer is.
///
/// # Errors
/// The first of these that holds; a table test has a row for each:
///
/// | precedence | refusal | status |
/// | --- | --- | --- |
/// | 1 | some line's variant is unknown | 422 |
/// | 2 | some line's variant is deleted | 422 |
/// | 3 | the lines' prices are of different currencies | 422 |
/// | 4 | the goods come to more than [`AMOUNT_MAX`] | 422 |
/// | 5 | it is to be delivered, and its address is in no zone or its currency has no rates | 422 |
/// | 6 | with tax and the dearest delivery the total may be over [`AMOUNT_MAX`] | 422 |
/// | 7 | of a limited product and without a customer, or over the limit of one: see [`super::Limits`] | 422, 409 |
/// | 8 | some line asks for more than is available over all open warehouses | 409 |
/// | 9 | the total is another than was expected | 409 |
pub fn quote(stock: &StockView, terms: &Terms, order: &PlaceOrder, now: Timestamp) -> Result<Confirmed, Refusal> {
    let found = find(stock, &order.lines)?;
    let goods = subtotal(&found)?;
    let route = order.delivery.as_deref().map(|wish| route(terms, wish, goods.currency)).transpose()?;
    let dearest = route.map_or(0, |(_, rates)| rates.iter().map(|rate| rate.cost).max().unwrap_or_default());
    if terms.amounts(goods.amount, dearest).is_none() {
        return Err(Refusal::TotalTooLarge);
    }
    let served = serve(&found, route.map(|(zone, _)| zone))?;
    let delivery = order.delivery.as_deref().zip(route).map(|(wish, (zone, rates))| {
        let tier = tier(&found, &served, zone);
        let rate = rates[tier as usize];
        Box::new(Delivery { wish: wish.clone(), zone, tier, cost: rate.cost, estimated_on: rate.arrival(now) })
    });
    let cost = delivery.as_ref().map_or(0, |delivery| delivery.cost);
    let amounts = terms.amounts(goods.amount, cost).ok_or(Refusal::TotalTooLarge)?;
    let total = Money { amount: amounts.total, currency: goods.currency };
    match order.expected_total {
        Some(expected) if expected != total => return Err(Refusal::TotalChanged { expected, total }),
        Some(_) | None => {}
    }
    let items = found.into_iter().zip(served).map(|((line, variant), pieces)| item(line, variant, &pieces)).collect();
    Ok(Confirmed { items, total, tax: amounts.tax, delivery, hold: None })
}

type Found<'a> = (&'a Line, &'a VariantView);

fn find<'a>(stock: &'a StockView, lines: &'a [Line]) -> Result<Vec<Found<'a>>, Refusal> {
    let mut unknown = Vec::new();
    let mut deleted = Vec::new();
    let mut found = Vec::with_capacity(lines.len());
    for line in lines {
        match stock.variant(line.variant_id) {
            Some(variant) if variant.product != line.product_id => unknown.push(line.product_id),
            Some(variant) if variant.deleted => deleted.push(line.product_id),
            Some(variant) => found.push((line, variant)),
            None => unknown.push(line.product_id),
        }
    }
    if !unknown.is_empty() {
        return Err(Refusal::UnknownProduct { product_ids: unknown });
    }
    if !deleted.is_empty() {
        return Err(Refusal::DeletedProduct { product_ids: deleted });
    }
    Ok(found)
}

/// What a piece of a line costs.
fn price((line, variant): &Found<'_>) -> Money {
    line.agreed.unwrap_or(variant.price)
}

fn subtotal(found: &[Found<'_>]) -> Result<Money, Refusal> {
    // An order without lines is turned away before it is accepted.
    let Some(first) = found.first() else { return Err(Refusal::UnknownProduct { product_ids: Vec::new() }) };
    let currency = price(first).currency;
    if found.iter().any(|line| price(line).currency != currency) {
        let currencies: BTreeSet<Currency> = found.iter().map(|line| price(line).currency).collect();
        return Err(Refusal::MixedCurrencies { currencies: currencies.into_iter().map(String::from).collect() });
    }
    found
        .iter()
        .try_fold(0_i64, |sum, line| sum.checked_add(price(line).amount.checked_mul(i64::from(line.0.quantity))?))
        .filter(|amount| *amount <= AMOUNT_MAX)
        .map(|amount| Money { amount, currency })
        .ok_or(Refusal::TotalTooLarge)
}

/// Where it goes, and what that costs by tier.
fn route<'a>(terms: &'a Terms, wish: &DeliveryWish, currency: Currency) -> Result<(u16, &'a [Rate; 3]), Refusal> {
    let zone = terms.zone(&wish.address.country, &wish.address.postal_code);
    zone.zip(terms.rates(currency, wish.mode)).ok_or(Refusal::NoDelivery)
}

fn serve(found: &[Found<'_>], destination: Option<u16>) -> Result<Vec<Vec<Piece>>, Refusal> {
    let wanted: Vec<Wanted<'_>> = found
        .iter()
        .map(|(line, variant)| Wanted { levels: &variant.levels, quantity: i64::from(line.quantity) })
        .collect();
    allocate(&wanted, destination).map_err(|short| {
        let lines = short.into_iter().filter_map(|n| found.get(n)).map(receipt).collect();
        Refusal::InsufficientStock { lines }
    })
}

fn receipt((line, variant): &Found<'_>) -> ShortLine {
    ShortLine {
        product_id: line.product_id,
        variant_id: line.variant_id,
        requested: line.quantity,
        on_hand: variant.offers().map(|level| level.on_hand).sum(),
        reserved: variant.offers().map(|level| level.reserved).sum(),
        seen: variant.versions(),
    }
}

/// Of the farthest warehouse that serves it.
fn tier(found: &[Found<'_>], served: &[Vec<Piece>], zone: u16) -> DeliveryTier {
    let distances = found.iter().zip(served).flat_map(|((_, variant), pieces)| {
        let serves = |level: &&StockLevel| pieces.iter().any(|piece| piece.warehouse == level.warehouse);
        variant.levels.iter().filter(serves).map(|level| level.site.distance(Some(zone)))
    });
    DeliveryTier::at(distances.max().unwrap_or_default())
}

fn item(line: &Line, variant: &VariantView, pieces: &[Piece]) -> OrderItem {
    OrderItem {
        product_id: line.product_id,
        variant_id: line.variant_id,
        name: variant.name.clone(),
        sku: variant.sku.clone(),
        quantity: line.quantity,
        unit_price: price(&(line, variant)),
        allocations: pieces
            .iter()
            .map(|piece| Allocation {
                warehouse_id: piece.warehouse,
                // A piece is never more than its line.
                quantity: i32::try_from(piece.quantity).unwrap_or(line.quantity),
                stock_version: 0,
            })
            .collect(),
    }
}
