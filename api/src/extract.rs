//! Bodies and headers of requests, each mistake told with its place.

use std::time::Duration;

use axum::body::Body;
use axum::body::HttpBody as _;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::checks::{Checks, NAME_BYTES_MAX};
use crate::error::{Error, FieldError};

const IDEMPOTENCY_KEY: &str = "idempotency-key";
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

const BODY_BYTES_MAX_DEFAULT: usize = 64 * 1024;
/// How much of a body that is too large is read and thrown away before the connection is given up.
const DISCARDED_BYTES_MAX: usize = 64 << 20;
/// Longest time for a body to arrive.
const BODY_SECONDS_MAX: u64 = 30;

/// Largest body that is taken, as an extension of the request.
#[derive(Clone, Copy)]
pub(crate) struct BodyBytesMax(pub(crate) usize);

/// A JSON body. Unknown fields are refused by the types themselves.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Error;

    async fn from_request(request: Request, _: &S) -> Result<Self, Error> {
        if let Some(kind) = request.headers().get(header::CONTENT_TYPE) {
            let kind =
                kind.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            if kind != "application/json" && !(kind.starts_with("application/") && kind.ends_with("+json")) {
                return Err(Error::UnsupportedMediaType);
            }
        }
        let limit = request.extensions().get::<BodyBytesMax>().map_or(BODY_BYTES_MAX_DEFAULT, |limit| limit.0);
        parse(&read(request.into_body(), limit).await?).map(Self)
    }
}

/// The same; what the type has by default where there is no body at all.
pub(crate) struct JsonIfAny<T>(pub(crate) T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for JsonIfAny<T> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        if request.body().is_end_stream() {
            return Ok(Self(T::default()));
        }
        Json::from_request(request, state).await.map(|Json(value)| Self(value))
    }
}

/// Reads a body whole. What is too large is read on and thrown away for a while: a client that is still sending would
/// otherwise see its connection reset, and not the answer.
pub(crate) async fn read(mut body: Body, limit: usize) -> Result<Vec<u8>, Error> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(BODY_SECONDS_MAX);
    let mut bytes = Vec::new();
    let mut length = 0_usize;
    loop {
        let frame = tokio::time::timeout_at(deadline, body.frame()).await;
        let frame = frame.map_err(|_| Error::Malformed(FieldError::new("", "the body did not arrive in time")))?;
        let Some(frame) = frame else { break };
        let frame =
            frame.map_err(|_| Error::Malformed(FieldError::new("", "the body could not be read to its end")))?;
        let Ok(data) = frame.into_data() else { continue };
        length = length.saturating_add(data.len());
        if length <= limit {
            bytes.extend_from_slice(&data);
        } else if length > limit.saturating_add(DISCARDED_BYTES_MAX) {
            break;
        }
    }
    if length > limit { Err(Error::BodyTooLarge) } else { Ok(bytes) }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." { String::new() } else { path };
        Error::Malformed(FieldError::new(field, error.into_inner().to_string()))
    })?;
    json.end().map_err(|error| Error::Malformed(FieldError::new("", error.to_string())))?;
    Ok(value)
}

/// A field that may be left out, to stay as it is, or be `null`, to be taken away.
pub(crate) fn nullable<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Two ids in the path.
pub(crate) struct Ids(pub(crate) Uuid, pub(crate) Uuid);

impl<S: Send + Sync> FromRequestParts<S> for Ids {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let not_found = || Error::NotFound("The address does not hold two ids.".to_owned());
        let texts = Path::<(String, String)>::from_request_parts(parts, state).await.map_err(|_| not_found())?.0;
        let id = |text: &str| Uuid::try_parse(text).map_err(|_| not_found());
        Ok(Self(id(&texts.0)?, id(&texts.1)?))
    }
}

/// A customer in the path.
pub(crate) struct Customer(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Customer {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let not_found = |_| Error::NotFound("The address does not hold a customer.".to_owned());
        let Path(id) = Path::<String>::from_request_parts(parts, state).await.map_err(not_found)?;
        checked(id).map(Self)
    }
}

/// A customer in the path, and the id of something of theirs.
pub(crate) struct CustomersItem(pub(crate) String, pub(crate) Uuid);

impl<S: Send + Sync> FromRequestParts<S> for CustomersItem {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let not_found = || Error::NotFound("The address does not hold a customer and an id.".to_owned());
        let found = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((customer, id)) = found.map_err(|_| not_found())?;
        Ok(Self(checked(customer)?, Uuid::try_parse(&id).map_err(|_| not_found())?))
    }
}

fn checked(customer: String) -> Result<String, Error> {
    let mut checks = Checks::default();
    checks.text("customerId", &customer, 1, NAME_BYTES_MAX);
    checks.finish(customer)
}

/// An id in the path; what is no id is not found.
pub(crate) struct Id(pub(crate) Uuid);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let not_found = || Error::NotFound("The address does not hold an id.".to_owned());
        let Path(text) = Path::<String>::from_request_parts(parts, state).await.map_err(|_| not_found())?;
        Uuid::try_parse(&text).map(Self).map_err(|_| not_found())
    }
}

/// `Prefer: wait=SECONDS` (RFC 7240, section 4.3), if there is one. What can't be understood is ignored, as the RFC says.
pub(crate) fn preferred_wait(headers: &HeaderMap, most: Duration) -> Option<Duration> {
    headers
        .get_all("prefer")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split([',', ';']))
        .filter_map(|preference| preference.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("wait"))
        .and_then(|(_, seconds)| seconds.trim().trim_matches('"').parse().ok())
        .map(|seconds| Duration::from_secs(seconds).min(most))
}

/// The `Idempotency-Key`, if there is one: a structured string (`"..."`) or, leniently, bare.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Error> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let invalid = |detail: &str| Error::Invalid(vec![FieldError::new("Idempotency-Key", detail)]);
    if values.next().is_some() {
        return Err(invalid("only one is expected"));
    }
    let text = value.to_str().map_err(|_| invalid("visible ASCII characters are expected"))?.trim();
    let key = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX {
        return Err(invalid("1 to 255 characters are expected"));
    }
    Ok(Some(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, values: &[&'static str]) -> HeaderMap {
        values
            .iter()
            .map(|value| (axum::http::HeaderName::from_static(name), value.parse().expect("a header")))
            .collect()
    }

    #[test]
    fn a_wait_is_found_among_preferences_and_cut_to_the_most() {
        let most = Duration::from_secs(30);
        for (values, expected) in [
            (&["wait=10"][..], Some(10)),
            (&["respond-async, wait=5"], Some(5)),
            (&["respond-async", "Wait=\"7\""], Some(7)),
            (&["wait=100"], Some(30)),
            (&["wait=soon"], None),
            (&["wait"], None),
            (&["respond-async"], None),
        ] {
            assert_eq!(preferred_wait(&headers("prefer", values), most).map(|w| w.as_secs()), expected, "{values:?}");
        }
    }

    #[test]
    fn an_idempotency_key_may_be_quoted() {
        let key = |values| idempotency_key(&headers(IDEMPOTENCY_KEY, values)).ok().flatten().map(str::to_owned);
        assert_eq!(key(&["\"abc\""]), Some("abc".to_owned()));
        assert_eq!(key(&["abc"]), Some("abc".to_owned()));
        assert!(idempotency_key(&headers(IDEMPOTENCY_KEY, &["\"\""])).is_err());
        assert!(idempotency_key(&headers(IDEMPOTENCY_KEY, &["a", "b"])).is_err());
    }

    #[test]
    fn a_mistake_in_a_body_names_its_place() {
        #[derive(Debug, serde::Deserialize)]
        #[expect(dead_code, reason = "only its shape matters")]
        struct Item {
            qty: i32,
        }
        let Err(Error::Malformed(error)) = parse::<Vec<Item>>(br#"[{"qty":1},{"qty":"x"}]"#) else {
            panic!("it was taken");
        };
        assert_eq!(error.field, "[1].qty");
    }
}
