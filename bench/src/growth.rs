//! Onhand as it grows: much stored, much waiting, other numbers of partitions and of consumers.

use std::time::{Duration, Instant};

use serde::Serialize;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::bench::{Bench, Store};
use crate::compare::{drained, load_of, median};
use crate::load::{self, Load};
use crate::options::Growth;
use crate::report;
use crate::scenario::{Kind, PRODUCTS};
use crate::system::{Shape, System, Who};
use crate::usage::{Part, Usage};

const PARTITION_COUNTS: [u16; 4] = [1, 4, 16, 64];
const CONSUMER_COUNTS: [usize; 3] = [1, 2, 4];
const CLIENTS: usize = 256;
/// Stored at once.
const CHUNK: u64 = 1_000_000;

/// One measurement: `spread`, each outcome awaited.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Grown {
    pub(crate) what: String,
    pub(crate) decided: f64,
    pub(crate) p99: f64,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Results {
    pub(crate) stored: u64,
    pub(crate) grown: Vec<Grown>,
    /// Decisions a second of the long backlog, and what it has cost.
    pub(crate) backlog: Option<Backlog>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Backlog {
    pub(crate) orders: u64,
    pub(crate) accepted: f64,
    pub(crate) drained: f64,
    pub(crate) usage: Usage,
}

impl Results {
    pub(crate) fn median(&self, what: &str) -> Option<f64> {
        median(self.grown.iter().filter(|grown| grown.what == what).map(|grown| grown.decided).collect())
    }
}

pub(crate) async fn run(options: &Growth) -> anyhow::Result<()> {
    let mut bench = Bench::start(&[]).await?;
    let mut results = Results { stored: options.stored, ..Results::default() };
    let grown = grow(&mut bench, options, &mut results).await;
    report::write_growth(options, &results)?;
    bench.stop().await?;
    grown
}

async fn grow(bench: &mut Bench, options: &Growth, results: &mut Results) -> anyhow::Result<()> {
    bench.fill("seed", options.conditions.partitions).await?;
    if options.stored > 0 {
        stored(bench, options, results).await?;
    }
    for partitions in PARTITION_COUNTS {
        bench.fill(&format!("seed{partitions}"), partitions).await?;
    }
    for round in 0..options.conditions.rounds {
        let mut counts = PARTITION_COUNTS;
        counts.rotate_left(round % PARTITION_COUNTS.len());
        for partitions in counts {
            let store = bench.copy(&format!("seed{partitions}")).await?;
            let what = format!("{partitions} partitions");
            measure(&store, options, (what, Shape::default()), results).await?;
            bench.drop(store).await?;
        }
        for consumers in CONSUMER_COUNTS {
            // Of which each has at least one.
            let store = bench.copy("seed4").await?;
            let what = format!("{consumers} consumers");
            measure(&store, options, (what, Shape { consumers, ..Shape::default() }), results).await?;
            bench.drop(store).await?;
        }
    }
    if options.waiting > 0 {
        waiting(bench, options, results).await?;
    }
    Ok(())
}

async fn stored(bench: &mut Bench, options: &Growth, results: &mut Results) -> anyhow::Result<()> {
    let (full, empty) = (bench.copy("seed").await?, bench.copy("seed").await?);
    eprintln!("  storing {} orders", options.stored);
    let began = Instant::now();
    store_orders(&full, options.stored, options.conditions.partitions).await?;
    eprintln!("  stored after {:.0} s", began.elapsed().as_secs_f64());
    bench.execute("CHECKPOINT").await?;
    for round in 0..options.conditions.rounds {
        let mut order = [(&empty, "an empty store"), (&full, "much stored")];
        order.rotate_left(round % 2);
        for (store, what) in order {
            measure(store, options, (what.to_owned(), Shape::default()), results).await?;
        }
    }
    bench.drop(full).await?;
    bench.drop(empty).await
}

/// As if they had been decided: with their items, and with the numbers of partitions and stock rows grown by them.
async fn store_orders(store: &Store, count: u64, partitions: u16) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect(&store.database_url).await?;
    let products = PRODUCTS as u64;
    for from in (0..count).step_by(usize::try_from(CHUNK)?) {
        let until = (from + CHUNK).min(count);
        let sql = format!(
            "WITH made AS MATERIALIZED (
               SELECT n, (lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint - {count} + n), 12, '0') || '7000'
                          || substr(md5(n::text), 1, 16))::uuid AS id
               FROM generate_series({from}, {until} - 1) n),
             named AS MATERIALIZED (
               SELECT v.id, v.sku, p.name, row_number() OVER (ORDER BY v.sku) - 1 AS n
               FROM variants v JOIN products p ON p.id = v.product_id WHERE v.sku <> 'SCARCE'),
             placed AS (
               INSERT INTO orders (id, account_id, partition, sequence, status, currency, total_amount, accepted_at, decided_at)
               SELECT id, (SELECT id FROM accounts WHERE name = 'bench'), p.partition, p.sequence + n / {partitions} + 1, 'paid', 'EUR', 1000,
                      now() - make_interval(secs => {count} - n), now() - make_interval(secs => {count} - n)
               FROM made JOIN partitions p ON p.partition = n % {partitions})
             INSERT INTO order_items (order_id, line, allocation, product_id, variant_id, warehouse_id, quantity, stock_version,
                                      unit_amount, name, sku)
             SELECT m.id, 0, 0, v.id, v.id, s.warehouse_id, 1, s.version + m.n / {products} + 1, 1000, v.name, v.sku
             FROM made m JOIN named v ON v.n = m.n % {products} JOIN stock s ON s.variant_id = v.id"
        );
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
    }
    let grow = format!(
        "UPDATE partitions SET sequence = sequence + {count} / {partitions} + 1;
         UPDATE stock SET version = version + {count} / {products} + 1;"
    );
    sqlx::raw_sql(AssertSqlSafe(grow)).execute(&mut connection).await?;
    sqlx::raw_sql("VACUUM ANALYZE").execute(&mut connection).await?;
    Ok(())
}

async fn measure(
    store: &Store,
    options: &Growth,
    (what, shape): (String, Shape),
    results: &mut Results,
) -> anyhow::Result<()> {
    let system = System::start(store, Who::Onhand, shape).await?;
    let base = load_of(store, &system, Kind::Spread, CLIENTS);
    let load = Load { warm_up: options.conditions.warm_up(), measured: options.conditions.measured(), ..base };
    let (seen, ()) = load::run(&load, async || Ok(())).await?;
    system.stop().await?;
    let (decided, p99) = (seen.rate(), seen.latency().p99);
    eprintln!("  {what:18} {decided:>7.0} decided/s  p99 {p99:>6.1} ms");
    results.grown.push(Grown { what, decided, p99 });
    Ok(())
}

/// So many orders are accepted while nobody decides; then somebody does.
async fn waiting(bench: &mut Bench, options: &Growth, results: &mut Results) -> anyhow::Result<()> {
    let store = bench.copy("seed").await?;
    let mut system = System::start_api(&store, Who::Onhand, Shape::default()).await?;
    let (mut orders, began) = (0, Instant::now());
    while orders < options.waiting {
        let base = load_of(&store, &system, Kind::Spread, CLIENTS);
        let load = Load { awaited: false, warm_up: Duration::ZERO, measured: Duration::from_secs(5), ..base };
        orders += load::run(&load, async || Ok(())).await?.0.done;
    }
    let accepted = orders as f64 / began.elapsed().as_secs_f64();
    let (rate, usage) = drained(&store, &mut system, orders).await?;
    let mib = |part| usage.memory.get(&part).copied().unwrap_or(0) >> 20;
    eprintln!(
        "  {orders} waiting: accepted {accepted:.0}/s, drained {rate:.0}/s, consumer {} MiB, broker {} MiB",
        mib(Part::Consumer),
        mib(Part::Broker)
    );
    results.backlog = Some(Backlog { orders, accepted, drained: rate, usage });
    system.stop().await?;
    bench.drop(store).await
}
