//! Payments that were captured and could not be applied. For operators.

pub(crate) mod list;
pub(crate) mod resolve;
mod view;
