//! Webhooks: endpoints, what they are told, and what came of it.

mod deliveries;
mod relay;
mod sending;

use sqlx::{PgConnection, query, query_as, query_scalar};
use uuid::Uuid;

use super::Result;
use crate::domain::Timestamp;
use crate::event::EventType;

pub use deliveries::{
    Attempt, Delivery, DeliveryState, Filter, Place, REPLAYED_MAX, Sent, attempts, find as find_delivery,
    list as list_deliveries, replay, replay_since, test,
};
pub use relay::{Relayed, relay, tell_of_disabled};
pub use sending::{Claimed, Done, Outcome, Room, claim, finish};

/// Who is told, of what, where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub id: Uuid,
    pub account_id: Uuid,
    pub url: String,
    pub description: Option<String>,
    pub event_types: Vec<EventType>,
    pub enabled: bool,
    /// Why it is not: `requested`, `gone` or `failing`.
    pub disabled_for: Option<String>,
    /// Since when nothing has come through; not set while something does.
    pub failing_since: Option<Timestamp>,
    /// Until when what was the secret before is good too.
    pub former_until: Option<Timestamp>,
    pub created_at: Timestamp,
}

struct Row {
    id: Uuid,
    account_id: Uuid,
    url: String,
    description: Option<String>,
    event_types: Vec<String>,
    enabled: bool,
    disabled_for: Option<String>,
    failing_since: Option<Timestamp>,
    former_until: Option<Timestamp>,
    created_at: Timestamp,
}

impl From<Row> for Endpoint {
    fn from(row: Row) -> Self {
        let Row { id, account_id, url, description, event_types, enabled, .. } = row;
        let Row { disabled_for, failing_since, former_until, created_at, .. } = row;
        let event_types = types(&event_types);
        Self {
            id,
            account_id,
            url,
            description,
            event_types,
            enabled,
            disabled_for,
            failing_since,
            former_until,
            created_at,
        }
    }
}

/// Those that this program knows: a newer one may know more.
fn types(stored: &[String]) -> Vec<EventType> {
    stored.iter().filter_map(|name| EventType::ALL.into_iter().find(|kind| kind.as_str() == name)).collect()
}

fn names(types: &[EventType]) -> Vec<String> {
    types.iter().map(|kind| kind.as_str().to_owned()).collect()
}

/// What an endpoint is made of.
#[derive(Debug, Clone)]
pub struct NewEndpoint {
    pub id: Uuid,
    pub account_id: Uuid,
    pub url: String,
    pub description: Option<String>,
    pub event_types: Vec<EventType>,
    pub secret: Vec<u8>,
}

/// Adds an endpoint, unless its account has `max` of them already: then `None`.
///
/// # Errors
/// Where the database is away.
pub async fn insert(connection: &mut PgConnection, new: &NewEndpoint, max: i64) -> Result<Option<Endpoint>> {
    let row = query_as!(
        Row,
        "INSERT INTO webhook_endpoints (id, account_id, url, description, event_types, secret)
         SELECT $1, $2, $3, $4, $5, $6 WHERE (SELECT count(*) FROM webhook_endpoints WHERE account_id = $2 AND deleted_at IS NULL) < $7
         RETURNING id, account_id, url, description, event_types, enabled, disabled_for, failing_since, former_until, created_at",
        new.id,
        new.account_id,
        new.url,
        new.description,
        &names(&new.event_types),
        new.secret,
        max
    );
    Ok(row.fetch_optional(connection).await?.map(Endpoint::from))
}

/// An endpoint of an account, or of any where none is named.
///
/// # Errors
/// Where the database is away.
pub async fn find(connection: &mut PgConnection, account: Option<Uuid>, id: Uuid) -> Result<Option<Endpoint>> {
    let row = query_as!(
        Row,
        "SELECT id, account_id, url, description, event_types, enabled, disabled_for, failing_since, former_until, created_at
         FROM webhook_endpoints WHERE id = $2 AND deleted_at IS NULL AND ($1::uuid IS NULL OR account_id = $1)",
        account,
        id
    );
    Ok(row.fetch_optional(connection).await?.map(Endpoint::from))
}

/// The endpoints of an account, or of all where none is named, by id, from behind `after` on.
///
/// # Errors
/// Where the database is away.
pub async fn list(
    connection: &mut PgConnection,
    account: Option<Uuid>,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Endpoint>> {
    let rows = query_as!(
        Row,
        "SELECT id, account_id, url, description, event_types, enabled, disabled_for, failing_since, former_until, created_at
         FROM webhook_endpoints
         WHERE deleted_at IS NULL AND ($1::uuid IS NULL OR account_id = $1) AND ($2::uuid IS NULL OR id > $2) ORDER BY id LIMIT $3",
        account,
        after,
        limit
    );
    Ok(rows.fetch_all(connection).await?.into_iter().map(Endpoint::from).collect())
}

/// What is to be changed of an endpoint: what is not set stays.
#[derive(Debug, Clone, Default)]
pub struct EndpointChange {
    pub url: Option<String>,
    /// Set to nothing where it is empty.
    pub description: Option<Option<String>>,
    pub event_types: Option<Vec<EventType>>,
    pub enabled: Option<bool>,
}

/// Changes an endpoint. Enabled again it begins anew: nothing has failed yet. `None` where there is no such.
///
/// # Errors
/// Where the database is away.
pub async fn change(
    connection: &mut PgConnection,
    account: Option<Uuid>,
    id: Uuid,
    change: &EndpointChange,
) -> Result<Option<Endpoint>> {
    let types = change.event_types.as_deref().map(names);
    let row = query_as!(
        Row,
        "UPDATE webhook_endpoints SET
             url = COALESCE($3, url),
             description = CASE WHEN $4 THEN $5 ELSE description END,
             event_types = COALESCE($6, event_types),
             enabled = COALESCE($7, enabled),
             disabled_for = CASE WHEN $7 THEN NULL WHEN NOT $7 THEN COALESCE(disabled_for, 'requested') ELSE disabled_for END,
             disabled_at = CASE WHEN $7 THEN NULL WHEN NOT $7 THEN COALESCE(disabled_at, now()) ELSE disabled_at END,
             failing_since = CASE WHEN $7 OR $3 IS NOT NULL THEN NULL ELSE failing_since END,
             not_before = CASE WHEN $7 OR $3 IS NOT NULL THEN NULL ELSE not_before END
         WHERE id = $2 AND deleted_at IS NULL AND ($1::uuid IS NULL OR account_id = $1)
         RETURNING id, account_id, url, description, event_types, enabled, disabled_for, failing_since, former_until, created_at",
        account,
        id,
        change.url,
        change.description.is_some(),
        change.description.clone().flatten(),
        types as Option<Vec<String>>,
        change.enabled
    );
    Ok(row.fetch_optional(connection).await?.map(Endpoint::from))
}

/// Deletes an endpoint; answers whether there was one. Its deliveries go by and by, see [`prune`].
///
/// # Errors
/// Where the database is away.
pub async fn delete(connection: &mut PgConnection, account: Option<Uuid>, id: Uuid) -> Result<bool> {
    let deleted = query!(
        "UPDATE webhook_endpoints SET deleted_at = now(), enabled = false, disabled_for = COALESCE(disabled_for, 'requested'),
             disabled_at = COALESCE(disabled_at, now())
         WHERE id = $2 AND deleted_at IS NULL AND ($1::uuid IS NULL OR account_id = $1)",
        account,
        id
    );
    Ok(deleted.execute(connection).await?.rows_affected() > 0)
}

/// Deletes up to `max` deliveries that were finished more than so many days ago, or are of endpoints that are no more; answers
/// whether there may be more.
///
/// # Errors
/// Where the database is away.
pub async fn prune(connection: &mut PgConnection, days: i32, max: i64) -> Result<bool> {
    let deleted = query!(
        "DELETE FROM webhook_deliveries WHERE id IN (
           (SELECT id FROM webhook_deliveries WHERE finished_at < now() - make_interval(days => $1::integer) LIMIT $2)
           UNION ALL
           (SELECT d.id FROM webhook_endpoints e JOIN webhook_deliveries d ON d.endpoint_id = e.id
            WHERE e.deleted_at IS NOT NULL LIMIT $2))",
        days,
        max
    );
    let deleted = deleted.execute(&mut *connection).await?.rows_affected();
    query!(
        "DELETE FROM webhook_endpoints e
         WHERE e.deleted_at IS NOT NULL AND NOT EXISTS (SELECT FROM webhook_deliveries d WHERE d.endpoint_id = e.id)"
    )
    .execute(connection)
    .await?;
    Ok(deleted >= max.unsigned_abs())
}

/// Gives an endpoint another secret; the one before stays good for so many seconds. Answers until when, or `None` where there is no
/// such endpoint.
///
/// # Errors
/// Where the database is away.
pub async fn rotate(
    connection: &mut PgConnection,
    account: Option<Uuid>,
    id: Uuid,
    secret: &[u8],
    seconds: i32,
) -> Result<Option<Timestamp>> {
    let until = query_scalar!(
        r#"UPDATE webhook_endpoints
           SET former_secret = secret, former_until = now() + make_interval(secs => $4::integer), secret = $3
           WHERE id = $2 AND deleted_at IS NULL AND ($1::uuid IS NULL OR account_id = $1) RETURNING former_until AS "until!""#,
        account,
        id,
        secret,
        seconds
    );
    Ok(until.fetch_optional(connection).await?)
}
