//! What was sent, or is to be, as people see it; and sending it again.

use sqlx::{PgConnection, query, query_as, query_scalar};
use uuid::Uuid;

use crate::db::Result;
use crate::domain::Timestamp;
use crate::event::EventType;

/// One event for one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub id: Uuid,
    pub endpoint_id: Uuid,
    pub event_id: Uuid,
    pub event_type: String,
    pub body: String,
    pub created_at: Timestamp,
    pub state: String,
    pub attempts: i32,
    /// Of one that is pending.
    pub next_attempt_at: Timestamp,
    /// When it was delivered, or given up.
    pub finished_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    Pending,
    Delivered,
    /// Given up.
    Failed,
}

impl DeliveryState {
    pub const ALL: [Self; 3] = [Self::Pending, Self::Delivered, Self::Failed];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

/// What was tried once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    pub number: i32,
    pub started_at: Timestamp,
    pub duration_ms: i32,
    pub status: Option<i16>,
    pub error: Option<String>,
    /// The first bytes of it.
    pub answer: Option<String>,
}

/// Which deliveries are listed.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Those of this account's endpoints; of all where none is named.
    pub account: Option<Uuid>,
    pub endpoint: Option<Uuid>,
    pub state: Option<DeliveryState>,
    pub event_type: Option<EventType>,
    pub since: Option<Timestamp>,
}

/// The last one of a page.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    pub created_at: Timestamp,
    pub id: Uuid,
}

/// Deliveries, the newest first, `limit` at the most, behind `after`.
///
/// # Errors
/// Where the database is away.
pub async fn list(
    connection: &mut PgConnection,
    filter: &Filter,
    after: Option<Place>,
    limit: i64,
) -> Result<Vec<Delivery>> {
    if filter.account.is_none() && filter.endpoint.is_none() {
        return list_all(connection, filter, after, limit).await;
    }
    let rows = query_as!(
        Delivery,
        r#"SELECT d.id AS "id!", d.endpoint_id AS "endpoint_id!", d.event_id AS "event_id!", d.event_type AS "event_type!",
                d.body AS "body!", d.created_at AS "created_at!", d.state AS "state!", d.attempts AS "attempts!",
                d.next_attempt_at AS "next_attempt_at!", d.finished_at
           FROM webhook_endpoints e CROSS JOIN LATERAL (
                  SELECT * FROM webhook_deliveries d
                  WHERE d.endpoint_id = e.id AND ($3::text IS NULL OR d.state = $3) AND ($4::text IS NULL OR d.event_type = $4)
                    AND d.created_at >= COALESCE($5::timestamptz, '-infinity')
                    AND ($6::timestamptz IS NULL OR (d.created_at, d.id) < ($6, $7))
                  ORDER BY d.created_at DESC, d.id DESC LIMIT $8) d
           WHERE e.deleted_at IS NULL AND ($1::uuid IS NULL OR e.account_id = $1) AND ($2::uuid IS NULL OR e.id = $2)
           ORDER BY d.created_at DESC, d.id DESC LIMIT $8"#,
        filter.account,
        filter.endpoint,
        filter.state.map(DeliveryState::as_str),
        filter.event_type.map(EventType::as_str),
        filter.since,
        after.map(|after| after.created_at),
        after.map(|after| after.id),
        limit
    );
    Ok(rows.fetch_all(connection).await?)
}

/// Those of all endpoints.
async fn list_all(
    connection: &mut PgConnection,
    filter: &Filter,
    after: Option<Place>,
    limit: i64,
) -> Result<Vec<Delivery>> {
    let rows = query_as!(
        Delivery,
        "SELECT d.id, d.endpoint_id, d.event_id, d.event_type, d.body, d.created_at, d.state, d.attempts, d.next_attempt_at,
                d.finished_at
         FROM webhook_deliveries d JOIN webhook_endpoints e ON e.id = d.endpoint_id AND e.deleted_at IS NULL
         WHERE ($1::text IS NULL OR d.state = $1) AND ($2::text IS NULL OR d.event_type = $2)
           AND d.created_at >= COALESCE($3::timestamptz, '-infinity')
           AND ($4::timestamptz IS NULL OR (d.created_at, d.id) < ($4, $5))
         ORDER BY d.created_at DESC, d.id DESC LIMIT $6",
        filter.state.map(DeliveryState::as_str),
        filter.event_type.map(EventType::as_str),
        filter.since,
        after.map(|after| after.created_at),
        after.map(|after| after.id),
        limit
    );
    Ok(rows.fetch_all(connection).await?)
}

/// A delivery to an endpoint of an account, or of any where none is named.
///
/// # Errors
/// Where the database is away.
pub async fn find(connection: &mut PgConnection, account: Option<Uuid>, id: Uuid) -> Result<Option<Delivery>> {
    let row = query_as!(
        Delivery,
        "SELECT d.id, d.endpoint_id, d.event_id, d.event_type, d.body, d.created_at, d.state, d.attempts, d.next_attempt_at,
                d.finished_at
         FROM webhook_deliveries d JOIN webhook_endpoints e ON e.id = d.endpoint_id
         WHERE d.id = $2 AND e.deleted_at IS NULL AND ($1::uuid IS NULL OR e.account_id = $1)",
        account,
        id
    );
    Ok(row.fetch_optional(connection).await?)
}

/// Every attempt of a delivery, the first one first.
///
/// # Errors
/// Where the database is away.
pub async fn attempts(connection: &mut PgConnection, delivery: Uuid) -> Result<Vec<Attempt>> {
    let rows = query_as!(
        Attempt,
        "SELECT number, started_at, duration_ms, status, error, answer FROM webhook_attempts WHERE delivery_id = $1 ORDER BY number",
        delivery
    );
    Ok(rows.fetch_all(connection).await?)
}

/// What a wish to send has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent<T> {
    Queued(T),
    /// The endpoint is disabled.
    Disabled,
    Unknown,
}

/// Locks an endpoint, as is to be done before its deliveries are; answers whether it is enabled, or `None` where there is no such.
async fn lock(connection: &mut PgConnection, account: Option<Uuid>, endpoint: Uuid) -> Result<Option<bool>> {
    let enabled = query_scalar!(
        "SELECT enabled FROM webhook_endpoints
         WHERE id = $2 AND deleted_at IS NULL AND ($1::uuid IS NULL OR account_id = $1) FOR NO KEY UPDATE",
        account,
        endpoint
    );
    Ok(enabled.fetch_optional(connection).await?)
}

/// Has a delivery sent again now, whatever came of it before. To be called in a transaction.
///
/// # Errors
/// Where the database is away.
pub async fn replay(connection: &mut PgConnection, account: Option<Uuid>, id: Uuid) -> Result<Sent<Delivery>> {
    let Some(known) = find(&mut *connection, account, id).await? else { return Ok(Sent::Unknown) };
    match lock(&mut *connection, account, known.endpoint_id).await? {
        None => return Ok(Sent::Unknown),
        Some(false) => return Ok(Sent::Disabled),
        Some(true) => {}
    }
    query!(
        "UPDATE webhook_deliveries SET state = 'pending', generation = generation + 1, scheduled = 0, next_attempt_at = now(),
             claimed_until = NULL, finished_at = NULL
         WHERE id = $1",
        id
    )
    .execute(&mut *connection)
    .await?;
    Ok(find(connection, account, id).await?.map_or(Sent::Unknown, Sent::Queued))
}

/// Most deliveries that are sent again at once.
pub const REPLAYED_MAX: i64 = 10_000;

/// Has what an endpoint was to be told since a time, and of which nothing came, sent again now: what was delivered too, where `all`.
/// Up to [`REPLAYED_MAX`] of them, the oldest first. Answers with how many. To be called in a transaction.
///
/// # Errors
/// Where the database is away.
pub async fn replay_since(
    connection: &mut PgConnection,
    account: Option<Uuid>,
    endpoint: Uuid,
    since: Timestamp,
    all: bool,
) -> Result<Sent<u64>> {
    match lock(&mut *connection, account, endpoint).await? {
        None => return Ok(Sent::Unknown),
        Some(false) => return Ok(Sent::Disabled),
        Some(true) => {}
    }
    let replayed = query!(
        "UPDATE webhook_deliveries SET state = 'pending', generation = generation + 1, scheduled = 0, next_attempt_at = now(),
             claimed_until = NULL, finished_at = NULL
         WHERE id IN (SELECT id FROM webhook_deliveries
                      WHERE endpoint_id = $1 AND created_at >= $2 AND (state = 'failed' OR ($3 AND state = 'delivered'))
                      ORDER BY created_at, id LIMIT $4)",
        endpoint,
        since,
        all,
        REPLAYED_MAX
    );
    Ok(Sent::Queued(replayed.execute(connection).await?.rows_affected()))
}

/// Has a test event sent to an endpoint. To be called in a transaction.
///
/// # Errors
/// Where the database is away.
pub async fn test(
    connection: &mut PgConnection,
    account: Option<Uuid>,
    endpoint: Uuid,
    delivery: Uuid,
    body: &str,
) -> Result<Sent<Delivery>> {
    match lock(&mut *connection, account, endpoint).await? {
        None => return Ok(Sent::Unknown),
        Some(false) => return Ok(Sent::Disabled),
        Some(true) => {}
    }
    let row = query_as!(
        Delivery,
        "INSERT INTO webhook_deliveries (id, endpoint_id, event_id, event_type, body, created_at, next_attempt_at)
         VALUES ($2, $1, $2, 'test', $3, now(), now())
         RETURNING id, endpoint_id, event_id, event_type, body, created_at, state, attempts, next_attempt_at, finished_at",
        endpoint,
        delivery,
        body
    );
    Ok(Sent::Queued(row.fetch_one(connection).await?))
}
