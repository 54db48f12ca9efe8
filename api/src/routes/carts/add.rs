//! `POST /carts/{customerId}/items`: puts in so many more; under the idempotency key that was the last to put any in, none.

use axum::Json as Answer;
use axum::http::HeaderMap;
use common::db::carts::{self, Item};
use common::db::{self, PgConnection};
use common::domain::ORDER_LINES_MAX;
use common::ids::hash_id;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::current::change;
use super::view::view;
use crate::auth::Caller;
use crate::catalogue::SKU_BYTES_MAX;
use crate::checks::Checks;
use crate::error::{Error, FieldError};
use crate::extract::{Customer, Json, idempotency_key};
use crate::state::App;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Request {
    product_id: Option<Uuid>,
    variant_id: Option<Uuid>,
    /// In place of the two above.
    sku: Option<String>,
    qty: i64,
}

/// What is put in, as it was named.
enum Named {
    Ids(Uuid, Uuid),
    Sku(String),
}

impl Request {
    fn named(self, checks: &mut Checks) -> Named {
        match (self.product_id, self.variant_id, self.sku) {
            (Some(product), variant, None) => return Named::Ids(product, variant.unwrap_or(product)),
            (None, None, Some(sku)) => {
                checks.text("sku", &sku, 1, SKU_BYTES_MAX);
                return Named::Sku(sku);
            }
            _ => checks.mistake("productId", "a productId, and a variantId where it is one, or else a sku is expected"),
        }
        Named::Sku(String::new())
    }
}

pub(crate) async fn handle(
    App(state): App,
    Caller(caller): Caller,
    Customer(customer): Customer,
    headers: HeaderMap,
    Json(request): Json<Request>,
) -> Result<Answer<Value>, Error> {
    let quantity = quantity(request.qty)?;
    let account = caller.account;
    let key = idempotency_key(&headers)?;
    let key = key.map(|key| hash_id("cart-item-key", &[account.as_bytes(), customer.as_bytes(), key.as_bytes()]));
    let mut checks = Checks::default();
    let named = request.named(&mut checks);
    let named = checks.finish(named)?;
    let changed = change(&state, account, customer, move |c, cart| {
        Box::pin(async move {
            let (product, variant) = match named {
                Named::Ids(product, variant) => (product, variant),
                Named::Sku(sku) => match db::products::known(c, std::slice::from_ref(&sku)).await?.remove(&sku) {
                    Some(known) => (known.product_id, known.variant_id),
                    None => return Ok(Err(Error::Plain(&crate::problems::UNKNOWN_PRODUCT))),
                },
            };
            let items = carts::items(c, cart.id).await?;
            let before = items.iter().find(|item| item.variant == variant);
            if key.is_some() && before.is_some_and(|item| item.added_by_key == key) {
                return Ok(Ok(()));
            }
            if before.is_none() && items.len() >= ORDER_LINES_MAX {
                let full = FieldError::new("", format!("a cart has {ORDER_LINES_MAX} items at the most"));
                return Ok(Err(Error::Invalid(vec![full])));
            }
            let Some(quantity) = before.map_or(0, |item| item.quantity).checked_add(quantity) else {
                return Ok(Err(Error::Invalid(vec![FieldError::new("qty", "it adds up to too many")])));
            };
            put(c, cart.id, (product, variant), quantity, key).await
        })
    });
    Ok(Answer(view(&changed.await?)))
}

pub(super) fn quantity(qty: i64) -> Result<i32, Error> {
    let quantity = i32::try_from(qty).ok().filter(|quantity| *quantity > 0);
    let mut checks = Checks::default();
    checks.that(quantity.is_some(), "qty", || format!("1 to {} is expected", i32::MAX));
    checks.finish(quantity.unwrap_or_default())
}

/// Has a cart hold so many of a variant, at today's price; an error where it is not sold.
pub(super) async fn put(
    connection: &mut PgConnection,
    cart: Uuid,
    (product, variant): (Uuid, Uuid),
    quantity: i32,
    added_by_key: Option<Uuid>,
) -> db::Result<Result<(), Error>> {
    let catalogue = db::stock::look(connection, &[variant]).await?;
    let refused = |kind| Ok(Err(Error::Refusal { kind, members: json!({ "productIds": [product] }) }));
    match catalogue.variant(variant).filter(|known| known.product == product) {
        None => refused(&crate::problems::UNKNOWN_PRODUCT),
        Some(known) if known.deleted => refused(&crate::problems::DELETED_PRODUCT),
        Some(known) => {
            let item = Item { product, variant, quantity, price: known.price, added_by_key };
            carts::put(connection, cart, &item).await?;
            Ok(Ok(()))
        }
    }
}
