//! What each kind of problem means: where a problem's `type` leads.

use axum::Json;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use serde_json::{Value, json};

use crate::error::Error;
use crate::problems::{ALL, Kind};

pub(crate) async fn list() -> Json<Value> {
    Json(Value::Array(ALL.iter().map(|kind| describe(kind)).collect()))
}

pub(crate) async fn show(name: Result<Path<String>, PathRejection>) -> Result<Json<Value>, Error> {
    let name = name.map(|Path(name)| name).unwrap_or_default();
    let kind = ALL.iter().find(|kind| kind.name == name);
    kind.map(|kind| Json(describe(kind))).ok_or_else(|| Error::NotFound("There is no such problem.".to_owned()))
}

fn describe(kind: &Kind) -> Value {
    json!({
        "type": format!("/problems/{}", kind.name),
        "status": kind.status,
        "title": kind.title,
        "advice": kind.advice,
    })
}
