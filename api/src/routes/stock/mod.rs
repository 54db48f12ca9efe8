//! Stock: operators' changes of it, and the ledger of all that has changed it.

pub(crate) mod backorders;
pub(crate) mod change;
pub(crate) mod low;
pub(crate) mod movements;
pub(crate) mod transfer;
