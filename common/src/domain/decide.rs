//! The decision of one command on the locked stock.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::{
    Action, ChangeOutcome, Changed, Command, Hold, HoldTerms, Limits, Line, Movement, Order, OrderItem, Outcome,
    PlaceOrder, Placed, ProductOutcome, Refusal, SeenLine, Site, StockOutcome, StockView, Terms, Timestamp, backorder,
    catalogue, change, inventory, quote, quote::drawn,
};

/// Everything that the decisions of a batch may look at and change.
#[derive(Debug, Clone)]
pub struct View {
    pub now: Timestamp,
    pub stock: StockView,
    /// Those that the batch may change. An order that it places itself is put here by whoever writes it.
    pub orders: BTreeMap<Uuid, Order>,
    pub warehouses: BTreeMap<Uuid, Site>,
    pub terms: Arc<Terms>,
    pub limits: Limits,
}

/// What is to be written for one command. What it has changed is in the [`View`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    Order(Outcome),
    Product(ProductOutcome, Vec<Movement>),
    Change(ChangeOutcome, Vec<Movement>),
    Stock(StockOutcome, Vec<Movement>),
    /// What a writer itself has made of orders: let go, or served.
    Swept(Vec<Changed>, Vec<Movement>),
}

/// Decides one command, and changes `view` by what it decided.
///
/// For what an order is refused see [`quote()`] and [`Limits`], for what a product [`ProductOutcome`], for changes of orders [`super::Change`],
/// for those of stock [`StockOutcome`].
pub fn decide(view: &mut View, command: &Command) -> Decision {
    let mut moved = Vec::new();
    match &command.action {
        Action::PlaceOrder(order) => Decision::Order(place(view, order)),
        Action::CreateProduct(product) => {
            Decision::Product(catalogue::create_product(view, command.id, product, &mut moved), moved)
        }
        Action::CreateVariant(variant) => {
            Decision::Product(catalogue::create_variant(view, command.id, variant, &mut moved), moved)
        }
        Action::ChangeOrder(order) => Decision::Change(change::change(view, order, &mut moved), moved),
        Action::ChangeStock(stock) => Decision::Stock(inventory::change(view, stock, &mut moved), moved),
        Action::TransferStock(stock) => Decision::Stock(inventory::transfer(view, stock, &mut moved), moved),
        Action::SetBackorders(set) => Decision::Stock(backorder::set(view, set, &mut moved), moved),
        Action::Serve(serve) => Decision::Swept(backorder::serve(view, serve, &mut moved), moved),
        Action::Expire(orders) => Decision::Swept(change::expire(view, orders, &mut moved), moved),
    }
}

/// A limit is told where the order could be had, or could be had at another time: after what can never be, before what stock
/// there is.
fn place(view: &mut View, order: &PlaceOrder) -> Outcome {
    let quoted = match quote(&view.stock, &view.terms, order, view.now) {
        Ok(confirmed) => view.limits.check(order).map(|()| confirmed),
        Err(refusal) if refusal.status() == 409 => view.limits.check(order).and(Err(refusal)),
        Err(refusal) => Err(refusal),
    };
    match quoted {
        Err(refusal) => {
            let beside = beside(&view.stock, order, &refusal);
            let lines = asked(&view.stock, order, &refusal);
            let (delivery, expected_total) = (order.delivery.clone(), order.expected_total);
            let hold = order.hold.map(|hold| hold.kind);
            Outcome::Refused(Placed { lines, refusal, beside, hold, delivery, expected_total })
        }
        Ok(mut confirmed) => {
            for item in &mut confirmed.items {
                take(&mut view.stock, item, order.hold.is_some());
            }
            view.limits.add(order);
            confirmed.hold = order.hold.map(|HoldTerms { kind, window_seconds }| {
                let window = time::Duration::seconds(i64::from(window_seconds));
                Hold { kind, due_at: view.now.saturating_add(window) }
            });
            Outcome::Confirmed(confirmed)
        }
    }
}

/// The lines as they were asked for; where their prices are the reason, with the prices of the moment.
fn asked(stock: &StockView, order: &PlaceOrder, refusal: &Refusal) -> Vec<Line> {
    let priced = |line: &Line| {
        let price = stock.variant(line.variant_id).map(|variant| variant.price);
        Line { agreed: line.agreed.or(price), ..*line }
    };
    match refusal {
        Refusal::TotalTooLarge | Refusal::TotalChanged { .. } => order.lines.iter().map(priced).collect(),
        Refusal::UnknownProduct { .. }
        | Refusal::DeletedProduct { .. }
        | Refusal::MixedCurrencies { .. }
        | Refusal::NoDelivery
        | Refusal::CustomerRequired { .. }
        | Refusal::LimitExceeded { .. }
        | Refusal::InsufficientStock { .. } => order.lines.clone(),
    }
}

/// What the lines that a refusal does not list have seen, where it was for what there is.
fn beside(stock: &StockView, order: &PlaceOrder, refusal: &Refusal) -> Vec<SeenLine> {
    let short = match refusal {
        Refusal::InsufficientStock { lines } => lines.as_slice(),
        Refusal::TotalChanged { .. } => &[],
        Refusal::UnknownProduct { .. }
        | Refusal::DeletedProduct { .. }
        | Refusal::MixedCurrencies { .. }
        | Refusal::TotalTooLarge
        | Refusal::NoDelivery
        | Refusal::CustomerRequired { .. }
        | Refusal::LimitExceeded { .. } => return Vec::new(),
    };
    let beside = drawn(stock, &order.lines).into_iter();
    let beside = beside.filter(|variant_id| short.iter().all(|short| short.variant_id != *variant_id));
    beside
        .filter_map(|variant_id| {
            let variant = stock.variant(variant_id)?;
            Some(SeenLine { variant_id, ahead: variant.ahead(), seen: variant.versions() })
        })
        .collect()
}

/// Sells or reserves an item. It was seen that there is enough.
fn take(stock: &mut StockView, item: &mut OrderItem, reserve: bool) {
    let own = item.variant_id;
    for allocation in &mut item.allocations {
        let quantity = i64::from(allocation.quantity);
        let (on_hand, reserved) = if reserve { (0, quantity) } else { (-quantity, 0) };
        let variant = allocation.component_id.unwrap_or(own);
        let version = stock.change(variant, allocation.warehouse_id, on_hand, reserved);
        allocation.stock_version = version.unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        AMOUNT_MAX, Address, Allocation, Component, Confirmed, Currency, DeliveryMode, DeliveryTier, DeliveryWish,
        HoldKind, Limit, Money, Placed, Rate, Rates, SeenVersion, ShortLine, StockLevel, VariantView,
    };

    const HERE: Uuid = Uuid::from_u128(100);
    const THERE: Uuid = Uuid::from_u128(200);
    const SITE: Site = Site { zone: 1, open: true };

    fn money(amount: i64, currency: &str) -> Money {
        Money { amount, currency: Currency::try_from(currency).expect("a currency") }
    }

    fn level(warehouse: Uuid, on_hand: i64, reserved: i64) -> StockLevel {
        StockLevel { warehouse, site: SITE, on_hand, reserved, version: 7 }
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
            let view = VariantView::new(id, "n".into(), "s".into(), price);
            stock.insert(id, VariantView { deleted, levels, ..view });
        }
        stock
    }

    fn line(id: u128, quantity: i32) -> Line {
        Line { product_id: Uuid::from_u128(id), variant_id: Uuid::from_u128(id), quantity, agreed: None }
    }

    fn refused(line: Line, refusal: Refusal) -> Placed {
        let (lines, beside) = (vec![line], Vec::new());
        Placed { lines, refusal, beside, hold: None, delivery: None, expected_total: None }
    }

    fn seen<const N: usize>(warehouses: [Uuid; N]) -> Vec<SeenVersion> {
        warehouses.map(|warehouse_id| SeenVersion { warehouse_id, version: 7 }).to_vec()
    }

    fn command(action: Action) -> Command {
        let (id, account) = (Uuid::from_u128(9), Uuid::from_u128(8));
        Command { id, account, accepted_at: Timestamp::UNIX_EPOCH, idempotency: None, action }
    }

    fn view(stock: StockView) -> View {
        let (orders, warehouses, terms) = (BTreeMap::new(), BTreeMap::from([(HERE, SITE)]), Arc::default());
        View { now: Timestamp::UNIX_EPOCH, stock, orders, warehouses, terms, limits: Limits::default() }
    }

    fn place(view: &mut View, lines: &[Line], hold: Option<HoldTerms>) -> Outcome {
        let order = PlaceOrder { customer: None, lines: lines.to_vec(), hold, delivery: None, expected_total: None };
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
                        bundle_id: None,
                        ahead: 0,
                        promisable: 0,
                        on_hand: 15,
                        reserved: 2,
                        seen: seen([HERE, THERE]),
                    }],
                },
            ),
        ] {
            let mut stock = stock();
            let Outcome::Refused(placed) = order(&mut stock, &lines) else { panic!("{expected:?} is expected") };
            assert_eq!(placed.refusal, expected);
            let priced = matches!(expected, Refusal::TotalTooLarge);
            let asked = lines.iter().map(|line| {
                let price = self::stock().variant(line.variant_id).map(|variant| variant.price);
                Line { agreed: price.filter(|_| priced), ..*line }
            });
            assert_eq!(placed.lines, asked.collect::<Vec<_>>(), "with prices where they are the reason");
            let short = matches!(expected, Refusal::InsufficientStock { .. });
            let beside = SeenLine { variant_id: Uuid::from_u128(5), ahead: 0, seen: seen([HERE]) };
            assert_eq!(placed.beside, if short { vec![beside] } else { Vec::new() }, "what else it has looked at");
            assert_eq!(stock.changes().count(), 0, "a refusal changes nothing");
            assert_eq!(stock, self::stock());
        }
    }

    /// Tax of 10 %, and delivery to Germany for 5 or, from the next zone, for 7, which takes a day.
    fn terms() -> Terms {
        let rates = [5, 7, 9].map(|cost| Rate { cost, days: 1 });
        let rates = Rates { standard: rates, express: rates };
        let zones = [("DE".to_owned(), 1)].into();
        Terms { tax_basis_points: 1_000, zones, delivery: [(money(0, "EUR").currency, rates)].into() }
    }

    fn to(country: &str) -> Option<Box<DeliveryWish>> {
        let text = String::new;
        let address = Address {
            name: text(),
            street: text(),
            street2: None,
            postal_code: text(),
            city: text(),
            region: None,
            country: country.to_owned(),
            phone: None,
        };
        Some(Box::new(DeliveryWish { mode: DeliveryMode::Standard, address }))
    }

    #[test]
    fn with_delivery_limits_and_an_expected_total_the_precedence_goes_on() {
        let mut view = view(stock());
        view.terms = Arc::new(terms());
        view.limits.of.insert(Uuid::from_u128(1), Limit { quantity: 20, window_seconds: None });
        let order = |lines: &[Line], country, customer: Option<&str>, expected: i64| PlaceOrder {
            customer: customer.map(str::to_owned),
            lines: lines.to_vec(),
            hold: None,
            delivery: to(country),
            expected_total: Some(money(expected, "EUR")),
        };
        // 3 at 100, delivered from the same zone for 5, and 10 % of it all.
        let total = 305 + 31;
        for (order, expected) in [
            (order(&[line(4, 2), line(1, 99)], "FR", None, 1), "TotalTooLarge"),
            (order(&[line(4, 1)], "FR", None, 1), "NoDelivery"),
            (order(&[line(4, 1)], "DE", None, 1), "TotalTooLarge"),
            (order(&[line(1, 99)], "DE", None, 1), "CustomerRequired"),
            (order(&[line(1, 99)], "DE", Some("ada"), 1), "LimitExceeded"),
            (order(&[line(1, 14)], "DE", Some("ada"), 1), "InsufficientStock"),
            (order(&[line(1, 3)], "DE", Some("ada"), total + 1), "TotalChanged"),
            (order(&[line(1, 3)], "DE", Some("ada"), total), "Confirmed"),
        ] {
            let decision = decide(&mut view, &command(Action::PlaceOrder(order.clone())));
            match decision {
                Decision::Order(Outcome::Refused(placed)) => {
                    assert!(format!("{:?}", placed.refusal).starts_with(expected), "{expected}: {placed:?}");
                    assert_eq!(view.stock.changes().count(), 0, "a refusal changes nothing");
                }
                Decision::Order(Outcome::Confirmed(confirmed)) => {
                    assert_eq!(expected, "Confirmed");
                    assert_eq!((confirmed.total, confirmed.tax), (money(total, "EUR"), 31));
                    let delivery = confirmed.delivery.expect("it is delivered");
                    assert_eq!((delivery.tier, delivery.cost, delivery.zone), (DeliveryTier::One, 5, 1));
                }
                decision => panic!("{decision:?}"),
            }
        }
        let bought = view.limits.bought.values().copied().collect::<Vec<i64>>();
        assert_eq!(bought, [3], "what was confirmed counts");
    }

    #[test]
    fn an_order_is_of_the_tier_of_the_farthest_warehouse_that_serves_it() {
        let mut stock = stock();
        let product = Uuid::from_u128(6);
        let site = |zone| Site { zone, open: true };
        let levels =
            vec![StockLevel { site: site(1), ..level(HERE, 1, 0) }, StockLevel { site: site(2), ..level(THERE, 9, 0) }];
        let view_of =
            |levels| VariantView { levels, ..VariantView::new(product, "n".into(), "s".into(), money(100, "EUR")) };
        stock.insert(product, view_of(levels));
        for (quantity, tier, cost) in [(1, DeliveryTier::One, 5), (2, DeliveryTier::Two, 7), (10, DeliveryTier::Two, 7)]
        {
            let order = PlaceOrder {
                customer: None,
                lines: vec![line(6, quantity)],
                hold: None,
                delivery: to("DE"),
                expected_total: None,
            };
            let quoted = quote(&stock, &terms(), &order, Timestamp::UNIX_EPOCH).expect("it can be had");
            let delivery = quoted.delivery.expect("it is delivered");
            assert_eq!((delivery.tier, delivery.cost), (tier, cost), "{quantity}");
        }
    }

    #[test]
    fn a_variant_of_another_product_is_unknown() {
        let line = Line { product_id: Uuid::from_u128(1), variant_id: Uuid::from_u128(5), quantity: 1, agreed: None };
        let refusal = Refusal::UnknownProduct { product_ids: vec![line.product_id] };
        let placed = refused(line, refusal);
        assert_eq!(order(&mut stock(), &[line]), Outcome::Refused(placed));
    }

    #[test]
    fn a_confirmed_order_has_every_line_in_full_at_the_price_of_that_moment() {
        let mut stock = stock();
        let Outcome::Confirmed(Confirmed { items, total, hold: None, .. }) =
            order(&mut stock, &[line(1, 13), line(5, 3)])
        else {
            panic!("there is enough");
        };
        assert_eq!(total, money(13 * 100 + 3 * 7, "EUR"));
        let allocation = |warehouse_id, quantity| Allocation {
            warehouse_id,
            quantity,
            stock_version: 8,
            component_id: None,
            ahead: 0,
            expected_on: None,
        };
        assert_eq!(items[0].allocations, [allocation(HERE, 10), allocation(THERE, 3)]);
        assert_eq!(items[1].allocations, [allocation(HERE, 3)]);
        let left: Vec<_> = stock.changes().map(|change| (change.on_hand, change.reserved, change.version)).collect();
        assert_eq!(left, [(0, 0, 8), (2, 2, 8), (0, 0, 8)]);
        assert!(matches!(order(&mut stock, &[line(1, 1)]), Outcome::Refused(_)), "what is reserved is not sold");
    }

    #[test]
    fn lines_that_draw_on_the_same_stock_are_checked_together_and_each_remembers_its_share() {
        let mut view = view(stock());
        let bundle = Uuid::from_u128(7);
        let of =
            |id, quantity| Component { product_id: Uuid::from_u128(id), variant_id: Uuid::from_u128(id), quantity };
        let components = [of(1, 2), of(5, 1)].into();
        let of_both = VariantView::new(bundle, "n".into(), "s".into(), money(150, "EUR"));
        view.stock.insert(bundle, VariantView { components, ..of_both });

        // 13 of the first are to be had, and 3 of the fifth.
        let Outcome::Refused(placed) = place(&mut view, &[line(1, 8), line(7, 3)], None) else {
            panic!("14 are too many")
        };
        let Refusal::InsufficientStock { lines } = placed.refusal else { panic!("{:?}", placed.refusal) };
        let told: Vec<_> = lines.iter().map(|short| (short.variant_id, short.bundle_id, short.requested)).collect();
        assert_eq!(told, [(Uuid::from_u128(1), None, 14), (Uuid::from_u128(1), Some(bundle), 14)]);
        assert_eq!(placed.beside.iter().map(|seen| seen.variant_id).collect::<Vec<_>>(), [Uuid::from_u128(5)]);

        let Outcome::Confirmed(confirmed) = place(&mut view, &[line(1, 7), line(7, 3)], None) else {
            panic!("there is enough")
        };
        assert_eq!(confirmed.total, money(7 * 100 + 3 * 150, "EUR"));
        let taken = |item: &OrderItem| {
            let taken =
                item.allocations.iter().map(|a| (item.stock_of(a), a.warehouse_id, a.quantity, a.stock_version));
            taken.collect::<Vec<_>>()
        };
        assert_eq!(taken(&confirmed.items[0]), [(Uuid::from_u128(1), HERE, 7, 8)]);
        let first = Uuid::from_u128(1);
        let of_bundle = [(first, HERE, 3, 9), (first, THERE, 3, 8), (Uuid::from_u128(5), HERE, 3, 8)];
        assert_eq!(taken(&confirmed.items[1]), of_bundle);
        assert_eq!((confirmed.items[1].quantity, &*confirmed.items[1].sku), (3, "s"));
    }

    #[test]
    fn more_pieces_of_a_component_than_a_quantity_can_be_are_several_allocations() {
        let mut view = view(StockView::default());
        let (bundle, part) = (Uuid::from_u128(7), Uuid::from_u128(1));
        let components = [Component { product_id: part, variant_id: part, quantity: 1_000 }].into();
        let plain = |id| VariantView::new(id, "n".into(), "s".into(), money(0, "EUR"));
        view.stock.insert(bundle, VariantView { components, ..plain(bundle) });
        view.stock.insert(part, VariantView { levels: vec![level(HERE, 5_000_000_000, 0)], ..plain(part) });
        let Outcome::Confirmed(confirmed) = place(&mut view, &[line(7, 4_000_000)], None) else { panic!("enough") };
        let pieces = confirmed.items[0].allocations.iter().map(|a| i64::from(a.quantity));
        assert_eq!(pieces.sum::<i64>(), 4_000_000_000);
        assert_eq!(view.stock.level(part, HERE).map(|level| level.on_hand), Some(1_000_000_000));
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
}
