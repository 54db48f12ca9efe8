//! What the answers to commands have in common.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

/// Seconds after which a client may ask again for what is waiting.
pub(crate) const POLL_AFTER_SECONDS: u32 = 1;

const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// `202`: queued, and where to ask for the outcome (RFC 9110, sections 10.2.2 and 10.2.3).
pub(crate) fn accepted(location: &str, body: Value) -> Response {
    let headers = [(header::LOCATION, location.to_owned()), (header::RETRY_AFTER, POLL_AFTER_SECONDS.to_string())];
    (StatusCode::ACCEPTED, headers, Json(body)).into_response()
}

/// Says that a wished wait was honoured (RFC 7240, section 3).
pub(crate) fn applied(wait: Option<Duration>, mut response: Response) -> Response {
    let value = wait.and_then(|wait| HeaderValue::try_from(format!("wait={}", wait.as_secs())).ok());
    response.headers_mut().extend(value.map(|value| (PREFERENCE_APPLIED, value)));
    response
}

/// Marks the answer to a request that was decided before.
pub(crate) fn replayed(mut response: Response) -> Response {
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response
}
