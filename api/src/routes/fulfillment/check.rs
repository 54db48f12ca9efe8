//! `POST /fulfillment/check`: from where these items would be served now, at which tier, for how much and until when, by each
//! mode of delivery. Nothing is reserved.

use axum::Json as Answer;
use common::clock;
use common::db;
use common::domain::{
    Address, Confirmed, DeliveryMode, DeliveryWish, Line, Money, PlaceOrder, Refusal, StockView, Terms, quote,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::auth::Caller;
use crate::checks::Checks;
use crate::delivery::check_place;
use crate::error::{Error, problem_body, tell};
use crate::extract::Json;
use crate::routes::orders::placing::{Item, lines};
use crate::routes::orders::view::item;
use crate::state::App;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Request {
    items: Vec<Item>,
    address: Place,
}

/// As much of an address as says what delivery costs.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Place {
    country: String,
    postal_code: String,
}

pub(crate) async fn handle(
    App(state): App,
    _: Caller,
    Json(Request { items, address }): Json<Request>,
) -> Result<Answer<Value>, Error> {
    let mut checks = Checks::default();
    let lines = lines(&items, &mut checks);
    check_place(&address.country, &address.postal_code, &mut checks);
    let lines = checks.finish(lines)?;
    let variants: Vec<_> = lines.iter().map(|line| line.variant_id).collect();
    let looked = state.read(move |c| {
        Box::pin(async move { Ok((db::stock::look(c, &variants).await?, db::terms::in_force(c).await?)) })
    });
    let (stock, terms) = looked.await?;
    Ok(Answer(check(&stock, &terms.terms, &lines, &address)))
}

fn check(stock: &StockView, terms: &Terms, lines: &[Line], Place { country, postal_code }: &Place) -> Value {
    let [standard, express] = DeliveryMode::ALL.map(|mode| {
        let address = Address {
            name: String::new(),
            street: String::new(),
            street2: None,
            postal_code: postal_code.clone(),
            city: String::new(),
            region: None,
            country: country.clone(),
            phone: None,
        };
        let delivery = Some(Box::new(DeliveryWish { mode, address }));
        let order = PlaceOrder { customer: None, lines: lines.to_vec(), hold: None, delivery, expected_total: None };
        quote(stock, terms, &order, clock::now())
    });
    match (standard, express) {
        (Ok(standard), Ok(express)) => served(&standard, &express),
        (Err(refusal), _) | (_, Err(refusal)) => not_served(&refusal),
    }
}

fn served(standard: &Confirmed, express: &Confirmed) -> Value {
    let items: Vec<Value> = standard
        .items
        .iter()
        .map(|served| {
            let mut item = item(served);
            // Nothing was taken, so no version was made.
            for allocation in item["allocations"].as_array_mut().into_iter().flatten() {
                allocation.as_object_mut().map(|allocation| allocation.remove("stockVersion"));
            }
            item
        })
        .collect();
    let delivery = standard.delivery.as_deref();
    json!({
        "fulfillable": true,
        "items": items,
        "subtotal": standard.subtotal(),
        "zone": delivery.map(|delivery| delivery.zone),
        "tier": delivery.map(|delivery| delivery.tier),
        "delivery": [option(standard), option(express)],
    })
}

/// What one mode of delivery comes to.
pub(crate) fn option(confirmed: &Confirmed) -> Value {
    let (delivery, currency) = (confirmed.delivery.as_deref(), confirmed.total.currency);
    json!({
        "mode": delivery.map(|delivery| delivery.wish.mode),
        "tier": delivery.map(|delivery| delivery.tier),
        "cost": delivery.map(|delivery| delivery.price(currency)),
        "estimatedDate": delivery.and_then(|delivery| delivery.estimated_on).map(|day| day.to_string()),
        "tax": Money { amount: confirmed.tax, currency },
        "total": confirmed.total,
    })
}

fn not_served(refusal: &Refusal) -> Value {
    let (kind, detail, members) = tell(refusal);
    json!({ "fulfillable": false, "problem": problem_body(kind, Some(detail), members) })
}
