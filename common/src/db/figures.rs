//! Figures for the business: what came of orders and reservations, in all and lately.

use sqlx::{PgConnection, query, query_as};

use super::Result;
use super::partitions::Counts;

/// Since figures are counted.
///
/// # Errors
/// Where the database is away.
pub async fn total(connection: &mut PgConnection) -> Result<Counts> {
    let counted = query_as!(
        Counts,
        r#"SELECT sum(confirmed)::bigint AS "confirmed!", sum(conflicts)::bigint AS "conflicts!",
                  sum(unfulfillable)::bigint AS "unfulfillable!", sum(reserved)::bigint AS "reserved!",
                  sum(converted)::bigint AS "converted!", sum(expired)::bigint AS "expired!",
                  sum(released)::bigint AS "released!", sum(unapplied)::bigint AS "unapplied!",
                  sum(payment_ms)::bigint AS "payment_ms!"
           FROM partitions"#
    );
    Ok(counted.fetch_one(connection).await?)
}

/// Within the last so many minutes, and the one that is not over.
///
/// # Errors
/// Where the database is away.
pub async fn lately(connection: &mut PgConnection, minutes: i32) -> Result<Counts> {
    // Each partition now, less what it was at the end of the last minute before. Where it has counted nothing since, that is what it is now:
    // it is among the figures once something is.
    let counted = query_as!(
        Counts,
        r#"SELECT COALESCE(sum(p.confirmed - COALESCE(f.confirmed, 0))::bigint, 0) AS "confirmed!",
                  COALESCE(sum(p.conflicts - COALESCE(f.conflicts, 0))::bigint, 0) AS "conflicts!",
                  COALESCE(sum(p.unfulfillable - COALESCE(f.unfulfillable, 0))::bigint, 0) AS "unfulfillable!",
                  COALESCE(sum(p.reserved - COALESCE(f.reserved, 0))::bigint, 0) AS "reserved!",
                  COALESCE(sum(p.converted - COALESCE(f.converted, 0))::bigint, 0) AS "converted!",
                  COALESCE(sum(p.expired - COALESCE(f.expired, 0))::bigint, 0) AS "expired!",
                  COALESCE(sum(p.released - COALESCE(f.released, 0))::bigint, 0) AS "released!",
                  COALESCE(sum(p.unapplied - COALESCE(f.unapplied, 0))::bigint, 0) AS "unapplied!",
                  COALESCE(sum(p.payment_ms - COALESCE(f.payment_ms, 0))::bigint, 0) AS "payment_ms!"
           FROM (SELECT date_trunc('minute', business_time()) - $1::int * interval '1 minute' AS since) t
                JOIN partitions p ON p.counted_in >= t.since
                LEFT JOIN LATERAL (
                  SELECT * FROM figures WHERE partition = p.partition AND minute < t.since ORDER BY minute DESC LIMIT 1) f ON true"#,
        minutes
    );
    Ok(counted.fetch_one(connection).await?)
}

/// How long it took from an order's decision to its payment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ToPayment {
    /// Payments looked at: the latest, at most [`PAYMENTS_MAX`].
    pub payments: i64,
    pub median_seconds: Option<f64>,
    pub p95_seconds: Option<f64>,
    pub mean_seconds: Option<f64>,
}

/// Most payments that [`to_payment`] looks at.
pub const PAYMENTS_MAX: i64 = 100_000;

/// From decision to payment, of what was paid or confirmed within the last so many minutes.
///
/// # Errors
/// Where the database is away.
pub async fn to_payment(connection: &mut PgConnection, minutes: i32) -> Result<ToPayment> {
    let found = query_as!(
        ToPayment,
        r#"SELECT count(*) AS "payments!", avg(seconds) AS mean_seconds,
                  percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) AS median_seconds,
                  percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds) AS p95_seconds
           FROM (SELECT EXTRACT(EPOCH FROM paid_at - decided_at)::float8 AS seconds FROM orders
                 WHERE paid_at > (SELECT business_time()) - $1::int * interval '1 minute' ORDER BY paid_at DESC LIMIT $2) latest"#,
        minutes,
        PAYMENTS_MAX
    );
    Ok(found.fetch_one(connection).await?)
}

/// What is reserved now, and payments that wait for an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    pub reservations: i64,
    /// Of them, those whose time is over and that were not released yet.
    pub due: i64,
    pub unapplied_payments: i64,
}

/// Counts what is open.
///
/// # Errors
/// Where the database is away.
pub async fn open(connection: &mut PgConnection) -> Result<Open> {
    let row = query!(
        r#"SELECT (SELECT sum(reserved - converted - expired - released)::bigint FROM partitions) AS "reservations!",
                  (SELECT count(*) FROM reservations WHERE line = 0 AND allocation = 0
                     AND due_at <= (SELECT business_time())) AS "due!",
                  (SELECT count(*) FROM unapplied_payments WHERE resolved_at IS NULL) AS "unapplied!""#
    );
    let row = row.fetch_one(connection).await?;
    Ok(Open { reservations: row.reservations, due: row.due, unapplied_payments: row.unapplied })
}
