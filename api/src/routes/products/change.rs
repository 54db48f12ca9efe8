//! `PATCH /products/{id}`: what is left out stays. Orders that are decided later follow it; those decided before stay as they are.

use axum::Json as Answer;
use common::db;
use common::db::products::{ProductChange, VariantChanged};
use common::domain::{Limit, Money};
use serde::Deserialize;
use uuid::Uuid;

use super::create::check_category;
use super::view::ProductView;
use crate::auth::Operator;
use crate::catalogue::{
    DESCRIPTION_BYTES_MAX, NAME_BYTES_MAX, SKU_BYTES_MAX, check_limit, check_price, check_threshold,
};
use crate::checks::Checks;
use crate::error::Error;
use crate::extract::{Id, Json, nullable};
use crate::problems;
use crate::state::App;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Request {
    name: Option<String>,
    sku: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    description: Option<Option<String>>,
    price: Option<Money>,
    #[serde(default, deserialize_with = "nullable")]
    low_stock_threshold: Option<Option<i64>>,
    #[serde(default, deserialize_with = "nullable")]
    limit: Option<Option<Limit>>,
    #[serde(default, deserialize_with = "nullable")]
    category_id: Option<Option<Uuid>>,
}

pub(crate) async fn handle(
    App(state): App,
    _: Operator,
    Id(id): Id,
    Json(request): Json<Request>,
) -> Result<Answer<ProductView>, Error> {
    let mut checks = Checks::default();
    checks.text_if_set("name", request.name.as_deref(), NAME_BYTES_MAX);
    checks.text_if_set("sku", request.sku.as_deref(), SKU_BYTES_MAX);
    checks.text_if_set("description", request.description.as_ref().and_then(Option::as_deref), DESCRIPTION_BYTES_MAX);
    check_price(request.price, &mut checks);
    check_threshold(request.low_stock_threshold.flatten(), &mut checks);
    check_limit(request.limit.flatten(), &mut checks);
    let Request { name, sku, description, price, category_id: category, low_stock_threshold, limit } =
        checks.finish(request)?;
    check_category(&state, category.flatten()).await?;
    let change = ProductChange { name, description, category, sku, price, low_stock_threshold, limit };
    let changed = state.read(move |c| {
        Box::pin(async move {
            let mut transaction = db::begin(c).await?;
            let changed = db::products::change(&mut transaction, id, &change).await?;
            if changed == VariantChanged::Done {
                db::commit(transaction).await?;
            } else {
                drop(transaction);
            }
            Ok((changed, db::products::find(c, id).await?))
        })
    });
    let (changed, product) = changed.await?;
    done(changed, "There is no such product.")?;
    product.map(|product| Answer(product.into())).ok_or_else(|| Error::NotFound("It is no longer sold.".to_owned()))
}

pub(crate) fn done(changed: VariantChanged, unknown: &str) -> Result<(), Error> {
    match changed {
        VariantChanged::Done => Ok(()),
        VariantChanged::Unknown => Err(Error::NotFound(unknown.to_owned())),
        VariantChanged::SkuTaken => Err(Error::Plain(&problems::SKU_TAKEN)),
        VariantChanged::OtherCurrency => Err(Error::Plain(&problems::OTHER_CURRENCY)),
    }
}
