//! `POST /products`: a product with its opening stock, decided by the partition's writer like everything that changes
//! stock; or a bundle of others, which draws on theirs.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::response::Response;
use common::db;
use common::domain::{
    Action, COMPONENT_QUANTITY_MAX, COMPONENTS_MAX, Component, CreateProduct, DEFAULT_WAREHOUSE, Money,
};
use common::ids::hash_id;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::creating::{New, create};
use crate::auth::Operator;
use crate::catalogue::{DESCRIPTION_BYTES_MAX, NAME_BYTES_MAX, SKU_BYTES_MAX, check_price, check_stock};
use crate::checks::Checks;
use crate::error::Error;
use crate::extract::Json;
use crate::problems;
use crate::routes::orders::placing::Item;
use crate::state::{App, State};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Request {
    name: String,
    sku: String,
    description: Option<String>,
    price: Money,
    category_id: Option<Uuid>,
    #[serde(default)]
    stock: i64,
    warehouse_id: Option<Uuid>,
    /// Of what it is to be a bundle.
    #[serde(default)]
    components: Vec<Item>,
}

impl Request {
    fn validate(self) -> Result<CreateProduct, Error> {
        let mut checks = Checks::default();
        checks.text("name", &self.name, 1, NAME_BYTES_MAX);
        checks.text("sku", &self.sku, 1, SKU_BYTES_MAX);
        checks.text("description", self.description.as_deref().unwrap_or_default(), 0, DESCRIPTION_BYTES_MAX);
        check_price(Some(self.price), &mut checks);
        check_stock(self.stock, &mut checks);
        let components = components(&self.components, &mut checks);
        let has_stock = !self.components.is_empty() && self.stock != 0;
        checks.that(!has_stock, "stock", || "a bundle has no stock of its own".to_owned());
        checks.finish(())?;
        Ok(CreateProduct {
            name: Arc::from(self.name),
            sku: Arc::from(self.sku),
            description: self.description,
            price: self.price,
            stock: self.stock,
            warehouse_id: self.warehouse_id.unwrap_or(DEFAULT_WAREHOUSE),
            category_id: self.category_id,
            components,
        })
    }
}

/// What a bundle is made of, sorted; each variant is named once.
fn components(items: &[Item], checks: &mut Checks) -> Vec<Component> {
    let within = items.len() <= COMPONENTS_MAX;
    checks.that(within, "components", || format!("up to {COMPONENTS_MAX} components are expected"));
    let mut components = BTreeMap::new();
    for (n, item) in items.iter().enumerate() {
        let variant_id = item.variant_id.unwrap_or(item.product_id);
        let quantity = i32::try_from(item.qty).unwrap_or_default();
        let within = (1..=COMPONENT_QUANTITY_MAX).contains(&quantity);
        checks.that(within, &format!("components[{n}].qty"), || format!("1 to {COMPONENT_QUANTITY_MAX} is expected"));
        let component = Component { product_id: item.product_id, variant_id, quantity };
        let twice = components.insert(variant_id, component).is_some();
        checks.that(!twice, &format!("components[{n}]"), || "it is named before".to_owned());
    }
    components.into_values().collect()
}

pub(crate) async fn handle(
    App(state): App,
    Operator(operator): Operator,
    headers: HeaderMap,
    Json(request): Json<Request>,
) -> Result<Response, Error> {
    let product = request.validate()?;
    check_category(&state, product.category_id).await?;
    let body = serde_json::to_vec(&product).map_err(|error| Error::Internal(error.to_string()))?;
    let fingerprint = hash_id("create-product", &[&body]);
    let mut shown = json!({
        "name": product.name, "sku": product.sku, "description": product.description, "price": product.price,
        "categoryId": product.category_id, "stock": product.stock, "warehouseId": product.warehouse_id,
    });
    if !product.components.is_empty() {
        shown["components"] = json!(product.components);
    }
    let new = New { action: Action::CreateProduct(product), fingerprint, parent: "/products".to_owned(), shown };
    create(&state, operator.account, &headers, new).await
}

/// That a category, if one is named, is there. Once there it is never gone from the database, so the writer need not look.
pub(crate) async fn check_category(state: &State, category: Option<Uuid>) -> Result<(), Error> {
    let Some(id) = category else { return Ok(()) };
    let known = state.read(move |c| Box::pin(async move { db::categories::is_known(c, id).await })).await?;
    if known { Ok(()) } else { Err(Error::Plain(&problems::UNKNOWN_CATEGORY)) }
}
