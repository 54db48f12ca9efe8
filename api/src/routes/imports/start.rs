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
use crate::error::Error;
use crate::extract::{idempotency_key, read};
use crate::import::line::{self, Format};
use crate::import::{Job, SILENT_SECONDS, run};
use crate::state::App;

pub(crate) async fn handle(
    App(state): App,
    Operator(operator): Operator,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Error> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let format = Format::of(kind).ok_or(Error::UnsupportedMediaType)?;
    let key = idempotency_key(&headers)?.map(str::to_owned);
    let busy = || Error::Busy("As many catalogues are imported as this api takes at once.");
    let permit = Arc::clone(&state.imports).try_acquire_owned().map_err(|_| busy())?;
    let body = read(request.into_body(), state.config.import_bytes_max).await?;
    let account = operator.account;
    let kind = kind.to_owned();
    // A big one takes a while, that other requests need not wait.
    let reading = tokio::task::spawn_blocking(move || {
        (hash_id("import-content", &[kind.as_bytes(), &body]), line::read(format, &body))
    });
    let (content, lines) = reading.await.map_err(|panic| Error::Internal(panic.to_string()))?;
    let lines = lines.map_err(|mistake| Error::Invalid(vec![mistake]))?;
    let id = match &key {
        Some(key) => hash_id("import-key", &[account.as_bytes(), key.as_bytes()]),
        None => hash_id("import", &[account.as_bytes(), content.as_bytes()]),
    };
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
    if let Some(attempt) = claimed {
        let job = Job { id, account, attempt, done: import.lines_done };
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            run(state, job, lines).await;
            drop(permit);
        });
    }
    let location = format!("/imports/{id}");
    let response = if import.status == "done" {
        (StatusCode::OK, [(header::LOCATION, location)], axum::Json(view(&import))).into_response()
    } else {
        answer::accepted(&location, view(&import))
    };
    Ok(if claimed.is_some() { response } else { replayed(response) })
}
