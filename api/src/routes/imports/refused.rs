//! `GET /imports/{id}/refused?limit=&cursor=`: the lines that were refused, and why.

use axum::response::Response;
use common::db;
use common::db::imports::Refusal;
use serde_json::json;

use crate::auth::Operator;
use crate::error::Error;
use crate::extract::Id;
use crate::page::{self, Asked, Cursor};
use crate::state::App;

pub(crate) async fn handle(App(state): App, _: Operator, Id(id): Id, query: Asked) -> Result<Response, Error> {
    let mut reading = query.read(&["limit", "cursor"]);
    let (limit, after) = (reading.limit(), reading.cursor::<i64>());
    let ((), kept) = reading.finish(())?;
    let found =
        state.read(move |c| Box::pin(async move { db::imports::refusals(c, id, after, limit + 1).await })).await?;
    let path = format!("/imports/{id}/refused");
    Ok(page::answer(
        &path,
        kept,
        limit,
        found,
        |refusal: &Refusal| refusal.line,
        |refusal| json!({ "line": refusal.line, "sku": refusal.sku, "reason": refusal.reason }),
    ))
}

/// The number of a line.
impl Cursor for i64 {
    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn text(&self) -> String {
        self.to_string()
    }
}
