//! The decision of one command on the locked stock.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::{
    Action, Allocation, Command, Confirmed, CreateProduct, Line, Money, OrderItem, Outcome, PlaceOrder, Placed,
    ProductOutcome, Refusal, SeenVersion, ShortLine, StockView, VariantView, allocate,
};

/// What is to be written for one command. The stock rows it changed are in the [`StockView`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    Order(Outcome),
    Product(ProductOutcome),
}

/// Decides one command, and changes `stock` by what it decided.
///
/// An order is refused for the first of these that holds; a table test has a row for each:
///
/// | precedence | refusal | status |
/// | --- | --- | --- |
/// | 1 | some line's variant is unknown | 422 |
/// | 2 | some line's variant is deleted | 422 |
/// | 3 | the lines' prices are of different currencies | 422 |
/// | 4 | the total is over [`super::AMOUNT_MAX`] | 422 |
/// | 5 | some line asks for more than is available over all warehouses | 409 |
///
/// A new product is refused where its SKU is taken (1) or its warehouse is unknown (2).
pub fn decide(stock: &mut StockView, warehouses: &BTreeSet<Uuid>, command: &Command) -> Decision {
    match &command.action {
        Action::PlaceOrder(order) => Decision::Order(place(stock, order)),
        Action::CreateProduct(product) => Decision::Product(create(stock, warehouses, command.id, product)),
    }
}

fn place(stock: &mut StockView, order: &PlaceOrder) -> Outcome {
    match quote(stock, order) {
        Err(refusal) => Outcome::Refused(Placed { lines: order.lines.clone(), refusal }),
        Ok((items, total)) => {
            let items = items.into_iter().map(|item| take(stock, item)).collect();
            Outcome::Confirmed(Confirmed { items, total })
        }
    }
}

/// The items with the pieces they would be served by, nothing taken yet.
fn quote(stock: &StockView, order: &PlaceOrder) -> Result<(Vec<OrderItem>, Money), Refusal> {
    let found = find(stock, &order.lines)?;
    let total = total(&found)?;
    let mut items = Vec::with_capacity(found.len());
    let mut short = Vec::new();
    for (line, variant) in found {
        match allocate(&variant.levels, i64::from(line.quantity)) {
            None => short.push(receipt(line, variant)),
            Some(pieces) => items.push(OrderItem {
                product_id: line.product_id,
                variant_id: line.variant_id,
                name: variant.name.clone(),
                sku: variant.sku.clone(),
                quantity: line.quantity,
                unit_price: variant.price,
                allocations: pieces
                    .into_iter()
                    .map(|piece| Allocation {
                        warehouse_id: piece.warehouse,
                        // A piece is never more than its line.
                        quantity: i32::try_from(piece.quantity).unwrap_or(line.quantity),
                        stock_version: 0,
                    })
                    .collect(),
            }),
        }
    }
    if short.is_empty() { Ok((items, total)) } else { Err(Refusal::InsufficientStock { lines: short }) }
}

fn find<'a>(stock: &'a StockView, lines: &'a [Line]) -> Result<Vec<(&'a Line, &'a VariantView)>, Refusal> {
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

fn total(found: &[(&Line, &VariantView)]) -> Result<Money, Refusal> {
    // An order without lines is turned away before it is accepted.
    let Some((_, first)) = found.first() else { return Err(Refusal::UnknownProduct { product_ids: Vec::new() }) };
    let currency = first.price.currency;
    if found.iter().any(|(_, variant)| variant.price.currency != currency) {
        let currencies: BTreeSet<&str> = found.iter().map(|(_, variant)| variant.price.currency.as_str()).collect();
        return Err(Refusal::MixedCurrencies { currencies: currencies.into_iter().map(str::to_owned).collect() });
    }
    found
        .iter()
        .try_fold(0_i64, |sum, (line, variant)| {
            sum.checked_add(variant.price.amount.checked_mul(i64::from(line.quantity))?)
        })
        .filter(|amount| *amount <= super::AMOUNT_MAX)
        .map(|amount| Money { amount, currency })
        .ok_or(Refusal::TotalTooLarge)
}

fn receipt(line: &Line, variant: &VariantView) -> ShortLine {
    ShortLine {
        product_id: line.product_id,
        variant_id: line.variant_id,
        requested: line.quantity,
        on_hand: variant.levels.iter().map(|level| level.on_hand).sum(),
        reserved: variant.levels.iter().map(|level| level.reserved).sum(),
        seen: variant
            .levels
            .iter()
            .map(|level| SeenVersion { warehouse_id: level.warehouse, version: level.version })
            .collect(),
    }
}

fn take(stock: &mut StockView, mut item: OrderItem) -> OrderItem {
    for allocation in &mut item.allocations {
        let version = stock.sell(item.variant_id, allocation.warehouse_id, i64::from(allocation.quantity));
        allocation.stock_version = version.unwrap_or_default();
    }
    item
}

fn create(stock: &mut StockView, warehouses: &BTreeSet<Uuid>, id: Uuid, product: &CreateProduct) -> ProductOutcome {
    if stock.sku_is_taken(&product.sku) {
        return ProductOutcome::SkuTaken;
    }
    if !warehouses.contains(&product.warehouse_id) {
        return ProductOutcome::UnknownWarehouse;
    }
    stock.take_sku(product.sku.clone());
    let view = VariantView {
        product: id,
        name: product.name.clone(),
        sku: product.sku.clone(),
        price: product.price,
        deleted: false,
        levels: Vec::new(),
    };
    stock.insert(id, view);
    let stock_version =
        if product.stock > 0 { stock.receive(id, product.warehouse_id, product.stock).unwrap_or_default() } else { 0 };
    ProductOutcome::Created { stock_version }
}
