//! Decided commands other than orders, and the changes of stock they caused.

use std::collections::{HashMap, HashSet};

use sqlx::types::Json;
use sqlx::{PgConnection, query, query_scalar};
use uuid::Uuid;

use super::stock::expect_rows;
use super::{Error, Result, partitions};
use crate::domain::{CreateProduct, Idempotency, ProductOutcome, Timestamp};

/// A decided creation of a product, as it is written.
#[derive(Debug, Clone)]
pub struct CreatedProduct {
    pub id: Uuid,
    pub account: Uuid,
    pub partition: u16,
    pub sequence: i64,
    pub idempotency: Option<Idempotency>,
    pub product: CreateProduct,
    pub outcome: ProductOutcome,
    pub accepted_at: Timestamp,
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
    let rows = query!(
        "SELECT id, idempotency_key, fingerprint FROM commands WHERE id = ANY($1) OR idempotency_key = ANY($2)",
        ids,
        keys
    )
    .fetch_all(connection)
    .await?;
    known.ids.extend(rows.iter().map(|row| row.id));
    known.keys.extend(rows.iter().filter_map(|row| Some((row.idempotency_key?, row.fingerprint?))));
    Ok(())
}

/// Writes decided commands.
///
/// # Errors
/// Where the database is away or one of them is there already.
pub async fn insert(connection: &mut PgConnection, decided: &mut [CreatedProduct], now: Timestamp) -> Result<()> {
    decided.sort_unstable_by_key(|command| command.id);
    for command in decided.iter() {
        let body = serde_json::json!({ "CreateProductV1": command.product });
        let outcome =
            serde_json::to_value(&command.outcome).map_err(|_| Error::Corrupt("an outcome JSON can't hold"))?;
        let inserted = query!(
            "INSERT INTO commands (id, partition, sequence, account_id, body, outcome, idempotency_key, fingerprint,
                                   accepted_at, decided_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING",
            command.id,
            partitions::stored(command.partition)?,
            command.sequence,
            command.account,
            body,
            outcome,
            command.idempotency.map(|idempotency| idempotency.key),
            command.idempotency.map(|idempotency| idempotency.fingerprint),
            command.accepted_at,
            now
        )
        .execute(&mut *connection)
        .await?;
        expect_rows("commands", 1, inserted.rows_affected())?;
        if let ProductOutcome::Created { stock_version } = command.outcome
            && stock_version > 0
        {
            query!(
                "INSERT INTO stock_movements
                   (variant_id, warehouse_id, stock_version, cause, quantity, command_id, moved_at)
                 VALUES ($1, $2, $3, 'received', $4, $1, $5)",
                command.id,
                command.product.warehouse_id,
                stock_version,
                command.product.stock,
                now
            )
            .execute(&mut *connection)
            .await?;
        }
    }
    Ok(())
}

/// What came of a product's creation, if it is decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredProduct {
    pub id: Uuid,
    pub outcome: ProductOutcome,
}

/// Those of `ids` that are decided creations of products.
///
/// # Errors
/// Where the database is away.
pub async fn find_products(connection: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<StoredProduct>> {
    let rows = query!(
        r#"SELECT id, outcome AS "outcome: Json<ProductOutcome>" FROM commands
           WHERE id = ANY($1) AND body ? 'CreateProductV1'"#,
        ids
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| StoredProduct { id: row.id, outcome: row.outcome.0 }).collect())
}

/// The fingerprint of the request that an idempotency key has decided, other than an order.
///
/// # Errors
/// Where the database is away.
pub async fn fingerprint_of(connection: &mut PgConnection, key: Uuid) -> Result<Option<Uuid>> {
    let found = query_scalar!(r#"SELECT fingerprint AS "fingerprint!" FROM commands WHERE idempotency_key = $1"#, key);
    Ok(found.fetch_optional(connection).await?)
}
