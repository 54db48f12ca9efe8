//! Products: create one with its opening stock, see it, see its stock.

pub(crate) mod create;
pub(crate) mod list;
pub(crate) mod show;
pub(crate) mod stock;
mod view;
