//! Every address that the api answers: one folder per noun, one file per verb.

mod health;
pub(crate) mod orders;
mod problems;
mod products;

use std::sync::Arc;

use axum::routing::{get, post};
use axum::{Extension, Router};

use crate::error::Error;
use crate::extract::BodyBytesMax;
use crate::state::Slot;

pub(crate) fn router(slot: Arc<Slot>, body_bytes_max: usize) -> Router {
    Router::new()
        .route("/orders", post(orders::place::handle))
        .route("/orders/{id}", get(orders::show::handle))
        .route("/products", post(products::create::handle).get(products::list::handle))
        .route("/products/{id}", get(products::show::handle))
        .route("/products/{id}/stock", get(products::stock::handle))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/problems", get(problems::list))
        .route("/problems/{name}", get(problems::show))
        .fallback(async || Error::NotFound("There is nothing at this address.".to_owned()))
        .method_not_allowed_fallback(async || Error::MethodNotAllowed)
        .layer(Extension(BodyBytesMax(body_bytes_max)))
        .with_state(slot)
}
