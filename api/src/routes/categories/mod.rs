//! Categories of products.

pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod list;
pub(crate) mod rename;
pub(crate) mod show;

use common::db::categories::Category;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use crate::checks::Checks;

const NAME_BYTES_MAX: usize = 100;

fn check_name(name: &str, checks: &mut Checks) {
    checks.text("name", name, 1, NAME_BYTES_MAX);
}

fn view(category: Category) -> Value {
    let created_at = category.created_at.format(&Rfc3339).unwrap_or_default();
    json!({ "id": category.id, "name": category.name, "createdAt": created_at })
}
