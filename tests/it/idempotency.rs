//! The same key decides once, whoever asks how often, on whichever instance.

use futures_util::future::join_all;
use serde_json::json;
use tests::app::{CLIENT_KEY, TestApp};
use tests::http::Client;

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_and_body_is_one_order_and_one_outcome() {
    let app = TestApp::start().await;
    let product = app.product(10).await;
    let headers = [("idempotency-key", "\"k1\""), ("prefer", "wait=30")];
    let first = app.client.order(&[(product, 2)], &headers).await;
    let second = app.client.order(&[(product, 1), (product, 1)], &headers).await;
    assert_eq!((first.status.as_u16(), second.status.as_u16()), (201, 201));
    assert_eq!(first.id(), second.id());
    assert_eq!(second.header("idempotency-replayed"), Some("true"));
    assert_eq!(first.body, second.body);
    assert_eq!(app.client.available(product).await, 8);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_in_flight_at_once_on_two_instances_are_decided_once() {
    let mut app = TestApp::start().await;
    let product = app.product(1000).await;
    let there = Client::new(app.start_api().await, CLIENT_KEY);
    tests::until("the second api is ready", async || there.get("/readyz").await.status == 200).await;
    for round in 0..20 {
        let key = format!("round-{round}");
        let headers = [("idempotency-key", key.as_str()), ("prefer", "wait=30")];
        let line = [(product, 1)];
        let here = (0..3).map(|_| app.client.order(&line, &headers));
        let answers = join_all(here.chain((0..3).map(|_| there.order(&line, &headers)))).await;
        assert!(answers.iter().all(|answer| answer.status == 201), "{answers:?}");
        assert!(answers.iter().all(|answer| answer.id() == answers[0].id()));
    }
    assert_eq!(app.client.available(product).await, 980);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_with_another_body_is_422_decided_or_not_here_or_elsewhere() {
    let mut app = TestApp::start().await;
    let product = app.product(10).await;
    let there = Client::new(app.start_api().await, CLIENT_KEY);
    tests::until("the second api is ready", async || there.get("/readyz").await.status == 200).await;
    app.stop_consumers().await;
    let key = [("idempotency-key", "k")];
    let first = app.client.order(&[(product, 1)], &key).await;
    assert_eq!(first.status, 202);
    assert_eq!(app.client.order(&[(product, 2)], &key).await.status, 422, "known to the instance that took it");
    let elsewhere = there.order(&[(product, 3)], &key).await;
    assert_eq!(elsewhere.status, 202, "another instance can't know yet");
    assert_ne!(elsewhere.id(), first.id());
    app.start_consumer(common::steps::Steps::none());
    app.client.outcome(first.id()).await;
    tests::until("both are dealt with", async || {
        let answer = there.get(&format!("/orders/{}", elsewhere.id())).await;
        answer.status == 422 && answer.body["type"] == "/problems/idempotency-key-reused"
    })
    .await;
    assert_eq!(there.order(&[(product, 4)], &key).await.status, 422);
    assert_eq!(app.client.available(product).await, 9);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_for_two_partitions_at_once_decides_one_of_the_requests() {
    let mut app = TestApp::start().await;
    let there = Client::new(app.start_api().await, CLIENT_KEY);
    tests::until("the second api is ready", async || there.get("/readyz").await.status == 200).await;
    let mut products = Vec::new();
    for _ in 0..8 {
        products.push(app.product(10).await);
    }
    // Two products are enough for two partitions by chance only, eight pairs nearly always.
    for (round, pair) in products.windows(2).enumerate() {
        let key = format!("round-{round}");
        let headers = [("idempotency-key", key.as_str()), ("prefer", "wait=30")];
        let lines = [[(pair[0], 1)], [(pair[1], 1)]];
        let (here, there) = tokio::join!(app.client.order(&lines[0], &headers), there.order(&lines[1], &headers));
        let mut statuses = [here.status.as_u16(), there.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 422], "{here:?} {there:?}");
    }
    let mut left = 0;
    for product in &products {
        left += app.client.available(*product).await;
    }
    assert_eq!(left, 8 * 10 - 7, "one of each pair was sold");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_accounts_key_of_the_same_name_is_another_key() {
    let app = TestApp::start().await;
    let product = app.product(10).await;
    let headers = [("idempotency-key", "k"), ("prefer", "wait=30")];
    let ours = app.client.order(&[(product, 1)], &headers).await;
    let theirs = app.other.order(&[(product, 3)], &headers).await;
    assert_eq!((ours.status.as_u16(), theirs.status.as_u16()), (201, 201));
    assert_eq!(app.client.available(product).await, 6);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_products_creation_is_idempotent_too() {
    let app = TestApp::start().await;
    let body = json!({ "name": "Cup", "sku": "CUP", "price": { "amount": 5, "currency": "EUR" }, "stock": 2 });
    let key = [("idempotency-key", "cup")];
    let first = app.operator.post("/products", &key, &body).await;
    let second = app.operator.post("/products", &key, &body).await;
    assert_eq!((first.status.as_u16(), second.status.as_u16()), (201, 201));
    assert_eq!(first.id(), second.id());
    assert_eq!(app.client.available(first.id()).await, 2);
    let other = json!({ "name": "Cup", "sku": "CUP-2", "price": { "amount": 5, "currency": "EUR" }, "stock": 2 });
    assert_eq!(app.operator.post("/products", &key, &other).await.status, 422);
    app.finish().await;
}
