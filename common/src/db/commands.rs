//! Decided commands other than orders: what was asked, and what came of it.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};
use sqlx::types::Json;
use sqlx::{PgConnection, query, query_as, query_scalar};
use uuid::Uuid;

use super::stock::expect_rows;
use super::{Error, Result, partitions};
use crate::domain::{Action, ChangeOrder, ChangeOutcome, Command, Order, ProductOutcome, StockOutcome, Timestamp};
use crate::message::Decided;

/// A decided command, as it is written.
#[derive(Debug, Clone)]
pub struct DecidedCommand {
    pub command: Command,
    pub partition: u16,
    pub sequence: i64,
    pub outcome: CommandOutcome,
}

/// What came of a command other than an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandOutcome {
    Product(ProductOutcome),
    Change(ChangeOutcome),
    Stock(StockOutcome),
    /// So many holds have ended.
    Expired(usize),
    /// So many orders were served what they were promised.
    Served(usize),
}

impl CommandOutcome {
    fn json(&self) -> Result<Value> {
        let json = match self {
            CommandOutcome::Product(outcome) => serde_json::to_value(outcome),
            CommandOutcome::Change(outcome) => serde_json::to_value(outcome),
            CommandOutcome::Stock(outcome) => serde_json::to_value(outcome),
            CommandOutcome::Expired(count) => Ok(json!({ "result": "expired", "count": count })),
            CommandOutcome::Served(count) => Ok(json!({ "result": "served", "count": count })),
        };
        json.map_err(|_| Error::Corrupt("an outcome JSON can't hold"))
    }
}

/// What was asked for, as it is stored: by its kind and version.
fn body(action: &Action) -> Result<Value> {
    Ok(match action {
        Action::CreateProduct(product) => json!({ "CreateProductV1": product }),
        Action::ChangeOrder(order) => json!({ "ChangeOrderV1": order }),
        Action::CreateVariant(variant) => json!({ "CreateVariantV1": variant }),
        Action::ChangeStock(stock) => json!({ "ChangeStockV1": stock }),
        Action::TransferStock(transfer) => json!({ "TransferStockV1": transfer }),
        Action::SetBackorders(set) => json!({ "SetBackordersV1": set }),
        Action::Serve(serve) => json!({ "ServeV1": serve }),
        Action::Expire(expire) => json!({ "ExpireV1": expire }),
        Action::PlaceOrder(_) => return Err(Error::Corrupt("an order is not kept as a command")),
    })
}

/// What of a batch has been decided before.
#[derive(Debug, Default)]
pub struct Known {
    pub ids: HashSet<Uuid>,
    /// Idempotency keys with the fingerprint of the request that was decided.
    pub keys: HashMap<Uuid, Uuid>,
}

/// Looks for commands other than orders that have been decided before, as [`super::orders::known`] does for orders, and adds
/// them to what is known.
///
/// # Errors
/// Where the database is away.
pub async fn known(connection: &mut PgConnection, ids: &[Uuid], keys: &[Uuid], known: &mut Known) -> Result<()> {
    // What an operator has given up stays failed, should its message come again.
    let rows = query!(
        r#"SELECT id AS "id!", idempotency_key, fingerprint FROM commands WHERE id = ANY($1) OR idempotency_key = ANY($2)
           UNION ALL SELECT command_id, NULL, NULL FROM dead_letters WHERE command_id = ANY($1) AND state = 'discarded'"#,
        ids,
        keys
    )
    .fetch_all(connection)
    .await?;
    known.ids.extend(rows.iter().map(|row| row.id));
    known.keys.extend(rows.iter().filter_map(|row| Some((row.idempotency_key?, row.fingerprint?))));
    Ok(())
}

/// Writes decided commands, sorted by id so that two batches never deadlock.
///
/// # Errors
/// Where the database is away or one of them is there already.
pub async fn insert(connection: &mut PgConnection, decided: &mut [DecidedCommand], now: Timestamp) -> Result<()> {
    decided.sort_unstable_by_key(|decided| decided.command.id);
    let ids: Vec<Uuid> = decided.iter().map(|decided| decided.command.id).collect();
    let partitions =
        decided.iter().map(|decided| partitions::stored(decided.partition)).collect::<Result<Vec<i16>>>()?;
    let sequences: Vec<i64> = decided.iter().map(|decided| decided.sequence).collect();
    let accounts: Vec<Uuid> = decided.iter().map(|decided| decided.command.account).collect();
    let bodies = decided.iter().map(|decided| body(&decided.command.action)).collect::<Result<Vec<Value>>>()?;
    let outcomes = decided.iter().map(|decided| decided.outcome.json()).collect::<Result<Vec<Value>>>()?;
    let keys: Vec<Option<Uuid>> = decided.iter().map(|decided| Some(decided.command.idempotency?.key)).collect();
    let fingerprints: Vec<Option<Uuid>> =
        decided.iter().map(|decided| Some(decided.command.idempotency?.fingerprint)).collect();
    let accepted: Vec<Timestamp> = decided.iter().map(|decided| decided.command.accepted_at).collect();
    let inserted = query!(
        "INSERT INTO commands (id, partition, sequence, account_id, body, outcome, idempotency_key, fingerprint, accepted_at,
                               decided_at)
         SELECT u.*, $10::timestamptz
         FROM UNNEST($1::uuid[], $2::smallint[], $3::bigint[], $4::uuid[], $5::jsonb[], $6::jsonb[], $7::uuid[], $8::uuid[],
                     $9::timestamptz[]) AS u
         ON CONFLICT DO NOTHING",
        &ids,
        &partitions,
        &sequences,
        &accounts,
        &bodies,
        &outcomes,
        &keys as &[Option<Uuid>],
        &fingerprints as &[Option<Uuid>],
        &accepted,
        now
    )
    .execute(connection)
    .await?;
    expect_rows("commands", decided.len(), inserted.rows_affected())
}

/// A decided command, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCommand {
    pub id: Uuid,
    pub account: Uuid,
    pub outcome: CommandOutcome,
    /// The order that it was about, if it was about one.
    pub order: Option<Uuid>,
    pub fingerprint: Option<Uuid>,
}

impl StoredCommand {
    /// As whoever waits for it is told, with the order that it was about as that is now.
    #[must_use]
    pub fn told(self, order: Option<Order>) -> Option<Decided> {
        let id = self.id;
        match self.outcome {
            CommandOutcome::Product(outcome) => Some(Decided::ProductV1 { id, outcome }),
            CommandOutcome::Change(ChangeOutcome::Unknown) => {
                Some(Decided::ChangeV1 { id, outcome: ChangeOutcome::Unknown, order: None })
            }
            CommandOutcome::Change(outcome) => Some(Decided::ChangeV1 { id, outcome, order }),
            CommandOutcome::Stock(outcome) => Some(Decided::StockV1 { id, outcome }),
            // Nobody has asked for it.
            CommandOutcome::Expired(_) | CommandOutcome::Served(_) => None,
        }
    }
}

struct Row {
    id: Uuid,
    account_id: Uuid,
    kind: String,
    outcome: Value,
    order: Option<Json<ChangeOrder>>,
    fingerprint: Option<Uuid>,
}

impl TryFrom<Row> for StoredCommand {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let outcome = match row.kind.as_str() {
            "CreateProductV1" | "CreateVariantV1" => serde_json::from_value(row.outcome).map(CommandOutcome::Product),
            "ChangeOrderV1" => serde_json::from_value(row.outcome).map(CommandOutcome::Change),
            "ChangeStockV1" | "TransferStockV1" | "SetBackordersV1" => {
                serde_json::from_value(row.outcome).map(CommandOutcome::Stock)
            }
            kind @ ("ExpireV1" | "ServeV1") => {
                let count = row.outcome["count"].as_u64().and_then(|count| usize::try_from(count).ok());
                let count = count.ok_or(Error::Corrupt("a sweep's count"))?;
                Ok(if kind == "ServeV1" { CommandOutcome::Served(count) } else { CommandOutcome::Expired(count) })
            }
            _ => return Err(Error::Corrupt("a command's kind")),
        };
        Ok(Self {
            id: row.id,
            account: row.account_id,
            outcome: outcome.map_err(|_| Error::Corrupt("a command's outcome"))?,
            order: row.order.map(|Json(change)| change.order_id),
            fingerprint: row.fingerprint,
        })
    }
}

/// Those of `ids` that are decided commands other than orders.
///
/// # Errors
/// Where the database is away.
pub async fn find(connection: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<StoredCommand>> {
    let rows = query_as!(
        Row,
        r#"SELECT id, account_id, (SELECT jsonb_object_keys(body) LIMIT 1) AS "kind!", outcome,
                  body -> 'ChangeOrderV1' AS "order: Json<ChangeOrder>", fingerprint
           FROM commands WHERE id = ANY($1)"#,
        ids
    );
    rows.fetch_all(connection).await?.into_iter().map(StoredCommand::try_from).collect()
}

/// The command that an idempotency key has decided, other than an order.
///
/// # Errors
/// Where the database is away.
pub async fn find_by_key(connection: &mut PgConnection, key: Uuid) -> Result<Option<StoredCommand>> {
    let id = query_scalar!("SELECT id FROM commands WHERE idempotency_key = $1", key).fetch_optional(&mut *connection);
    match id.await? {
        Some(id) => Ok(find(connection, &[id]).await?.pop()),
        None => Ok(None),
    }
}

/// The command of an account that was decided under a key whose hash begins as an id's does, see
/// [`super::orders::find_by_key_range`].
///
/// # Errors
/// Where the database is away.
pub async fn find_by_key_range(
    connection: &mut PgConnection,
    account: Uuid,
    (first, last): (Uuid, Uuid),
) -> Result<Option<StoredCommand>> {
    let id = query_scalar!(
        "SELECT id FROM commands WHERE idempotency_key BETWEEN $1 AND $2 AND account_id = $3 LIMIT 1",
        first,
        last,
        account
    );
    match id.fetch_optional(&mut *connection).await? {
        Some(id) => Ok(find(connection, &[id]).await?.pop()),
        None => Ok(None),
    }
}
