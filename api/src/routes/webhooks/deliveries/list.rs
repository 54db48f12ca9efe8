//! `GET /webhooks/deliveries?endpointId=&status=&eventType=&since=&limit=&cursor=`: the newest first.

use axum::response::Response;
use common::db;
use common::db::webhooks::{Delivery, DeliveryState, Filter, Place};
use common::domain::Timestamp;
use common::event::EventType;
use uuid::Uuid;

use super::view;
use crate::auth::Caller;
use crate::error::Error;
use crate::page::{self, Asked};
use crate::routes::webhooks::scope;
use crate::state::App;

pub(crate) async fn handle(App(state): App, Caller(caller): Caller, query: Asked) -> Result<Response, Error> {
    let mut reading = query.read(&["endpointId", "status", "eventType", "since", "limit", "cursor"]);
    let states = DeliveryState::ALL.map(DeliveryState::as_str).join(", ");
    let types = EventType::ALL.map(EventType::as_str).join(", ");
    let filter = Filter {
        account: scope(caller),
        endpoint: reading.id("endpointId"),
        state: reading.parsed("status", &states, |text| DeliveryState::ALL.into_iter().find(|s| s.as_str() == text)),
        event_type: reading.parsed("eventType", &types, |text| EventType::ALL.into_iter().find(|t| t.as_str() == text)),
        since: reading.time("since"),
    };
    let (limit, cursor) = (reading.limit(), reading.cursor::<(Timestamp, Uuid)>());
    let ((), kept) = reading.finish(())?;
    let after = cursor.map(|(created_at, id)| Place { created_at, id });
    let found = state
        .read(move |c| Box::pin(async move { db::webhooks::list_deliveries(c, &filter, after, limit + 1).await }))
        .await?;
    let place = |delivery: &Delivery| (delivery.created_at, delivery.id);
    Ok(page::answer("/webhooks/deliveries", kept, limit, found, place, view))
}
