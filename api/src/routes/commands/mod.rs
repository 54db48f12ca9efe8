//! Commands other than orders: what came of one.

pub(crate) mod show;
