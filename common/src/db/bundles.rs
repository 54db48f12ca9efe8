//! What bundles are made of. Written once, with the bundle.

use sqlx::{PgConnection, query, query_as};
use uuid::Uuid;

use super::Result;
use super::stock::expect_rows;
use crate::domain::{Bundles, Component};

/// Those of some variants that are bundles.
///
/// # Errors
/// Where the database is away.
pub async fn of(connection: &mut PgConnection, variants: &[Uuid]) -> Result<Bundles> {
    let rows = query_as!(
        Row,
        "SELECT bundle_id, product_id, variant_id, quantity FROM bundle_components WHERE bundle_id = ANY($1)
         ORDER BY bundle_id, variant_id",
        variants
    );
    Ok(bundles(rows.fetch_all(connection).await?))
}

/// All that there ever were.
///
/// # Errors
/// Where the database is away.
pub async fn all(connection: &mut PgConnection) -> Result<Bundles> {
    let rows = query_as!(
        Row,
        "SELECT bundle_id, product_id, variant_id, quantity FROM bundle_components ORDER BY bundle_id, variant_id"
    );
    Ok(bundles(rows.fetch_all(connection).await?))
}

struct Row {
    bundle_id: Uuid,
    product_id: Uuid,
    variant_id: Uuid,
    quantity: i32,
}

/// Of rows that are sorted by bundle.
fn bundles(rows: Vec<Row>) -> Bundles {
    let mut bundles = Bundles::default();
    for of_one in rows.chunk_by(|a, b| a.bundle_id == b.bundle_id) {
        let component = |row: &Row| {
            let Row { product_id, variant_id, quantity, .. } = *row;
            Component { product_id, variant_id, quantity }
        };
        if let Some(first) = of_one.first() {
            bundles.insert(first.bundle_id, of_one.iter().map(component).collect());
        }
    }
    bundles
}

/// Writes what new bundles are made of. Their variants are there.
///
/// # Errors
/// Where the database is away.
pub(super) async fn insert(connection: &mut PgConnection, made: &[(Uuid, Component)]) -> Result<()> {
    let bundles: Vec<Uuid> = made.iter().map(|(bundle, _)| *bundle).collect();
    let products: Vec<Uuid> = made.iter().map(|(_, component)| component.product_id).collect();
    let variants: Vec<Uuid> = made.iter().map(|(_, component)| component.variant_id).collect();
    let quantities: Vec<i32> = made.iter().map(|(_, component)| component.quantity).collect();
    let inserted = query!(
        "INSERT INTO bundle_components (bundle_id, product_id, variant_id, quantity)
         SELECT * FROM UNNEST($1::uuid[], $2::uuid[], $3::uuid[], $4::integer[])",
        &bundles,
        &products,
        &variants,
        &quantities
    );
    let inserted = inserted.execute(connection).await?;
    expect_rows("bundle_components", made.len(), inserted.rows_affected())
}
