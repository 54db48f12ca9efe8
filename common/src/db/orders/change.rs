//! What becomes of orders once they are decided, and their history.

use std::collections::BTreeMap;

use sqlx::types::Json;
use sqlx::{PgConnection, query, query_as};
use uuid::Uuid;

use crate::db::stock::expect_rows;
use crate::db::{Error, Result, backorders, partitions, reservations};
use crate::domain::{Order, PiecesSince, State, Timestamp, Tracking};

/// Locks orders, by their ids so that no two batches deadlock, and reads them as they then are. To be called before stock is
/// locked: whoever holds stock never waits for an order.
///
/// # Errors
/// Where the database is away or a lock is not to be had in time.
pub async fn lock(connection: &mut PgConnection, ids: &[Uuid]) -> Result<BTreeMap<Uuid, Order>> {
    query!("SELECT id FROM orders WHERE id = ANY($1) ORDER BY id FOR UPDATE", ids).fetch_all(&mut *connection).await?;
    // A statement of its own, that sees what was committed while the first one waited.
    let found = super::find(connection, ids).await?;
    Ok(found.into_iter().map(|stored| (stored.order.id, stored.order)).collect())
}

/// A change of an order's state, as it is written into its history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub order: Uuid,
    pub revision: i32,
    pub state: State,
    /// The decision that made it.
    pub partition: u16,
    pub sequence: i64,
    pub command: Uuid,
    /// Who asked for it; nobody where time did.
    pub account: Option<Uuid>,
    pub reason: Option<String>,
    pub pieces: PiecesSince,
}

/// Writes what orders have become, and how they came there. They are locked.
///
/// # Errors
/// Where the database is away or one of the orders is not there.
pub async fn change(connection: &mut PgConnection, orders: &[&Order], entries: &[Entry], now: Timestamp) -> Result<()> {
    let (mut ids, mut statuses, mut revisions) = (Vec::new(), Vec::new(), Vec::new());
    let (mut paid, mut payments, mut trackings, mut reasons) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut pieces, mut released) = (Vec::new(), Vec::new());
    for order in orders {
        let since = order.since.as_ref().ok_or(Error::Corrupt("an order changed that did not"))?;
        ids.push(order.id);
        statuses.push(since.state.name().to_owned());
        revisions.push(since.revision);
        paid.push(since.paid_at);
        payments.push(since.payment.as_ref().map(json).transpose()?);
        trackings.push(since.state.tracking().map(json).transpose()?);
        pieces.push(stored_pieces(&since.pieces)?);
        reasons.push(cancel_reason(&since.state));
        if order.hold().is_some() && since.state != State::Pending {
            released.push(order.id);
        }
    }
    let changed = query!(
        "UPDATE orders o SET status = u.status, revision = u.revision, paid_at = u.paid_at, payment = u.payment,
             tracking = u.tracking, cancel_reason = u.cancel_reason, pieces = u.pieces
         FROM UNNEST($1::uuid[], $2::text[], $3::integer[], $4::timestamptz[], $5::jsonb[], $6::jsonb[], $7::text[],
                     $8::jsonb[]) AS u (id, status, revision, paid_at, payment, tracking, cancel_reason, pieces)
         WHERE o.id = u.id AND o.revision < u.revision",
        &ids,
        &statuses,
        &revisions,
        &paid as &[Option<Timestamp>],
        &payments as &[Option<serde_json::Value>],
        &trackings as &[Option<serde_json::Value>],
        &reasons as &[Option<String>],
        &pieces as &[Option<serde_json::Value>]
    )
    .execute(&mut *connection)
    .await?;
    expect_rows("orders", ids.len(), changed.rows_affected())?;
    if !released.is_empty() {
        reservations::delete(&mut *connection, &released).await?;
    }
    let promised: Vec<&Order> = orders.iter().copied().filter(|order| order.was_backordered()).collect();
    if !promised.is_empty() {
        backorders::settle(&mut *connection, &promised).await?;
    }
    write_history(connection, entries, now).await
}

async fn write_history(connection: &mut PgConnection, entries: &[Entry], now: Timestamp) -> Result<()> {
    let orders: Vec<Uuid> = entries.iter().map(|entry| entry.order).collect();
    let revisions: Vec<i32> = entries.iter().map(|entry| entry.revision).collect();
    let statuses: Vec<String> = entries.iter().map(|entry| entry.state.name().to_owned()).collect();
    let partitions = entries.iter().map(|entry| partitions::stored(entry.partition)).collect::<Result<Vec<i16>>>()?;
    let sequences: Vec<i64> = entries.iter().map(|entry| entry.sequence).collect();
    let commands: Vec<Uuid> = entries.iter().map(|entry| entry.command).collect();
    let accounts: Vec<Option<Uuid>> = entries.iter().map(|entry| entry.account).collect();
    let reasons: Vec<Option<String>> = entries
        .iter()
        .map(|entry| entry.reason.clone().or_else(|| cancel_reason(&entry.state).filter(|_| entry.account.is_none())))
        .collect();
    let trackings =
        entries.iter().map(|entry| entry.state.tracking().map(json).transpose()).collect::<Result<Vec<_>>>()?;
    let pieces = entries.iter().map(|entry| stored_pieces(&entry.pieces)).collect::<Result<Vec<_>>>()?;
    let written = query!(
        "INSERT INTO order_status_history (order_id, revision, status, partition, sequence, command_id, account_id, reason,
                                           tracking, pieces, changed_at)
         SELECT u.*, $11::timestamptz
         FROM UNNEST($1::uuid[], $2::integer[], $3::text[], $4::smallint[], $5::bigint[], $6::uuid[], $7::uuid[], $8::text[],
                     $9::jsonb[], $10::jsonb[]) AS u",
        &orders,
        &revisions,
        &statuses,
        &partitions,
        &sequences,
        &commands,
        &accounts as &[Option<Uuid>],
        &reasons as &[Option<String>],
        &trackings as &[Option<serde_json::Value>],
        &pieces as &[Option<serde_json::Value>],
        now
    )
    .execute(connection)
    .await?;
    expect_rows("order_status_history", entries.len(), written.rows_affected())
}

/// Nothing where nothing has become of them.
fn stored_pieces(pieces: &PiecesSince) -> Result<Option<serde_json::Value>> {
    if pieces.is_empty() { Ok(None) } else { json(pieces).map(Some) }
}

fn json<T: serde::Serialize>(value: &T) -> Result<serde_json::Value> {
    serde_json::to_value(value).map_err(|_| Error::Corrupt("a value that JSON can't hold"))
}

fn cancel_reason(state: &State) -> Option<String> {
    match state {
        State::Cancelled { reason } => Some(reason.as_str().to_owned()),
        State::Rejected
        | State::Pending
        | State::Paid
        | State::Processing
        | State::Shipped { .. }
        | State::Delivered { .. } => None,
    }
}

/// A change of an order's state, as anybody may see it who may see the order.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredEntry {
    pub revision: i32,
    pub status: String,
    pub partition: i16,
    pub sequence: i64,
    /// Who asked for it: an account with its name and role; nobody where time did.
    pub account_id: Option<Uuid>,
    pub account: Option<String>,
    pub role: Option<String>,
    pub reason: Option<String>,
    pub tracking: Option<Json<Tracking>>,
    /// As it was then, from the first on.
    pub pieces: Option<Json<PiecesSince>>,
    pub changed_at: Timestamp,
}

/// How an order came to where it is, from its decision on.
///
/// # Errors
/// Where the database is away.
pub async fn history(connection: &mut PgConnection, order: Uuid) -> Result<Vec<StoredEntry>> {
    let rows = query_as!(
        StoredEntry,
        r#"SELECT h.revision AS "revision!", h.status AS "status!", h.partition AS "partition!", h.sequence AS "sequence!",
                  h.account_id, a.name AS "account?", a.role AS "role?", h.reason, h.tracking AS "tracking: Json<Tracking>", h.pieces AS "pieces: Json<PiecesSince>",
                  h.changed_at AS "changed_at!"
           FROM (SELECT 0 AS revision,
                        CASE WHEN o.refusal IS NOT NULL THEN 'rejected' WHEN o.hold IS NULL THEN 'paid' ELSE 'pending' END
                          AS status,
                        o.partition, o.sequence, o.account_id, o.refusal -> 'refusal' ->> 'reason' AS reason,
                        NULL::jsonb AS tracking, NULL::jsonb AS pieces, o.decided_at AS changed_at
                 FROM orders o WHERE o.id = $1
                 UNION ALL
                 SELECT revision, status, partition, sequence, account_id, reason, tracking, pieces, changed_at
                 FROM order_status_history WHERE order_id = $1) h
                LEFT JOIN accounts a ON a.id = h.account_id
           ORDER BY h.revision"#,
        order
    );
    Ok(rows.fetch_all(connection).await?)
}
