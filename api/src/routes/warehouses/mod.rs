//! Warehouses, each in a zone.

pub(crate) mod change;
pub(crate) mod create;
pub(crate) mod list;
pub(crate) mod show;

use common::db::warehouses::Warehouse;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

const NAME_BYTES_MAX: usize = 100;

fn view(warehouse: Warehouse) -> Value {
    let time = |at: common::domain::Timestamp| at.format(&Rfc3339).unwrap_or_default();
    json!({
        "id": warehouse.id,
        "code": warehouse.code,
        "name": warehouse.name,
        "zone": warehouse.zone,
        "open": warehouse.closed_at.is_none(),
        "createdAt": time(warehouse.created_at),
        "closedAt": warehouse.closed_at.map(time),
    })
}
