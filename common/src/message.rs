//! What travels through the broker. JSON; a message's version is in its variant (`{"PlaceOrderV1": {..}}`), and each
//! version has a frozen example under `tests/messages`.
//!
//! A message on a command queue holds one or more commands, decided in their order: commands that wait for the same
//! partition share a message. Each is read by itself, so that one that can't be read does not take the others along.
//!
//! **Architecture invariant**: what is unknown or malformed is an [`Unreadable`], never a panic.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::domain::{
    AMOUNT_MAX, Action, COMPONENT_QUANTITY_MAX, COMPONENTS_MAX, Change, ChangeOrder, ChangeOutcome, ChangeStock,
    Command, Component, CreateProduct, CreateVariant, DeliveryWish, HoldTerms, Idempotency, Line, Money, ON_HAND_MAX,
    ORDER_LINES_MAX, Order, PlaceOrder, ProductOutcome, SetBackorders, StockOutcome, Timestamp, TransferStock,
    WINDOW_SECONDS_MAX, merge_lines,
};

/// A command with where to tell its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queued {
    pub command: Command,
    /// The reply queue of the api instance that waits for the outcome, if one does.
    pub reply_to: Option<String>,
}

/// What keeps a message from being a command.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("not a message of a known version")]
    Shape(#[from] serde_json::Error),
    #[error("{0}")]
    Value(&'static str),
}

#[derive(Serialize, Deserialize)]
enum Wire {
    PlaceOrderV1(PlaceOrderV1),
    /// An order that reserves. Not a field of the above: a consumer of before would sell at once.
    HoldOrderV1(HoldOrderV1),
    /// An order with a delivery, an expected total or agreed prices, which a consumer of before would not honour.
    PlaceOrderV2(PlaceOrderV2),
    CreateProductV1(CreateProductV1),
    /// A product in a category.
    CreateProductV2(CreateProductV1),
    /// A bundle.
    CreateProductV3(CreateProductV1),
    CreateVariantV1(CreateVariantV1),
    ChangeOrderV1(ChangeOrderV1),
    ChangeStockV1(ChangeStockV1),
    TransferStockV1(TransferStockV1),
    SetBackordersV1(SetBackordersV1),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    id: Uuid,
    account_id: Uuid,
    #[serde(with = "time::serde::rfc3339")]
    accepted_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    idempotency: Option<Idempotency>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reply_to: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PlaceOrderV1 {
    head: Head,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    customer_id: Option<String>,
    items: Vec<Line>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HoldOrderV1 {
    head: Head,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    customer_id: Option<String>,
    items: Vec<Line>,
    hold: HoldTerms,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PlaceOrderV2 {
    head: Head,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    customer_id: Option<String>,
    items: Vec<Line>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hold: Option<HoldTerms>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delivery: Option<Box<DeliveryWish>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expected_total: Option<Money>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CreateVariantV1 {
    head: Head,
    variant: CreateVariant,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TransferStockV1 {
    head: Head,
    transfer: TransferStock,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SetBackordersV1 {
    head: Head,
    backorders: SetBackorders,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CreateProductV1 {
    head: Head,
    product: CreateProduct,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ChangeOrderV1 {
    head: Head,
    order: ChangeOrder,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ChangeStockV1 {
    head: Head,
    stock: ChangeStock,
}

/// The bytes of one command, to be joined by [`envelope`].
///
/// # Errors
/// Where JSON can't express it, which no command of ours is, or where it is one that a writer makes for itself.
pub fn encode(queued: &Queued) -> Result<Vec<u8>, Unreadable> {
    let Queued { command, reply_to } = queued.clone();
    let head = Head {
        id: command.id,
        account_id: command.account,
        accepted_at: command.accepted_at,
        idempotency: command.idempotency,
        reply_to,
    };
    let wire = match command.action {
        Action::PlaceOrder(order) => place_order(head, order),
        Action::CreateProduct(product) if !product.components.is_empty() => {
            Wire::CreateProductV3(CreateProductV1 { head, product })
        }
        Action::CreateProduct(product) if product.category_id.is_some() => {
            Wire::CreateProductV2(CreateProductV1 { head, product })
        }
        Action::CreateProduct(product) => Wire::CreateProductV1(CreateProductV1 { head, product }),
        Action::CreateVariant(variant) => Wire::CreateVariantV1(CreateVariantV1 { head, variant }),
        Action::ChangeOrder(order) => Wire::ChangeOrderV1(ChangeOrderV1 { head, order }),
        Action::ChangeStock(stock) => Wire::ChangeStockV1(ChangeStockV1 { head, stock }),
        Action::TransferStock(transfer) => Wire::TransferStockV1(TransferStockV1 { head, transfer }),
        Action::SetBackorders(backorders) => Wire::SetBackordersV1(SetBackordersV1 { head, backorders }),
        Action::Expire(_) | Action::Serve(_) => {
            return Err(Unreadable::Value("what a writer makes itself is never sent"));
        }
    };
    Ok(serde_json::to_vec(&wire)?)
}

/// In the first version that tells all of it.
fn place_order(head: Head, order: PlaceOrder) -> Wire {
    let PlaceOrder { customer: customer_id, lines: items, hold, delivery, expected_total } = order;
    let is_plain = delivery.is_none() && expected_total.is_none() && items.iter().all(|line| line.agreed.is_none());
    match (is_plain, hold) {
        (true, None) => Wire::PlaceOrderV1(PlaceOrderV1 { head, customer_id, items }),
        (true, Some(hold)) => Wire::HoldOrderV1(HoldOrderV1 { head, customer_id, items, hold }),
        (false, hold) => Wire::PlaceOrderV2(PlaceOrderV2 { head, customer_id, items, hold, delivery, expected_total }),
    }
}

/// One message of several encoded commands.
#[must_use]
pub fn envelope<'a>(commands: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut bytes = br#"{"commands":["#.to_vec();
    for (n, command) in commands.into_iter().enumerate() {
        if n > 0 {
            bytes.push(b',');
        }
        bytes.extend_from_slice(command);
    }
    bytes.extend_from_slice(b"]}");
    bytes
}

/// A message taken apart: every command that it holds, or what of it can't be read.
#[derive(Debug)]
pub struct Opened {
    pub commands: Vec<Queued>,
    pub unreadable: Vec<Stray>,
}

/// A command that can't be read.
#[derive(Debug)]
pub struct Stray {
    pub bytes: Vec<u8>,
    /// Its id and account, where at least its head is as expected: whoever asks for it can be told that it failed.
    pub command: Option<(Uuid, Uuid)>,
    pub error: Unreadable,
}

/// Takes a message apart.
///
/// # Errors
/// Where the message as a whole is not an envelope.
pub fn open(bytes: &[u8]) -> Result<Opened, Unreadable> {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        commands: Vec<&'a RawValue>,
    }
    let envelope: Envelope<'_> = serde_json::from_slice(bytes)?;
    let mut opened = Opened { commands: Vec::with_capacity(envelope.commands.len()), unreadable: Vec::new() };
    for raw in envelope.commands {
        match decode(raw.get()) {
            Ok(queued) => opened.commands.push(queued),
            Err(error) => {
                let bytes = raw.get().as_bytes().to_vec();
                opened.unreadable.push(Stray { bytes, command: head(raw.get()), error });
            }
        }
    }
    Ok(opened)
}

/// Reads one command, as [`encode`] has written it.
///
/// # Errors
/// Where it can't be read.
pub fn decode(json: &str) -> Result<Queued, Unreadable> {
    let (head, action) = match serde_json::from_str(json)? {
        Wire::PlaceOrderV1(PlaceOrderV1 { head, customer_id, items }) => {
            (head, Action::PlaceOrder(order(customer_id, items, None)?))
        }
        Wire::HoldOrderV1(HoldOrderV1 { head, customer_id, items, hold }) => {
            (head, Action::PlaceOrder(order(customer_id, items, Some(hold))?))
        }
        Wire::PlaceOrderV2(PlaceOrderV2 { head, customer_id, items, hold, delivery, expected_total }) => {
            let order = PlaceOrder { delivery, expected_total, ..order(customer_id, items, hold)? };
            (head, Action::PlaceOrder(order))
        }
        Wire::CreateProductV1(CreateProductV1 { head, mut product })
        | Wire::CreateProductV2(CreateProductV1 { head, mut product })
        | Wire::CreateProductV3(CreateProductV1 { head, mut product }) => {
            if !is_possible(product.stock, Some(product.price)) {
                return Err(Unreadable::Value(IMPOSSIBLE));
            }
            components(&mut product)?;
            (head, Action::CreateProduct(product))
        }
        Wire::CreateVariantV1(CreateVariantV1 { head, variant }) => {
            if !is_possible(variant.stock, variant.price) {
                return Err(Unreadable::Value(IMPOSSIBLE));
            }
            (head, Action::CreateVariant(variant))
        }
        Wire::TransferStockV1(TransferStockV1 { head, transfer }) => {
            if !(1..=ON_HAND_MAX).contains(&transfer.quantity) || transfer.from_id == transfer.to_id {
                return Err(Unreadable::Value("a transfer is of 1 or more, from one warehouse to another"));
            }
            (head, Action::TransferStock(transfer))
        }
        Wire::SetBackordersV1(SetBackordersV1 { head, backorders }) => {
            if !backorders.is_possible() {
                return Err(Unreadable::Value(
                    "a cap of backorders is negative or too large, or their day is before 2000",
                ));
            }
            (head, Action::SetBackorders(backorders))
        }
        Wire::ChangeOrderV1(ChangeOrderV1 { head, order }) => {
            if let Change::Return { lines } = &order.change
                && (!(1..=ORDER_LINES_MAX).contains(&lines.len()) || lines.iter().any(|line| line.quantity < 1))
            {
                return Err(Unreadable::Value("a return has 1 to 100 lines of 1 or more"));
            }
            (head, Action::ChangeOrder(order))
        }
        Wire::ChangeStockV1(ChangeStockV1 { head, stock }) => {
            if !stock.kind.takes(stock.quantity) || stock.quantity.saturating_abs() > ON_HAND_MAX {
                return Err(Unreadable::Value("a change of stock is of another sign than its kind, or too large"));
            }
            (head, Action::ChangeStock(stock))
        }
    };
    let Head { id, account_id, accepted_at, idempotency, reply_to } = head;
    Ok(Queued { command: Command { id, account: account_id, accepted_at, idempotency, action }, reply_to })
}

/// What a bundle is made of as the core expects it, whoever has written the message.
fn components(product: &mut CreateProduct) -> Result<(), Unreadable> {
    let components = &mut product.components;
    components.sort_unstable_by_key(|component| component.variant_id);
    let twice = components.windows(2).any(|two| two[0].variant_id == two[1].variant_id);
    let within = |component: &Component| (1..=COMPONENT_QUANTITY_MAX).contains(&component.quantity);
    if twice || components.len() > COMPONENTS_MAX || !components.iter().all(within) {
        return Err(Unreadable::Value("a bundle is of up to 20 components, each named once, of 1 to 1,000 pieces"));
    }
    if !components.is_empty() && product.stock != 0 {
        return Err(Unreadable::Value("a bundle has no stock of its own"));
    }
    Ok(())
}

const IMPOSSIBLE: &str = "a product's stock or price is negative or too large";

fn is_possible(stock: i64, price: Option<Money>) -> bool {
    (0..=ON_HAND_MAX).contains(&stock) && price.is_none_or(|price| (0..=AMOUNT_MAX).contains(&price.amount))
}

fn order(customer: Option<String>, items: Vec<Line>, hold: Option<HoldTerms>) -> Result<PlaceOrder, Unreadable> {
    if hold.is_some_and(|hold| !(1..=WINDOW_SECONDS_MAX).contains(&hold.window_seconds)) {
        return Err(Unreadable::Value("a hold lasts 1 to 31,536,000 seconds"));
    }
    Ok(PlaceOrder { customer, lines: lines(items)?, hold, delivery: None, expected_total: None })
}

/// The lines of an order as the core expects them, whoever has written the message.
fn lines(items: Vec<Line>) -> Result<Vec<Line>, Unreadable> {
    if items.is_empty() || items.len() > ORDER_LINES_MAX || items.iter().any(|line| line.quantity < 1) {
        return Err(Unreadable::Value("an order has 1 to 100 lines of 1 or more"));
    }
    if items.iter().any(|line| line.agreed.is_some_and(|price| !(0..=AMOUNT_MAX).contains(&price.amount))) {
        return Err(Unreadable::Value("a price that was agreed is negative or too large"));
    }
    merge_lines(items).ok_or(Unreadable::Value("an order's quantities add up to more than 2,147,483,647"))
}

/// The id and account in the head of a command of any kind.
fn head(json: &str) -> Option<(Uuid, Uuid)> {
    #[derive(Deserialize)]
    struct Any {
        head: Known,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Known {
        id: Uuid,
        account_id: Uuid,
    }
    let any: BTreeMap<String, Any> = serde_json::from_str(json).ok()?;
    any.into_values().next().map(|any| (any.head.id, any.head.account_id))
}

/// What the consumer tells an api instance that waits: all outcomes of a batch that are meant for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    pub decided: Vec<Decided>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decided {
    OrderV1(Order),
    ProductV1 {
        id: Uuid,
        outcome: ProductOutcome,
    },
    ChangeV1 {
        id: Uuid,
        outcome: ChangeOutcome,
        /// The order afterwards, where there is one.
        order: Option<Order>,
    },
    StockV1 {
        id: Uuid,
        outcome: StockOutcome,
    },
    /// It had been decided before: the database has its outcome.
    EarlierV1 {
        id: Uuid,
    },
    /// The same idempotency key with another request was decided before.
    KeyReusedV1 {
        id: Uuid,
    },
    /// It could not be decided: it is among the dead letters.
    FailedV1 {
        id: Uuid,
    },
}

impl Decided {
    #[must_use]
    pub fn id(&self) -> Uuid {
        match self {
            Decided::OrderV1(order) => order.id,
            Decided::ProductV1 { id, .. }
            | Decided::ChangeV1 { id, .. }
            | Decided::StockV1 { id, .. }
            | Decided::EarlierV1 { id }
            | Decided::KeyReusedV1 { id }
            | Decided::FailedV1 { id } => *id,
        }
    }
}
