//! `GET /carts/{customerId}/summary`: what the cart comes to now, by each mode of delivery where there is an address. Nothing is
//! reserved, and nothing promised: prices are frozen when its order is placed.

use axum::Json;
use common::clock;
use common::db;
use common::domain::{Confirmed, DeliveryMode, DeliveryWish, Line, PlaceOrder, Refusal, Terms, quote};
use serde_json::{Value, json};

use super::current::{Current, find};
use super::view::view;
use crate::auth::Caller;
use crate::error::{Error, problem_body, tell};
use crate::extract::Customer;
use crate::routes::fulfillment::check::option;
use crate::routes::orders::view::Bill;
use crate::state::App;

pub(crate) async fn handle(
    App(state): App,
    Caller(caller): Caller,
    Customer(customer): Customer,
) -> Result<Json<Value>, Error> {
    let current = find(&state, caller.account, customer).await?;
    let terms = state.read(|c| Box::pin(async move { db::terms::in_force(c).await })).await?;
    Ok(Json(summary(&current, &terms.terms)))
}

/// The order that a cart would be, by a mode of delivery, at today's prices or those that are agreed.
pub(super) fn order(current: &Current, mode: DeliveryMode, agreed: bool) -> PlaceOrder {
    let price = |variant| current.catalogue.variant(variant).map(|known| known.price).filter(|_| agreed);
    let mut lines: Vec<Line> = current
        .items
        .iter()
        .map(|item| Line {
            product_id: item.product,
            variant_id: item.variant,
            quantity: item.quantity,
            agreed: price(item.variant),
        })
        .collect();
    lines.sort_unstable_by_key(|line| (line.product_id, line.variant_id));
    let delivery = current.cart.address.clone().map(|address| Box::new(DeliveryWish { mode, address }));
    PlaceOrder { customer: Some(current.cart.customer.clone()), lines, hold: None, delivery, expected_total: None }
}

fn summary(current: &Current, terms: &Terms) -> Value {
    let mut summary = view(current);
    if current.items.is_empty() {
        summary["orderable"] = json!(false);
        return summary;
    }
    let quoted = |mode| quote(&current.catalogue, terms, &order(current, mode, false), clock::now());
    match quoted(current.cart.mode) {
        Ok(confirmed) => add(&mut summary, &confirmed),
        Err(refusal) => refuse(&mut summary, &refusal),
    }
    let all: Result<Vec<Confirmed>, Refusal> = DeliveryMode::ALL.into_iter().map(quoted).collect();
    if let (Some(_), Ok(all)) = (&current.cart.address, all) {
        summary["delivery"] = all.iter().map(option).collect();
    }
    summary
}

fn add(summary: &mut Value, confirmed: &Confirmed) {
    let Bill { subtotal, tax, total, .. } = confirmed.into();
    let delivery = confirmed.delivery.as_deref();
    summary["orderable"] = json!(delivery.is_some());
    summary["subtotal"] = json!(subtotal);
    summary["tier"] = json!(delivery.map(|delivery| delivery.tier));
    summary["deliveryCost"] = json!(delivery.map(|delivery| delivery.price(total.currency)));
    summary["estimatedDate"] = json!(delivery.and_then(|delivery| delivery.estimated_on).map(|day| day.to_string()));
    summary["tax"] = json!(tax);
    summary["total"] = json!(total);
}

fn refuse(summary: &mut Value, refusal: &Refusal) {
    let (kind, detail, members) = tell(refusal);
    summary["orderable"] = json!(false);
    summary["problem"] = problem_body(kind, Some(detail), members);
}
