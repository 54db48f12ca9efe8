//! What is reserved now, and which of it is due.

use sqlx::{PgConnection, query, query_scalar};
use uuid::Uuid;

use super::Result;
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
                variants.push(item.variant_id);
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

/// The orders of some partitions, of `partitions` in all, whose time is over at `now`, except a few: the longest due first,
/// `limit` at the most. An order's partition is the one that its id names, see [`crate::partition::partition_of_order`].
///
/// # Errors
/// Where the database is away.
pub async fn due(
    connection: &mut PgConnection,
    held: &[u16],
    partitions: u16,
    now: Timestamp,
    except: &[Uuid],
    limit: i64,
) -> Result<Vec<Uuid>> {
    let held: Vec<i32> = held.iter().map(|partition| i32::from(*partition)).collect();
    let due = query_scalar!(
        "SELECT order_id FROM reservations
         WHERE due_at <= $1 AND line = 0 AND allocation = 0 AND get_byte(uuid_send(order_id), 7) % $2 = ANY($3)
           AND order_id <> ALL($4) ORDER BY due_at LIMIT $5",
        now,
        i32::from(partitions.max(1)),
        &held,
        except,
        limit
    );
    Ok(due.fetch_all(connection).await?)
}

/// The orders, of whatever partition, that hold pieces of these variants though their time is over at `now`, except a few: per variant, the
/// longest due first, as many as are needed to set free as many pieces as are asked for, since each holds at least one.
/// `limit` at the most.
///
/// # Errors
/// Where the database is away.
pub async fn due_of(
    connection: &mut PgConnection,
    asked: &[(Uuid, i64)],
    now: Timestamp,
    except: &[Uuid],
    limit: i64,
) -> Result<Vec<Uuid>> {
    let (variants, pieces): (Vec<Uuid>, Vec<i64>) = asked.iter().copied().unzip();
    let due = query_scalar!(
        r#"SELECT DISTINCT due.order_id AS "order_id!"
           FROM UNNEST($1::uuid[], $2::bigint[]) AS asked (variant_id, pieces)
                CROSS JOIN LATERAL (
                  SELECT r.order_id FROM reservations r WHERE r.variant_id = asked.variant_id AND r.due_at <= $3
                    AND r.order_id <> ALL($4)
                  ORDER BY r.due_at LIMIT LEAST(asked.pieces, $5)) due
           LIMIT $5"#,
        &variants,
        &pieces,
        now,
        except,
        limit
    );
    Ok(due.fetch_all(connection).await?)
}

/// The business's time, and when the next reservation is due, if there is one.
///
/// # Errors
/// Where the database is away.
pub async fn next_due(connection: &mut PgConnection) -> Result<(Timestamp, Option<Timestamp>)> {
    let row = query!(
        r#"SELECT business_time() AS "now!",
                  (SELECT min(due_at) FROM reservations WHERE line = 0 AND allocation = 0) AS due"#
    );
    let row = row.fetch_one(connection).await?;
    Ok((row.now, row.due))
}
