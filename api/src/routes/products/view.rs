//! How products and their variants are shown.

use std::collections::BTreeMap;

use common::db::products::{Product, Variant};
use common::domain::{Component, Limit, Money, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};
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
    category: Option<Value>,
    variants: Vec<VariantView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    low_stock_threshold: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<Limit>,
    /// What it is a bundle of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    components: Vec<Component>,
    #[serde(with = "time::serde::rfc3339")]
    created_at: Timestamp,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VariantView {
    id: Uuid,
    product_id: Uuid,
    sku: String,
    options: BTreeMap<String, String>,
    price: Money,
    /// Whether the price differs from the product's, also where it happens to be the same.
    own_price: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    low_stock_threshold: Option<i64>,
    #[serde(with = "time::serde::rfc3339")]
    created_at: Timestamp,
}

impl From<Product> for ProductView {
    fn from(product: Product) -> Self {
        let Product {
            id,
            name,
            sku,
            description,
            price,
            category,
            variants,
            low_stock_threshold,
            limit,
            components,
            created_at,
        } = product;
        let category = category.map(|category| json!({ "id": category.id, "name": category.name }));
        let variants = variants.into_iter().map(VariantView::from).collect();
        Self {
            id,
            name,
            sku,
            description,
            price,
            category,
            variants,
            low_stock_threshold,
            limit,
            components,
            created_at,
        }
    }
}

impl From<Variant> for VariantView {
    fn from(variant: Variant) -> Self {
        let Variant { id, product: product_id, sku, options, price, own_price, low_stock_threshold, created_at } =
            variant;
        Self { id, product_id, sku, options, price, own_price, low_stock_threshold, created_at }
    }
}
