//! Lists by pages: `?limit=&cursor=`, and `Link: rel="next"` (RFC 8288) where there is more.

use axum::Json;
use axum::extract::{FromRequestParts, Query};
use axum::http::header;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use common::domain::Timestamp;
use form_urlencoded::Serializer;
use serde::Serialize;
use serde_json::json;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::checks::Checks;
use crate::error::{Error, FieldError};

const LIMIT_DEFAULT: i64 = 50;
const LIMIT_MAX: i64 = 200;

/// The query of a request, each name once.
pub(crate) struct Asked(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let pairs = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        let Query(pairs) = pairs.map_err(|error| Error::Invalid(vec![FieldError::new("", error.body_text())]))?;
        Ok(Self(pairs))
    }
}

/// A query that is being read.
pub(crate) struct Reading {
    pairs: Vec<(String, String)>,
    pub(crate) checks: Checks,
}

impl Asked {
    /// Refuses what is not among `known`, and what is there twice.
    pub(crate) fn read(self, known: &[&str]) -> Reading {
        let mut checks = Checks::default();
        for (n, (name, _)) in self.0.iter().enumerate() {
            checks.that(known.contains(&name.as_str()), name, || "this is not a filter here".to_owned());
            let is_first = self.0.iter().take(n).all(|(before, _)| before != name);
            checks.that(is_first, name, || "it is named twice".to_owned());
        }
        Reading { pairs: self.0, checks }
    }
}

impl Reading {
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A value of a name, where it is set and as expected.
    pub(crate) fn parsed<T>(&mut self, name: &str, expected: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let value = parse(self.text(name)?);
        self.checks.that(value.is_some(), name, || format!("{expected} is expected"));
        value
    }

    pub(crate) fn id(&mut self, name: &str) -> Option<Uuid> {
        self.parsed(name, "an id", |text| Uuid::try_parse(text).ok())
    }

    pub(crate) fn time(&mut self, name: &str) -> Option<Timestamp> {
        let format = &time::format_description::well_known::Rfc3339;
        self.parsed(name, "a time such as 2026-01-02T03:04:05Z", |text| OffsetDateTime::parse(text, format).ok())
    }

    /// How many are asked for.
    pub(crate) fn limit(&mut self) -> i64 {
        let within = |text: &str| text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
        self.parsed("limit", &format!("1 to {LIMIT_MAX}"), within).unwrap_or(LIMIT_DEFAULT)
    }

    /// Where a page begins.
    pub(crate) fn cursor<C: Cursor>(&mut self) -> Option<C> {
        self.parsed("cursor", "a cursor of an earlier page", C::parse)
    }

    /// The filter as it was asked for, or everything that is wrong with it.
    pub(crate) fn finish<T>(self, value: T) -> Result<(T, Filter), Error> {
        let value = self.checks.finish(value)?;
        Ok((value, Filter(self.pairs)))
    }
}

/// What of a query goes from one page to the next.
pub(crate) struct Filter(Vec<(String, String)>);

/// Where a page begins, as a text that means nothing to others.
pub(crate) trait Cursor: Sized {
    fn parse(text: &str) -> Option<Self>;
    fn text(&self) -> String;
}

impl Cursor for Uuid {
    fn parse(text: &str) -> Option<Self> {
        Uuid::try_parse(text).ok()
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

/// A moment, and an id where several have the same.
impl Cursor for (Timestamp, Uuid) {
    fn parse(text: &str) -> Option<Self> {
        let (nanoseconds, id) = text.split_once('-')?;
        let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from_str_radix(nanoseconds, 36).ok()?).ok()?;
        Some((at, Uuid::try_parse(id).ok()?))
    }

    fn text(&self) -> String {
        let mut digits = Vec::new();
        let mut left = self.0.unix_timestamp_nanos().max(0);
        while left > 0 || digits.is_empty() {
            digits.push(char::from_digit(u32::try_from(left % 36).unwrap_or_default(), 36).unwrap_or('0'));
            left /= 36;
        }
        format!("{}-{}", digits.iter().rev().collect::<String>(), self.1.simple())
    }
}

/// A stock row's warehouse, and a version.
impl Cursor for (Uuid, i64) {
    fn parse(text: &str) -> Option<Self> {
        let (warehouse, version) = text.split_once('-')?;
        Some((Uuid::try_parse(warehouse).ok()?, version.parse().ok()?))
    }

    fn text(&self) -> String {
        format!("{}-{}", self.0.simple(), self.1)
    }
}

/// An address of segments that may hold anything.
pub(crate) fn path(segments: &[&str]) -> String {
    segments.iter().flat_map(|segment| ["/".to_owned(), percent(segment)]).collect()
}

/// Percent-encodes all but unreserved characters (RFC 3986, section 2.3).
fn percent(segment: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    segment
        .bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// A page of at most `limit` of what was found, which is one more where there is another page.
pub(crate) fn answer<T, V: Serialize, C: Cursor>(
    path: &str,
    filter: Filter,
    limit: i64,
    found: Vec<T>,
    cursor: impl Fn(&T) -> C,
    show: impl Fn(T) -> V,
) -> Response {
    let shown = usize::try_from(limit).unwrap_or(usize::MAX);
    let next = (found.len() > shown).then(|| found.get(shown - 1).map(|last| cursor(last).text())).flatten();
    let items: Vec<V> = found.into_iter().take(shown).map(show).collect();
    let mut response = Json(json!({ "items": items, "nextCursor": next })).into_response();
    if let Some(next) = next {
        let kept = filter.0.iter().filter(|(name, _)| name != "cursor");
        let query = Serializer::new(String::new()).extend_pairs(kept).append_pair("cursor", &next).finish();
        if let Ok(link) = format!("<{path}?{query}>; rel=\"next\"").try_into() {
            response.headers_mut().insert(header::LINK, link);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let at = OffsetDateTime::from_unix_timestamp_nanos(1_700_000_000_123_456_000).expect("a time");
        let place = (at, Uuid::from_u128(7));
        assert_eq!(<(Timestamp, Uuid)>::parse(&place.text()), Some(place));
        let row = (Uuid::from_u128(8), 42);
        assert_eq!(<(Uuid, i64)>::parse(&row.text()), Some(row));
        for nonsense in ["", "-", "x-y", "1-", "zzzzzzzzzzzzzzzzzzzzzzzzzzzz-7"] {
            assert!(<(Timestamp, Uuid)>::parse(nonsense).is_none(), "{nonsense}");
            assert!(<(Uuid, i64)>::parse(nonsense).is_none(), "{nonsense}");
        }
    }

    #[test]
    fn what_is_unknown_twice_or_out_of_bounds_is_told_at_once() {
        let pairs = [("limit", "0"), ("status", "paid"), ("status", "x"), ("color", "red"), ("cursor", "?")];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut reading = Asked(pairs.to_vec()).read(&["status", "limit", "cursor"]);
        reading.limit();
        reading.cursor::<Uuid>();
        let Err(Error::Invalid(errors)) = reading.finish(()) else { panic!("nothing is wrong") };
        let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["status", "color", "limit", "cursor"]);
    }
}
