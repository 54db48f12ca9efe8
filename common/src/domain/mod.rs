//! The decision core: what happens to stock when a command is decided.
//!
//! [`decide()`] takes the stock that a batch has locked, one command and the time, and answers with a [`Decision`]. It never
//! does I/O, never reads a clock, never draws a random number: the same commands in the same order on the same stock give
//! the same decisions, which is what lets a log be replayed and a test compare with a naive model.
//!
//! **Architecture invariant**: a refusal is a `Decision`, never an `Err`; there is nothing here that can fail.

mod allocate;
mod command;
mod decide;
mod money;
mod order;
mod stock;

pub use allocate::{Piece, allocate};
pub use command::{Action, Command, CreateProduct, Idempotency, Line, PlaceOrder, merge_lines};
pub use decide::{Decision, decide};
pub use money::{Currency, Money, UnknownCurrency};
pub use order::{
    Allocation, Confirmed, Order, OrderItem, Outcome, Placed, ProductOutcome, Refusal, SeenLine, SeenVersion, ShortLine,
};
pub use stock::{StockChange, StockLevel, StockView, VariantView};

/// Most lines of one order, after lines of the same variant are added up or before. Bounds the rows that an order locks.
pub const ORDER_LINES_MAX: usize = 100;

/// Largest amount of money in minor units that the HTTP surface takes: what a JSON number holds exactly everywhere
/// (2^53 - 1, RFC 8259 section 6).
pub const AMOUNT_MAX: i64 = 9_007_199_254_740_991;

/// The instant of a decision or an acceptance. UTC.
pub type Timestamp = time::OffsetDateTime;

/// The warehouse that every store has from its first migration on.
pub const DEFAULT_WAREHOUSE: uuid::Uuid = uuid::Uuid::from_u128(0x0000_0000_0000_8000_8000_0000_0000_0001);
