//! From the decision log to deliveries.

use std::collections::BTreeSet;

use serde_json::json;
use sqlx::{PgConnection, query};
use uuid::Uuid;

use super::{EventType, Result, types};
use crate::db::events::{self, Event, Reader};
use crate::ids::hash_id;

/// Who wants to be told.
struct Subscriber {
    endpoint: Uuid,
    account: Uuid,
    operator: bool,
    types: Vec<EventType>,
    /// It was disabled for its failures: what it misses is kept for a replay.
    misses: bool,
}

impl Subscriber {
    fn wants(&self, event: &Event) -> bool {
        let may = self.operator || event.account.is_none_or(|account| account == self.account);
        may && self.types.contains(&event.kind)
    }
}

/// What one pass has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Relayed {
    pub deliveries: u64,
    /// There is more.
    pub more: bool,
    /// Something was decided, and nobody wanted to be told.
    pub in_vain: bool,
}

/// Makes deliveries of up to `max` decisions of each partition that nobody else is at work on: nothing is written twice, wherever
/// somebody begins again. To be called in a transaction.
///
/// # Errors
/// Where the database is away.
pub async fn relay(connection: &mut PgConnection, max: i64) -> Result<Relayed> {
    let Some(reading) = events::next(&mut *connection, Reader::Webhooks, max).await? else {
        return Ok(Relayed::default());
    };
    // Read after what is to be told: whoever asked to be told before something was decided is told of it.
    let subscribers = subscribers(&mut *connection).await?;
    if subscribers.is_empty() {
        reading.passed_over(connection).await?;
        return Ok(Relayed { deliveries: 0, more: false, in_vain: true });
    }
    let wanted: BTreeSet<EventType> = subscribers.iter().flat_map(|subscriber| subscriber.types.clone()).collect();
    let events = reading.events(&mut *connection, &wanted).await?;
    let deliveries = deliver(&mut *connection, &subscribers, &events).await?;
    let more = reading.more;
    reading.told(connection).await?;
    Ok(Relayed { deliveries, more, in_vain: false })
}

/// Tells of something that is not in the log. To be called in the transaction that does it.
///
/// # Errors
/// Where the database is away.
pub async fn tell_of_disabled(connection: &mut PgConnection, endpoint: Uuid, why: &str) -> Result<()> {
    let row = query!(
        r#"SELECT account_id, disabled_at AS "at!" FROM webhook_endpoints WHERE id = $1 AND disabled_at IS NOT NULL"#,
        endpoint
    );
    let Some(row) = row.fetch_optional(&mut *connection).await? else { return Ok(()) };
    let kind = EventType::EndpointDisabled;
    let id = hash_id(kind.as_str(), &[endpoint.as_bytes(), &row.at.unix_timestamp_nanos().to_be_bytes()]);
    let data = json!({ "endpointId": endpoint, "accountId": row.account_id, "reason": why });
    let event = Event { kind, id, trace: id, account: Some(Uuid::nil()), at: row.at, place: None, data };
    let subscribers = subscribers(&mut *connection).await?;
    deliver(connection, &subscribers, &[event]).await?;
    Ok(())
}

async fn subscribers(connection: &mut PgConnection) -> Result<Vec<Subscriber>> {
    let rows = query!(
        "SELECT e.id, e.account_id, a.role, e.event_types, e.enabled FROM webhook_endpoints e JOIN accounts a ON a.id = e.account_id
         WHERE e.deleted_at IS NULL AND (e.enabled OR e.disabled_for IN ('failing', 'gone')) ORDER BY e.id"
    );
    let subscribers = rows.fetch_all(connection).await?.into_iter().map(|row| Subscriber {
        endpoint: row.id,
        account: row.account_id,
        operator: row.role == "operator",
        types: types(&row.event_types),
        misses: !row.enabled,
    });
    Ok(subscribers.collect())
}

/// Writes a delivery of each event for everybody who wants it.
async fn deliver(connection: &mut PgConnection, subscribers: &[Subscriber], events: &[Event]) -> Result<u64> {
    let (mut ids, mut endpoints, mut event_ids) = (Vec::new(), Vec::new(), Vec::new());
    let (mut kinds, mut bodies, mut times, mut states) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for event in events {
        let mut body = None;
        for subscriber in subscribers.iter().filter(|subscriber| subscriber.wants(event)) {
            let body = match &body {
                Some(body) => body,
                None => body.insert(event.message()?),
            };
            ids.push(Uuid::now_v7());
            endpoints.push(subscriber.endpoint);
            event_ids.push(event.id);
            kinds.push(event.kind.as_str().to_owned());
            bodies.push(body.clone());
            times.push(event.at);
            states.push(if subscriber.misses { "failed" } else { "pending" }.to_owned());
        }
    }
    if ids.is_empty() {
        return Ok(0);
    }
    let written = query!(
        "INSERT INTO webhook_deliveries (id, endpoint_id, event_id, event_type, body, created_at, state, next_attempt_at, finished_at)
         SELECT u.*, now(), CASE u.state WHEN 'failed' THEN now() END
         FROM UNNEST($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::timestamptz[], $7::text[])
           AS u (id, endpoint_id, event_id, event_type, body, created_at, state)
         WHERE EXISTS (SELECT FROM webhook_endpoints e WHERE e.id = u.endpoint_id)
         ON CONFLICT (event_id, endpoint_id) DO NOTHING",
        &ids,
        &endpoints,
        &event_ids,
        &kinds,
        &bodies,
        &times,
        &states
    );
    Ok(written.execute(connection).await?.rows_affected())
}
