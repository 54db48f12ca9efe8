//! What is reserved now, and which of it is due.

use sqlx::{PgConnection, query, query_as, query_scalar};
use uuid::Uuid;

use super::Result;
use super::partitions::Moment;
use super::stock::expect_rows;
use crate::domain::{Hold, Order, Timestamp};

/// Writes what orders have reserved.
///
/// # Errors
/// Where the database is away.
pub(super) async fn insert(connection: &mut PgConnection, held: &[(&Order, Hold)]) -> Result<()> {
    let (mut orders, mut lines, mut allocations) = (Vec::new(), Vec::<i16>::new(), Vec::<i16>::new());
    let (mut variants, mut warehouses, mut quantities, mut due) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (order, hold) in held {
        for (line, item) in (0..).zip(order.items()) {
            for (n, allocation) in (0..).zip(&item.allocations) {
                orders.push(order.id);
                lines.push(line);
                allocations.push(n);
                variants.push(item.stock_of(allocation));
                warehouses.push(allocation.warehouse_id);
                quantities.push(allocation.quantity);
                due.push(hold.due_at);
            }
        }
    }
    let written = query!(
        "INSERT INTO reservations (order_id, line, allocation, variant_id, warehouse_id, quantity, due_at)
         SELECT * FROM UNNEST($1::uuid[], $2::smallint[], $3::smallint[], $4::uuid[], $5::uuid[], $6::integer[],
                              $7::timestamptz[])",
        &orders,
        &lines,
        &allocations,
        &variants,
        &warehouses,
        &quantities,
        &due
    )
    .execute(connection)
    .await?;
    expect_rows("reservations", orders.len(), written.rows_affected())
}

/// Deletes what orders have reserved.
///
/// # Errors
/// Where the database is away.
pub(super) async fn delete(connection: &mut PgConnection, orders: &[Uuid]) -> Result<()> {
    query!("DELETE FROM reservations WHERE order_id = ANY($1)", orders).execute(connection).await?;
    Ok(())
}

/// A piece of stock that is held though its time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DuePiece {
    pub order: Uuid,
    pub variant: Uuid,
    pub quantity: i64,
}

/// Which holds are looked at, of those whose time is over.
#[derive(Debug, Clone, Copy)]
pub struct Window<'a> {
    /// Those due at this moment or before.
    pub now: Timestamp,
    /// None was due before this moment, see [`next_due`].
    pub from: Option<Timestamp>,
    /// Except those of these orders.
    pub except: &'a [Uuid],
    /// So many at the most, the longest due first.
    pub limit: i64,
}

/// The orders of some partitions, of `partitions` in all, whose time is over. An order's partition is the one that its id names,
/// see [`crate::partition::partition_of_order`].
///
/// # Errors
/// Where the database is away.
pub async fn due(
    connection: &mut PgConnection,
    held: &[u16],
    partitions: u16,
    window: Window<'_>,
) -> Result<Vec<Uuid>> {
    let held: Vec<i32> = held.iter().map(|partition| i32::from(*partition)).collect();
    let due = query_scalar!(
        "SELECT order_id FROM reservations
         WHERE due_at <= $1 AND due_at >= COALESCE($2::timestamptz, '-infinity') AND line = 0 AND allocation = 0
           AND get_byte(uuid_send(order_id), 7) % $3 = ANY($4) AND order_id <> ALL($5) ORDER BY due_at LIMIT $6",
        window.now,
        window.from,
        i32::from(partitions.max(1)),
        &held,
        window.except,
        window.limit
    );
    Ok(due.fetch_all(connection).await?)
}

/// Pieces of variants that orders, of whatever partition, hold though their time is over: of each variant as many as are
/// needed at the most, or one hold more.
///
/// # Errors
/// Where the database is away.
pub async fn due_of(
    connection: &mut PgConnection,
    needed: &[(Uuid, i64)],
    window: Window<'_>,
) -> Result<Vec<DuePiece>> {
    let (variants, pieces): (Vec<Uuid>, Vec<i64>) = needed.iter().copied().unzip();
    let due = query_as!(
        DuePiece,
        r#"SELECT due.order_id AS "order!", needed.variant_id AS "variant!", due.quantity::bigint AS "quantity!"
           FROM UNNEST($1::uuid[], $2::bigint[]) AS needed (variant_id, pieces)
                CROSS JOIN LATERAL (
                  SELECT r.order_id, r.quantity FROM reservations r
                  WHERE r.variant_id = needed.variant_id AND r.due_at <= $3
                    AND r.due_at >= COALESCE($4::timestamptz, '-infinity') AND r.order_id <> ALL($5)
                    -- What is let go of in a closed warehouse helps nobody.
                    AND r.warehouse_id NOT IN (SELECT id FROM warehouses WHERE closed_at IS NOT NULL AND NOT is_backorders)
                  -- Each row is a piece at least.
                  ORDER BY r.due_at LIMIT LEAST(needed.pieces, $6)) due
           LIMIT $6"#,
        &variants,
        &pieces,
        window.now,
        window.from,
        window.except,
        window.limit
    );
    Ok(due.fetch_all(connection).await?)
}

/// The business's time, and when the next reservation is due or was. None was due before `from`: the index need not be read from
/// its beginning, where entries of reservations that are long gone may lie.
///
/// # Errors
/// Where the database is away.
pub async fn next_due(connection: &mut PgConnection, from: Option<Timestamp>) -> Result<Moment> {
    let moment = query_as!(
        Moment,
        r#"SELECT business_time() AS "now!", (SELECT max(version) FROM terms) AS "terms!",
                  EXISTS (SELECT FROM product_limits) AS "limits!", EXISTS (SELECT FROM bundle_components) AS "bundles!",
                  (SELECT min(due_at) FROM reservations
                   WHERE line = 0 AND allocation = 0 AND due_at >= COALESCE($1::timestamptz, '-infinity')) AS due"#,
        from
    );
    Ok(moment.fetch_one(connection).await?)
}
