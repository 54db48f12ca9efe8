//! `POST /stock/backorders`: how much of a variant may be sold before it is there, and when it is expected; or that no more is.

use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use common::domain::{Action, Day, ON_HAND_MAX, SetBackorders, StockOutcome, day};
use common::message::Decided;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::auth::Operator;
use crate::checks::Checks;
use crate::commands::ask;
use crate::error::Error;
use crate::extract::Json;
use crate::state::App;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Request {
    product_id: Uuid,
    variant_id: Option<Uuid>,
    /// `null` to take no more.
    cap: Value,
    #[serde(default, with = "day::option")]
    expected_on: Option<Day>,
}

pub(crate) async fn handle(
    App(state): App,
    Operator(operator): Operator,
    headers: HeaderMap,
    Json(request): Json<Request>,
) -> Result<Response, Error> {
    let mut checks = Checks::default();
    let Request { product_id, variant_id, cap, expected_on } = request;
    let within = cap.as_i64().is_some_and(|cap| (0..=ON_HAND_MAX).contains(&cap));
    checks.that(within || cap.is_null(), "cap", || format!("0 to {ON_HAND_MAX}, or null, is expected"));
    let day_within = expected_on.is_none_or(|day| (2000..=9999).contains(&day.year()));
    checks.that(day_within, "expectedOn", || "a day of the years 2000 to 9999 is expected".to_owned());
    let cap = checks.finish(cap.as_i64())?;
    let variant_id = variant_id.unwrap_or(product_id);
    let set = SetBackorders { product_id, variant_id, cap, expected_on };
    let asked = ask(&state, operator.account, &headers, Action::SetBackorders(set)).await?;
    Ok(asked.answer(|decided| match decided {
        Decided::StockV1 { id, outcome: StockOutcome::Changed { on_hand, reserved, version } } => axum::Json(json!({
            "id": id, "productId": product_id, "variantId": variant_id, "cap": cap,
            "expectedOn": expected_on.map(|day| day.to_string()),
            "promisable": cap.map_or(0, |_| on_hand - reserved), "version": version,
        }))
        .into_response(),
        Decided::StockV1 { outcome, .. } => Error::Stock { product: Some(product_id), outcome }.into_response(),
        decided => Error::Internal(format!("a rule for backorders has come to {decided:?}")).into_response(),
    }))
}
