//! Carts, one at a time per customer of an account. A cart holds no stock: what there is of it is decided when its order is.

pub(crate) mod add;
pub(crate) mod address;
pub(crate) mod change;
pub(crate) mod clear;
pub(crate) mod completed;
pub(crate) mod current;
pub(crate) mod place_order;
pub(crate) mod remove;
pub(crate) mod show;
pub(crate) mod summary;
pub(crate) mod view;
