//! A small demo catalogue, created like any other product: by commands that the consumers decide.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use common::config::Servers;
use common::db::{self, PgConnection};
use common::domain::{Action, Command, CreateProduct, Currency, DEFAULT_WAREHOUSE, Money};
use common::ids::hash_id;
use common::message::{self, Queued};
use common::partition::partition_of;
use common::queue::{Link, Publisher, PublisherLimits, Topology};
use common::retry::Retry;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Name, SKU, price in cents, opening stock.
const PRODUCTS: [(&str, &str, i64, i64); 8] = [
    ("Trail running shoe, size 42", "SHOE-42", 12_900, 500),
    ("Enamel mug, 350 ml", "MUG-350", 1_490, 10_000),
    ("Concert ticket, standing", "TICKET-STANDING", 6_500, 2_000),
    ("Concert ticket, front row", "TICKET-FRONT", 18_900, 10),
    ("Fountain pen, limited edition", "PEN-LTD", 24_000, 100),
    ("Wool blanket", "BLANKET", 8_900, 250),
    ("Postcard", "POSTCARD", 150, 1_000_000),
    ("The last poster", "POSTER-LAST", 4_500, 1),
];

const SECONDS_MAX: u64 = 60;
const CONNECT_SECONDS_MAX: u64 = 10;

/// The id of a demo product: the same in every store.
pub(crate) fn product_id(sku: &str) -> Uuid {
    hash_id("demo-product", &[sku.as_bytes()])
}

/// Creates what is not there yet, in the name of `account`, and waits until it can be ordered.
pub(crate) async fn load(
    connection: &mut PgConnection,
    servers: &Servers,
    partitions: u16,
    account: Uuid,
) -> anyhow::Result<()> {
    let missing = missing(connection).await?;
    if missing.is_empty() {
        return Ok(());
    }
    let stop = CancellationToken::new();
    let _stop_at_the_end = stop.clone().drop_guard();
    let topology = Arc::new(Topology::new(&servers.queues, partitions));
    let mut link = Link::open(&servers.amqp_urls, "onhand demo catalogue".to_owned(), Arc::clone(&topology), stop)?;
    let connecting = tokio::time::timeout(Duration::from_secs(CONNECT_SECONDS_MAX), link.connected()).await;
    connecting.context("the broker can't be reached: check AMQP_URL")?;
    let publisher = Publisher::start(&link, &topology, PublisherLimits::default());
    for (name, sku, price, stock) in missing {
        let id = product_id(sku);
        let command = Command {
            id,
            account,
            accepted_at: common::clock::now(),
            idempotency: None,
            action: Action::CreateProduct(CreateProduct {
                name: Arc::from(name),
                sku: Arc::from(sku),
                description: None,
                price: Money { amount: price, currency: Currency::try_from("EUR")? },
                stock,
                warehouse_id: DEFAULT_WAREHOUSE,
                category_id: None,
            }),
        };
        let bytes = message::encode(&Queued { command, reply_to: None })?;
        publisher.publish(partition_of(id, partitions), bytes).await?;
    }
    until_decided(connection).await
}

async fn missing(connection: &mut PgConnection) -> anyhow::Result<Vec<(&'static str, &'static str, i64, i64)>> {
    let ids: Vec<Uuid> = PRODUCTS.iter().map(|(_, sku, ..)| product_id(sku)).collect();
    let decided = db::commands::find(connection, &ids).await?;
    Ok(PRODUCTS
        .into_iter()
        .filter(|(_, sku, ..)| decided.iter().all(|command| command.id != product_id(sku)))
        .collect())
}

async fn until_decided(connection: &mut PgConnection) -> anyhow::Result<()> {
    let mut retry = Retry::new(Duration::from_millis(20), Duration::from_millis(500));
    let deadline = Instant::now() + Duration::from_secs(SECONDS_MAX);
    while !missing(connection).await?.is_empty() {
        anyhow::ensure!(
            Instant::now() < deadline,
            "the consumers did not create the demo catalogue in {SECONDS_MAX} s"
        );
        tokio::time::sleep(retry.next_wait()).await;
    }
    Ok(())
}
