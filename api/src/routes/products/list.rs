//! `GET /products?limit=&cursor=`: a page of the catalogue, with `Link: rel="next"` (RFC 8288) where there is more.

use axum::Json;
use axum::extract::Query;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use common::db;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::view::ProductView;
use crate::auth::Caller;
use crate::error::{Error, FieldError};
use crate::state::App;

const LIMIT_DEFAULT: i64 = 50;
const LIMIT_MAX: i64 = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    limit: Option<String>,
    cursor: Option<String>,
}

impl Page {
    fn validate(self) -> Result<(i64, Option<Uuid>), Error> {
        let mut errors = Vec::new();
        let limit = self.limit.map_or(Some(LIMIT_DEFAULT), |text| text.parse().ok());
        let limit = limit.filter(|limit| (1..=LIMIT_MAX).contains(limit));
        if limit.is_none() {
            errors.push(FieldError::new("limit", format!("1 to {LIMIT_MAX} is expected")));
        }
        let cursor = self.cursor.map(|text| Uuid::try_parse(&text)).transpose();
        if cursor.is_err() {
            errors.push(FieldError::new("cursor", "a cursor of an earlier page is expected"));
        }
        match (limit, cursor) {
            (Some(limit), Ok(cursor)) => Ok((limit, cursor)),
            _ => Err(Error::Invalid(errors)),
        }
    }
}

pub(crate) async fn handle(
    App(state): App,
    _: Caller,
    page: Result<Query<Page>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Error> {
    let Query(page) = page.map_err(|error| Error::Invalid(vec![FieldError::new("", error.body_text())]))?;
    let (limit, cursor) = page.validate()?;
    // One more than asked for tells whether there is a next page.
    let found = state.read(move |c| Box::pin(async move { db::products::list(c, cursor, limit + 1).await })).await?;
    let shown = usize::try_from(limit).unwrap_or(usize::MAX);
    let next = (found.len() > shown).then(|| found.get(shown - 1).map(|product| product.id)).flatten();
    let products: Vec<ProductView> = found.into_iter().take(shown).map(ProductView::from).collect();
    let mut response = Json(json!({ "items": products, "nextCursor": next })).into_response();
    if let Some(next) = next
        && let Ok(link) = format!("</products?limit={limit}&cursor={next}>; rel=\"next\"").try_into()
    {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}
