//! Webhooks: who is told of what, and what came of it. A client has endpoints of its own and is told of its own orders; operators see
//! all, and are told of all.

pub(crate) mod deliveries;
pub(crate) mod endpoints;

use common::db::accounts::{Principal, Role};
use common::db::webhooks::Sent;
use uuid::Uuid;

use crate::error::Error;
use crate::problems;

/// What was queued to be sent.
fn queued<T>(sent: Sent<T>, not_found: impl FnOnce() -> Error) -> Result<T, Error> {
    match sent {
        Sent::Queued(queued) => Ok(queued),
        Sent::Disabled => Err(Error::Plain(&problems::ENDPOINT_DISABLED)),
        Sent::Unknown => Err(not_found()),
    }
}

/// Whose endpoints the caller may see: everybody's, where nobody is named.
fn scope(caller: Principal) -> Option<Uuid> {
    match caller.role {
        Role::Client => Some(caller.account),
        Role::Operator => None,
    }
}
