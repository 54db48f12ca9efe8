//! Reservations: stock set aside for a while, at the price of now. Confirmed, one is an order of the same id.

pub(crate) mod cancel;
pub(crate) mod confirm;
pub(crate) mod list;
pub(crate) mod place;
pub(crate) mod show;
mod view;
