//! Variants of products: a size, a colour, each with its own SKU and stock.

pub(crate) mod change;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod show;
