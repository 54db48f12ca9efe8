//! Endpoints: where somebody is told.

pub(crate) mod change;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod list;
pub(crate) mod replay;
pub(crate) mod rotate_secret;
pub(crate) mod show;
pub(crate) mod test;

use common::db::accounts::{Principal, Role};
use common::db::webhooks::Endpoint;
use common::domain::Timestamp;
use common::event::EventType;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use crate::checks::Checks;
use crate::error::Error;

const DESCRIPTION_BYTES_MAX: usize = 500;

/// What the caller may subscribe to, each once.
fn check_types(names: &[String], caller: Principal, checks: &mut Checks) -> Vec<EventType> {
    let may = |kind: &EventType| kind.is_subscribed_to() && (caller.role == Role::Operator || !kind.is_for_operators());
    let known: Vec<EventType> = EventType::ALL.into_iter().filter(may).collect();
    let all = || known.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ");
    checks.that(!names.is_empty(), "eventTypes", || format!("some of {} are expected", all()));
    let mut types = Vec::with_capacity(names.len());
    for (n, name) in names.iter().enumerate() {
        match known.iter().find(|kind| kind.as_str() == name) {
            Some(kind) => types.push(*kind),
            None => checks.mistake(format!("eventTypes[{n}]"), format!("one of {} is expected", all())),
        }
    }
    types.sort_unstable();
    types.dedup();
    types
}

fn view(endpoint: Endpoint) -> Value {
    let time = |at: Timestamp| at.format(&Rfc3339).unwrap_or_default();
    json!({
        "id": endpoint.id,
        "accountId": endpoint.account_id,
        "url": endpoint.url,
        "description": endpoint.description,
        "eventTypes": endpoint.event_types,
        "enabled": endpoint.enabled,
        "disabledFor": endpoint.disabled_for,
        "failingSince": endpoint.failing_since.map(time),
        "formerSecretUntil": endpoint.former_until.map(time),
        "createdAt": time(endpoint.created_at),
    })
}

fn not_found() -> Error {
    Error::NotFound("There is no such endpoint.".to_owned())
}
