//! What is sold and not there yet: the rules for it, and the orders that wait, oldest first.

use std::collections::BTreeMap;

use sqlx::{PgConnection, query, query_as};
use uuid::Uuid;

use super::stock::expect_rows;
use super::{Error, Result};
use crate::domain::{BACKORDERS, Day, Order, StockView};

/// Adds places for the backorders of variants that have none, without a rule. To be called before their stock is saved.
///
/// # Errors
/// Where the database is away.
pub async fn open(connection: &mut PgConnection, variants: &[Uuid]) -> Result<()> {
    query!(
        "INSERT INTO stock (variant_id, warehouse_id, backorder_cap, backorder_open)
         SELECT variant_id, $2, 0, false FROM UNNEST($1::uuid[]) AS variant_id ORDER BY 1 ON CONFLICT DO NOTHING",
        variants,
        BACKORDERS
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes the rules of these variants, as they now are. Their stock rows are locked, or are their own.
///
/// # Errors
/// Where the database is away or one of them is not there.
pub async fn save(connection: &mut PgConnection, stock: &StockView, variants: &[Uuid]) -> Result<()> {
    let (mut ids, mut caps, mut open, mut expected) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for variant in variants {
        if let Some(backorders) = stock.variant(*variant).and_then(|view| view.backorders.as_ref()) {
            ids.push(*variant);
            caps.push(backorders.cap);
            open.push(backorders.level.site.open);
            expected.push(backorders.expected_on);
        }
    }
    let saved = query!(
        "UPDATE stock s SET backorder_cap = u.cap, backorder_open = u.open, expected_on = u.expected_on
         FROM UNNEST($2::uuid[], $3::bigint[], $4::boolean[], $5::date[]) AS u (variant_id, cap, open, expected_on)
         WHERE s.variant_id = u.variant_id AND s.warehouse_id = $1",
        BACKORDERS,
        &ids,
        &caps,
        &open,
        &expected as &[Option<Day>]
    );
    let saved = saved.execute(connection).await?;
    expect_rows("stock", ids.len(), saved.rows_affected())
}

/// Writes what of new orders is not there yet.
///
/// # Errors
/// Where the database is away.
pub(super) async fn insert(connection: &mut PgConnection, orders: &[&Order]) -> Result<()> {
    let (mut ids, mut variants, mut quantities, mut places) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for order in orders {
        for (variant, quantity) in order.backordered() {
            ids.push(order.id);
            variants.push(variant);
            quantities.push(quantity);
            places.push(order.place_in_queue(variant).ok_or(Error::Corrupt("a promise without a version"))?);
        }
    }
    let written = query!(
        "INSERT INTO backorders (order_id, variant_id, quantity, place)
         SELECT * FROM UNNEST($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[])",
        &ids,
        &variants,
        &quantities,
        &places
    );
    let written = written.execute(connection).await?;
    expect_rows("backorders", ids.len(), written.rows_affected())
}

/// Deletes what orders no longer wait for, now that they have changed: it was served, or they were cancelled.
///
/// # Errors
/// Where the database is away.
pub(super) async fn settle(connection: &mut PgConnection, orders: &[&Order]) -> Result<()> {
    let ids: Vec<Uuid> = orders.iter().map(|order| order.id).collect();
    let open = orders.iter().flat_map(|order| order.backordered().into_keys().map(|variant| (order.id, variant)));
    let (of, variants): (Vec<Uuid>, Vec<Uuid>) = open.unzip();
    query!(
        "DELETE FROM backorders b WHERE b.order_id = ANY($1) AND NOT EXISTS (
           SELECT FROM UNNEST($2::uuid[], $3::uuid[]) AS u (order_id, variant_id)
           WHERE u.order_id = b.order_id AND u.variant_id = b.variant_id)",
        &ids,
        &of,
        &variants
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Orders of some partitions, of `partitions` in all, that there is stock for, the oldest first, each with what of it can be served:
/// so much of a variant is there as it and all that are older wait for. Looked up without a lock.
///
/// # Errors
/// Where the database is away.
pub async fn to_serve(
    connection: &mut PgConnection,
    held: &[u16],
    partitions: u16,
    limit: i64,
) -> Result<Vec<(Uuid, Vec<Uuid>)>> {
    let held: Vec<i32> = held.iter().map(|partition| i32::from(*partition)).collect();
    let rows = query_as!(
        Row,
        r#"WITH RECURSIVE waiting AS (
             -- Each variant once, however many wait for it.
             (SELECT variant_id FROM backorders ORDER BY variant_id LIMIT 1)
             UNION ALL
             SELECT (SELECT b.variant_id FROM backorders b WHERE b.variant_id > w.variant_id ORDER BY b.variant_id LIMIT 1)
             FROM waiting w WHERE w.variant_id IS NOT NULL),
           stocked AS (
             SELECT s.variant_id, sum(s.on_hand - s.reserved)::bigint AS available
             FROM waiting JOIN stock s USING (variant_id) JOIN warehouses w ON w.id = s.warehouse_id AND w.closed_at IS NULL
             GROUP BY 1 HAVING sum(s.on_hand - s.reserved) > 0)
           SELECT o.id AS "order!", q.variant_id AS "variant!"
           FROM stocked s CROSS JOIN LATERAL (
                  SELECT f.*, sum(f.quantity) OVER (ORDER BY f.place) AS through
                  FROM (SELECT * FROM backorders b WHERE b.variant_id = s.variant_id
                        -- Each row is a piece at least.
                        ORDER BY b.place LIMIT s.available) f) q
                JOIN orders o ON o.id = q.order_id
           WHERE q.through <= s.available AND o.status IN ('paid', 'processing')
             AND get_byte(uuid_send(o.id), 7) % $1 = ANY($2)
           ORDER BY q.place, o.id LIMIT $3"#,
        i32::from(partitions.max(1)),
        &held,
        limit
    );
    let mut orders = Vec::<(Uuid, Vec<Uuid>)>::new();
    let mut places = BTreeMap::<Uuid, usize>::new();
    for Row { order, variant } in rows.fetch_all(connection).await? {
        let place = *places.entry(order).or_insert_with(|| {
            orders.push((order, Vec::new()));
            orders.len() - 1
        });
        if let Some((_, variants)) = orders.get_mut(place) {
            variants.push(variant);
        }
    }
    Ok(orders)
}

struct Row {
    order: Uuid,
    variant: Uuid,
}
