//! Events of the decision log: what was placed, what became of it, what that did to the stock.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sqlx::{PgConnection, query, query_as};
use uuid::Uuid;

use super::{Event, Ranges, Reader};
use crate::db::Result;
use crate::domain::Timestamp;
use crate::event::EventType;
use crate::ids::hash_id;

/// Reads the events of some types, and perhaps others that cost nothing more.
pub(super) async fn read(
    connection: &mut PgConnection,
    ranges: &Ranges,
    wanted: &BTreeSet<EventType>,
    events: &mut Vec<Event>,
) -> Result<()> {
    if wanted.contains(&EventType::OrderConfirmed) || wanted.contains(&EventType::OrderRejected) {
        decided(&mut *connection, ranges, events).await?;
    }
    if wanted.iter().any(|kind| kind.is_of_order()) {
        changed(&mut *connection, ranges, events).await?;
    }
    if wanted.contains(&EventType::StockLow) {
        low(&mut *connection, ranges, events).await?;
    }
    if wanted.contains(&EventType::StockChanged) {
        stock(&mut *connection, ranges, events).await?;
    }
    Ok(())
}

struct OrderRow {
    id: Uuid,
    account_id: Uuid,
    customer_id: Option<String>,
    partition: i16,
    sequence: i64,
    revision: i32,
    status: String,
    at: Timestamp,
    currency: Option<String>,
    total_amount: Option<i64>,
    hold: Option<String>,
    reason: Option<String>,
    tracking: Option<Value>,
}

impl OrderRow {
    fn event(self, kind: EventType) -> Event {
        let id = hash_id(kind.as_str(), &[self.id.as_bytes(), &self.revision.to_be_bytes()]);
        let mut data = json!({
            "id": self.id,
            "accountId": self.account_id,
            "status": self.status,
            // Of one order they come in this order: whoever has seen a later one may leave an earlier one be.
            "revision": self.revision,
            "partition": self.partition,
            "sequence": self.sequence,
        });
        let amount = self.total_amount.zip(self.currency);
        let beside = [
            ("customerId", self.customer_id.map(Value::from)),
            ("total", amount.map(|(amount, currency)| json!({ "amount": amount, "currency": currency }))),
            ("reason", self.reason.map(Value::from)),
            ("tracking", self.tracking),
        ];
        for (name, value) in beside {
            if let Some(value) = value {
                data[name] = value;
            }
        }
        let place = Some((self.partition, self.sequence));
        Event { kind, id, trace: self.id, account: Some(self.account_id), at: self.at, place, data }
    }
}

/// Orders that were placed. A reservation is none until it is confirmed.
async fn decided(connection: &mut PgConnection, ranges: &Ranges, events: &mut Vec<Event>) -> Result<()> {
    let rows = query_as!(
        OrderRow,
        r#"SELECT o.id AS "id!", o.account_id AS "account_id!", o.customer_id, o.partition AS "partition!", o.sequence AS "sequence!",
                0 AS "revision!",
                CASE WHEN o.refusal IS NOT NULL THEN 'rejected' WHEN o.hold IS NULL THEN 'paid' ELSE 'pending' END AS "status!",
                o.decided_at AS "at!", o.currency, o.total_amount, o.hold, o.refusal -> 'refusal' ->> 'reason' AS reason,
                NULL::jsonb AS tracking
           FROM UNNEST($1::smallint[], $2::bigint[], $3::bigint[]) AS r (partition, after, through)
                JOIN orders o ON o.partition = r.partition AND o.sequence > r.after AND o.sequence <= r.through
           WHERE o.hold IS DISTINCT FROM 'reservation' ORDER BY o.partition, o.sequence"#,
        &ranges.partitions,
        &ranges.after,
        &ranges.through
    );
    let kind = |row: &OrderRow| {
        if row.status == "rejected" { EventType::OrderRejected } else { EventType::OrderConfirmed }
    };
    events.extend(rows.fetch_all(connection).await?.into_iter().map(|row| {
        let kind = kind(&row);
        row.event(kind)
    }));
    Ok(())
}

/// What has become of orders.
async fn changed(connection: &mut PgConnection, ranges: &Ranges, events: &mut Vec<Event>) -> Result<()> {
    let rows = query_as!(
        OrderRow,
        r#"SELECT o.id AS "id!", o.account_id AS "account_id!", o.customer_id, h.partition AS "partition!", h.sequence AS "sequence!",
                h.revision AS "revision!", h.status AS "status!", h.changed_at AS "at!", o.currency, o.total_amount,
                -- A reservation that was confirmed is an order from then on.
                CASE WHEN o.hold = 'reservation' AND h.status <> 'paid' AND o.paid_at IS NOT NULL THEN 'payment' ELSE o.hold END AS hold,
                CASE h.status WHEN 'cancelled' THEN o.cancel_reason END AS reason, h.tracking
           FROM UNNEST($1::smallint[], $2::bigint[], $3::bigint[]) AS r (partition, after, through)
                JOIN commands c ON c.partition = r.partition AND c.sequence > r.after AND c.sequence <= r.through
                CROSS JOIN LATERAL (
                  SELECT (c.body -> 'ChangeOrderV1' ->> 'orderId')::uuid AS id
                  UNION ALL SELECT jsonb_array_elements_text(c.body -> 'ExpireV1' -> 'orderIds')::uuid) t
                JOIN order_status_history h ON h.order_id = t.id AND h.command_id = c.id
                JOIN orders o ON o.id = h.order_id
           -- What was served or came back leaves the state as it is.
           WHERE NOT EXISTS (SELECT FROM order_status_history e
                             WHERE e.order_id = h.order_id AND e.status = h.status AND e.revision < h.revision)
           ORDER BY h.partition, h.sequence, h.order_id"#,
        &ranges.partitions,
        &ranges.after,
        &ranges.through
    );
    let kind = |row: &OrderRow| {
        let reservation = row.hold.as_deref() == Some("reservation");
        let timed_out = row.reason.as_deref() == Some("payment-timeout");
        Some(match row.status.as_str() {
            "paid" if reservation => EventType::OrderConfirmed,
            "paid" if row.hold.is_some() => EventType::OrderPaid,
            "cancelled" if reservation && timed_out => EventType::ReservationExpired,
            "cancelled" if reservation => return None,
            "cancelled" if timed_out => EventType::OrderExpired,
            "cancelled" => EventType::OrderCancelled,
            "shipped" => EventType::OrderShipped,
            "delivered" => EventType::OrderDelivered,
            _ => return None,
        })
    };
    events.extend(rows.fetch_all(connection).await?.into_iter().filter_map(|row| {
        let kind = kind(&row)?;
        Some(row.event(kind))
    }));
    Ok(())
}

async fn low(connection: &mut PgConnection, ranges: &Ranges, events: &mut Vec<Event>) -> Result<()> {
    let rows = query!(
        "SELECT l.partition, l.sequence, l.variant_id, l.threshold, l.available, l.crossed_at, v.product_id, v.sku
         FROM UNNEST($1::smallint[], $2::bigint[], $3::bigint[]) AS r (partition, after, through)
              JOIN low_stock_events l ON l.partition = r.partition AND l.sequence > r.after AND l.sequence <= r.through
              JOIN variants v ON v.id = l.variant_id
         ORDER BY l.partition, l.sequence, l.variant_id",
        &ranges.partitions,
        &ranges.after,
        &ranges.through
    );
    let kind = EventType::StockLow;
    events.extend(rows.fetch_all(connection).await?.into_iter().map(|row| {
        let parts = [row.variant_id.as_bytes().as_slice(), &row.partition.to_be_bytes(), &row.sequence.to_be_bytes()];
        let data = json!({
            "productId": row.product_id, "variantId": row.variant_id, "sku": row.sku, "threshold": row.threshold,
            "available": row.available, "partition": row.partition, "sequence": row.sequence,
        });
        let (id, place) = (hash_id(kind.as_str(), &parts), Some((row.partition, row.sequence)));
        Event { kind, id, trace: id, account: Some(Uuid::nil()), at: row.crossed_at, place, data }
    }));
    Ok(())
}

/// The stock, as it is now, of every variant that some decision has touched.
async fn stock(connection: &mut PgConnection, ranges: &Ranges, events: &mut Vec<Event>) -> Result<()> {
    let rows = query!(
        r#"WITH asked AS (
             SELECT c.id, c.body FROM UNNEST($1::smallint[], $2::bigint[], $3::bigint[]) AS r (partition, after, through)
               JOIN commands c ON c.partition = r.partition AND c.sequence > r.after AND c.sequence <= r.through),
           touched AS (
             SELECT o.id FROM UNNEST($1::smallint[], $2::bigint[], $3::bigint[]) AS r (partition, after, through)
               JOIN orders o ON o.partition = r.partition AND o.sequence > r.after AND o.sequence <= r.through AND o.refusal IS NULL
             UNION SELECT (body -> 'ChangeOrderV1' ->> 'orderId')::uuid FROM asked
             UNION SELECT jsonb_array_elements_text(body -> 'ExpireV1' -> 'orderIds')::uuid FROM asked
             UNION SELECT (jsonb_array_elements(body -> 'ServeV1' -> 'orders') ->> 'orderId')::uuid FROM asked),
           named AS (
             SELECT i.variant_id FROM touched t JOIN order_items i ON i.order_id = t.id
             UNION SELECT id FROM asked
             UNION SELECT (COALESCE(body -> 'ChangeStockV1', body -> 'TransferStockV1', body -> 'SetBackordersV1') ->> 'variantId')::uuid
                   FROM asked)
           SELECT s.variant_id, v.product_id, v.sku, now() AS "at!", sum(s.version)::bigint AS "version!",
                  COALESCE(sum(s.on_hand) FILTER (WHERE s.backorder_cap IS NULL), 0)::bigint AS "on_hand!",
                  COALESCE(sum(s.reserved) FILTER (WHERE s.backorder_cap IS NULL), 0)::bigint AS "reserved!"
           FROM named n JOIN stock s USING (variant_id) JOIN variants v ON v.id = s.variant_id
           GROUP BY 1, 2, 3 ORDER BY 1"#,
        &ranges.partitions,
        &ranges.after,
        &ranges.through
    );
    let kind = EventType::StockChanged;
    events.extend(rows.fetch_all(connection).await?.into_iter().map(|row| {
        let id = hash_id(kind.as_str(), &[row.variant_id.as_bytes(), &row.version.to_be_bytes()]);
        let data = json!({
            "productId": row.product_id, "variantId": row.variant_id, "sku": row.sku, "onHand": row.on_hand,
            "reserved": row.reserved,
            // It only grows: whoever has seen a higher one may leave a lower one be.
            "version": row.version,
        });
        Event { kind, id, trace: id, account: None, at: row.at, place: None, data }
    }));
    Ok(())
}

/// A dead letter that nobody was told of.
#[derive(Debug)]
pub(super) struct Letter {
    id: Uuid,
    command_id: Option<Uuid>,
    account_id: Option<Uuid>,
    partition: i16,
    payload: Vec<u8>,
    failed_at: Timestamp,
    state: String,
}

impl Letter {
    /// That an order could not be decided, if it was one and is still so.
    pub(super) fn event(&self) -> Option<Event> {
        let kind = EventType::OrderFailed;
        let is_order = ["{\"PlaceOrder", "{\"HoldOrder"].iter().any(|kind| self.payload.starts_with(kind.as_bytes()));
        let is_reservation = String::from_utf8_lossy(&self.payload).contains("\"kind\":\"reservation\"");
        if !is_order || is_reservation || self.state != "waiting" {
            return None;
        }
        let (order, account, at) = (self.command_id?, self.account_id?, self.failed_at);
        let id = hash_id(kind.as_str(), &[order.as_bytes(), &at.unix_timestamp_nanos().to_be_bytes()]);
        // Before whatever comes of it once it is mended.
        let data = json!({ "id": order, "accountId": account, "status": "failed", "revision": -1, "partition": self.partition });
        Some(Event { kind, id, trace: order, account: Some(account), at, place: None, data })
    }
}

/// Dead letters that a reader has told nobody of, and whether there are more. Who requeues one tells of what comes of it then.
pub(super) async fn dead_letters(
    connection: &mut PgConnection,
    reader: Reader,
    max: i64,
) -> Result<(Vec<Letter>, bool)> {
    let letters = match reader {
        Reader::Webhooks => {
            query_as!(
                Letter,
                "SELECT id, command_id, account_id, partition, payload, failed_at, state FROM dead_letters
                 WHERE told_at IS NULL ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED",
                max
            )
            .fetch_all(connection)
            .await?
        }
        // Not locked: publishing takes its time, and a writer may want to put the same letter aside again.
        Reader::Broker => {
            query_as!(
                Letter,
                "SELECT id, command_id, account_id, partition, payload, failed_at, state FROM dead_letters
                 WHERE published_at IS NULL ORDER BY id LIMIT $1",
                max
            )
            .fetch_all(connection)
            .await?
        }
    };
    let more = i64::try_from(letters.len()).is_ok_and(|told| told >= max);
    Ok((letters, more))
}

/// Says that these letters were told of. One that has failed again since is told of again.
pub(super) async fn told(connection: &mut PgConnection, reader: Reader, letters: &[Letter]) -> Result<()> {
    if letters.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = letters.iter().map(|letter| letter.id).collect();
    let failed: Vec<Timestamp> = letters.iter().map(|letter| letter.failed_at).collect();
    query!(
        "UPDATE dead_letters d
         SET told_at = CASE $3 WHEN 'webhooks' THEN now() ELSE d.told_at END,
             published_at = CASE $3 WHEN 'broker' THEN now() ELSE d.published_at END
         FROM UNNEST($1::uuid[], $2::timestamptz[]) AS u (id, failed_at) WHERE d.id = u.id AND d.failed_at = u.failed_at",
        &ids,
        &failed,
        reader.name()
    )
    .execute(connection)
    .await?;
    Ok(())
}
