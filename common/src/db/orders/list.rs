//! Pages of orders: by account, status and customer, the newest first.

use sqlx::{PgConnection, query};
use uuid::Uuid;

use super::find;
use crate::db::{Error, Result};
use crate::domain::{Order, Timestamp};

/// Which orders. What is not set is anything.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub account: Option<Uuid>,
    /// As in [`crate::domain::State::name`].
    pub status: Option<String>,
    pub customer: Option<String>,
    /// Decided at this moment or later.
    pub from: Option<Timestamp>,
    /// Decided before this moment.
    pub until: Option<Timestamp>,
    /// Reservations instead of orders: active, confirmed and ended ones.
    pub reservations: bool,
}

/// Where a page begins: behind this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub decided_at: Timestamp,
    pub id: Uuid,
}

/// Up to `limit` orders behind `after`, the newest first. An order that changes its state meanwhile may be missed by a list of
/// one status; one of all statuses has every order once.
///
/// # Errors
/// Where the database is away.
pub async fn list(
    connection: &mut PgConnection,
    filter: &Filter,
    after: Option<Place>,
    limit: i64,
) -> Result<Vec<Order>> {
    let ids = match &filter.customer {
        Some(customer) => of_customer(connection, filter, customer, after, limit).await?,
        None if filter.reservations => reservations(connection, filter, after, limit).await?,
        None => of_accounts(connection, filter, after, limit).await?,
    };
    let mut found: std::collections::HashMap<Uuid, Order> =
        find(connection, &ids).await?.into_iter().map(|stored| (stored.order.id, stored.order)).collect();
    ids.iter().map(|id| found.remove(id).ok_or(Error::Corrupt("an order is gone"))).collect()
}

/// The newest of each account and status by the index that has them in order, merged.
async fn of_accounts(
    connection: &mut PgConnection,
    filter: &Filter,
    after: Option<Place>,
    limit: i64,
) -> Result<Vec<Uuid>> {
    let rows = query!(
        r#"SELECT o.id AS "id!"
           FROM accounts a
                CROSS JOIN UNNEST(ARRAY['rejected', 'pending', 'paid', 'processing', 'shipped', 'delivered', 'cancelled']) AS s (status)
                CROSS JOIN LATERAL (
                  SELECT id, decided_at FROM orders
                  WHERE account_id = a.id AND status = s.status
                    AND (decided_at, id) < (COALESCE($3::timestamptz, 'infinity'), $4)
                    AND decided_at >= COALESCE($5::timestamptz, '-infinity') AND decided_at < COALESCE($6::timestamptz, 'infinity')
                    AND (hold IS DISTINCT FROM 'reservation' OR paid_at IS NOT NULL)
                  ORDER BY decided_at DESC, id DESC LIMIT $7::bigint) o
           WHERE ($1::uuid IS NULL OR a.id = $1) AND ($2::text IS NULL OR s.status = $2)
           ORDER BY o.decided_at DESC, o.id DESC LIMIT $7"#,
        filter.account,
        filter.status,
        after.map(|place| place.decided_at),
        after.map_or(Uuid::max(), |place| place.id),
        filter.from,
        filter.until,
        limit
    );
    Ok(rows.fetch_all(connection).await?.into_iter().map(|row| row.id).collect())
}

/// The newest of each account, merged.
async fn reservations(
    connection: &mut PgConnection,
    filter: &Filter,
    after: Option<Place>,
    limit: i64,
) -> Result<Vec<Uuid>> {
    let rows = query!(
        r#"SELECT o.id AS "id!"
           FROM accounts a CROSS JOIN LATERAL (
                  SELECT id, decided_at FROM orders
                  WHERE account_id = a.id AND hold = 'reservation'
                    AND (decided_at, id) < (COALESCE($2::timestamptz, 'infinity'), $3)
                    AND decided_at >= COALESCE($4::timestamptz, '-infinity') AND decided_at < COALESCE($5::timestamptz, 'infinity')
                  ORDER BY decided_at DESC, id DESC LIMIT $6::bigint) o
           WHERE ($1::uuid IS NULL OR a.id = $1)
           ORDER BY o.decided_at DESC, o.id DESC LIMIT $6"#,
        filter.account,
        after.map(|place| place.decided_at),
        after.map_or(Uuid::max(), |place| place.id),
        filter.from,
        filter.until,
        limit
    );
    Ok(rows.fetch_all(connection).await?.into_iter().map(|row| row.id).collect())
}

async fn of_customer(
    connection: &mut PgConnection,
    filter: &Filter,
    customer: &str,
    after: Option<Place>,
    limit: i64,
) -> Result<Vec<Uuid>> {
    let rows = query!(
        "SELECT id FROM orders
         WHERE customer_id = $9 AND ($1::uuid IS NULL OR account_id = $1) AND ($2::text IS NULL OR status = $2)
           AND (decided_at, id) < (COALESCE($3::timestamptz, 'infinity'), $4)
           AND decided_at >= COALESCE($5::timestamptz, '-infinity') AND decided_at < COALESCE($6::timestamptz, 'infinity')
           AND CASE WHEN $8::boolean THEN hold = 'reservation'
                    ELSE hold IS DISTINCT FROM 'reservation' OR paid_at IS NOT NULL END
         ORDER BY decided_at DESC, id DESC LIMIT $7",
        filter.account,
        filter.status,
        after.map(|place| place.decided_at),
        after.map_or(Uuid::max(), |place| place.id),
        filter.from,
        filter.until,
        limit,
        filter.reservations,
        customer
    );
    Ok(rows.fetch_all(connection).await?.into_iter().map(|row| row.id).collect())
}
