//! What an order would come to, before there is one.

pub(crate) mod check;
