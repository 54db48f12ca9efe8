//! The numbered invariants against the database, each with the rows that break it. What is found here is a defect.
//!
//! What the rows alone do not show is checked elsewhere: that the log leads to the same decisions when they are made again
//! (I-10) by a replay, what clients were told (I-6) and subscribers (I-7) by those who asked.

use sqlx::{PgConnection, query};

use super::Result;

/// A check with what it found.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    pub invariant: &'static str,
    /// What must not be.
    pub breach: &'static str,
    /// Rows that break it: 0 where it holds.
    pub rows: i64,
    /// The first of them.
    pub examples: Vec<String>,
}

/// Most rows that a check shows.
const EXAMPLES_MAX: i64 = 20;

macro_rules! check {
    ($findings:ident, $connection:ident, $invariant:literal, $breach:literal, $sql:tt) => {
        let rows = query!($sql, EXAMPLES_MAX).fetch_all(&mut *$connection).await?;
        $findings.push(Finding {
            invariant: $invariant,
            breach: $breach,
            rows: rows.first().map_or(0, |row| row.rows),
            examples: rows.into_iter().map(|row| row.example).collect(),
        });
    };
}

/// Runs every check. To be called in one snapshot (see [`super::begin_snapshot`]) where orders are being decided. It reads
/// everything that is stored.
///
/// # Errors
/// Where the database is away.
pub async fn verify(connection: &mut PgConnection) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    stock(connection, &mut findings).await?;
    reservations(connection, &mut findings).await?;
    lives(connection, &mut findings).await?;
    pieces(connection, &mut findings).await?;
    backorders(connection, &mut findings).await?;
    orders(connection, &mut findings).await?;
    refusals(connection, &mut findings).await?;
    told(connection, &mut findings).await?;
    Ok(findings)
}

async fn stock(connection: &mut PgConnection, findings: &mut Vec<Finding>) -> Result<()> {
    check!(
        findings,
        connection,
        "I-1",
        "a stock row is oversold",
        r#"SELECT format('variant %s in warehouse %s: on hand %s, reserved %s', variant_id, warehouse_id, on_hand, reserved)
                  AS "example!", count(*) OVER () AS "rows!"
           FROM stock WHERE reserved < 0 OR reserved > on_hand ORDER BY 1 LIMIT $1"#
    );
    check!(
        findings,
        connection,
        "I-2",
        "a stock row differs from what was received and restored, less what was sold",
        r#"SELECT format('variant %s in warehouse %s: on hand %s, in the ledger %s', variant_id, warehouse_id,
                         COALESCE(s.on_hand::text, 'nothing'), COALESCE(m.quantity, 0)) AS "example!",
                  count(*) OVER () AS "rows!"
           FROM stock s FULL JOIN (SELECT variant_id, warehouse_id, sum(quantity) AS quantity FROM ledger GROUP BY 1, 2) m
                USING (variant_id, warehouse_id)
           WHERE COALESCE(s.on_hand, 0) <> COALESCE(m.quantity, 0) ORDER BY 1 LIMIT $1"#
    );
    check!(
        findings,
        connection,
        "I-2",
        "a stock row has a version that the ledger does not explain",
        r#"SELECT format('variant %s in warehouse %s: version %s, %s changes in the ledger, the last one %s', variant_id,
                         warehouse_id, s.version, COALESCE(m.changes, 0), COALESCE(m.last, 0)) AS "example!",
                  count(*) OVER () AS "rows!"
           FROM stock s LEFT JOIN (SELECT variant_id, warehouse_id, count(*) AS changes,
                                          max(stock_version) AS last FROM ledger GROUP BY 1, 2) m
                USING (variant_id, warehouse_id)
           WHERE s.version <> COALESCE(m.changes, 0) OR s.version <> COALESCE(m.last, 0) ORDER BY 1 LIMIT $1"#
    );
    Ok(())
}

async fn reservations(connection: &mut PgConnection, findings: &mut Vec<Finding>) -> Result<()> {
    check!(
        findings,
        connection,
        "I-3",
        "a stock row reserves more or less than its active reservations, or than the ledger says",
        r#"SELECT format('variant %s in warehouse %s: reserved %s, by reservations %s, in the ledger %s', variant_id, warehouse_id,
                         COALESCE(s.reserved::text, 'nothing'), COALESCE(r.quantity, 0), COALESCE(m.quantity, 0)) AS "example!",
                  count(*) OVER () AS "rows!"
           FROM stock s
                FULL JOIN (SELECT variant_id, warehouse_id, sum(quantity) AS quantity FROM reservations GROUP BY 1, 2) r
                USING (variant_id, warehouse_id)
                FULL JOIN (SELECT variant_id, warehouse_id, sum(reserved) AS quantity FROM ledger GROUP BY 1, 2) m
                USING (variant_id, warehouse_id)
           WHERE COALESCE(s.reserved, 0) <> COALESCE(r.quantity, 0) OR COALESCE(s.reserved, 0) <> COALESCE(m.quantity, 0)
           ORDER BY 1 LIMIT $1"#
    );
    check!(
        findings,
        connection,
        "I-3",
        "an order that is pending does not reserve just its items, or one that is not reserves something",
        r#"SELECT format('order %s, which is %s: holds %s, reserves %s', COALESCE(h.order_id, r.order_id),
                         COALESCE(o.status, 'not there'), COALESCE(h.pieces, 0), COALESCE(r.pieces, 0)) AS "example!",
                  count(*) OVER () AS "rows!"
           FROM (SELECT i.order_id, i.line, i.allocation, i.variant_id, i.warehouse_id, i.quantity AS pieces, p.due_at
                 FROM order_items i JOIN orders p ON p.id = i.order_id WHERE p.status = 'pending') h
                FULL JOIN (SELECT order_id, line, allocation, variant_id, warehouse_id, quantity AS pieces, due_at FROM reservations) r
                USING (order_id, line, allocation, variant_id, warehouse_id, pieces, due_at)
                LEFT JOIN orders o ON o.id = order_id
           WHERE h.order_id IS NULL OR r.order_id IS NULL ORDER BY 1 LIMIT $1"#
    );
    Ok(())
}

async fn lives(connection: &mut PgConnection, findings: &mut Vec<Finding>) -> Result<()> {
    check!(
        findings,
        connection,
        "I-4",
        "what has become of an order is not what its history says",
        r#"SELECT format('order %s: %s at revision %s, in its history %s at %s of %s', o.id, o.status, o.revision,
                         COALESCE(last.status, 'nothing'), COALESCE(h.last, 0), COALESCE(h.n, 0)) AS "example!",
                  count(*) OVER () AS "rows!"
           FROM orders o
                FULL JOIN (SELECT order_id AS id, count(*) AS n, max(revision) AS last FROM order_status_history GROUP BY 1) h
                USING (id)
                LEFT JOIN order_status_history last ON last.order_id = h.id AND last.revision = h.last
           WHERE o.id IS NULL OR o.revision <> COALESCE(h.n, 0) OR o.revision <> COALESCE(h.last, 0)
              OR o.status <> COALESCE(last.status, CASE WHEN o.refusal IS NOT NULL THEN 'rejected'
                                                        WHEN o.hold IS NULL THEN 'paid' ELSE 'pending' END)
              OR o.pieces IS DISTINCT FROM last.pieces
           ORDER BY 1 LIMIT $1"#
    );
    check!(
        findings,
        connection,
        "I-5",
        "an order's state follows another that it can't follow",
        r#"WITH steps AS (
             SELECT h.order_id, h.revision, h.status, h.pieces,
                    lag(h.pieces) OVER (PARTITION BY h.order_id ORDER BY h.revision) AS pieces_before,
                    lag(h.status, 1, CASE WHEN o.refusal IS NOT NULL THEN 'rejected' WHEN o.hold IS NULL THEN 'paid'
                                          ELSE 'pending' END) OVER (PARTITION BY h.order_id ORDER BY h.revision) AS before
             FROM order_status_history h JOIN orders o ON o.id = h.order_id)
           SELECT format('order %s, revision %s: %s after %s', order_id, revision, status, before) AS "example!",
                  count(*) OVER () AS "rows!"
           FROM steps
           WHERE (before, status) NOT IN (('pending', 'paid'), ('pending', 'cancelled'), ('paid', 'processing'),
                                          ('paid', 'cancelled'), ('processing', 'shipped'), ('processing', 'cancelled'),
                                          ('shipped', 'delivered'))
             -- Something was served, or has come back.
             AND NOT (before = status AND status IN ('paid', 'processing', 'shipped', 'delivered') AND pieces IS DISTINCT FROM pieces_before)
           ORDER BY 1 LIMIT $1"#
    );
    Ok(())
}

async fn pieces(connection: &mut PgConnection, findings: &mut Vec<Finding>) -> Result<()> {
    check!(
        findings,
        connection,
        "I-4",
        "an order has taken or given back stock that its state does not say",
        r#"WITH held AS (
             SELECT o.id AS order_id, i.variant_id, i.warehouse_id,
                    CASE WHEN o.status IN ('pending', 'cancelled') THEN 0 ELSE -i.quantity::bigint END AS on_hand,
                    CASE WHEN o.status = 'pending' THEN i.quantity::bigint ELSE 0 END AS reserved
             FROM orders o JOIN order_items i ON i.order_id = o.id
             UNION ALL
             -- What has come back of it, and can be sold again.
             SELECT o.id, (back ->> 'variantId')::uuid, (back ->> 'warehouseId')::uuid, (back ->> 'quantity')::bigint, 0
             FROM orders o CROSS JOIN jsonb_path_query(o.pieces, '$.returned[*].restocked[*]') AS back
             UNION ALL
             -- What was promised and served is held from where it was served.
             SELECT o.id, (p ->> 'variantId')::uuid, place.id, CASE o.status WHEN 'cancelled' THEN 0 ELSE place.sign * (p ->> 'quantity')::bigint END, 0
             FROM orders o CROSS JOIN jsonb_path_query(o.pieces, '$.served[*].pieces[*]') AS p
                  CROSS JOIN LATERAL (SELECT (p ->> 'warehouseId')::uuid AS id, -1 AS sign
                                      UNION ALL SELECT id, 1 FROM warehouses WHERE is_backorders) place),
           holds AS (
             SELECT order_id, variant_id, warehouse_id, sum(on_hand) AS on_hand, sum(reserved) AS reserved
             FROM held GROUP BY 1, 2, 3),
           moved AS (
             SELECT order_id, variant_id, warehouse_id, sum(quantity) AS on_hand, sum(reserved) AS reserved
             FROM ledger WHERE order_id IS NOT NULL GROUP BY 1, 2, 3)
           SELECT format('order %s, variant %s in warehouse %s: %s sold and %s reserved, in the ledger %s and %s', order_id,
                         variant_id, warehouse_id, -h.on_hand, h.reserved, -m.on_hand, m.reserved) AS "example!",
                  count(*) OVER () AS "rows!"
           FROM holds h FULL JOIN moved m USING (order_id, variant_id, warehouse_id)
           WHERE h.on_hand IS DISTINCT FROM m.on_hand OR h.reserved IS DISTINCT FROM m.reserved ORDER BY 1 LIMIT $1"#
    );
    check!(
        findings,
        connection,
        "I-4",
        "more of an order has come back than was bought",
        r#"WITH bought AS (
             SELECT order_id, COALESCE(bundle_id, variant_id) AS variant_id, sum(COALESCE(sold, quantity)) AS quantity,
                    sum(quantity) AS pieces
             FROM order_items WHERE order_id IN (SELECT id FROM orders WHERE pieces IS NOT NULL) GROUP BY 1, 2),
           came AS (
             SELECT o.id AS order_id, (back ->> 'variantId')::uuid AS variant_id, sum((back ->> 'quantity')::bigint) AS quantity,
                    COALESCE(sum((back ->> 'quantity')::bigint) FILTER (WHERE back ? 'restocked'), 0) AS to_stock,
                    sum((SELECT COALESCE(sum((r ->> 'quantity')::bigint), 0) FROM jsonb_path_query(back, '$.restocked[*]') AS r))
                      AS restocked
             FROM orders o CROSS JOIN jsonb_path_query(o.pieces, '$.returned[*]') AS back GROUP BY 1, 2)
           SELECT format('order %s, variant %s: %s bought, %s came back, %s of them restocked', order_id, variant_id,
                         COALESCE(b.quantity, 0), c.quantity, c.restocked) AS "example!", count(*) OVER () AS "rows!"
           FROM came c LEFT JOIN bought b USING (order_id, variant_id)
           WHERE c.quantity > COALESCE(b.quantity, 0) OR c.restocked <> c.to_stock * b.pieces / b.quantity ORDER BY 1 LIMIT $1"#
    );
    Ok(())
}

async fn backorders(connection: &mut PgConnection, findings: &mut Vec<Finding>) -> Result<()> {
    check!(
        findings,
        connection,
        "I-3",
        "a variant's cap is not what may still be promised and what is sold and not served",
        r#"SELECT format('variant %s: cap %s, to be promised %s, sold and not served %s', v.id, COALESCE(s.backorder_cap, 0),
                         COALESCE(s.on_hand, 0), COALESCE(b.quantity, 0)) AS "example!", count(*) OVER () AS "rows!"
           FROM variants v
                LEFT JOIN stock s ON s.variant_id = v.id AND s.backorder_cap IS NOT NULL
                LEFT JOIN (SELECT variant_id, sum(quantity) AS quantity FROM backorders b JOIN orders o ON o.id = b.order_id
                           WHERE o.status <> 'pending' GROUP BY 1) b ON b.variant_id = v.id
           WHERE COALESCE(s.backorder_cap, 0) <> COALESCE(s.on_hand, 0) + COALESCE(b.quantity, 0) ORDER BY 1 LIMIT $1"#
    );
    check!(
        findings,
        connection,
        "I-4",
        "an order does not wait for just what it was promised and not served",
        r#"WITH promised AS (
             SELECT order_id, variant_id, sum(quantity) AS quantity, min(place) AS place FROM (
               SELECT i.order_id, i.variant_id, i.quantity::bigint, i.stock_version
               FROM order_items i JOIN warehouses w ON w.id = i.warehouse_id JOIN orders o ON o.id = i.order_id
               WHERE w.is_backorders AND o.status <> 'cancelled'
               UNION ALL
               SELECT o.id, (p ->> 'variantId')::uuid, -(p ->> 'quantity')::bigint, NULL
               FROM orders o CROSS JOIN jsonb_path_query(o.pieces, '$.served[*].pieces[*]') AS p
               WHERE o.status <> 'cancelled') pieces (order_id, variant_id, quantity, place)
             GROUP BY 1, 2 HAVING sum(quantity) <> 0)
           SELECT format('order %s, variant %s: promised %s, waits for %s', order_id, variant_id, COALESCE(p.quantity, 0),
                         COALESCE(b.quantity, 0)) AS "example!", count(*) OVER () AS "rows!"
           FROM promised p FULL JOIN backorders b USING (order_id, variant_id)
           WHERE p.quantity IS DISTINCT FROM b.quantity OR p.place IS DISTINCT FROM b.place ORDER BY 1 LIMIT $1"#
    );
    Ok(())
}

async fn orders(connection: &mut PgConnection, findings: &mut Vec<Finding>) -> Result<()> {
    check!(
        findings,
        connection,
        "I-4",
        "an order holds less or more than its total says",
        r#"SELECT format('order %s: total %s, of it tax %s and delivery %s, items of %s', o.id, COALESCE(o.total_amount::text, 'none'),
                         o.tax_amount, COALESCE(o.delivery ->> 'cost', '0'),
                         COALESCE(h.amount::text, 'none')) AS "example!", count(*) OVER () AS "rows!"
           FROM orders o LEFT JOIN (SELECT order_id, sum(COALESCE(sold, quantity) * unit_amount::numeric) AS amount FROM order_items
                                    GROUP BY 1) h ON h.order_id = o.id
           WHERE o.total_amount IS DISTINCT FROM h.amount + o.tax_amount + COALESCE((o.delivery ->> 'cost')::bigint, 0)
           ORDER BY 1 LIMIT $1"#
    );
    check!(
        findings,
        connection,
        "I-4",
        "an item belongs to no confirmed order",
        r#"SELECT format('line %s of order %s, which is %s', i.line, i.order_id, COALESCE(o.status, 'not there'))
                  AS "example!", count(*) OVER () AS "rows!"
           FROM order_items i LEFT JOIN orders o ON o.id = i.order_id
           WHERE o.id IS NULL OR o.status = 'rejected' ORDER BY 1 LIMIT $1"#
    );
    check!(
        findings,
        connection,
        "I-5",
        "an id is decided more than once",
        r#"SELECT format('command %s', id) AS "example!", count(*) OVER () AS "rows!"
           FROM (SELECT id FROM orders UNION ALL SELECT id FROM commands) ids GROUP BY id HAVING count(*) > 1
           ORDER BY 1 LIMIT $1"#
    );
    check!(
        findings,
        connection,
        "I-8",
        "a partition has a gap or a repeat in its decisions",
        r#"SELECT format('partition %s: at %s, %s decisions with %s numbers up to %s', partition, p.sequence,
                         COALESCE(l.n, 0), COALESCE(l.numbers, 0), COALESCE(l.last, 0)) AS "example!",
                  count(*) OVER () AS "rows!"
           FROM partitions p FULL JOIN
                (SELECT partition, count(*) AS n, count(DISTINCT sequence) AS numbers, max(sequence) AS last
                 FROM (SELECT partition, sequence FROM orders UNION ALL SELECT partition, sequence FROM commands) log
                 GROUP BY 1) l USING (partition)
           WHERE p.sequence IS NULL OR p.sequence <> COALESCE(l.n, 0) OR p.sequence <> COALESCE(l.numbers, 0)
              OR p.sequence <> COALESCE(l.last, 0)
           ORDER BY partition LIMIT $1"#
    );
    Ok(())
}

async fn told(connection: &mut PgConnection, findings: &mut Vec<Finding>) -> Result<()> {
    check!(
        findings,
        connection,
        "I-7",
        "a partition is said to be told further than it was decided",
        r#"SELECT format('partition %s: told to %s through %s of %s', partition, c.reader, c.sequence, p.sequence) AS "example!",
                  count(*) OVER () AS "rows!"
           FROM log_cursors c JOIN partitions p USING (partition) WHERE c.sequence > p.sequence
           ORDER BY 1 LIMIT $1"#
    );
    check!(
        findings,
        connection,
        "I-7",
        "a delivery is said to be delivered that no attempt has delivered",
        r#"SELECT format('delivery %s: %s attempts', d.id, d.attempts) AS "example!", count(*) OVER () AS "rows!"
           FROM webhook_deliveries d
           WHERE d.state = 'delivered'
             AND NOT EXISTS (SELECT FROM webhook_attempts a WHERE a.delivery_id = d.id AND a.status BETWEEN 200 AND 299)
           ORDER BY 1 LIMIT $1"#
    );
    Ok(())
}

async fn refusals(connection: &mut PgConnection, findings: &mut Vec<Finding>) -> Result<()> {
    check!(
        findings,
        connection,
        "I-9",
        "a refusal for lack of stock lists no line that was short",
        r#"SELECT format('order %s', id) AS "example!", count(*) OVER () AS "rows!"
           FROM orders WHERE refusal -> 'refusal' ->> 'reason' = 'insufficient-stock'
             AND (jsonb_array_length(refusal -> 'refusal' -> 'lines') = 0
                  OR refusal @? '$.refusal.lines[*] ? (@.seen.size() == 0 && @.onHand > 0)') ORDER BY 1 LIMIT $1"#
    );
    check!(
        findings,
        connection,
        "I-9",
        "a refused line differs from what the ledger says was there, or was not short",
        r#"WITH after AS (SELECT variant_id, warehouse_id, stock_version AS version,
                           sum(quantity) OVER (PARTITION BY variant_id, warehouse_id ORDER BY stock_version) AS on_hand,
                           sum(reserved) OVER (PARTITION BY variant_id, warehouse_id ORDER BY stock_version) AS reserved,
                           sum(quantity) FILTER (WHERE cause = 'capped')
                             OVER (PARTITION BY variant_id, warehouse_id ORDER BY stock_version) AS cap
                          FROM ledger),
           claims AS (SELECT o.id, line.n, min((line.it ->> 'requested')::bigint) AS requested,
                             min((line.it ->> 'onHand')::bigint) AS on_hand, min((line.it ->> 'reserved')::bigint) AS reserved,
                             COALESCE(min((line.it ->> 'promised')::bigint), 0) AS promised,
                             COALESCE(min((line.it ->> 'promisable')::bigint), 0) AS promisable,
                             COALESCE(sum(a.on_hand) FILTER (WHERE NOT w.is_backorders), 0) AS was,
                             COALESCE(sum(a.reserved) FILTER (WHERE NOT w.is_backorders), 0) AS was_reserved,
                             COALESCE(sum(a.on_hand - a.reserved) FILTER (WHERE w.is_backorders), 0) AS was_promisable,
                             COALESCE(sum(a.cap) FILTER (WHERE w.is_backorders), 0) AS cap, bool_and(a.version IS NOT NULL OR seen.version = 0) AS known
                      FROM orders o
                           CROSS JOIN jsonb_array_elements(o.refusal -> 'refusal' -> 'lines') WITH ORDINALITY AS line (it, n)
                           CROSS JOIN jsonb_to_recordset(line.it -> 'seen') AS seen ("warehouseId" uuid, version bigint)
                           JOIN warehouses w ON w.id = seen."warehouseId"
                           LEFT JOIN after a ON a.variant_id = (line.it ->> 'variantId')::uuid
                             AND a.warehouse_id = seen."warehouseId" AND a.version = seen.version
                      WHERE o.refusal -> 'refusal' ->> 'reason' = 'insufficient-stock' GROUP BY 1, 2)
           SELECT format('line %s of order %s: asked for %s, says %s on hand and %s reserved, the ledger says %s', n, id,
                         requested, on_hand, reserved,
                         CASE WHEN known THEN format('%s and %s', was, was_reserved) ELSE 'nothing of that version' END)
                  AS "example!", count(*) OVER () AS "rows!"
           FROM claims
           WHERE NOT known OR was <> on_hand OR was_reserved <> reserved OR requested <= on_hand - reserved - promised + promisable
              OR requested <= promisable OR promised <> GREATEST(cap - was_promisable, 0) OR promisable NOT IN (0, was_promisable)
           ORDER BY 1 LIMIT $1"#
    );
    other_refusals(connection, findings).await
}

/// Writers look at the clock before they wait for each other, so what one decided first may bear the later time: by less than a
/// minute, which is longer than any of them waits.
async fn other_refusals(connection: &mut PgConnection, findings: &mut Vec<Finding>) -> Result<()> {
    check!(
        findings,
        connection,
        "I-9",
        "a product is refused as unknown that had been there for over a minute",
        r#"SELECT format('order %s: product %s', o.id, line."productId") AS "example!", count(*) OVER () AS "rows!"
           FROM orders o
                CROSS JOIN jsonb_to_recordset(o.refusal -> 'lines') AS line ("productId" uuid, "variantId" uuid)
                LEFT JOIN variants v ON v.id = line."variantId" AND v.product_id = line."productId"
                                    AND v.created_at < o.decided_at - interval '1 minute'
           WHERE o.refusal -> 'refusal' ->> 'reason' = 'unknown-product'
             AND o.refusal -> 'refusal' -> 'productIds' ? line."productId"::text
           GROUP BY o.id, line."productId" HAVING bool_and(v.id IS NOT NULL) ORDER BY 1 LIMIT $1"#
    );
    check!(
        findings,
        connection,
        "I-9",
        "a customer is refused for a limit that would not be passed, or for more than was ever had",
        r#"SELECT format('order %s: product %s, limit %s, had %s, asked for %s', o.id, p."productId", p."limit" ->> 'qty', p.bought,
                         p.requested) AS "example!", count(*) OVER () AS "rows!"
           FROM orders o CROSS JOIN jsonb_to_recordset(o.refusal -> 'refusal' -> 'products')
                  AS p ("productId" uuid, "limit" jsonb, bought bigint, requested bigint)
           WHERE o.refusal -> 'refusal' ->> 'reason' = 'limit-exceeded'
             AND (p.bought + p.requested <= (p."limit" ->> 'qty')::bigint
                  OR p.bought > (SELECT COALESCE(sum(COALESCE(i.sold, i.quantity)), 0) FROM orders b JOIN order_items i ON i.order_id = b.id
                                 WHERE b.customer_id = o.customer_id AND b.decided_at < o.decided_at + interval '1 minute'
                                   AND i.product_id = p."productId"))
           ORDER BY 1 LIMIT $1"#
    );
    check!(
        findings,
        connection,
        "I-9",
        "a SKU is refused as taken that no product has",
        r#"SELECT format('command %s: %s', id, sku) AS "example!", count(*) OVER () AS "rows!"
           FROM (SELECT id, COALESCE(body -> 'CreateProductV1', body -> 'CreateVariantV1') ->> 'sku' AS sku FROM commands
                 WHERE outcome ->> 'result' = 'sku-taken') c
           WHERE NOT EXISTS (SELECT FROM variants v WHERE v.sku = c.sku)
             AND NOT EXISTS (SELECT FROM variants v WHERE c.sku = ANY(v.former_skus))
           ORDER BY 1 LIMIT $1"#
    );
    Ok(())
}
