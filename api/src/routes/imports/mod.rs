//! Whole catalogues, sent in.

pub(crate) mod refused;
pub(crate) mod show;
pub(crate) mod start;

use common::db::imports::Import;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

fn view(import: &Import) -> Value {
    let time = |at: common::domain::Timestamp| at.format(&Rfc3339).unwrap_or_default();
    // Of whoever worked on it nothing was heard: it can be sent again, and goes on.
    let status = if import.status == "running" && !import.live { "interrupted" } else { import.status.as_str() };
    json!({
        "id": import.id,
        "status": status,
        "lines": import.lines,
        "linesDone": import.lines_done,
        "created": import.created,
        "updated": import.updated,
        "counted": import.counted,
        "unchanged": import.unchanged,
        "refused": import.refused,
        "problem": import.problem,
        "startedAt": time(import.started_at),
        "finishedAt": import.finished_at.map(time),
    })
}
