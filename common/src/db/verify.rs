//! The numbered invariants, counted against the database in one snapshot. What is listed here is a defect.

use sqlx::{PgConnection, query};

use super::Result;

/// An invariant and the rows that break it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Violation {
    pub invariant: &'static str,
    pub rows: i64,
    pub says: &'static str,
}

/// Checks I-1, I-2, I-4, I-5, I-8 and I-9 as far as the database alone shows them. Empty: all hold.
///
/// One statement, so one snapshot: it may run while orders are decided.
///
/// # Errors
/// Where the database is away.
pub async fn verify(connection: &mut PgConnection) -> Result<Vec<Violation>> {
    let row = query!(
        r#"WITH
        moved AS (SELECT variant_id, warehouse_id, sum(quantity) AS quantity, count(*) AS changes,
                         max(stock_version) AS last FROM ledger GROUP BY 1, 2),
        log AS (SELECT partition, sequence FROM orders UNION ALL SELECT partition, sequence FROM commands),
        logs AS (SELECT partition, count(*) AS n, count(DISTINCT sequence) AS numbers, max(sequence) AS last
                 FROM log GROUP BY 1),
        -- What was on hand after each change of a stock row.
        after AS (SELECT variant_id, warehouse_id, stock_version AS version,
                         sum(quantity) OVER (PARTITION BY variant_id, warehouse_id ORDER BY stock_version) AS on_hand
                  FROM ledger),
        -- What each short line of each refusal claims to have seen, beside what the ledger says of those versions.
        claims AS (SELECT o.id, line.n, min((line.it ->> 'requested')::bigint) AS requested,
                          min((line.it ->> 'onHand')::bigint) AS on_hand, min((line.it ->> 'reserved')::bigint) AS reserved,
                          sum(COALESCE(a.on_hand, 0)) AS was, bool_and(a.version IS NOT NULL OR seen.version = 0) AS known
                   FROM orders o
                        CROSS JOIN jsonb_array_elements(o.refusal -> 'refusal' -> 'lines') WITH ORDINALITY AS line (it, n)
                        CROSS JOIN jsonb_to_recordset(line.it -> 'seen') AS seen ("warehouseId" uuid, version bigint)
                        LEFT JOIN after a ON a.variant_id = (line.it ->> 'variantId')::uuid
                          AND a.warehouse_id = seen."warehouseId" AND a.version = seen.version
                   WHERE o.refusal -> 'refusal' ->> 'reason' = 'insufficient-stock' GROUP BY 1, 2),
        held AS (SELECT order_id, sum(quantity * unit_amount::numeric) AS amount FROM order_items GROUP BY 1)
        SELECT
          (SELECT count(*) FROM stock WHERE reserved < 0 OR reserved > on_hand) AS "oversold!",
          (SELECT count(*) FROM stock s FULL JOIN moved m USING (variant_id, warehouse_id)
            WHERE COALESCE(s.on_hand, 0) <> COALESCE(m.quantity, 0)) AS "not_conserved!",
          (SELECT count(*) FROM stock s LEFT JOIN moved m USING (variant_id, warehouse_id)
            WHERE s.version <> COALESCE(m.changes, 0) OR s.version <> COALESCE(m.last, 0)) AS "versions!",
          (SELECT count(*) FROM orders o LEFT JOIN held h ON h.order_id = o.id
            WHERE o.total_amount IS DISTINCT FROM h.amount) AS "partial!",
          (SELECT count(*) FROM order_items i LEFT JOIN orders o ON o.id = i.order_id
            WHERE o.id IS NULL OR o.status = 'rejected') AS "orphans!",
          (SELECT count(*) FROM partitions p LEFT JOIN logs l USING (partition)
            WHERE p.sequence <> COALESCE(l.n, 0) OR p.sequence <> COALESCE(l.numbers, 0)
               OR p.sequence <> COALESCE(l.last, 0)) AS "gaps!",
          (SELECT count(*) FROM (SELECT id FROM orders UNION ALL SELECT id FROM commands) ids
            GROUP BY () HAVING count(*) > count(DISTINCT id)) AS decided_twice,
          (SELECT count(*) FROM orders o WHERE refusal -> 'refusal' ->> 'reason' = 'insufficient-stock'
            AND NOT EXISTS (SELECT FROM claims c WHERE c.id = o.id)) AS "unfounded!",
          (SELECT count(*) FROM claims WHERE NOT known OR was <> on_hand OR requested <= on_hand - reserved)
            AS "false_refusals!""#
    )
    .fetch_one(connection)
    .await?;
    Ok([
        ("I-1", row.oversold, "stock rows are oversold"),
        ("I-2", row.not_conserved, "stock rows differ from what was received less what was sold"),
        ("I-2", row.versions, "stock rows have a version that the ledger does not explain"),
        ("I-4", row.partial, "confirmed orders hold less or more than their total says"),
        ("I-4", row.orphans, "items belong to no confirmed order"),
        ("I-5", row.decided_twice.unwrap_or_default(), "ids are decided more than once"),
        ("I-8", row.gaps, "partitions have a gap or a repeat in their decisions"),
        ("I-9", row.unfounded, "refusals list no line that was short"),
        ("I-9", row.false_refusals, "lines of refusals differ from what the ledger says was there, or were not short"),
    ]
    .into_iter()
    .filter(|(_, rows, _)| *rows > 0)
    .map(|(invariant, rows, says)| Violation { invariant, rows, says })
    .collect())
}
