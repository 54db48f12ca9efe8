//! Lists of products that are sold.

use sqlx::{PgConnection, query_as};
use uuid::Uuid;

use super::{Product, Row, known, with_variants};
use crate::db::Result;

/// Which products are listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub category: Option<Uuid>,
    /// Words that name or description have all of, in any form of case: `wool -red "long sleeve"`.
    pub words: Option<String>,
    /// Of the product or one of its variants.
    pub sku: Option<String>,
}

/// In which order, and by id where that leaves it open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sort {
    #[default]
    Id,
    Name,
    NameDescending,
    Price,
    PriceDescending,
}

/// The last one of the page before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct After {
    pub id: Uuid,
    pub name: String,
    pub price: i64,
}

/// One query per order, so that each may follow an index.
macro_rules! page {
    ($connection:ident, ($filter:ident, $product:ident), $limit:ident, $after:expr, $from:literal) => {
        query_as!(
            Row,
            r#"SELECT p.id, p.name, v.sku, p.description, v.price_amount AS "price_amount!", v.currency,
                    c.id AS "category_id?", c.name AS "category_name?", v.low_stock_threshold,
                    m.quantity AS "limit_quantity?", m.window_seconds, v.is_bundle, p.created_at
             FROM products p JOIN variants v ON v.id = p.id
                  LEFT JOIN categories c ON c.id = p.category_id AND c.deleted_at IS NULL
                  LEFT JOIN product_limits m ON m.product_id = p.id
             WHERE p.deleted_at IS NULL AND ($1::uuid IS NULL OR (p.category_id = $1 AND c.id IS NOT NULL))
               AND ($2::text IS NULL OR p.words @@ websearch_to_tsquery('simple', $2))
               AND ($3::uuid IS NULL OR p.id = $3)
               AND "#
                + $from,
            $filter.category,
            $filter.words.as_deref(),
            $product,
            $limit,
            $after.map(|after| after.id),
            $after.map(|after| after.name.as_str()),
            $after.map(|after| after.price)
        )
        .fetch_all(&mut *$connection)
        .await?
    };
}

/// Products after `after`, each with its variants.
///
/// # Errors
/// Where the database is away.
pub async fn list(
    connection: &mut PgConnection,
    filter: &Filter,
    sort: Sort,
    after: Option<&After>,
    limit: i64,
) -> Result<Vec<Product>> {
    // Looked up by itself: beside the other conditions its index would not be used.
    let product = match &filter.sku {
        None => None,
        Some(sku) => match known(connection, std::slice::from_ref(sku)).await?.remove(sku) {
            Some(known) if !known.deleted => Some(known.product_id),
            Some(_) | None => return Ok(Vec::new()),
        },
    };
    let rows = match sort {
        Sort::Id => page!(
            connection,
            (filter, product),
            limit,
            after,
            "($5::uuid IS NULL OR p.id > $5) AND ($6::text IS NULL OR $7::bigint IS NULL OR true) ORDER BY p.id LIMIT $4"
        ),
        Sort::Name => page!(
            connection,
            (filter, product),
            limit,
            after,
            "($5::uuid IS NULL OR $7::bigint IS NULL OR (lower(p.name), p.id) > (lower($6::text), $5)) ORDER BY lower(p.name), p.id LIMIT $4"
        ),
        Sort::NameDescending => page!(
            connection,
            (filter, product),
            limit,
            after,
            "($5::uuid IS NULL OR $7::bigint IS NULL OR (lower(p.name), p.id) < (lower($6::text), $5)) ORDER BY lower(p.name) DESC, p.id DESC LIMIT $4"
        ),
        Sort::Price => page!(
            connection,
            (filter, product),
            limit,
            after,
            "($5::uuid IS NULL OR $6::text IS NULL OR (v.price_amount, v.id) > ($7::bigint, $5)) AND v.id = v.product_id ORDER BY v.price_amount, v.id LIMIT $4"
        ),
        Sort::PriceDescending => page!(
            connection,
            (filter, product),
            limit,
            after,
            "($5::uuid IS NULL OR $6::text IS NULL OR (v.price_amount, v.id) < ($7::bigint, $5)) AND v.id = v.product_id ORDER BY v.price_amount DESC, v.id DESC LIMIT $4"
        ),
    };
    with_variants(connection, rows).await
}
