//! What can be told of: to webhooks and at the broker alike.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::hash_id;

/// What can be told of. The names are those of the field `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EventType {
    /// An order was placed and confirmed: sold, or reserved until it is paid; or a reservation was, and is an order.
    #[serde(rename = "order.confirmed")]
    OrderConfirmed,
    /// It was refused.
    #[serde(rename = "order.rejected")]
    OrderRejected,
    /// It could not be decided: an operator must look.
    #[serde(rename = "order.failed")]
    OrderFailed,
    /// One that was to be paid later was paid.
    #[serde(rename = "order.paid")]
    OrderPaid,
    #[serde(rename = "order.cancelled")]
    OrderCancelled,
    /// It was not paid in time.
    #[serde(rename = "order.expired")]
    OrderExpired,
    #[serde(rename = "order.shipped")]
    OrderShipped,
    #[serde(rename = "order.delivered")]
    OrderDelivered,
    /// A reservation was not confirmed in time.
    #[serde(rename = "reservation.expired")]
    ReservationExpired,
    /// A variant has come to its threshold.
    #[serde(rename = "stock.low")]
    StockLow,
    /// The stock of a variant is another; changes that come close together are one event.
    #[serde(rename = "stock.changed")]
    StockChanged,
    /// An endpoint was disabled, since it had failed for days or said that it is gone.
    #[serde(rename = "endpoint.disabled")]
    EndpointDisabled,
    /// Somebody asked for it, to try an endpoint.
    #[serde(rename = "test")]
    Test,
}

impl EventType {
    pub const ALL: [Self; 13] = [
        Self::OrderConfirmed,
        Self::OrderRejected,
        Self::OrderFailed,
        Self::OrderPaid,
        Self::OrderCancelled,
        Self::OrderExpired,
        Self::OrderShipped,
        Self::OrderDelivered,
        Self::ReservationExpired,
        Self::StockLow,
        Self::StockChanged,
        Self::EndpointDisabled,
        Self::Test,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OrderConfirmed => "order.confirmed",
            Self::OrderRejected => "order.rejected",
            Self::OrderFailed => "order.failed",
            Self::OrderPaid => "order.paid",
            Self::OrderCancelled => "order.cancelled",
            Self::OrderExpired => "order.expired",
            Self::OrderShipped => "order.shipped",
            Self::OrderDelivered => "order.delivered",
            Self::ReservationExpired => "reservation.expired",
            Self::StockLow => "stock.low",
            Self::StockChanged => "stock.changed",
            Self::EndpointDisabled => "endpoint.disabled",
            Self::Test => "test",
        }
    }

    /// Whether only operators may subscribe to it.
    #[must_use]
    pub fn is_for_operators(self) -> bool {
        matches!(self, Self::StockLow | Self::EndpointDisabled)
    }

    /// Whether it tells what has become of an order after it was placed.
    #[must_use]
    pub(crate) fn is_of_order(self) -> bool {
        matches!(
            self,
            Self::OrderConfirmed
                | Self::OrderPaid
                | Self::OrderCancelled
                | Self::OrderExpired
                | Self::OrderShipped
                | Self::OrderDelivered
                | Self::ReservationExpired
        )
    }

    /// Whether one subscribes to it at all.
    #[must_use]
    pub fn is_subscribed_to(self) -> bool {
        self != Self::Test
    }

    /// The types that are published at the broker: what becomes of the log.
    pub fn published() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|kind| !matches!(kind, Self::EndpointDisabled | Self::Test))
    }

    /// The published types that a pattern names: a type itself, `*` for all, or as `order.*`. None where it names nothing.
    #[must_use]
    pub fn matching(pattern: &str) -> Option<Vec<Self>> {
        let named = |kind: &Self| match pattern.strip_suffix('*') {
            Some(beginning) => {
                kind.as_str().starts_with(beginning) && (beginning.is_empty() || beginning.ends_with('.'))
            }
            None => kind.as_str() == pattern,
        };
        Some(Self::published().filter(named).collect()).filter(|kinds: &Vec<Self>| !kinds.is_empty())
    }
}

/// A W3C trace context (<https://www.w3.org/TR/trace-context/>), the header `traceparent`, of something that happened in a trace: all
/// that becomes of an order is one trace, whose id is the order's.
#[must_use]
pub fn trace_parent(trace: Uuid, happened: Uuid) -> String {
    let span = hash_id("span", &[happened.as_bytes()]).as_u128() >> 64;
    format!("00-{}-{span:016x}-01", trace.simple())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_named_as_they_are_written() {
        for kind in EventType::ALL {
            assert_eq!(serde_json::json!(kind), kind.as_str());
        }
    }

    #[test]
    fn a_pattern_names_types_that_are_published() {
        let named = |pattern| EventType::matching(pattern).map(|kinds| kinds.len());
        assert_eq!((named("*"), named("order.*"), named("stock.low")), (Some(11), Some(8), Some(1)));
        for nothing in ["", "order", "or*", "order.", "test", "endpoint.*", "order.eaten"] {
            assert_eq!(named(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn a_trace_context_is_as_long_as_it_must_be() {
        let order = Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001);
        let told = trace_parent(order, Uuid::nil());
        let parts: Vec<&str> = told.split('-').collect();
        assert_eq!(
            (parts[0], parts[1], parts[2].len(), parts[3]),
            ("00", "01920000000070008000000000000001", 16, "01")
        );
        assert_ne!(told, trace_parent(order, Uuid::max()), "another span");
    }
}
