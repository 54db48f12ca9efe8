//! `PATCH /categories/{id}`.

use axum::Json as Answer;
use common::db;
use common::db::categories::Changed;
use serde_json::Value;

use super::create::Request;
use super::{check_name, view};
use crate::auth::Operator;
use crate::checks::Checks;
use crate::error::Error;
use crate::extract::{Id, Json};
use crate::problems;
use crate::state::App;

pub(crate) async fn handle(
    App(state): App,
    _: Operator,
    Id(id): Id,
    Json(Request { name }): Json<Request>,
) -> Result<Answer<Value>, Error> {
    let mut checks = Checks::default();
    check_name(&name, &mut checks);
    checks.finish(())?;
    match state.read(move |c| Box::pin(async move { db::categories::rename(c, id, &name).await })).await? {
        Changed::Done(category) => Ok(Answer(view(category))),
        Changed::Unknown => Err(Error::NotFound("There is no such category.".to_owned())),
        Changed::NameTaken => Err(Error::Plain(&problems::NAME_TAKEN)),
    }
}
