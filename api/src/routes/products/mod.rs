//! The catalogue.

pub(crate) mod change;
pub(crate) mod create;
pub(crate) mod creating;
pub(crate) mod delete;
pub(crate) mod list;
pub(crate) mod show;
pub(crate) mod stock;
pub(crate) mod stock_events;
pub(crate) mod view;
