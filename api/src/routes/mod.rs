//! Every address that the api answers: one folder per noun, one file per verb.

mod carts;
mod categories;
mod commands;
mod customers;
mod figures;
mod fulfillment;
mod health;
mod imports;
mod orders;
mod payments;
mod problems;
mod products;
mod reservations;
mod stock;
mod terms;
mod variants;
mod warehouses;
mod webhooks;

use std::sync::Arc;

use axum::routing::{get, patch, post, put};
use axum::{Extension, Router};
use common::domain::StockChangeKind;

use crate::error::Error;
use crate::extract::BodyBytesMax;
use crate::state::Slot;

pub(crate) fn router(slot: Arc<Slot>, body_bytes_max: usize) -> Router {
    Router::new()
        .route("/orders", post(orders::place::handle).get(orders::list::handle))
        .route("/orders/{id}", get(orders::show::handle).delete(orders::cancel::handle))
        .route("/orders/{id}/history", get(orders::history::handle))
        .route("/orders/{id}/payment", patch(orders::pay::handle))
        .route("/orders/{id}/status", patch(orders::step::handle))
        .route("/orders/{id}/returns", post(orders::take_back::handle))
        .route("/reservations", post(reservations::place::handle).get(reservations::list::handle))
        .route("/reservations/{id}", get(reservations::show::handle).delete(reservations::cancel::handle))
        .route("/reservations/{id}/confirm", post(reservations::confirm::handle))
        .route("/commands/{id}", get(commands::show::handle))
        .route("/stock/adjust", stock::change::route(StockChangeKind::Adjust))
        .route("/stock/deduct", stock::change::route(StockChangeKind::Deduct))
        .route("/stock/restore", stock::change::route(StockChangeKind::Restore))
        .route("/stock/count", stock::change::route(StockChangeKind::Count))
        .route("/stock/backorders", post(stock::backorders::handle))
        .route("/stock/transfer", post(stock::transfer::handle))
        .route("/stock/low", get(stock::low::now))
        .route("/stock/low/events", get(stock::low::events))
        .route("/stock/movements", get(stock::movements::handle))
        .route("/payments/unapplied", get(payments::list::handle))
        .route("/payments/unapplied/{id}", patch(payments::resolve::handle))
        .route("/customers/{customerId}/tier", get(customers::tier::show).put(customers::tier::set))
        .route("/figures", get(figures::show))
        .route("/metrics", get(figures::metrics))
        .route("/products", post(products::create::handle).get(products::list::handle))
        .route(
            "/products/{id}",
            get(products::show::handle).patch(products::change::handle).delete(products::delete::handle),
        )
        .route("/products/{id}/stock", get(products::stock::handle))
        .route("/products/{id}/stock/events", get(products::stock_events::handle))
        .route("/products/{id}/variants", post(variants::create::handle))
        .route(
            "/products/{id}/variants/{variantId}",
            get(variants::show::handle).patch(variants::change::handle).delete(variants::delete::handle),
        )
        .route("/categories", post(categories::create::handle).get(categories::list::handle))
        .route(
            "/categories/{id}",
            get(categories::show::handle).patch(categories::rename::handle).delete(categories::delete::handle),
        )
        .route("/warehouses", post(warehouses::create::handle).get(warehouses::list::handle))
        .route("/warehouses/{id}", get(warehouses::show::handle).patch(warehouses::change::handle))
        .route("/terms", get(terms::show::handle).put(terms::put::handle))
        .route("/fulfillment/check", post(fulfillment::check::handle))
        .route("/carts/{customerId}", get(carts::show::handle))
        .route("/carts/{customerId}/items", post(carts::add::handle).delete(carts::clear::handle))
        .route("/carts/{customerId}/items/{variantId}", patch(carts::change::handle).delete(carts::remove::handle))
        .route("/carts/{customerId}/address", put(carts::address::handle))
        .route("/carts/{customerId}/summary", get(carts::summary::handle))
        .route("/carts/{customerId}/place-order", post(carts::place_order::handle))
        .route("/carts/{customerId}/completed", get(carts::completed::handle))
        .route("/imports", post(imports::start::handle))
        .route("/imports/{id}", get(imports::show::handle))
        .route("/imports/{id}/refused", get(imports::refused::handle))
        .merge(told())
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/problems", get(problems::list))
        .route("/problems/{name}", get(problems::show))
        .fallback(async || Error::NotFound("There is nothing at this address.".to_owned()))
        .method_not_allowed_fallback(async || Error::MethodNotAllowed)
        .layer(Extension(BodyBytesMax(body_bytes_max)))
        .with_state(slot)
}

/// Webhooks.
fn told() -> Router<Arc<Slot>> {
    Router::new()
        .route("/webhooks/endpoints", post(webhooks::endpoints::create::handle).get(webhooks::endpoints::list::handle))
        .route(
            "/webhooks/endpoints/{id}",
            get(webhooks::endpoints::show::handle)
                .patch(webhooks::endpoints::change::handle)
                .delete(webhooks::endpoints::delete::handle),
        )
        .route("/webhooks/endpoints/{id}/rotate-secret", post(webhooks::endpoints::rotate_secret::handle))
        .route("/webhooks/endpoints/{id}/test", post(webhooks::endpoints::test::handle))
        .route("/webhooks/endpoints/{id}/replay", post(webhooks::endpoints::replay::handle))
        .route("/webhooks/deliveries", get(webhooks::deliveries::list::handle))
        .route("/webhooks/deliveries/{id}", get(webhooks::deliveries::show::handle))
        .route("/webhooks/deliveries/{id}/replay", post(webhooks::deliveries::replay::handle))
}
