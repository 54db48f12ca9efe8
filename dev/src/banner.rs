//! What to try, on the terminal.

use std::net::SocketAddr;
use std::path::Path;

use common::db::{self, PgConnection};
use uuid::Uuid;

use crate::addresses;
use crate::keys::Keys;

/// What of the demo shop can be tried.
pub(crate) struct Shown {
    mug: Uuid,
    poster: Uuid,
}

impl Shown {
    /// `None` where it is not there.
    pub(crate) async fn find(connection: &mut PgConnection) -> anyhow::Result<Option<Self>> {
        let skus = ["MUG-350", "POSTER-LAST"].map(str::to_owned);
        let known = db::products::known(connection, &skus).await?;
        let id = |sku: &String| known.get(sku).map(|known| known.product_id);
        Ok(id(&skus[0]).zip(id(&skus[1])).map(|(mug, poster)| Self { mug, poster }))
    }
}

pub(crate) fn print(http: SocketAddr, keys: &Keys, consumers: u16, data: &Path, shown: Option<&Shown>) {
    let Keys { client, operator } = keys;
    println!(
        r#"
Onhand is up.

  api           http://{http}
  consumers     {consumers}
  client key    {client}
  operator key  {operator}
  logs          {logs}
"#,
        logs = data.join("log").display(),
    );
    if let Some(Shown { mug, poster }) = shown {
        println!(
            r#"Order a mug, and wait for the outcome:

  curl -i http://{http}/orders -H 'Authorization: Bearer {client}' -H 'Prefer: wait=5' -H 'Content-Type: application/json' -d '{{"items":[{{"productId":"{mug}","qty":1}}]}}'

Order two of the last poster, and see why not:

  curl -s http://{http}/orders -H 'Authorization: Bearer {client}' -H 'Prefer: wait=5' -H 'Content-Type: application/json' -d '{{"items":[{{"productId":"{poster}","qty":2}}]}}'

See what is on hand, and watch it change (Ctrl-C ends it):

  curl -s http://{http}/products/{mug}/stock -H 'Authorization: Bearer {client}'
  curl -sN http://{http}/products/{mug}/stock/events -H 'Authorization: Bearer {client}'
"#
        );
    }
    println!(
        r#"See who decides what, and check every invariant (--help tells what else there is):

  {program} consumer partitions
  {program} consumer verify

Ctrl-C stops everything; what was ordered is kept."#,
        program = program(data),
    );
}

/// How to run this program again for the same data.
fn program(data: &Path) -> String {
    let run = "cargo run -q --release --";
    match std::path::absolute(addresses::DATA) {
        Ok(default) if default == data => run.to_owned(),
        _ => format!("{}={} {run}", addresses::VARIABLE, data.display()),
    }
}
