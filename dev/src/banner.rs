//! What to try, on the terminal.

use std::net::SocketAddr;
use std::path::Path;

use crate::addresses;
use crate::catalogue::product_id;
use crate::keys::Keys;

pub(crate) fn print(http: SocketAddr, keys: &Keys, consumers: u16, data: &Path) {
    let Keys { client, operator } = keys;
    let (mug, poster) = (product_id("MUG-350"), product_id("POSTER-LAST"));
    println!(
        r#"
Onhand is up.

  api           http://{http}
  consumers     {consumers}
  client key    {client}
  operator key  {operator}
  logs          {logs}

Order a mug, and wait for the outcome:

  curl -i http://{http}/orders -H 'Authorization: Bearer {client}' -H 'Prefer: wait=5' -H 'Content-Type: application/json' -d '{{"items":[{{"productId":"{mug}","qty":1}}]}}'

Order two of the last poster, and see why not:

  curl -s http://{http}/orders -H 'Authorization: Bearer {client}' -H 'Prefer: wait=5' -H 'Content-Type: application/json' -d '{{"items":[{{"productId":"{poster}","qty":2}}]}}'

See what is on hand:

  curl -s http://{http}/products/{mug}/stock -H 'Authorization: Bearer {client}'

See who decides what, and check every invariant (--help tells what else there is):

  {program} consumer partitions
  {program} consumer verify

Ctrl-C stops everything; what was ordered is kept."#,
        program = program(data),
        logs = data.join("log").display(),
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
