//! The decision of one command on the locked stock.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::{
    Action, Allocation, Cause, ChangeOutcome, Changed, Command, Confirmed, CreateProduct, Hold, HoldTerms, Line, Money,
    Movement, Order, OrderItem, Outcome, PlaceOrder, Placed, ProductOutcome, Refusal, SeenLine, ShortLine, StockLevel,
    StockOutcome, StockView, Timestamp, VariantView, allocate, change, inventory,
};

/// Everything that the decisions of a batch may look at and change.
#[derive(Debug, Clone)]
pub struct View {
    pub now: Timestamp,
    pub stock: StockView,
    /// Those that the batch may change. An order that it places itself is put here by whoever writes it.
    pub orders: BTreeMap<Uuid, Order>,
    pub warehouses: BTreeSet<Uuid>,
}

/// What is to be written for one command. What it has changed is in the [`View`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    Order(Outcome),
    Product(ProductOutcome, Vec<Movement>),
    Change(ChangeOutcome, Vec<Movement>),
    Stock(StockOutcome, Vec<Movement>),
    Expired(Vec<Changed>, Vec<Movement>),
}

/// Decides one command, and changes `view` by what it decided.
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
/// A new product is refused where its SKU is taken (1) or its warehouse is unknown (2). For changes of orders see
/// [`super::Change`], for those of stock [`StockOutcome`].
pub fn decide(view: &mut View, command: &Command) -> Decision {
    let mut moved = Vec::new();
    match &command.action {
        Action::PlaceOrder(order) => Decision::Order(place(&mut view.stock, order, view.now)),
        Action::CreateProduct(product) => {
            Decision::Product(create(&mut view.stock, &view.warehouses, command.id, product, &mut moved), moved)
        }
        Action::ChangeOrder(order) => Decision::Change(change::change(view, order, &mut moved), moved),
        Action::ChangeStock(stock) => Decision::Stock(inventory::change(view, stock, &mut moved), moved),
        Action::Expire(orders) => Decision::Expired(change::expire(view, orders, &mut moved), moved),
    }
}

fn place(stock: &mut StockView, order: &PlaceOrder, now: Timestamp) -> Outcome {
    match quote(stock, order) {
        Err(refusal) => {
            let beside = beside(stock, order, &refusal);
            let hold = order.hold.map(|hold| hold.kind);
            Outcome::Refused(Placed { lines: order.lines.clone(), refusal, beside, hold })
        }
        Ok((items, total)) => {
            let items = items.into_iter().map(|item| take(stock, item, order.hold.is_some())).collect();
            let hold = order.hold.map(|HoldTerms { kind, window_seconds }| {
                let window = time::Duration::seconds(i64::from(window_seconds));
                Hold { kind, due_at: now.saturating_add(window) }
            });
            Outcome::Confirmed(Confirmed { items, total, hold })
        }
    }
}

/// What the lines that were not short have seen, where some line was.
fn beside(stock: &StockView, order: &PlaceOrder, refusal: &Refusal) -> Vec<SeenLine> {
    let Refusal::InsufficientStock { lines: short } = refusal else { return Vec::new() };
    let beside = order.lines.iter().filter(|line| short.iter().all(|short| short.variant_id != line.variant_id));
    beside
        .filter_map(|line| {
            Some(SeenLine { variant_id: line.variant_id, seen: stock.variant(line.variant_id)?.versions() })
        })
        .collect()
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
        seen: variant.versions(),
    }
}

/// Sells or reserves an item. It was seen that there is enough.
fn take(stock: &mut StockView, mut item: OrderItem, reserve: bool) -> OrderItem {
    for allocation in &mut item.allocations {
        let quantity = i64::from(allocation.quantity);
        let (on_hand, reserved) = if reserve { (0, quantity) } else { (-quantity, 0) };
        let version = stock.change(item.variant_id, allocation.warehouse_id, on_hand, reserved);
        allocation.stock_version = version.unwrap_or_default();
    }
    item
}

fn create(
    stock: &mut StockView,
    warehouses: &BTreeSet<Uuid>,
    id: Uuid,
    product: &CreateProduct,
    moved: &mut Vec<Movement>,
) -> ProductOutcome {
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
        levels: vec![StockLevel { warehouse: product.warehouse_id, on_hand: 0, reserved: 0, version: 0 }],
    };
    stock.insert(id, view);
    if product.stock == 0 {
        return ProductOutcome::Created { stock_version: 0 };
    }
    let (warehouse, on_hand) = (product.warehouse_id, product.stock);
    let version = stock.change(id, warehouse, on_hand, 0).unwrap_or_default();
    let (variant, cause) = (id, Cause::Received);
    moved.push(Movement { variant, warehouse, version, cause, on_hand, reserved: 0, order: None });
    ProductOutcome::Created { stock_version: version }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{AMOUNT_MAX, Currency, HoldKind, SeenVersion};

    const HERE: Uuid = Uuid::from_u128(100);
    const THERE: Uuid = Uuid::from_u128(200);

    fn money(amount: i64, currency: &str) -> Money {
        Money { amount, currency: Currency::try_from(currency).expect("a currency") }
    }

    fn level(warehouse: Uuid, on_hand: i64, reserved: i64) -> StockLevel {
        StockLevel { warehouse, on_hand, reserved, version: 7 }
    }

    /// 1: 10 here and 5 there, of which 2 are reserved. 2: deleted. 3: in dollars. 4: as dear as can be. 5: 3 here.
    fn stock() -> StockView {
        let mut stock = StockView::default();
        for (id, price, deleted, levels) in [
            (1, money(100, "EUR"), false, vec![level(HERE, 10, 0), level(THERE, 5, 2)]),
            (2, money(100, "EUR"), true, vec![level(HERE, 10, 0)]),
            (3, money(100, "USD"), false, vec![level(HERE, 10, 0)]),
            (4, money(AMOUNT_MAX, "EUR"), false, vec![level(HERE, 10, 0)]),
            (5, money(7, "EUR"), false, vec![level(HERE, 3, 0)]),
        ] {
            let id = Uuid::from_u128(id);
            let view = VariantView { product: id, name: "n".into(), sku: "s".into(), price, deleted, levels };
            stock.insert(id, view);
        }
        stock
    }

    fn line(id: u128, quantity: i32) -> Line {
        Line { product_id: Uuid::from_u128(id), variant_id: Uuid::from_u128(id), quantity }
    }

    fn seen<const N: usize>(warehouses: [Uuid; N]) -> Vec<SeenVersion> {
        warehouses.map(|warehouse_id| SeenVersion { warehouse_id, version: 7 }).to_vec()
    }

    fn command(action: Action) -> Command {
        let (id, account) = (Uuid::from_u128(9), Uuid::from_u128(8));
        Command { id, account, accepted_at: Timestamp::UNIX_EPOCH, idempotency: None, action }
    }

    fn view(stock: StockView) -> View {
        let (orders, warehouses) = (BTreeMap::new(), BTreeSet::from([HERE]));
        View { now: Timestamp::UNIX_EPOCH, stock, orders, warehouses }
    }

    fn place(view: &mut View, lines: &[Line], hold: Option<HoldTerms>) -> Outcome {
        let order = PlaceOrder { customer: None, lines: lines.to_vec(), hold };
        match decide(view, &command(Action::PlaceOrder(order))) {
            Decision::Order(outcome) => outcome,
            decision => panic!("an order was answered with {decision:?}"),
        }
    }

    fn order(stock: &mut StockView, lines: &[Line]) -> Outcome {
        let mut view = view(std::mem::take(stock));
        let outcome = place(&mut view, lines, None);
        *stock = view.stock;
        outcome
    }

    #[test]
    fn an_order_is_refused_for_the_first_reason_in_the_documented_precedence() {
        let product_ids = |id| vec![Uuid::from_u128(id)];
        let currencies = || vec!["EUR".to_owned(), "USD".to_owned()];
        for (lines, expected) in [
            (
                vec![line(99, 1), line(2, 1), line(3, 1), line(4, 2), line(1, 99)],
                Refusal::UnknownProduct { product_ids: product_ids(99) },
            ),
            (
                vec![line(2, 1), line(3, 1), line(4, 2), line(1, 99)],
                Refusal::DeletedProduct { product_ids: product_ids(2) },
            ),
            (vec![line(3, 1), line(4, 2), line(1, 99)], Refusal::MixedCurrencies { currencies: currencies() }),
            (vec![line(4, 2), line(1, 99)], Refusal::TotalTooLarge),
            (vec![line(4, 1), line(5, 1)], Refusal::TotalTooLarge),
            (
                vec![line(1, 14), line(5, 3)],
                Refusal::InsufficientStock {
                    lines: vec![ShortLine {
                        product_id: Uuid::from_u128(1),
                        variant_id: Uuid::from_u128(1),
                        requested: 14,
                        on_hand: 15,
                        reserved: 2,
                        seen: seen([HERE, THERE]),
                    }],
                },
            ),
        ] {
            let mut stock = stock();
            let Outcome::Refused(placed) = order(&mut stock, &lines) else { panic!("{expected:?} is expected") };
            assert_eq!((&placed.lines, &placed.refusal), (&lines, &expected));
            let short = matches!(expected, Refusal::InsufficientStock { .. });
            let beside = SeenLine { variant_id: Uuid::from_u128(5), seen: seen([HERE]) };
            assert_eq!(placed.beside, if short { vec![beside] } else { Vec::new() }, "what else it has looked at");
            assert_eq!(stock.changes().count(), 0, "a refusal changes nothing");
            assert_eq!(stock, self::stock());
        }
    }

    #[test]
    fn a_variant_of_another_product_is_unknown() {
        let line = Line { product_id: Uuid::from_u128(1), variant_id: Uuid::from_u128(5), quantity: 1 };
        let refusal = Refusal::UnknownProduct { product_ids: vec![line.product_id] };
        let placed = Placed { lines: vec![line], refusal, beside: Vec::new(), hold: None };
        assert_eq!(order(&mut stock(), &[line]), Outcome::Refused(placed));
    }

    #[test]
    fn a_confirmed_order_has_every_line_in_full_at_the_price_of_that_moment() {
        let mut stock = stock();
        let Outcome::Confirmed(Confirmed { items, total, hold: None }) = order(&mut stock, &[line(1, 13), line(5, 3)])
        else {
            panic!("there is enough");
        };
        assert_eq!(total, money(13 * 100 + 3 * 7, "EUR"));
        let allocation = |warehouse_id, quantity| Allocation { warehouse_id, quantity, stock_version: 8 };
        assert_eq!(items[0].allocations, [allocation(HERE, 10), allocation(THERE, 3)]);
        assert_eq!(items[1].allocations, [allocation(HERE, 3)]);
        let left: Vec<_> = stock.changes().map(|change| (change.on_hand, change.reserved, change.version)).collect();
        assert_eq!(left, [(0, 0, 8), (2, 2, 8), (0, 0, 8)]);
        assert!(matches!(order(&mut stock, &[line(1, 1)]), Outcome::Refused(_)), "what is reserved is not sold");
    }

    #[test]
    fn a_held_order_reserves_from_the_same_warehouses_and_sells_nothing() {
        let mut view = view(stock());
        let terms = HoldTerms { kind: HoldKind::Payment, window_seconds: 900 };
        let Outcome::Confirmed(confirmed) = place(&mut view, &[line(1, 13)], Some(terms)) else {
            panic!("there is enough");
        };
        let due_at = Timestamp::UNIX_EPOCH + time::Duration::minutes(15);
        assert_eq!(confirmed.hold, Some(Hold { kind: HoldKind::Payment, due_at }));
        let left: Vec<_> = view.stock.changes().map(|change| (change.on_hand, change.reserved)).collect();
        assert_eq!(left, [(10, 10), (5, 5)]);
        assert!(matches!(place(&mut view, &[line(1, 1)], None), Outcome::Refused(_)), "what is reserved is not sold");
    }

    #[test]
    fn a_new_product_is_refused_where_its_sku_is_taken_or_its_warehouse_unknown() {
        let product = |sku: &str, warehouse_id, stock| {
            let (name, price) = ("n".into(), money(1, "EUR"));
            command(Action::CreateProduct(CreateProduct {
                name,
                sku: sku.into(),
                description: None,
                price,
                stock,
                warehouse_id,
            }))
        };
        let mut view = view(StockView::default());
        view.stock.take_sku("taken".into());
        for (sku, warehouse, quantity, expected) in [
            ("taken", THERE, 1, ProductOutcome::SkuTaken),
            ("free", THERE, 1, ProductOutcome::UnknownWarehouse),
            ("free", HERE, 4, ProductOutcome::Created { stock_version: 1 }),
            ("free", HERE, 4, ProductOutcome::SkuTaken),
            ("none in stock", HERE, 0, ProductOutcome::Created { stock_version: 0 }),
        ] {
            let decision = decide(&mut view, &product(sku, warehouse, quantity));
            let Decision::Product(outcome, moved) = decision else { panic!("{decision:?}") };
            assert_eq!(outcome, expected, "{sku}");
            let received: i64 = moved.iter().map(|movement| movement.on_hand).sum();
            let created = matches!(expected, ProductOutcome::Created { .. });
            assert_eq!(received, if created { quantity } else { 0 }, "{sku}");
        }
    }
}
