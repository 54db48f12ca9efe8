//! `POST /orders`: authenticate, validate, publish, and only then answer. With `Prefer: wait` the answer is the outcome.

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use common::domain::{Order, Outcome};
use common::message::Decided;
use serde::Deserialize;

use super::placing::{Item, Terms, check_customer, lines, place};
use super::view::{OrderView, pending};
use crate::answer::{self, applied, replayed};
use crate::auth::Caller;
use crate::checks::{Checks, NAME_BYTES_MAX};
use crate::error::{Error, Receipt};
use crate::extract::Json;
use crate::state::App;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Request {
    items: Vec<Item>,
    customer_id: Option<String>,
    #[serde(default)]
    payment: Payment,
    payment_method: Option<String>,
}

#[derive(Deserialize, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
enum Payment {
    /// Sold at once.
    #[default]
    Immediate,
    /// Reserved for the payment window.
    Deferred,
}

pub(crate) async fn handle(
    App(state): App,
    caller: Caller,
    headers: HeaderMap,
    Json(request): Json<Request>,
) -> Result<Response, Error> {
    let mut checks = Checks::default();
    let lines = lines(&request.items, &mut checks);
    check_customer(request.customer_id.as_deref(), &mut checks);
    checks.text_if_set("paymentMethod", request.payment_method.as_deref(), NAME_BYTES_MAX);
    let useless = request.payment_method.is_some() && request.payment == Payment::Immediate;
    checks.that(!useless, "paymentMethod", || "it is for payment \"deferred\"".to_owned());
    let terms = match request.payment {
        Payment::Immediate => Terms::Sale,
        Payment::Deferred => Terms::Payment { method: request.payment_method },
    };
    let (lines, terms) = checks.finish((lines, terms))?;
    let placing = place(&state, caller, &headers, request.customer_id, lines, terms).await?;
    let id = placing.id;
    let response = match placing.decided {
        Some(Decided::OrderV1(order)) => outcome(order),
        Some(Decided::KeyReusedV1 { .. }) => Error::KeyReused.into_response(),
        Some(Decided::FailedV1 { .. }) => Error::Failed { id }.into_response(),
        Some(
            Decided::EarlierV1 { .. } | Decided::ProductV1 { .. } | Decided::ChangeV1 { .. } | Decided::StockV1 { .. },
        )
        | None => answer::accepted(&format!("/orders/{id}"), pending(id)),
    };
    Ok(applied(placing.wait, if placing.before { replayed(response) } else { response }))
}

/// A decided order: 201, or the problem that says why not.
fn outcome(order: Order) -> Response {
    let id = order.id;
    let location = [(header::LOCATION, format!("/orders/{id}"))];
    match &order.outcome {
        Outcome::Confirmed(_) => (StatusCode::CREATED, location, axum::Json(OrderView::from(order))).into_response(),
        Outcome::Refused(placed) => (location, Error::Refused(Receipt::of(&order, placed, "orders"))).into_response(),
    }
}
