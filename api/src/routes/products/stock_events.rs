//! `GET /products/{id}/stock/events`: the product's stock as server-sent events (HTML standard, section 9.2): `stock`, with what
//! `GET /products/{id}/stock` would tell, at once and whenever it has changed; `gone` where it is no longer sold, which is the
//! last one. After ten minutes it ends, to be asked for again.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderName, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use common::db;
use futures_util::stream;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::auth::Caller;
use crate::error::Error;
use crate::extract::Id;
use crate::live::Stock;
use crate::state::{App, State};

/// A comment is sent where nothing else was for so long: proxies end what is silent.
const KEEP_ALIVE_SECONDS: u64 = 15;
/// A stream ends after so long, and its listener asks again, as an `EventSource` does by itself: with a key that may have been
/// revoked meanwhile.
const STREAM_SECONDS_MAX: u64 = 600;
/// nginx and others hold back what they are not told to pass on.
const NO_BUFFERING: (HeaderName, &str) = (HeaderName::from_static("x-accel-buffering"), "no");

pub(crate) async fn handle(App(state): App, _: Caller, Id(id): Id) -> Result<Response, Error> {
    let found = state.read(move |c| Box::pin(async move { db::products::find(c, id).await })).await?;
    if found.is_none() {
        return Err(Error::NotFound("There is no such product.".to_owned()));
    }
    let listener = state
        .live
        .listen(id, state.config.listeners_max)
        .map_err(|_| Error::Busy("As many listen already as this api takes."))?;
    let until = Instant::now() + Duration::from_secs(STREAM_SECONDS_MAX);
    let first = Listening { state, listener, first: true, until };
    let events = stream::unfold(Some(first), async |listening| {
        let (event, next) = listening?.next().await?;
        Some((Ok::<_, Infallible>(event), next))
    });
    let keep_alive = KeepAlive::new().interval(Duration::from_secs(KEEP_ALIVE_SECONDS));
    let headers = [(header::CACHE_CONTROL, "no-store"), NO_BUFFERING];
    Ok((headers, Sse::new(events).keep_alive(keep_alive)).into_response())
}

struct Listening {
    state: Arc<State>,
    listener: watch::Receiver<Stock>,
    /// What is known already is told at once.
    first: bool,
    until: Instant,
}

impl Listening {
    /// The next event, and how it goes on; `None` where the api stops.
    async fn next(mut self) -> Option<(Event, Option<Self>)> {
        loop {
            if !std::mem::take(&mut self.first) {
                tokio::select! {
                    changed = self.listener.changed() => changed.ok()?,
                    () = self.state.stopping.cancelled() => return None,
                    () = tokio::time::sleep_until(self.until) => return None,
                }
            }
            let stock = self.listener.borrow_and_update().clone();
            match stock {
                Stock::Unread => {}
                Stock::Known { shown, .. } => return Some((Event::default().event("stock").data(&*shown), Some(self))),
                Stock::Gone => return Some((Event::default().event("gone").data("{}"), None)),
            }
        }
    }
}
