//! Payments that were captured and could not be applied: operators refund them, and say so here.

use sqlx::{PgConnection, query, query_as};
use uuid::Uuid;

use super::Result;
use crate::domain::{Obstacle, Payment, Timestamp};

/// A payment that could not be applied, as it is written.
#[derive(Debug, Clone)]
pub struct Unapplied {
    pub command: Uuid,
    pub order: Uuid,
    pub account: Uuid,
    /// `None`: there is no such order.
    pub problem: Option<Obstacle>,
    pub payment: Payment,
}

/// Writes them. One that was told of before is there already.
///
/// # Errors
/// Where the database is away.
pub async fn insert(connection: &mut PgConnection, unapplied: &[Unapplied], now: Timestamp) -> Result<()> {
    let of = |field: fn(&Unapplied) -> Uuid| unapplied.iter().map(field).collect::<Vec<Uuid>>();
    let problems: Vec<String> = unapplied.iter().map(|unapplied| problem(unapplied.problem).to_owned()).collect();
    let methods: Vec<Option<String>> = unapplied.iter().map(|unapplied| unapplied.payment.method.clone()).collect();
    let references: Vec<Option<String>> =
        unapplied.iter().map(|unapplied| unapplied.payment.reference.clone()).collect();
    query!(
        "INSERT INTO unapplied_payments (command_id, order_id, account_id, problem, method, reference, recorded_at)
         SELECT u.*, $7::timestamptz
         FROM UNNEST($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[]) AS u
         ON CONFLICT DO NOTHING",
        &of(|unapplied| unapplied.command),
        &of(|unapplied| unapplied.order),
        &of(|unapplied| unapplied.account),
        &problems,
        &methods as &[Option<String>],
        &references as &[Option<String>],
        now
    )
    .execute(connection)
    .await?;
    Ok(())
}

fn problem(obstacle: Option<Obstacle>) -> &'static str {
    match obstacle {
        None => "unknown-order",
        Some(Obstacle::PaymentTimeout) => "payment-timeout",
        Some(Obstacle::OrderCancelled) => "order-cancelled",
        Some(Obstacle::AlreadyPaid) => "already-paid",
        Some(Obstacle::AlreadyShipped) => "already-shipped",
        Some(Obstacle::IllegalTransition | Obstacle::NotShipped | Obstacle::ReturnTooLarge | Obstacle::Backordered) => {
            "illegal-transition"
        }
    }
}

/// A payment that could not be applied, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredUnapplied {
    pub command_id: Uuid,
    pub order_id: Uuid,
    pub account_id: Uuid,
    pub problem: String,
    pub method: Option<String>,
    pub reference: Option<String>,
    pub recorded_at: Timestamp,
    pub resolved_at: Option<Timestamp>,
    pub resolved_by: Option<Uuid>,
    pub resolution: Option<String>,
}

/// Those that nobody has resolved, or all: the oldest first, `limit` at the most, behind `after`.
///
/// # Errors
/// Where the database is away.
pub async fn list(
    connection: &mut PgConnection,
    all: bool,
    after: Option<(Timestamp, Uuid)>,
    limit: i64,
) -> Result<Vec<StoredUnapplied>> {
    let (at, id) = after.unzip();
    let rows = query_as!(
        StoredUnapplied,
        "SELECT command_id, order_id, account_id, problem, method, reference, recorded_at, resolved_at, resolved_by, resolution
         FROM unapplied_payments
         WHERE ($1 OR resolved_at IS NULL) AND ($2::timestamptz IS NULL OR (recorded_at, command_id) > ($2, $3))
         ORDER BY recorded_at, command_id LIMIT $4",
        all,
        at,
        id,
        limit
    );
    Ok(rows.fetch_all(connection).await?)
}

/// Notes that somebody has seen to it, and how. The first one stays. `None` where there is no such payment.
///
/// # Errors
/// Where the database is away.
pub async fn resolve(
    connection: &mut PgConnection,
    id: Uuid,
    by: Uuid,
    resolution: Option<&str>,
) -> Result<Option<StoredUnapplied>> {
    query!(
        "UPDATE unapplied_payments SET resolved_at = now(), resolved_by = $2, resolution = $3
         WHERE command_id = $1 AND resolved_at IS NULL",
        id,
        by,
        resolution
    )
    .execute(&mut *connection)
    .await?;
    let row = query_as!(
        StoredUnapplied,
        "SELECT command_id, order_id, account_id, problem, method, reference, recorded_at, resolved_at, resolved_by, resolution
         FROM unapplied_payments WHERE command_id = $1",
        id
    );
    Ok(row.fetch_optional(connection).await?)
}
