//! `POST /imports`: takes a catalogue as CSV or JSON lines, and imports it in the background. The same again, or under the same
//! idempotency key, is the same import: it goes on if it was interrupted, and else answers how it stands.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use common::db;
use common::ids::hash_id;

use super::view;
use crate::answer::{self, replayed};
use crate::auth::Operator;
use crate::error::{Error, FieldError};
use crate::extract::{idempotency_key, read};
use crate::import::line::{self, Format};
use crate::import::{SILENT_SECONDS, run};
use crate::state::App;

const LINES_MAX: usize = 1_000_000;

pub(crate) async fn handle(
    App(state): App,
    Operator(operator): Operator,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Error> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let format = Format::of(kind).ok_or(Error::UnsupportedMediaType)?;
    let key = idempotency_key(&headers)?.map(str::to_owned);
    let body = read(request.into_body(), state.config.import_bytes_max).await?;
    let account = operator.account;
    let content = hash_id("import-content", &[kind.as_bytes(), &body]);
    let id = match &key {
        Some(key) => hash_id("import-key", &[account.as_bytes(), key.as_bytes()]),
        None => hash_id("import", &[account.as_bytes(), content.as_bytes()]),
    };
    let lines = line::read(format, &body).map_err(|mistake| Error::Invalid(vec![mistake]))?;
    drop(body);
    if lines.len() > LINES_MAX {
        return Err(Error::Invalid(vec![FieldError::new("", format!("{LINES_MAX} lines at the most are expected"))]));
    }
    let count = i64::try_from(lines.len()).unwrap_or(i64::MAX);
    let claimed = state.read(move |c| {
        Box::pin(async move {
            let claimed = db::imports::claim(c, (id, account, content), count, SILENT_SECONDS).await?;
            Ok((claimed, db::imports::find(c, id, SILENT_SECONDS).await?))
        })
    });
    let (claimed, import) = claimed.await?;
    let import = import.ok_or_else(|| Error::Internal("an import that is not there".to_owned()))?;
    if import.content != content {
        return Err(Error::KeyReused);
    }
    if claimed {
        tokio::spawn(run(Arc::clone(&state), id, account, lines));
    }
    let location = format!("/imports/{id}");
    let response = if import.status == "done" {
        (StatusCode::OK, [(header::LOCATION, location)], axum::Json(view(&import))).into_response()
    } else {
        answer::accepted(&location, view(&import))
    };
    Ok(if claimed { response } else { replayed(response) })
}
