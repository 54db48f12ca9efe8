//! The decision core: what happens to stock when a command is decided.
//!
//! [`decide()`] takes what a batch has locked (a [`View`]: stock, orders, the time), and one command, and answers with a
//! [`Decision`]. It never does I/O, never reads a clock, never draws a random number: the same commands in the same order on the same stock give
//! the same decisions, which is what lets a log be replayed and a test compare with a naive model.
//!
//! **Architecture invariant**: a refusal is a `Decision`, never an `Err`; there is nothing here that can fail.

mod allocate;
mod backorder;
mod bundle;
mod catalogue;
mod change;
mod command;
mod decide;
mod inventory;
mod lifecycle;
mod limit;
#[cfg(test)]
mod model;
mod money;
mod movement;
mod order;
mod pieces;
mod quote;
mod stock;
mod terms;

pub use allocate::{Piece, Wanted, allocate, offered};
pub use backorder::{Backorders, Serve, Serving, SetBackorders, Sum};
pub use bundle::{Bundles, COMPONENT_QUANTITY_MAX, COMPONENTS_MAX, Component};
pub use catalogue::variant_name;
pub use change::{ChangeOutcome, Changed};
pub use command::{
    Action, Belongs, ChangeOrder, ChangeStock, Command, CreateProduct, CreateVariant, Expire, HoldTerms, Idempotency,
    Line, PlaceOrder, StockChangeKind, TransferStock, merge_lines,
};
pub use decide::{Decision, View, decide};
pub use inventory::{Row, StockOutcome};
pub use lifecycle::{CancelReason, Change, Effect, Hold, HoldKind, Led, Obstacle, Payment, Standing, State, Tracking};
pub use limit::{LIMIT_SECONDS_MAX, Limit, Limits, OverLimit};
pub use money::{Currency, Money, UnknownCurrency};
pub use movement::{Cause, Movement};
pub use order::{
    Allocation, Confirmed, Order, OrderItem, Outcome, Placed, ProductOutcome, Refusal, SeenLine, SeenVersion,
    ShortLine, Since,
};
pub use pieces::{Disposition, HeldPieces, PiecesSince, ReturnLine, Returned, Served};
pub use quote::quote;
pub use stock::{Crossing, Site, StockChange, StockLevel, StockView, VariantView};
pub use terms::{
    Address, Amounts, DELIVERY_DAYS_MAX, Day, Delivery, DeliveryMode, DeliveryTier, DeliveryWish, Rate, Rates,
    TAX_BASIS_POINTS_MAX, Terms, ZONE_MAX, day,
};

/// Longest time that stock is reserved for an order, in seconds: 365 days.
pub const WINDOW_SECONDS_MAX: u32 = 365 * 86_400;

/// Most pieces that one stock row may hold.
pub const ON_HAND_MAX: i64 = 1_000_000_000_000_000;

/// Most lines of one order, after lines of the same variant are added up or before. Bounds the rows that an order locks.
pub const ORDER_LINES_MAX: usize = 100;

/// Largest amount of money in minor units that the HTTP surface takes: what a JSON number holds exactly everywhere
/// (2^53 - 1, RFC 8259 section 6).
pub const AMOUNT_MAX: i64 = 9_007_199_254_740_991;

/// The instant of a decision or an acceptance. UTC.
pub type Timestamp = time::OffsetDateTime;

/// Where what is sold before it is there is kept account of: a place like a warehouse, that nobody is told of.
pub const BACKORDERS: uuid::Uuid = uuid::Uuid::from_u128(0x0000_0000_0000_8000_8000_0000_0000_0002);

/// The warehouse that every store has from its first migration on.
pub const DEFAULT_WAREHOUSE: uuid::Uuid = uuid::Uuid::from_u128(0x0000_0000_0000_8000_8000_0000_0000_0001);
