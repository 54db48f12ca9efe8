//! `PUT /terms`: puts others in force, whole, for all orders that are decided from then on.

use axum::Json as Answer;
use common::db;
use common::domain::Terms;
use serde_json::Value;

use super::view;
use crate::auth::Operator;
use crate::checks::Checks;
use crate::error::Error;
use crate::extract::Json;
use crate::state::App;

pub(crate) async fn handle(
    App(state): App,
    Operator(operator): Operator,
    Json(terms): Json<Terms>,
) -> Result<Answer<Value>, Error> {
    let mut checks = Checks::default();
    for (field, detail) in terms.mistakes() {
        checks.mistake(field, detail);
    }
    let terms = checks.finish(terms)?;
    let account = operator.account;
    let put = state.read(move |c| {
        Box::pin(async move {
            db::terms::put(c, &terms, account).await?;
            db::terms::in_force(c).await
        })
    });
    Ok(Answer(view(&put.await?)))
}
