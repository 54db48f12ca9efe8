//! What an order comes to: from where it would be served, and for how much. Nothing is taken.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::{
    AMOUNT_MAX, Allocation, BACKORDERS, Confirmed, Currency, Delivery, DeliveryTier, DeliveryWish, HeldPieces, Line,
    Money, OrderItem, Piece, PlaceOrder, Rate, Refusal, ShortLine, StockLevel, StockView, Terms, Timestamp,
    VariantView, Wanted, allocate, backorder::held, bundle::draw, pieces::share,
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
    let needs = needs(stock, &found)?;
    let mut served = serve(&found, &needs, route.map(|(zone, _)| zone))?;
    let delivery = order.delivery.as_deref().zip(route).map(|(wish, (zone, rates))| {
        let tier = tier(&needs, &served, zone);
        let rate = rates[tier as usize];
        let estimated_on = complete_on(&needs, &served, now).map(|complete| rate.arrival(complete));
        Box::new(Delivery { wish: wish.clone(), zone, tier, cost: rate.cost, estimated_on })
    });
    let cost = delivery.as_ref().map_or(0, |delivery| delivery.cost);
    let amounts = terms.amounts(goods.amount, cost).ok_or(Refusal::TotalTooLarge)?;
    let total = Money { amount: amounts.total, currency: goods.currency };
    match order.expected_total {
        Some(expected) if expected != total => return Err(Refusal::TotalChanged { expected, total }),
        Some(_) | None => {}
    }
    let items = found.iter().map(|found| item(found, &needs, &mut served)).collect();
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

/// Stock that an order wants of one variant, for all its lines together.
struct Need<'a> {
    variant: Uuid,
    view: &'a VariantView,
    quantity: i64,
}

/// What the lines draw on, each variant once.
fn needs<'a>(stock: &'a StockView, found: &[Found<'a>]) -> Result<Vec<Need<'a>>, Refusal> {
    if found.iter().all(|(_, view)| view.components.is_empty()) {
        // Lines of one variant are added up already.
        let need =
            |(line, view): &Found<'a>| Need { variant: line.variant_id, view, quantity: i64::from(line.quantity) };
        return Ok(found.iter().map(need).collect());
    }
    let mut pieces = BTreeMap::<Uuid, i64>::new();
    for (variant, quantity) in found.iter().flat_map(draws) {
        let sum = pieces.entry(variant).or_default();
        *sum = sum.saturating_add(quantity);
    }
    let need = |(variant, quantity)| Some(Need { variant, view: stock.variant(variant)?, quantity });
    // What a bundle is made of is never gone.
    let unknown = || Refusal::UnknownProduct { product_ids: found.iter().map(|(line, _)| line.product_id).collect() };
    pieces.into_iter().map(need).collect::<Option<_>>().ok_or_else(unknown)
}

fn draws((line, view): &Found<'_>) -> Vec<(Uuid, i64)> {
    draw(line.variant_id, &view.components, i64::from(line.quantity))
}

/// The variants whose stock these lines draw on, each once.
pub(super) fn drawn(stock: &StockView, lines: &[Line]) -> BTreeSet<Uuid> {
    let found = lines.iter().filter_map(|line| Some((line, stock.variant(line.variant_id)?)));
    found.flat_map(|found| draws(&found)).map(|(variant, _)| variant).collect()
}

fn serve(found: &[Found<'_>], needs: &[Need<'_>], destination: Option<u16>) -> Result<Vec<Vec<Piece>>, Refusal> {
    let short = needs.iter().filter(|need| need.view.offered() + need.view.to_promise() < need.quantity);
    let lines: Vec<ShortLine> = short.flat_map(|need| receipts(found, need)).collect();
    if !lines.is_empty() {
        return Err(Refusal::InsufficientStock { lines });
    }
    let free: Vec<Cow<'_, [StockLevel]>> = needs.iter().map(|need| need.view.free()).collect();
    let from_stock = |need: &Need<'_>| need.quantity.min(need.view.offered());
    let wanted = needs.iter().zip(&free).map(|(need, levels)| Wanted { levels, quantity: from_stock(need) });
    let wanted: Vec<Wanted<'_>> = wanted.filter(|wanted| wanted.quantity > 0).collect();
    // There is enough of all, so it is never short.
    let mut stocked = allocate(&wanted, destination).unwrap_or_default().into_iter();
    let serve = |need: &Need<'_>| {
        let here = from_stock(need);
        let mut pieces = if here > 0 { stocked.next().unwrap_or_default() } else { Vec::new() };
        if here < need.quantity {
            pieces.push(Piece { warehouse: BACKORDERS, quantity: need.quantity - here });
        }
        pieces
    };
    Ok(needs.iter().map(serve).collect())
}

/// When all of it is there: today where it is, and not known where that of something promised is not.
fn complete_on(needs: &[Need<'_>], served: &[Vec<Piece>], now: Timestamp) -> Option<Timestamp> {
    let promised = |pieces: &[Piece]| pieces.iter().any(|piece| piece.warehouse == BACKORDERS);
    let promised = needs.iter().zip(served).filter(|(_, pieces)| promised(pieces)).map(|(need, _)| need.view);
    promised.into_iter().try_fold(now, |latest, view| {
        let expected = view.backorders.as_ref()?.expected_on?;
        Some(latest.max(expected.midnight().assume_utc()))
    })
}

/// One for each line that draws on what is short.
fn receipts(found: &[Found<'_>], need: &Need<'_>) -> Vec<ShortLine> {
    let drawing = found.iter().filter(|found| draws(found).iter().any(|(variant, _)| *variant == need.variant));
    let receipt = |(line, _): &Found<'_>| ShortLine {
        product_id: need.view.product,
        variant_id: need.variant,
        requested: need.quantity,
        bundle_id: Some(line.variant_id).filter(|variant| *variant != need.variant),
        on_hand: need.view.offers().map(|level| level.on_hand).sum(),
        reserved: need.view.offers().map(|level| level.reserved).sum(),
        ahead: need.view.ahead(),
        promisable: need.view.to_promise(),
        seen: need.view.versions(),
    };
    drawing.map(receipt).collect()
}

/// Of the farthest warehouse that serves it; what is only promised is taken to come from the nearest.
fn tier(needs: &[Need<'_>], served: &[Vec<Piece>], zone: u16) -> DeliveryTier {
    let distances = needs.iter().zip(served).flat_map(|(need, pieces)| {
        let serves = |level: &&StockLevel| pieces.iter().any(|piece| piece.warehouse == level.warehouse);
        need.view.levels.iter().filter(serves).map(|level| level.site.distance(Some(zone)))
    });
    DeliveryTier::at(distances.max().unwrap_or_default())
}

/// A line with its share of what the order is served.
fn item(found: &Found<'_>, needs: &[Need<'_>], served: &mut [Vec<Piece>]) -> OrderItem {
    let (line, view) = found;
    let mut allocations = Vec::new();
    for (variant, quantity) in draws(found) {
        let component_id = Some(variant).filter(|_| !view.components.is_empty());
        let of = needs.iter().zip(served.iter_mut()).find(|(need, _)| need.variant == variant);
        let Some((Need { view: stock, .. }, pieces)) = of else { continue };
        for piece in share(pieces, quantity) {
            let (ahead, expected_on) = (stock.ahead_in(piece.warehouse), stock.expected(piece.warehouse));
            allocations.extend(held(variant, piece).into_iter().map(
                |HeldPieces { warehouse_id, quantity, .. }| Allocation {
                    warehouse_id,
                    quantity,
                    stock_version: 0,
                    component_id,
                    ahead,
                    expected_on,
                },
            ));
        }
    }
    OrderItem {
        product_id: line.product_id,
        variant_id: line.variant_id,
        name: view.name.clone(),
        sku: view.sku.clone(),
        quantity: line.quantity,
        unit_price: price(found),
        allocations,
    }
}
