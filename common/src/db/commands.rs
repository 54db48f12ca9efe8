//! Decided commands other than orders, and the changes of stock they caused.

use std::collections::HashMap;

use sqlx::types::Json;
use sqlx::{PgConnection, query, query_as};
use uuid::Uuid;

use super::stock::expect_rows;
use super::{Error, Result, partitions};
use crate::domain::{CreateProduct, ProductOutcome, Timestamp};

/// A decided creation of a product, as it is written.
#[derive(Debug, Clone)]
pub struct CreatedProduct {
    pub id: Uuid,
    pub account: Uuid,
    pub partition: u16,
    pub sequence: i64,
    pub fingerprint: Option<Uuid>,
    pub product: CreateProduct,
    pub outcome: ProductOutcome,
    pub accepted_at: Timestamp,
}

/// Those of `ids` that are decided, with the fingerprint of the request that was.
///
/// # Errors
/// Where the database is away.
pub async fn known(connection: &mut PgConnection, ids: &[Uuid]) -> Result<HashMap<Uuid, Option<Uuid>>> {
    let rows = query!("SELECT id, fingerprint FROM commands WHERE id = ANY($1)", ids).fetch_all(connection).await?;
    Ok(rows.into_iter().map(|row| (row.id, row.fingerprint)).collect())
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
            "INSERT INTO commands (id, partition, sequence, account_id, fingerprint, body, outcome, accepted_at, decided_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
            command.id,
            partitions::stored(command.partition)?,
            command.sequence,
            command.account,
            command.fingerprint,
            body,
            outcome,
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
    pub account: Uuid,
    pub fingerprint: Option<Uuid>,
    pub outcome: ProductOutcome,
}

/// Those of `ids` that are decided creations of products.
///
/// # Errors
/// Where the database is away.
pub async fn find_products(connection: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<StoredProduct>> {
    struct Row {
        id: Uuid,
        account_id: Uuid,
        fingerprint: Option<Uuid>,
        outcome: Json<ProductOutcome>,
    }
    let rows = query_as!(
        Row,
        r#"SELECT id, account_id, fingerprint, outcome AS "outcome: Json<ProductOutcome>"
           FROM commands WHERE id = ANY($1) AND body ? 'CreateProductV1'"#,
        ids
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| StoredProduct {
            id: row.id,
            account: row.account_id,
            fingerprint: row.fingerprint,
            outcome: row.outcome.0,
        })
        .collect())
}
