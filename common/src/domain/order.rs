//! A decided order: what was asked, the one outcome it will ever have, and what has become of it since.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Day, Delivery, DeliveryWish, Hold, HoldKind, Line, Money, OverLimit, Payment, PiecesSince, Standing, State,
    Timestamp, day,
};

/// A decided order with its place in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    pub id: Uuid,
    pub account_id: Uuid,
    pub customer_id: Option<String>,
    pub partition: u16,
    /// The number of the decision in its partition, from 1.
    pub sequence: i64,
    #[serde(with = "time::serde::rfc3339")]
    pub accepted_at: Timestamp,
    #[serde(with = "time::serde::rfc3339")]
    pub decided_at: Timestamp,
    /// The version of the [`super::Terms`] that it was decided by; 0 where there were none yet.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub terms: i64,
    pub outcome: Outcome,
    /// `None`: it stands as it was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Since>,
}

/// What has become of an order since it was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Since {
    pub state: State,
    /// Changes so far, at least 1.
    pub revision: i32,
    /// When what it had reserved was sold.
    #[serde(with = "time::serde::rfc3339::option")]
    pub paid_at: Option<Timestamp>,
    pub payment: Option<Payment>,
    #[serde(default, skip_serializing_if = "PiecesSince::is_empty")]
    pub pieces: PiecesSince,
}

impl Order {
    #[must_use]
    pub fn state(&self) -> &State {
        self.since.as_ref().map_or_else(|| self.outcome.state(), |since| &since.state)
    }

    /// Changes since it was decided.
    #[must_use]
    pub fn revision(&self) -> i32 {
        self.since.as_ref().map_or(0, |since| since.revision)
    }

    #[must_use]
    pub fn hold(&self) -> Option<Hold> {
        match &self.outcome {
            Outcome::Confirmed(confirmed) => confirmed.hold,
            Outcome::Refused(_) => None,
        }
    }

    /// Whether it was asked for as a reservation: then it is an order only once it is confirmed.
    #[must_use]
    pub fn is_reservation(&self) -> bool {
        self.outcome.hold_kind() == Some(HoldKind::Reservation)
    }

    /// Whether it is an order, and not or not yet only a reservation.
    #[must_use]
    pub fn is_order(&self) -> bool {
        !self.is_reservation() || self.standing().converted
    }

    /// The zone that it goes to, if it is delivered.
    pub(super) fn zone(&self) -> Option<u16> {
        match &self.outcome {
            Outcome::Confirmed(confirmed) => confirmed.delivery.as_ref().map(|delivery| delivery.zone),
            Outcome::Refused(_) => None,
        }
    }

    /// What it holds or has held; nothing where it was refused.
    #[must_use]
    pub fn items(&self) -> &[OrderItem] {
        match &self.outcome {
            Outcome::Confirmed(confirmed) => &confirmed.items,
            Outcome::Refused(_) => &[],
        }
    }

    #[must_use]
    pub fn standing(&self) -> Standing<'_> {
        Standing {
            state: self.state(),
            hold: self.hold(),
            converted: self.since.as_ref().is_some_and(|since| since.paid_at.is_some()),
            payment: self.since.as_ref().and_then(|since| since.payment.as_ref()),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    Confirmed(Confirmed),
    Refused(Placed),
}

impl Outcome {
    /// Where an order stands right after its decision.
    #[must_use]
    pub fn state(&self) -> &'static State {
        match self {
            Outcome::Refused(_) => &State::Rejected,
            Outcome::Confirmed(Confirmed { hold: None, .. }) => &State::Paid,
            Outcome::Confirmed(Confirmed { hold: Some(_), .. }) => &State::Pending,
        }
    }

    /// What it reserves stock for, or was to reserve it for.
    #[must_use]
    pub fn hold_kind(&self) -> Option<HoldKind> {
        match self {
            Outcome::Confirmed(confirmed) => confirmed.hold.map(|hold| hold.kind),
            Outcome::Refused(placed) => placed.hold,
        }
    }
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

impl Confirmed {
    /// The goods alone.
    #[must_use]
    pub fn subtotal(&self) -> Money {
        let amount = self.items.iter().map(|item| item.unit_price.amount.saturating_mul(i64::from(item.quantity)));
        Money { amount: amount.fold(0, i64::saturating_add), currency: self.total.currency }
    }
}

/// An order that was refused: what it asked for, and why it can't have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Placed {
    pub lines: Vec<Line>,
    pub refusal: Refusal,
    /// Where some line was short: the stock rows of the lines that were not; where the total was another, those of all. With
    /// those of the refusal's lines this is all that the decision has looked at, so that it can be made again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub beside: Vec<SeenLine>,
    /// Set where it was to reserve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldKind>,
    /// Set where it was to be delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Box<DeliveryWish>>,
    /// Set where it was to come to just this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_total: Option<Money>,
}

/// The stock rows of one line, as a decision has seen them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SeenLine {
    pub variant_id: Uuid,
    /// Pieces that were promised to others before.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ahead: i64,
    pub seen: Vec<SeenVersion>,
}

/// An order that was confirmed: every line in full, at the prices of that moment. Sold, or reserved where there is a hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Confirmed {
    pub items: Vec<OrderItem>,
    /// With delivery and tax.
    pub total: Money,
    /// In minor units of the same currency.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tax: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Box<Delivery>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderItem {
    pub product_id: Uuid,
    pub variant_id: Uuid,
    pub name: Arc<str>,
    pub sku: Arc<str>,
    pub quantity: i32,
    pub unit_price: Money,
    pub allocations: Vec<Allocation>,
}

/// Where a line is served from, and the version of the stock row that selling or reserving it made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Allocation {
    pub warehouse_id: Uuid,
    pub quantity: i32,
    pub stock_version: i64,
    /// Of which component of a bundle it is; else it is the item's own stock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component_id: Option<Uuid>,
    /// Pieces of that row that were promised to others before.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ahead: i64,
    /// When it is expected, where it is a promise and that is known.
    #[serde(default, with = "day::option", skip_serializing_if = "Option::is_none")]
    pub expected_on: Option<Day>,
}

impl OrderItem {
    /// The variant whose stock an allocation of it is.
    #[must_use]
    pub fn stock_of(&self, allocation: &Allocation) -> Uuid {
        allocation.component_id.unwrap_or(self.variant_id)
    }

    /// The variants whose stock it draws on, each once for each allocation.
    pub fn drawn(&self) -> impl Iterator<Item = Uuid> {
        self.allocations.iter().map(|allocation| self.stock_of(allocation))
    }
}

/// Why an order can't be had. Where several hold, the first of this list is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Refusal {
    /// No such variant of such a product.
    UnknownProduct { product_ids: Vec<Uuid> },
    /// It was there once and is sold no more.
    DeletedProduct { product_ids: Vec<Uuid> },
    /// Its lines are priced in different currencies.
    MixedCurrencies { currencies: Vec<String> },
    /// The sum is more than an amount can hold.
    TotalTooLarge,
    /// Its address is in no zone, or there are no rates for its currency.
    NoDelivery,
    /// Of some products each customer may have only so many, and no customer is named.
    CustomerRequired { product_ids: Vec<Uuid> },
    /// The customer would have more of some products than each may have. Only those are listed.
    LimitExceeded { products: Vec<OverLimit> },
    /// Some lines asked for more than was available. Only those are listed.
    InsufficientStock { lines: Vec<ShortLine> },
    /// It comes to another total than was expected: prices, delivery or tax have changed.
    TotalChanged { expected: Money, total: Money },
}

impl Refusal {
    /// 409 for what may be had at another time, 422 for what never can.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Refusal::LimitExceeded { .. } | Refusal::InsufficientStock { .. } | Refusal::TotalChanged { .. } => 409,
            Refusal::UnknownProduct { .. }
            | Refusal::DeletedProduct { .. }
            | Refusal::MixedCurrencies { .. }
            | Refusal::TotalTooLarge
            | Refusal::NoDelivery
            | Refusal::CustomerRequired { .. } => 422,
        }
    }
}

/// The receipt of a refusal: what a line asked for and what was there at the moment of decision, over all warehouses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShortLine {
    pub product_id: Uuid,
    /// Whose stock it is.
    pub variant_id: Uuid,
    /// Over all lines that draw on it.
    pub requested: i64,
    /// The bundle that the line asked for, of which this is a component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle_id: Option<Uuid>,
    pub on_hand: i64,
    pub reserved: i64,
    /// Of what is on hand so much was promised to others before.
    #[serde(default, rename = "promised", skip_serializing_if = "is_zero")]
    pub ahead: i64,
    /// So much could still be promised.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub promisable: i64,
    /// The state of each stock row that was looked at.
    pub seen: Vec<SeenVersion>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SeenVersion {
    pub warehouse_id: Uuid,
    pub version: i64,
}

/// What came of a [`super::CreateProduct`] or [`super::CreateVariant`]. Where several refusals hold, the first of this list is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum ProductOutcome {
    /// `stock_version` is 0 where there was no opening stock.
    Created {
        stock_version: i64,
    },
    /// For a variant: no such product, or one that is sold no more.
    UnknownProduct,
    SkuTaken,
    UnknownWarehouse,
    /// For a variant: its product is priced in another currency.
    OtherCurrency,
    /// For a bundle: some component is not there, is sold no more, or is a bundle itself.
    UnknownComponent,
}
