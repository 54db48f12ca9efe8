//! Random lives of orders against a model that knows no warehouses, no versions and no ledger: only how many pieces of each
//! product there are, how many of them are reserved, and what each order is called.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use time::Duration;
use uuid::Uuid;

use super::*;

const PRODUCTS: usize = 3;
/// A bundle of two of the first product and one of the second.
const BUNDLE: usize = PRODUCTS;
const WAREHOUSES: [Uuid; 2] = [Uuid::from_u128(100), Uuid::from_u128(200)];

#[derive(Debug, Clone)]
enum Op {
    Place {
        lines: Vec<(usize, i32)>,
        hold: Option<(HoldKind, u32)>,
    },
    Change {
        order: usize,
        change: Change,
    },
    Stock {
        product: usize,
        warehouse: usize,
        quantity: i64,
    },
    /// So much may be sold before it is there, or no more.
    Backorders {
        product: usize,
        cap: Option<i64>,
    },
    /// Serves whom there is stock for.
    Serve,
    /// Ends every hold that is due.
    Expire,
    Wait {
        seconds: u8,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let kind = prop_oneof![Just(HoldKind::Payment), Just(HoldKind::Reservation)];
    let hold = proptest::option::weighted(0.8, (kind, 1..20_u32));
    let change = prop_oneof![
        3 => Just(Change::Pay(Payment::default())),
        2 => Just(Change::Confirm),
        3 => Just(Change::Cancel),
        2 => Just(Change::Release),
        2 => Just(Change::Process),
        2 => Just(Change::Ship { tracking: None }),
        1 => Just(Change::Deliver),
        3 => vec((0..=BUNDLE, 1..3_i32, any::<bool>()), 1..3).prop_map(|lines| Change::Return {
            lines: lines.into_iter().map(|(n, quantity, restock)| ReturnLine {
                product_id: product(n),
                variant_id: product(n),
                quantity,
                disposition: if restock { Disposition::Restock } else { Disposition::WriteOff },
            }).collect(),
        }),
    ];
    prop_oneof![
        4 => (vec((0..=BUNDLE, 1..4_i32), 1..4), hold).prop_map(|(lines, hold)| Op::Place { lines, hold }),
        8 => (0..30_usize, change).prop_map(|(order, change)| Op::Change { order, change }),
        1 => (0..PRODUCTS, 0..2_usize, -3..4_i64)
            .prop_map(|(product, warehouse, quantity)| Op::Stock { product, warehouse, quantity }),
        1 => (0..PRODUCTS, proptest::option::weighted(0.8, 0..8_i64))
            .prop_map(|(product, cap)| Op::Backorders { product, cap }),
        2 => Just(Op::Serve),
        1 => Just(Op::Expire),
        2 => (0..8_u8).prop_map(|seconds| Op::Wait { seconds }),
    ]
}

/// An order as the model knows it.
#[derive(Debug)]
struct Known {
    status: &'static str,
    lines: BTreeMap<usize, i64>,
    /// Of each product's stock what it was given, and what it was promised and not given.
    given: BTreeMap<usize, i64>,
    promised: BTreeMap<usize, i64>,
    /// Whether it is, or once was, a reservation; until when it is held; whether it became an order.
    reservation: bool,
    due: i64,
    confirmed: bool,
    /// Came back, per product.
    back: BTreeMap<usize, i64>,
}

#[derive(Debug, Default)]
struct Model {
    now: i64,
    on_hand: [i64; PRODUCTS],
    reserved: [i64; PRODUCTS],
    cap: [i64; PRODUCTS],
    /// Whether more is promised.
    promises: [bool; PRODUCTS],
    orders: Vec<Known>,
}

impl Model {
    fn place(&mut self, lines: &[(usize, i32)], hold: Option<(HoldKind, u32)>) {
        let mut sums = BTreeMap::<usize, i64>::new();
        for (product, quantity) in lines {
            *sums.entry(*product).or_default() += i64::from(*quantity);
        }
        let drawn = drawn(&sums);
        let free = |model: &Self, p: usize| (model.on_hand[p] - model.reserved[p] - model.promised(p)).max(0);
        let promisable = |model: &Self, p: usize| if model.promises[p] { model.cap[p] - model.promised(p) } else { 0 };
        let enough = drawn.iter().all(|(p, quantity)| free(self, *p) + promisable(self, *p) >= *quantity);
        let (mut given, mut promised) = (BTreeMap::new(), BTreeMap::new());
        for (product, quantity) in drawn.iter().filter(|_| enough) {
            let here = free(self, *product).min(*quantity);
            given.insert(*product, here);
            promised.insert(*product, quantity - here);
        }
        let status = match (enough, hold) {
            (false, _) => "rejected",
            (true, None) => "paid",
            (true, Some(_)) => "pending",
        };
        for (product, quantity) in &given {
            if hold.is_some() {
                self.reserved[*product] += quantity;
            } else {
                self.on_hand[*product] -= quantity;
            }
        }
        let reservation = matches!(hold, Some((HoldKind::Reservation, _)));
        let due = hold.map_or(0, |(_, seconds)| self.now + i64::from(seconds));
        self.orders.push(Known {
            status,
            lines: sums,
            given,
            promised,
            reservation,
            due,
            confirmed: false,
            back: BTreeMap::new(),
        });
    }

    /// Answers whether the order has changed.
    fn change(&mut self, order: usize, change: &Change) -> bool {
        let Some(order) = self.orders.get_mut(order) else { return false };
        let for_reservation = matches!(change, Change::Confirm | Change::Release);
        let is_order = !order.reservation || order.confirmed;
        if (for_reservation && !order.reservation) || (!for_reservation && !is_order) {
            return false;
        }
        if order.status == "pending" && order.due <= self.now {
            return false;
        }
        let before = order.status;
        if let Change::Return { lines } = change {
            let mut back = order.back.clone();
            for line in lines {
                *back.entry(number(line.variant_id)).or_default() += i64::from(line.quantity);
            }
            let bought = |n: &usize| order.lines.get(n).copied().unwrap_or_default();
            if !matches!(before, "shipped" | "delivered") || back.iter().any(|(n, quantity)| *quantity > bought(n)) {
                return false;
            }
            order.back = back;
            for line in lines.iter().filter(|line| line.disposition == Disposition::Restock) {
                for (product, quantity) in drawn(&[(number(line.variant_id), i64::from(line.quantity))].into()) {
                    self.on_hand[product] += quantity;
                }
            }
            return true;
        }
        let after = match (change, before) {
            (Change::Pay(_) | Change::Confirm, "pending") => "paid",
            (Change::Cancel | Change::Release, "pending") => "cancelled",
            (Change::Cancel, "paid" | "processing") => "cancelled",
            (Change::Process, "paid") => "processing",
            (Change::Ship { .. }, "processing") => "shipped",
            (Change::Deliver, "shipped") => "delivered",
            _ => return false,
        };
        if after == "shipped" && order.promised.values().any(|pieces| *pieces > 0) {
            return false;
        }
        order.status = after;
        if after == "cancelled" {
            order.promised.clear();
        }
        order.confirmed |= matches!(change, Change::Confirm);
        for (product, quantity) in &order.given {
            match (before, after) {
                ("pending", "paid") => {
                    self.on_hand[*product] -= quantity;
                    self.reserved[*product] -= quantity;
                }
                ("pending", "cancelled") => self.reserved[*product] -= quantity,
                (_, "cancelled") => self.on_hand[*product] += quantity,
                _ => {}
            }
        }
        true
    }

    fn expire(&mut self) {
        for order in self.orders.iter_mut().filter(|order| order.status == "pending" && order.due <= self.now) {
            order.status = "cancelled";
            order.promised.clear();
            for (product, quantity) in &order.given {
                self.reserved[*product] -= quantity;
            }
        }
    }
}

impl Model {
    /// What of a product is promised and not there yet.
    fn promised(&self, product: usize) -> i64 {
        self.orders.iter().filter_map(|order| order.promised.get(&product)).sum()
    }

    /// Answers whether that is the rule now.
    fn backorders(&mut self, product: usize, cap: Option<i64>) -> bool {
        if cap.is_some_and(|cap| cap < self.promised(product)) {
            return false;
        }
        self.promises[product] = cap.is_some();
        self.cap[product] = cap.unwrap_or(self.cap[product]);
        true
    }

    /// Orders that there is stock for, the oldest first: for what they were promised and all that are older.
    fn to_serve(&self) -> Vec<(usize, Vec<usize>)> {
        let mut through = [0; PRODUCTS];
        let mut to_serve = Vec::new();
        for (n, order) in self.orders.iter().enumerate() {
            let mut products = Vec::new();
            for (product, pieces) in order.promised.iter().filter(|(_, pieces)| **pieces > 0) {
                through[*product] += pieces;
                if through[*product] <= self.on_hand[*product] - self.reserved[*product] {
                    products.push(*product);
                }
            }
            if matches!(order.status, "paid" | "processing") && !products.is_empty() {
                to_serve.push((n, products));
            }
        }
        to_serve
    }

    fn serve(&mut self, to_serve: &[(usize, Vec<usize>)]) {
        for (n, products) in to_serve {
            for product in products {
                let pieces = self.orders[*n].promised.remove(product).expect("promised");
                self.on_hand[*product] -= pieces;
                *self.orders[*n].given.entry(*product).or_default() += pieces;
            }
        }
    }
}

/// The stock that lines draw on.
fn drawn(lines: &BTreeMap<usize, i64>) -> BTreeMap<usize, i64> {
    let mut drawn = BTreeMap::<usize, i64>::new();
    for (product, quantity) in lines {
        let of: &[(usize, i64)] = if *product == BUNDLE { &[(0, 2), (1, 1)] } else { &[(*product, 1)] };
        for (product, pieces) in of {
            *drawn.entry(*product).or_default() += pieces * quantity;
        }
    }
    drawn
}

fn number(product: Uuid) -> usize {
    usize::try_from(product.as_u128()).expect("small") - 1
}

/// The core, with what a writer does around it.
struct Core {
    view: View,
    orders: Vec<Uuid>,
    ledger: Vec<Movement>,
}

fn product(n: usize) -> Uuid {
    Uuid::from_u128(u128::try_from(n).expect("small") + 1)
}

impl Core {
    fn new(stock: &[[i64; 2]; PRODUCTS]) -> Self {
        let mut view = View {
            now: Timestamp::UNIX_EPOCH,
            stock: StockView::default(),
            orders: BTreeMap::new(),
            warehouses: BTreeMap::new(),
            terms: std::sync::Arc::default(),
            limits: Limits::default(),
        };
        for (n, levels) in stock.iter().enumerate() {
            let level = |(warehouse, on_hand): (&Uuid, &i64)| StockLevel {
                warehouse: *warehouse,
                site: Site { zone: 1, open: true },
                on_hand: *on_hand,
                reserved: 0,
                version: 0,
            };
            let price = Money { amount: 1, currency: Currency::try_from("EUR").expect("a currency") };
            let levels = WAREHOUSES.iter().zip(levels).map(level).collect();
            let variant = VariantView::new(product(n), "n".into(), "s".into(), price);
            view.stock.insert(product(n), VariantView { levels, ..variant });
        }
        let component = |n, quantity| Component { product_id: product(n), variant_id: product(n), quantity };
        let components = [component(0, 2), component(1, 1)].into();
        let price = Money { amount: 2, currency: Currency::try_from("EUR").expect("a currency") };
        let bundle = VariantView::new(product(BUNDLE), "n".into(), "b".into(), price);
        view.stock.insert(product(BUNDLE), VariantView { components, ..bundle });
        Self { view, orders: Vec::new(), ledger: Vec::new() }
    }

    fn decide(&mut self, id: Uuid, action: Action) -> Decision {
        let accepted_at = self.view.now;
        let command = Command { id, account: Uuid::nil(), accepted_at, idempotency: None, action };
        let decision = decide(&mut self.view, &command);
        match &decision {
            Decision::Order(outcome) => {
                let order = Order {
                    id,
                    account_id: Uuid::nil(),
                    customer_id: None,
                    partition: 0,
                    sequence: 0,
                    terms: 0,
                    accepted_at,
                    decided_at: accepted_at,
                    outcome: outcome.clone(),
                    since: None,
                };
                self.orders.push(id);
                self.view.orders.insert(id, order);
            }
            Decision::Product(_, moved)
            | Decision::Change(_, moved)
            | Decision::Stock(_, moved)
            | Decision::Swept(_, moved) => self.ledger.extend(moved),
        }
        decision
    }

    fn place(&mut self, lines: &[(usize, i32)], hold: Option<(HoldKind, u32)>) {
        let line = |(n, quantity): &(usize, i32)| Line {
            product_id: product(*n),
            variant_id: product(*n),
            quantity: *quantity,
            agreed: None,
        };
        let lines = merge_lines(lines.iter().map(line)).expect("small quantities");
        let hold = hold.map(|(kind, window_seconds)| HoldTerms { kind, window_seconds });
        let id = Uuid::from_u128(1_000 + u128::try_from(self.orders.len()).expect("small"));
        self.decide(
            id,
            Action::PlaceOrder(PlaceOrder { customer: None, lines, hold, delivery: None, expected_total: None }),
        );
    }

    fn change(&mut self, order: usize, change: Change) -> bool {
        let order_id = self.orders.get(order).copied().unwrap_or_default();
        let decision = self.decide(Uuid::nil(), Action::ChangeOrder(ChangeOrder { order_id, change, reason: None }));
        matches!(decision, Decision::Change(ChangeOutcome::Changed { .. }, _))
    }

    fn stock(&mut self, n: usize, warehouse: usize, quantity: i64) -> bool {
        let change = ChangeStock {
            product_id: product(n),
            variant_id: product(n),
            warehouse_id: WAREHOUSES[warehouse],
            kind: StockChangeKind::Adjust,
            quantity,
            reason: None,
        };
        let decision = self.decide(Uuid::nil(), Action::ChangeStock(change));
        matches!(decision, Decision::Stock(StockOutcome::Changed { .. }, _))
    }

    /// Answers with by how much the cap has changed, where it may be that.
    fn backorders(&mut self, n: usize, cap: Option<i64>) -> Option<i64> {
        let cap_of = |view: &View| {
            view.stock.variant(product(n)).and_then(|v| Some(v.backorders.as_ref()?.cap)).unwrap_or_default()
        };
        let before = cap_of(&self.view);
        let set = SetBackorders { product_id: product(n), variant_id: product(n), cap, expected_on: None };
        match self.decide(Uuid::nil(), Action::SetBackorders(set)) {
            Decision::Stock(StockOutcome::Changed { .. }, _) => Some(cap_of(&self.view) - before),
            Decision::Stock(StockOutcome::BelowPromised { .. }, _) => None,
            decision => panic!("{decision:?}"),
        }
    }

    fn serve(&mut self, to_serve: &[(usize, Vec<usize>)]) -> usize {
        let serving = |(n, products): &(usize, Vec<usize>)| {
            let (order_id, variant_ids) = (self.orders[*n], products.iter().map(|n| product(*n)).collect());
            Serving { order_id, revision: self.view.orders[&order_id].revision(), variant_ids }
        };
        let orders = to_serve.iter().map(serving).collect();
        match self.decide(Uuid::nil(), Action::Serve(Serve { orders })) {
            Decision::Swept(changed, _) => changed.len(),
            decision => panic!("{decision:?}"),
        }
    }

    /// What each warehouse must hold: what it had at first, less what orders hold of it, as their states say.
    fn held(&self) -> BTreeMap<(Uuid, Uuid), (i64, i64)> {
        let mut held = BTreeMap::<(Uuid, Uuid), (i64, i64)>::new();
        for order in self.view.orders.values() {
            for item in order.items() {
                for pieces in order.held(item) {
                    let (sold, reserved) = held.entry((pieces.variant_id, pieces.warehouse_id)).or_default();
                    match order.state() {
                        State::Pending => *reserved += i64::from(pieces.quantity),
                        State::Rejected | State::Cancelled { .. } => {}
                        State::Paid | State::Processing | State::Shipped { .. } | State::Delivered { .. } => {
                            *sold += i64::from(pieces.quantity);
                        }
                    }
                }
            }
        }
        held
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]
    #[test]
    fn any_interleaving_ends_as_the_naive_model_says(
        stock in proptest::array::uniform3(proptest::array::uniform2(0..8_i64)),
        ops in vec(op(), 1..80),
    ) {
        let mut core = Core::new(&stock);
        let mut model = Model { on_hand: stock.map(|[here, there]| here + there), ..Model::default() };
        let mut received: BTreeMap<(Uuid, Uuid), i64> = BTreeMap::new();
        for (n, levels) in stock.iter().enumerate() {
            received.extend(WAREHOUSES.iter().zip(levels).map(|(warehouse, on_hand)| ((product(n), *warehouse), *on_hand)));
        }
        for op in ops {
            match op {
                Op::Place { lines, hold } => {
                    core.place(&lines, hold);
                    model.place(&lines, hold);
                }
                Op::Change { order, change } => {
                    prop_assert_eq!(core.change(order, change.clone()), model.change(order, &change));
                }
                Op::Stock { product: n, warehouse, quantity } => {
                    // The model knows no warehouses: it takes the core's word for whether there was enough in this one.
                    if core.stock(n, warehouse, quantity) {
                        model.on_hand[n] += quantity;
                        *received.entry((product(n), WAREHOUSES[warehouse])).or_default() += quantity;
                    }
                }
                Op::Backorders { product: n, cap } => {
                    let changed = core.backorders(n, cap);
                    prop_assert_eq!(changed.is_some(), model.backorders(n, cap));
                    *received.entry((product(n), BACKORDERS)).or_default() += changed.unwrap_or_default();
                }
                Op::Serve => {
                    let to_serve = model.to_serve();
                    model.serve(&to_serve);
                    prop_assert_eq!(core.serve(&to_serve), to_serve.len());
                }
                Op::Expire => {
                    core.decide(Uuid::nil(), Action::Expire(Expire { order_ids: core.orders.clone() }));
                    model.expire();
                }
                Op::Wait { seconds } => {
                    core.view.now += Duration::seconds(i64::from(seconds));
                    model.now += i64::from(seconds);
                }
            }
            for (id, known) in core.orders.iter().zip(&model.orders) {
                prop_assert_eq!(core.view.orders[id].state().name(), known.status);
            }
            for n in 0..PRODUCTS {
                let variant = core.view.stock.variant(product(n)).expect("known");
                prop_assert_eq!(variant.ahead(), model.promised(n));
                let levels = &variant.levels;
                prop_assert!(levels.iter().all(|level| 0 <= level.reserved && level.reserved <= level.on_hand));
                prop_assert_eq!(levels.iter().map(|level| level.on_hand).sum::<i64>(), model.on_hand[n]);
                prop_assert_eq!(levels.iter().map(|level| level.reserved).sum::<i64>(), model.reserved[n]);
            }
        }
        // Into the very warehouse that it came from, and the ledger explains every version.
        let held = core.held();
        for ((variant, warehouse), received) in received {
            let level = core.view.stock.level(variant, warehouse).expect("a row").clone();
            let (sold, reserved) = held.get(&(variant, warehouse)).copied().unwrap_or_default();
            prop_assert_eq!((level.on_hand, level.reserved), (received - sold, reserved));
            let placed = core.view.orders.values().flat_map(Order::items);
            let placed = placed.flat_map(|item| item.allocations.iter().map(|a| (item.stock_of(a), a)));
            let placed = placed.filter(|(of, a)| (*of, a.warehouse_id) == (variant, warehouse)).map(|(_, a)| a);
            let moved = core.ledger.iter().filter(|m| (m.variant, m.warehouse) == (variant, warehouse));
            let mut versions: Vec<i64> =
                placed.map(|a| a.stock_version).chain(moved.map(|movement| movement.version)).collect();
            versions.sort_unstable();
            prop_assert_eq!(versions, (1..=level.version).collect::<Vec<i64>>());
        }
    }
}
