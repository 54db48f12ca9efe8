//! What the shop asks for beside the goods: tax and delivery.

pub(crate) mod put;
pub(crate) mod show;

use common::db::terms::StoredTerms;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

fn view(stored: &StoredTerms) -> Value {
    let mut view = json!(*stored.terms);
    view["version"] = json!(stored.version);
    view["since"] = json!(stored.since.format(&Rfc3339).unwrap_or_default());
    view
}
