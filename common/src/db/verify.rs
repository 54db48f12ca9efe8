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
          (SELECT count(*) FROM orders o WHERE refusal -> 'refusal' ->> 'reason' = 'insufficient-stock'
            AND NOT EXISTS (SELECT FROM jsonb_array_elements(refusal -> 'refusal' -> 'lines') AS line
              WHERE (line ->> 'requested')::bigint > (line ->> 'onHand')::bigint - (line ->> 'reserved')::bigint))
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
        ("I-8", row.gaps, "partitions have a gap or a repeat in their decisions"),
        ("I-9", row.false_refusals, "refusals list no line that was short"),
    ]
    .into_iter()
    .filter(|(_, rows, _)| *rows > 0)
    .map(|(invariant, rows, says)| Violation { invariant, rows, says })
    .collect())
}
