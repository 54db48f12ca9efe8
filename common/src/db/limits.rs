//! How much of a product one customer may have.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{PgConnection, query};
use uuid::Uuid;

use super::Result;
use crate::domain::{Limit, Limits, Timestamp};

/// Locks the limits of these products, sorted so that no two batches deadlock, and then counts what these customers have. Whoever
/// orders a limited product, from whatever partition, holds this lock: so each sees what the one before has sold. To be called
/// before stock is locked.
///
/// # Errors
/// Where the database is away or a lock is not to be had in time.
pub async fn lock(
    connection: &mut PgConnection,
    products: &BTreeSet<Uuid>,
    asked: &BTreeSet<(String, Uuid)>,
    now: Timestamp,
) -> Result<Limits> {
    let products: Vec<Uuid> = products.iter().copied().collect();
    let rows = query!(
        "SELECT product_id, quantity, window_seconds FROM product_limits WHERE product_id = ANY($1)
         ORDER BY product_id FOR UPDATE",
        &products
    );
    let rows = rows.fetch_all(&mut *connection).await?.into_iter();
    let limit = |quantity, window_seconds| Limit { quantity, window_seconds };
    let of: BTreeMap<Uuid, Limit> = rows.map(|row| (row.product_id, limit(row.quantity, row.window_seconds))).collect();
    let limited = asked.iter().filter_map(|(customer, product)| Some((customer.clone(), *product, of.get(product)?)));
    let (mut customers, mut of_products, mut since) = (Vec::new(), Vec::new(), Vec::new());
    for (customer, product, limit) in limited {
        customers.push(customer);
        of_products.push(product);
        since.push(limit.since(now));
    }
    if customers.is_empty() {
        return Ok(Limits { of, bought: BTreeMap::new() });
    }
    // A statement of its own, that sees what was committed while the first one waited.
    let rows = query!(
        r#"SELECT u.customer AS "customer!", u.product AS "product!", sum(COALESCE(i.sold, i.quantity))::bigint AS "bought!"
           FROM UNNEST($1::text[], $2::uuid[], $3::timestamptz[]) AS u (customer, product, since)
                JOIN orders o ON o.customer_id = u.customer AND o.decided_at > COALESCE(u.since, '-infinity')
                  AND o.status NOT IN ('rejected', 'cancelled')
                  -- A hold that is due is no hold.
                  AND NOT (o.status = 'pending' AND o.due_at <= $4)
                JOIN order_items i ON i.order_id = o.id AND i.product_id = u.product
           GROUP BY 1, 2"#,
        &customers,
        &of_products,
        &since as &[Option<Timestamp>],
        now
    );
    let rows = rows.fetch_all(connection).await?.into_iter();
    let bought = rows.map(|row| ((row.customer, row.product), row.bought)).collect();
    Ok(Limits { of, bought })
}

/// Limits a product for each customer, or no longer.
///
/// # Errors
/// Where the database is away.
pub async fn set(connection: &mut PgConnection, product: Uuid, limit: Option<Limit>) -> Result<()> {
    match limit {
        None => query!("DELETE FROM product_limits WHERE product_id = $1", product).execute(connection).await?,
        Some(Limit { quantity, window_seconds }) => {
            query!(
                "INSERT INTO product_limits (product_id, quantity, window_seconds) VALUES ($1, $2, $3)
                 ON CONFLICT (product_id) DO UPDATE SET quantity = EXCLUDED.quantity, window_seconds = EXCLUDED.window_seconds",
                product,
                quantity,
                window_seconds
            )
            .execute(connection)
            .await?
        }
    };
    Ok(())
}
