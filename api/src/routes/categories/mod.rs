//! Categories of products.

pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod list;
pub(crate) mod rename;
pub(crate) mod show;

use common::db::categories::Category;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use crate::catalogue::CATEGORY_BYTES_MAX;
use crate::checks::Checks;

fn check_name(name: &str, checks: &mut Checks) {
    checks.text("name", name, 1, CATEGORY_BYTES_MAX);
}

fn view(category: Category) -> Value {
    let created_at = category.created_at.format(&Rfc3339).unwrap_or_default();
    json!({ "id": category.id, "name": category.name, "createdAt": created_at })
}
