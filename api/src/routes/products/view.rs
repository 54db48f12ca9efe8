//! How a product is shown.

use common::db::products::Product;
use common::domain::{Money, Timestamp};
use serde::Serialize;
use uuid::Uuid;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProductView {
    id: Uuid,
    name: String,
    sku: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    price: Money,
    #[serde(with = "time::serde::rfc3339")]
    created_at: Timestamp,
}

impl From<Product> for ProductView {
    fn from(product: Product) -> Self {
        let Product { id, name, sku, description, price, created_at } = product;
        Self { id, name, sku, description, price, created_at }
    }
}
