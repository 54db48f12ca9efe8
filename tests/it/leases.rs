//! At any time each partition has exactly one writer, whoever comes, goes, dies or hangs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use common::db::PgConnection;
use common::db::partitions::figures;
use common::partition::partition_of;
use common::queue::{Incoming, Subscription};
use common::steps::Step;
use futures_util::future::{join, join_all};
use serde_json::json;
use tests::app::{TestApp, Wanted};
use tests::load::{Pace, Said, place};
use tests::process::Process;
use tests::raw::message;
use tests::steps::stop_at;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// As they are where nothing is said: the times that are printed are those of a store as it is set up.
fn default_leases() -> Vec<(&'static str, String)> {
    vec![("ONHAND_LEASE_MS", "5000".to_owned()), ("ONHAND_LEASE_RENEW_MS", "1000".to_owned())]
}

/// Nothing is asserted about it.
fn print(what: &str, took: Duration) {
    tests::tell(&format!("{what}: {:.1} s", took.as_secs_f64()));
}

/// The partitions of a consumer, each with the number of its last decision.
async fn held_by(connection: &mut PgConnection, name: &str) -> BTreeMap<u16, i64> {
    let (_, all) = figures(connection).await.unwrap();
    let of = all.into_iter().filter(|f| f.owner.as_ref().is_some_and(|(_, owner)| owner == name));
    of.map(|figures| (figures.partition, figures.sequence)).collect()
}

/// Whether each of these partitions has decided something since.
async fn all_go_on(connection: &mut PgConnection, since: &BTreeMap<u16, i64>) -> bool {
    let (_, all) = figures(connection).await.unwrap();
    since.iter().all(|(partition, sequence)| all[usize::from(*partition)].sequence > *sequence)
}

/// One product of each partition, that does not run out.
async fn products(app: &TestApp) -> Vec<Uuid> {
    let mut products = BTreeMap::new();
    while products.len() < usize::from(app.topology.partitions()) {
        let product = app.product(1_000_000_000).await;
        products.insert(partition_of(product, app.topology.partitions()), product);
    }
    products.into_values().collect()
}

/// Eight clients order each product in turn while `faults` happen; then every promise is kept, in order.
async fn under_load<T>(app: &mut TestApp, faults: impl AsyncFnOnce(&mut TestApp) -> T) -> T {
    let products = products(app).await;
    let (client, stop, pace) = (app.client.clone(), CancellationToken::new(), Pace::default());
    let clients = (0..8).map(|_| place(&client, &products, 1, &pace, || !stop.is_cancelled()));
    let faults = async {
        tests::until("orders are accepted", async || pace.count() > 100).await;
        let told = faults(app).await;
        stop.cancel();
        told
    };
    let (said, told): (Vec<Said>, T) = join(join_all(clients), faults).await;
    let mut connection = app.database().await;
    for said in &said {
        tests::until("every promise is kept", async || {
            app.decided(&mut connection, &said.promised).await == said.promised.len()
        })
        .await;
        in_order(&mut connection, &said.promised).await;
    }
    said.into_iter().collect::<Said>().check(app).await;
    told
}

/// I-6: a client that waited for each promise has its orders of a partition decided in that order.
async fn in_order(connection: &mut PgConnection, promised: &[Uuid]) {
    let places =
        "SELECT o.partition, o.sequence FROM UNNEST($1::uuid[]) WITH ORDINALITY AS p (id, n) JOIN orders o USING (id)
                  ORDER BY p.n";
    let places: Vec<(i16, i64)> = sqlx::query_as(places).bind(promised).fetch_all(connection).await.unwrap();
    let mut last = BTreeMap::new();
    for (partition, sequence) in places {
        let before = last.insert(partition, sequence);
        assert!(before < Some(sequence), "{sequence} of partition {partition} after {before:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_is_given_its_share_while_the_others_go_on() {
    let mut app = TestApp::with(Wanted { consumers: 1, settings: default_leases(), ..Wanted::default() }).await;
    let took = under_load(&mut app, async |app| {
        let began = Instant::now();
        let mut newcomer = Process::start(&["consumer"], &app.named("newcomer"));
        app.until_owners(2).await;
        let mut connection = app.database().await;
        let share = held_by(&mut connection, "newcomer").await;
        assert_eq!(share.len(), 2, "half of four");
        tests::until("it decides its share", async || all_go_on(&mut connection, &share).await).await;
        let took = began.elapsed();
        assert!(newcomer.stop().await.success());
        took
    })
    .await;
    print("a newcomer decides its share after", took);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_consumers_partitions_are_taken_over_and_nothing_is_lost_or_decided_twice() {
    let kills: u32 = std::env::var("ONHAND_TEST_KILLS").map_or(2, |kills| kills.parse().unwrap());
    let mut app = TestApp::with(Wanted { consumers: 1, settings: default_leases(), ..Wanted::default() }).await;
    under_load(&mut app, async |app| {
        let mut connection = app.database().await;
        for n in 0..kills {
            let name = format!("doomed-{n}");
            let mut doomed = Process::start(&["consumer"], &app.named(&name));
            app.until_owners(2).await;
            let before = held_by(&mut connection, &name).await;
            tests::until("it decides", async || all_go_on(&mut connection, &before).await).await;
            doomed.kill().await;
            let killed = Instant::now();
            let at_its_death = held_by(&mut connection, &name).await;
            tests::until("its partitions go on", async || all_go_on(&mut connection, &at_its_death).await).await;
            print("a killed consumer's partitions go on after", killed.elapsed());
        }
    })
    .await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_consumers_partitions_are_taken_over_at_once() {
    let mut app = TestApp::with(Wanted { consumers: 1, settings: default_leases(), ..Wanted::default() }).await;
    let took = under_load(&mut app, async |app| {
        let mut connection = app.database().await;
        let mut stopped = Process::start(&["consumer"], &app.named("stopped"));
        app.until_owners(2).await;
        let partitions: BTreeSet<u16> = held_by(&mut connection, "stopped").await.into_keys().collect();
        let began = Instant::now();
        assert!(stopped.stop().await.success());
        let (_, all) = figures(&mut connection).await.unwrap();
        let since =
            all.iter().filter(|f| partitions.contains(&f.partition)).map(|f| (f.partition, f.sequence)).collect();
        tests::until("its partitions go on", async || all_go_on(&mut connection, &since).await).await;
        began.elapsed()
    })
    .await;
    print("a stopped consumer's partitions go on after", took);
    app.finish().await;
}

/// How a consumer that was frozen says that it has lost its leases: its keeper has looked who has them, or was frozen while it asked
/// for them and knows by the time that is over; or its writer has looked.
const GIVEN_UP: [&str; 3] =
    ["lease lost: another consumer has it", "lease not renewed in time: given up", "fenced: nothing was committed"];

async fn until_it_says(log: &Path, wanted: &[&str]) {
    tests::until("it says so in its log", async || {
        let log = std::fs::read_to_string(log).unwrap();
        wanted.iter().any(|wanted| log.contains(wanted))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_consumer_that_comes_back_has_lost_its_leases_says_so_and_takes_its_share_again() {
    let mut app = TestApp::with(Wanted { consumers: 1, ..Wanted::default() }).await;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let took = under_load(&mut app, async |app| {
        let mut connection = app.database().await;
        let mut frozen = Process::logged(&["consumer"], &app.named("frozen"), &log);
        app.until_owners(2).await;
        let before = held_by(&mut connection, "frozen").await;
        tests::until("it decides", async || all_go_on(&mut connection, &before).await).await;
        frozen.freeze();
        let began = Instant::now();
        let since = held_by(&mut connection, "frozen").await;
        tests::until("its partitions go on", async || {
            held_by(&mut connection, "frozen").await.is_empty() && all_go_on(&mut connection, &since).await
        })
        .await;
        let took = began.elapsed();
        frozen.thaw();
        until_it_says(&log, &GIVEN_UP).await;
        app.until_owners(2).await;
        let again = held_by(&mut connection, "frozen").await;
        tests::until("it decides again", async || all_go_on(&mut connection, &again).await).await;
        assert!(frozen.stop().await.success());
        took
    })
    .await;
    print("a frozen consumer's partitions, with leases of 3 s, go on after", took);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_frozen_within_its_transaction_commits_nothing_of_it() {
    let mut app = TestApp::with(Wanted { consumers: 0, ..Wanted::default() }).await;
    let folder = tempfile::tempdir().unwrap();
    let (marker, log) = (folder.path().join("reached"), folder.path().join("log"));
    app.start_consumer(common::steps::Steps::none());
    let product = app.product(7).await;
    app.stop_consumers().await;
    let mut settings = app.named("frozen");
    settings.push(stop_at(Step::Saved, 1, &marker));
    let mut frozen = Process::logged(&["consumer"], &settings, &log);
    app.until_owners(1).await;
    let mut ids = Vec::new();
    for _ in 0..10 {
        ids.push(app.client.order(&[(product, 1)], &[]).await.id());
    }
    // All is written, in the locks of a transaction that only waits for its commit.
    tests::until("the step is reached", async || marker.exists()).await;
    frozen.freeze();
    app.start_consumer(common::steps::Steps::none());
    for (n, id) in ids.iter().enumerate() {
        let order = app.client.outcome(*id).await;
        assert_eq!(order["outcome"]["status"], if n < 7 { 201 } else { 409 }, "order {n}");
    }
    std::fs::remove_file(&marker).unwrap();
    frozen.thaw();
    until_it_says(&log, &GIVEN_UP).await;
    app.until_owners(2).await;
    let mut connection = app.database().await;
    assert_eq!(app.orders(&mut connection).await, 10, "none twice");
    assert!(frozen.stop().await.success());
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_whose_epoch_has_passed_is_stopped_by_the_fence_alone() {
    let mut app = TestApp::with(Wanted { consumers: 1, ..Wanted::default() }).await;
    let product = app.product(5).await;
    app.stop_consumers().await;
    let folder = tempfile::tempdir().unwrap();
    let (marker, log) = (folder.path().join("reached"), folder.path().join("log"));
    let mut settings = app.named("late");
    settings.push(stop_at(Step::Gathered, 1, &marker));
    let mut late = Process::logged(&["consumer"], &settings, &log);
    let accepted = app.client.order(&[(product, 1)], &[]).await;
    tests::until("the step is reached", async || marker.exists()).await;
    // Somebody else has the partition now, and the writer, in the middle of its batch, hears of nothing.
    let mut connection = app.database().await;
    let taken = "UPDATE partitions SET epoch = epoch + 1, owner = $1, lease_until = now() + interval '1 hour'";
    sqlx::query(taken).bind(Uuid::new_v4()).execute(&mut connection).await.unwrap();
    std::fs::remove_file(&marker).unwrap();
    until_it_says(&log, &["fenced: nothing was committed with the old epoch"]).await;
    assert_eq!(app.orders(&mut connection).await, 0, "nothing was decided");
    sqlx::query("UPDATE partitions SET owner = NULL").execute(&mut connection).await.unwrap();
    assert_eq!(app.client.outcome(accepted.id()).await["outcome"]["status"], 201);
    assert!(late.stop().await.success());
    app.finish().await;
}

/// Subscribes to partition 0 beside any consumer.
async fn subscribe(app: &TestApp, id: u64) -> (Subscription, mpsc::Receiver<Incoming>) {
    let (sink, incoming) = mpsc::channel(100);
    let connection = app.broker().await;
    (Subscription::open(&connection, &app.topology, 0, id, 100, sink).await.unwrap(), incoming)
}

async fn next(incoming: &mut mpsc::Receiver<Incoming>) -> Vec<u8> {
    match incoming.recv().await.unwrap() {
        Incoming::Message(message) => message.body,
        Incoming::Ended { .. } => panic!("the subscription has ended"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_serves_one_subscriber_at_a_time_and_gives_back_in_order_what_it_leaves() {
    let mut app = TestApp::with(Wanted::default()).await;
    let (first, mut of_first) = subscribe(&app, 1).await;
    let (second, mut of_second) = subscribe(&app, 2).await;
    let commands: Vec<Vec<u8>> = (0..10).map(|n| message(&[json!(n)])).collect();
    for command in &commands {
        app.publish(0, command).await;
    }
    for command in &commands {
        assert_eq!(&next(&mut of_first).await, command);
    }
    assert!(of_second.try_recv().is_err(), "the second waits");
    first.close().await;
    for command in &commands {
        assert_eq!(&next(&mut of_second).await, command, "all of them, in order");
    }
    second.close().await;
    app.start_consumer(common::steps::Steps::none());
    app.finish_with_dead_letters(10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_has_lost_the_broker_alone_hands_its_partitions_over() {
    let mut app = TestApp::with(Wanted { consumers: 1, proxies: true, ..Wanted::default() }).await;
    let mut products = Vec::new();
    for _ in 0..8 {
        products.push(app.product(10).await);
    }
    let mut other = Process::start(&["consumer"], &app.direct);
    app.until_owners(2).await;
    let (_, broker) = app.proxies.as_ref().unwrap();
    // The api of this process is cut off as well: a process of its own, that is not, takes the orders.
    broker.cut();
    let (mut api, client) = Process::api(&app.direct).await;
    let mut connection = app.database().await;
    for product in &products {
        assert_eq!(client.order(&[(*product, 1)], &[]).await.status, 202);
    }
    tests::until("the other has decided them all", async || app.orders(&mut connection).await == 8).await;
    let (_, broker) = app.proxies.as_ref().unwrap();
    broker.mend();
    app.until_owners(2).await;
    assert!(api.stop().await.success());
    assert!(other.stop().await.success());
    app.until_ready().await;
    app.drain().await;
    app.finish().await;
}
