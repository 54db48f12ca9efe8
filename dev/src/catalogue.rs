//! The demo shop: three warehouses, terms of sale, and a catalogue of fifty products, imported like any other.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use common::db::{self, PgConnection};
use common::ids::hash_id;
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use crate::http::ask;

const CATALOGUE: &[u8] = include_bytes!("../demo/catalogue.csv");
/// Code, name and zone, beside the one that every store has.
const WAREHOUSES: [(&str, &str, u16); 2] = [("lyon", "Lyon", 2), ("madrid", "Madrid", 3)];
const ZONES: [(&str, u16); 7] = [("DE", 1), ("AT", 1), ("FR", 2), ("BE", 2), ("ES", 3), ("PT", 3), ("*", 5)];

const IMPORT_KEY: &str = "demo catalogue";
const SECONDS_MAX: u64 = 60;

/// Loads what is not there yet, and waits until it can be ordered. A store that somebody else has filled is left as it is.
pub(crate) async fn load(
    connection: &mut PgConnection,
    http: SocketAddr,
    (account, operator): (Uuid, &str),
) -> anyhow::Result<()> {
    // As the api names an import by its key.
    let import_id = hash_id("import-key", &[account.as_bytes(), IMPORT_KEY.as_bytes()]);
    let is_begun = db::imports::find(connection, import_id, 0.0).await?.is_some();
    let filter = db::products::Filter::default();
    let is_filled = !db::products::list(connection, &filter, db::products::Sort::Id, None, 1).await?.is_empty();
    if is_filled && !is_begun {
        return Ok(());
    }
    let bearer = format!("Bearer {operator}");
    let json = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    for (code, name, zone) in WAREHOUSES {
        let body = json!({ "code": code, "name": name, "zone": zone }).to_string();
        let (status, answer) = ask(http, "POST /warehouses", &json, body.as_bytes()).await?;
        anyhow::ensure!(status == 201 || status == 409, "the warehouse {code} could not be made: {answer}");
    }
    let (_, mut terms) = ask(http, "GET /terms", &json, b"").await?;
    if terms["version"] == 1 {
        terms["zones"] = ZONES.into_iter().map(|(area, zone)| (area.to_owned(), json!(zone))).collect();
        for answered in ["version", "since"] {
            terms.as_object_mut().context("no terms")?.remove(answered);
        }
        let (status, answer) = ask(http, "PUT /terms", &json, terms.to_string().as_bytes()).await?;
        anyhow::ensure!(status == 200, "the terms of sale could not be set: {answer}");
    }
    import(http, &bearer).await
}

async fn import(http: SocketAddr, bearer: &str) -> anyhow::Result<()> {
    let headers = [("Authorization", bearer), ("Content-Type", "text/csv"), ("Idempotency-Key", IMPORT_KEY)];
    let deadline = Instant::now() + Duration::from_secs(SECONDS_MAX);
    loop {
        let (status, import) = ask(http, "POST /imports", &headers, CATALOGUE).await?;
        match status {
            // Another version's was loaded before.
            422 => return Ok(()),
            200 => return refused(&import),
            202 | 503 => {}
            _ => anyhow::bail!("the demo catalogue is refused: {import}"),
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "the demo catalogue was not loaded within {SECONDS_MAX} s: {import}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn refused(import: &Value) -> anyhow::Result<()> {
    anyhow::ensure!(import["refused"] == 0, "lines of the demo catalogue were refused: {import}");
    Ok(())
}
