//! Orders: place one, see what came of it.

pub(crate) mod place;
pub(crate) mod recent;
pub(crate) mod show;
mod view;
