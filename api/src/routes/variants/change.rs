//! `PATCH /products/{id}/variants/{variantId}`: what is left out stays.

use std::collections::BTreeMap;

use axum::Json as Answer;
use common::db;
use common::db::products::{VariantChange, VariantChanged};
use common::domain::Money;
use serde::Deserialize;

use crate::auth::Operator;
use crate::catalogue::{SKU_BYTES_MAX, check_options, check_price, check_threshold};
use crate::checks::Checks;
use crate::error::Error;
use crate::extract::{Ids, Json, nullable};
use crate::routes::products::change::done;
use crate::routes::products::view::VariantView;
use crate::state::App;

const UNKNOWN: &str =
    "There is no such variant of such a product. What is a product's own is changed with the product.";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Request {
    sku: Option<String>,
    options: Option<BTreeMap<String, String>>,
    /// `null`: the product's.
    #[serde(default, deserialize_with = "nullable")]
    price: Option<Option<Money>>,
    #[serde(default, deserialize_with = "nullable")]
    low_stock_threshold: Option<Option<i64>>,
}

pub(crate) async fn handle(
    App(state): App,
    _: Operator,
    Ids(product, id): Ids,
    Json(request): Json<Request>,
) -> Result<Answer<VariantView>, Error> {
    let mut checks = Checks::default();
    checks.text_if_set("sku", request.sku.as_deref(), SKU_BYTES_MAX);
    if let Some(options) = &request.options {
        check_options(options, &mut checks);
    }
    check_price(request.price.flatten(), &mut checks);
    check_threshold(request.low_stock_threshold.flatten(), &mut checks);
    let Request { sku, options, price, low_stock_threshold } = checks.finish(request)?;
    if product == id {
        return Err(Error::NotFound(UNKNOWN.to_owned()));
    }
    let change = VariantChange { sku, options, price, low_stock_threshold };
    let changed = state.read(move |c| {
        Box::pin(async move {
            let mut transaction = db::begin(c).await?;
            let changed = db::products::change_variant(&mut transaction, product, id, &change).await?;
            db::commit(transaction).await?;
            let found = if changed == VariantChanged::Done { db::products::find(c, product).await? } else { None };
            Ok((changed, found))
        })
    });
    let (changed, found) = changed.await?;
    done(changed, UNKNOWN)?;
    let variants = found.into_iter().flat_map(|product| product.variants);
    let variant = variants.into_iter().find(|variant| variant.id == id);
    variant.map(|variant| Answer(variant.into())).ok_or_else(|| Error::NotFound(UNKNOWN.to_owned()))
}
