//! `POST /orders`: authenticate, validate, publish, and only then answer. With `Prefer: wait` the answer is the outcome.

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use common::domain::{Address, DeliveryMode, Money, Order, Outcome};
use common::message::Decided;
use serde::{Deserialize, Serialize};

use super::placing::{Item, Placing, Terms, Wanted, check_customer, lines, place};
use super::view::{OrderView, pending};
use crate::answer::{self, applied, replayed};
use crate::auth::Caller;
use crate::checks::{Checks, NAME_BYTES_MAX};
use crate::delivery::delivery;
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
    delivery_mode: Option<DeliveryMode>,
    address: Option<Address>,
    /// Refused if it comes to anything else.
    expected_total: Option<Money>,
}

#[derive(Deserialize, Serialize, Clone, Copy, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Payment {
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
    let terms = terms(request.payment, request.payment_method, &mut checks);
    let delivery = delivery(request.delivery_mode, request.address, &mut checks);
    let (customer, expected_total) = (request.customer_id, request.expected_total);
    let wanted = checks.finish(Wanted { customer, lines, terms, delivery, expected_total })?;
    Ok(answer(place(&state, caller, &headers, wanted).await?))
}

/// How stock is to be taken.
pub(crate) fn terms(payment: Payment, method: Option<String>, checks: &mut Checks) -> Terms {
    checks.text_if_set("paymentMethod", method.as_deref(), NAME_BYTES_MAX);
    let useless = method.is_some() && payment == Payment::Immediate;
    checks.that(!useless, "paymentMethod", || "it is for payment \"deferred\"".to_owned());
    match payment {
        Payment::Immediate => Terms::Sale,
        Payment::Deferred => Terms::Payment { method },
    }
}

/// What has come of an order, or that it is pending.
pub(crate) fn answer(placing: Placing) -> Response {
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
    applied(placing.wait, if placing.before { replayed(response) } else { response })
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
