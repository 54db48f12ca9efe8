//! Customers: how long their unpaid orders are held. For operators.

pub(crate) mod tier;
