//! Orders: place one, learn its outcome, pay, cancel, move it on, take goods back, see what has become of it.

pub(crate) mod cancel;
pub(crate) mod change;
pub(crate) mod find;
pub(crate) mod history;
pub(crate) mod list;
pub(crate) mod pay;
pub(crate) mod place;
pub(crate) mod placing;
pub(crate) mod show;
pub(crate) mod step;
pub(crate) mod take_back;
pub(crate) mod view;
