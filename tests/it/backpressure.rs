//! More than can be taken or kept: what is refused is told so, what was promised is kept, and everything goes on by itself.

use std::time::{Duration, Instant};

use common::partition::partition_of;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use tests::app::{TestApp, Wanted};
use tests::broker::{amqp_url, amqp_url_with_rare_heartbeats, own_brokers};
use tests::http::Answer;
use tests::load::{Pace, Said, place};
use tests::process::Process;
use uuid::Uuid;

/// An order that was certainly not queued, and why.
fn assert_refused(answer: &Answer, why: &str) {
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    assert_eq!(answer.body["type"], "/problems/not-accepted", "{answer:?}");
    assert_eq!(answer.body["accepted"], "no", "{answer:?}");
    assert_eq!(answer.body["detail"], why, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_its_partitions_orders_until_it_is_drained() {
    const FULL: &str = "the partition's queue refuses: it is full, or has no leader now.";
    let least = ("ONHAND_QUEUE_BYTES_MAX", (1 << 16).to_string());
    let mut app = TestApp::with(Wanted { consumers: 1, settings: vec![least], ..Wanted::default() }).await;
    let partition = |product| partition_of(product, app.topology.partitions());
    let (full, mut other) = (app.product(1_000_000).await, app.product(1_000_000).await);
    while partition(other) == partition(full) {
        other = app.product(1_000_000).await;
    }
    app.stop_consumers().await;
    let mut said = Said::default();
    // Far more than fit: each is more than a hundred bytes.
    for _ in 0..2_000 {
        let answer = app.client.order(&[(full, 1)], &[]).await;
        said.hear(&answer);
        if answer.status == 503 {
            assert_refused(&answer, FULL);
        }
        if said.refused.len() == 10 {
            break;
        }
    }
    assert_eq!(said.refused.len(), 10, "of {} orders", said.promised.len());
    let elsewhere = app.client.order(&[(other, 1)], &[]).await;
    assert_eq!(elsewhere.status, 202, "another partition's queue has room");
    said.hear(&elsewhere);
    app.start_consumer(common::steps::Steps::none());
    tests::until("orders are taken again", async || {
        let answer = app.client.order(&[(full, 1)], &[]).await;
        said.hear(&answer);
        answer.status == 202
    })
    .await;
    for id in &said.promised {
        assert_eq!(app.client.outcome(*id).await["outcome"]["status"], 201);
    }
    said.check(&mut app).await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn under_an_alarm_orders_are_refused_and_those_accepted_before_are_decided() {
    const BLOCKED: &str = "the broker takes no messages: a memory or disk alarm.";
    let mut brokers = own_brokers(1).await;
    let amqp_url = Some(amqp_url(&brokers));
    // Far fewer than wait: a consumer drains only if its acknowledgements are read.
    let settings = vec![("ONHAND_PREFETCH", "2".to_owned())];
    let mut app = TestApp::with(Wanted { consumers: 1, amqp_url, settings, ..Wanted::default() }).await;
    let product = app.product(1_000_000).await;
    let mut said = Said::default();
    let mut connection = app.database().await;
    for (limit, alarm, no_alarm) in
        [("set_vm_memory_high_watermark", "0.000001", "0.4"), ("set_disk_free_limit", "1000000000000000", "512MB")]
    {
        app.stop_consumers().await;
        let before = app.orders(&mut connection).await;
        for nth in 0..50 {
            // The consumer is to tell of the first, in vain: the broker takes no messages from it either.
            let wait = if nth == 0 { "wait=1" } else { "respond-async" };
            let answer = app.client.order(&[(product, 1)], &[("prefer", wait)]).await;
            assert_eq!(answer.status, 202, "{answer:?}");
            said.hear(&answer);
        }
        brokers.rabbitmqctl(0, &[limit, alarm]).await.unwrap();
        // The broker tells a connection of the alarm when that publishes next: what it publishes then hangs half way.
        let mut refused = None;
        tests::until("orders are refused", async || {
            let answer = app.client.order(&[(product, 1)], &[]).await;
            said.hear(&answer);
            let is_refused = answer.body["accepted"] == "no";
            refused = Some(answer);
            is_refused
        })
        .await;
        assert_refused(&refused.unwrap(), BLOCKED);
        assert_eq!(app.client.get("/readyz").await.status, 503, "{limit}");
        assert_eq!(app.orders(&mut connection).await, before, "{limit}: nobody decides yet");
        app.start_consumer(common::steps::Steps::none());
        let all = async || app.decided(&mut connection, &said.promised).await == said.promised.len();
        tests::until("what was accepted is decided under the alarm", all).await;
        assert_eq!(app.client.get("/readyz").await.status, 503, "{limit}: the alarm lasts");
        brokers.rabbitmqctl(0, &[limit, no_alarm]).await.unwrap();
        tests::until("orders are taken again", async || {
            let answer = app.client.order(&[(product, 1)], &[]).await;
            said.hear(&answer);
            answer.status == 202
        })
        .await;
    }
    said.check(&mut app).await;
    app.finish().await;
    brokers.stop().await.unwrap();
}

/// A system whose network can hang, and whose heartbeats do not tell.
async fn behind_a_network(settings: Vec<(&'static str, String)>) -> TestApp {
    let amqp_url = Some(amqp_url_with_rare_heartbeats().await);
    TestApp::with(Wanted { consumers: 1, proxies: true, amqp_url, settings }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn past_the_limit_in_flight_orders_are_refused_at_once_while_the_others_hang() {
    const IN_FLIGHT_MAX: usize = 8;
    let settings = vec![
        ("ONHAND_IN_FLIGHT_MAX", IN_FLIGHT_MAX.to_string()),
        // What hangs goes on hanging until the network flows again.
        ("ONHAND_CONFIRM_MS", "60000".to_owned()),
    ];
    let mut app = behind_a_network(settings).await;
    let line = [(app.product(1_000).await, 1)];
    let (_, broker) = app.proxies.as_ref().unwrap();
    let mut said = Said::default();
    broker.stall();
    let mut asked: FuturesUnordered<_> = (0..4 * IN_FLIGHT_MAX).map(|_| app.client.order(&line, &[])).collect();
    for _ in 0..3 * IN_FLIGHT_MAX {
        let refused = asked.next().await.unwrap();
        assert_refused(&refused, "too many commands are in flight.");
        said.hear(&refused);
    }
    broker.flow();
    while let Some(answer) = asked.next().await {
        assert_eq!(answer.status, 202, "{answer:?}");
        said.hear(&answer);
    }
    drop(asked);
    assert_eq!(said.promised.len(), IN_FLIGHT_MAX);
    said.hear(&app.client.order_and_wait(&line).await);
    said.check(&mut app).await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_network_hangs_nothing_is_promised_and_then_the_api_recovers() {
    let mut app = behind_a_network(vec![("ONHAND_IN_FLIGHT_MAX", "8".to_owned())]).await;
    let line = [(app.product(1_000).await, 1)];
    let (_, broker) = app.proxies.as_ref().unwrap();
    let mut said = Said::default();
    broker.stall();
    for answer in join_all((0..32).map(|_| app.client.order(&line, &[]))).await {
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
        said.hear(&answer);
    }
    assert!(!said.unknown.is_empty(), "what was sent may have arrived");
    tests::until("the api is not ready", async || app.client.get("/readyz").await.status == 503).await;
    broker.flow();
    app.until_ready().await;
    tests::until("orders are decided again", async || {
        let answer = app.client.order_and_wait(&line).await;
        said.hear(&answer);
        answer.status == 201
    })
    .await;
    said.check(&mut app).await;
    app.finish().await;
}

/// How many orders are piled up. Set it to 1000000 with `cargo test --release -p tests --test it backlog`.
const BACKLOG: &str = "ONHAND_TEST_BACKLOG";

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_of_any_length_costs_the_api_and_the_consumer_a_bounded_memory() {
    let number: u64 = std::env::var(BACKLOG).map_or(20_000, |text| text.parse().unwrap());
    // At the least two hundred orders a second, on the slowest of machines.
    let patience = tests::PATIENCE + Duration::from_millis(5) * u32::try_from(number).unwrap();
    let mut app = TestApp::with(Wanted { consumers: 1, ..Wanted::default() }).await;
    let products: Vec<Uuid> = join_all((0..64).map(|_| app.product(1_000_000_000))).await;
    app.stop_consumers().await;
    let mut connection = app.database().await;
    let before: u64 = app.decisions(&mut connection).await.iter().sum();

    let (api, client) = Process::api(&app.settings).await;
    assert_eq!(client.get("/products").await.status, 200, "the key is known to the api");
    let (idle, accepted, began) = (api.memory(), Pace::default(), Instant::now());
    let said = place(&client, &products, 64, &accepted, || accepted.count() < number).await;
    let (busy, took) = (api.memory(), began.elapsed());
    let promised = said.promised.len();
    tests::tell(&format!("accepted {promised}, {:.0} a second; api: {idle:?}, then {busy:?}", rate(promised, took)));
    // Generous, and the same for any number of orders; so is the consumer's.
    assert!(busy.peak_mib < idle.resident_mib + 128, "the api: {busy:?}");
    assert_eq!(app.decisions(&mut connection).await.iter().sum::<u64>(), before, "nobody decides yet");

    let began = Instant::now();
    let mut consumer = Process::start(&["consumer"], &app.settings);
    app.until_owners(1).await;
    let idle = consumer.memory();
    let goal = before + u64::try_from(promised).unwrap();
    let all = async || app.decisions(&mut connection).await.iter().sum::<u64>() >= goal;
    tests::until_within(patience, "the backlog is decided", all).await;
    let (drained, took) = (consumer.memory(), began.elapsed());
    tests::tell(&format!(
        "decided {promised}, {:.0} a second; consumer: {idle:?}, then {drained:?}",
        rate(promised, took)
    ));
    assert!(drained.peak_mib < 512, "the consumer: {drained:?}");
    assert!(consumer.stop().await.success());
    said.check(&mut app).await;
    app.finish().await;
}

fn rate(number: usize, took: Duration) -> f64 {
    f64::from(u32::try_from(number).unwrap()) / took.as_secs_f64()
}
