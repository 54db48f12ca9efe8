//! The ledger: what has changed stock, and why.

use sqlx::{PgConnection, query, query_as};
use uuid::Uuid;

use super::Result;
use super::stock::expect_rows;
use crate::domain::{Movement, Timestamp};

/// A movement with the command that caused it.
#[derive(Debug, Clone)]
pub struct Caused {
    pub movement: Movement,
    pub command: Uuid,
    pub reason: Option<String>,
}

/// Writes what a batch has moved, other than what its orders sold or reserved.
///
/// # Errors
/// Where the database is away.
pub async fn insert(connection: &mut PgConnection, moved: &[Caused], now: Timestamp) -> Result<()> {
    let of = |field: fn(&Movement) -> Uuid| moved.iter().map(|caused| field(&caused.movement)).collect::<Vec<Uuid>>();
    let number = |field: fn(&Movement) -> i64| moved.iter().map(|caused| field(&caused.movement)).collect::<Vec<i64>>();
    let causes: Vec<String> = moved.iter().map(|caused| caused.movement.cause.as_str().to_owned()).collect();
    let commands: Vec<Uuid> = moved.iter().map(|caused| caused.command).collect();
    let orders: Vec<Option<Uuid>> = moved.iter().map(|caused| caused.movement.order).collect();
    let reasons: Vec<Option<String>> = moved.iter().map(|caused| caused.reason.clone()).collect();
    let written = query!(
        "INSERT INTO stock_movements (variant_id, warehouse_id, stock_version, cause, quantity, reserved, command_id, order_id,
                                      reason, moved_at)
         SELECT u.*, $10::timestamptz
         FROM UNNEST($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::bigint[], $6::bigint[], $7::uuid[], $8::uuid[],
                     $9::text[]) AS u",
        &of(|movement| movement.variant),
        &of(|movement| movement.warehouse),
        &number(|movement| movement.version),
        &causes,
        &number(|movement| movement.on_hand),
        &number(|movement| movement.reserved),
        &commands,
        &orders as &[Option<Uuid>],
        &reasons as &[Option<String>],
        now
    )
    .execute(connection)
    .await?;
    expect_rows("stock_movements", moved.len(), written.rows_affected())
}

/// A line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMovement {
    pub variant_id: Uuid,
    pub warehouse_id: Uuid,
    pub version: i64,
    pub cause: String,
    pub on_hand: i64,
    pub reserved: i64,
    /// The order's id, or that of the command that caused it.
    pub command_id: Uuid,
    pub order_id: Option<Uuid>,
    pub reason: Option<String>,
    pub moved_at: Timestamp,
}

/// The ledger of a variant (of that product, where one is named), of one warehouse where one is named: by warehouse, then the newest first; `limit` lines at the most,
/// behind `after` (a warehouse and a version).
///
/// # Errors
/// Where the database is away.
pub async fn list(
    connection: &mut PgConnection,
    variant: Uuid,
    product: Option<Uuid>,
    warehouse: Option<Uuid>,
    after: Option<(Uuid, i64)>,
    limit: i64,
) -> Result<Vec<StoredMovement>> {
    let (after_warehouse, after_version) = after.unzip();
    let rows = query_as!(
        StoredMovement,
        r#"SELECT m.variant_id AS "variant_id!", m.warehouse_id AS "warehouse_id!", m.stock_version AS "version!",
                  m.cause AS "cause!", m.quantity AS "on_hand!", m.reserved AS "reserved!", m.command_id AS "command_id!",
                  m.order_id, m.reason, m.moved_at AS "moved_at!"
           FROM stock s CROSS JOIN LATERAL (
                  (SELECT variant_id, warehouse_id, stock_version, cause, quantity, reserved, command_id, order_id, reason, moved_at
                   FROM stock_movements WHERE variant_id = s.variant_id AND warehouse_id = s.warehouse_id
                     AND stock_version < CASE WHEN s.warehouse_id = $3 THEN $4 ELSE 9223372036854775807 END ORDER BY stock_version DESC LIMIT $5::bigint)
                  UNION ALL
                  (SELECT i.variant_id, i.warehouse_id, i.stock_version,
                          CASE WHEN o.hold IS NULL THEN 'sold' ELSE 'reserved' END,
                          CASE WHEN o.hold IS NULL THEN -i.quantity::bigint ELSE 0 END,
                          CASE WHEN o.hold IS NULL THEN 0 ELSE i.quantity::bigint END, i.order_id, i.order_id, NULL, o.decided_at
                   FROM (SELECT * FROM order_items WHERE variant_id = s.variant_id AND warehouse_id = s.warehouse_id
                           AND stock_version < CASE WHEN s.warehouse_id = $3 THEN $4 ELSE 9223372036854775807 END
                         ORDER BY stock_version DESC LIMIT $5::bigint) i JOIN orders o ON o.id = i.order_id)
                  ) m
           WHERE s.variant_id = $1 AND s.backorder_cap IS NULL
             AND ($6::uuid IS NULL OR EXISTS (SELECT FROM variants v WHERE v.id = s.variant_id AND v.product_id = $6)) AND ($2::uuid IS NULL OR s.warehouse_id = $2)
             AND ($3::uuid IS NULL OR s.warehouse_id >= $3)
           ORDER BY m.warehouse_id, m.stock_version DESC LIMIT $5"#,
        variant,
        warehouse,
        after_warehouse,
        after_version,
        limit,
        product
    );
    Ok(rows.fetch_all(connection).await?)
}
