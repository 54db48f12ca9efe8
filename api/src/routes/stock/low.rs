//! `GET /stock/low`: variants that are low now. `GET /stock/low/events`: each time that one has become so, the newest first.

use axum::response::Response;
use common::db;
use common::db::low_stock::{Event, Low, Place};
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::auth::Operator;
use crate::error::Error;
use crate::page::{self, Asked, Cursor};
use crate::state::App;

pub(crate) async fn now(App(state): App, _: Operator, query: Asked) -> Result<Response, Error> {
    let mut reading = query.read(&["limit", "cursor"]);
    let (limit, after) = (reading.limit(), reading.cursor::<Uuid>());
    let ((), kept) = reading.finish(())?;
    let found = state.read(move |c| Box::pin(async move { db::low_stock::now(c, after, limit + 1).await }));
    Ok(page::answer("/stock/low", kept, limit, found.await?, |low: &Low| low.variant_id, show_low))
}

pub(crate) async fn events(App(state): App, _: Operator, query: Asked) -> Result<Response, Error> {
    let mut reading = query.read(&["limit", "cursor"]);
    let (limit, before) = (reading.limit(), reading.cursor::<Place>());
    let ((), kept) = reading.finish(())?;
    let found = state.read(move |c| Box::pin(async move { db::low_stock::events(c, before, limit + 1).await }));
    let place = |event: &Event| (event.crossed_at, event.command_id, event.variant_id);
    Ok(page::answer("/stock/low/events", kept, limit, found.await?, place, show))
}

/// A moment, the command that was decided, and one of its variants.
impl Cursor for Place {
    fn parse(text: &str) -> Option<Self> {
        let (place, variant) = text.rsplit_once('-')?;
        let (at, command) = Cursor::parse(place)?;
        Some((at, command, Uuid::try_parse(variant).ok()?))
    }

    fn text(&self) -> String {
        format!("{}-{}", (self.0, self.1).text(), self.2.simple())
    }
}

fn show_low(low: Low) -> Value {
    let Low { product_id, variant_id, sku, threshold, available } = low;
    json!({ "productId": product_id, "variantId": variant_id, "sku": sku, "threshold": threshold, "available": available })
}

fn show(event: Event) -> Value {
    json!({
        "productId": event.product_id,
        "variantId": event.variant_id,
        "sku": event.sku,
        "threshold": event.threshold,
        "available": event.available,
        "commandId": event.command_id,
        "partition": event.partition,
        "sequence": event.sequence,
        "at": event.crossed_at.format(&Rfc3339).unwrap_or_default(),
    })
}
