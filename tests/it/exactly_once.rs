//! Killed between two steps, by a hook rather than by luck: nothing is lost, nothing is decided twice.

use common::steps::Step;
use futures_util::future::{join, join_all};
use serde_json::json;
use tests::app::{TestApp, Wanted};
use tests::process::Process;
use tests::steps::stop_at;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Orders ten at once, kills the consumer at a step, lets another one go on: each order is decided once.
async fn killed_at(step: Step) {
    let mut app = TestApp::start().await;
    let product = app.product(7).await;
    app.stop_consumers().await;
    let mut ids = Vec::new();
    for _ in 0..10 {
        ids.push(app.client.order(&[(product, 1)], &[]).await.id());
    }
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("reached");
    let mut settings = app.settings.clone();
    settings.push(stop_at(step, 1, &marker));
    let mut doomed = Process::start(&["consumer"], &settings);
    tests::until("the step is reached", async || marker.exists()).await;
    doomed.kill().await;
    app.start_consumer(common::steps::Steps::none());
    let mut confirmed = 0;
    for (n, id) in ids.iter().enumerate() {
        let order = app.client.outcome(*id).await;
        assert_eq!(order["outcome"]["status"], if n < 7 { 201 } else { 409 }, "order {n} at {step:?}");
        confirmed += i64::from(order["outcome"]["status"] == 201);
    }
    assert_eq!((confirmed, app.client.available(product).await), (7, 0));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_killed_with_its_locks_held_leaves_the_batch_to_the_next() {
    killed_at(Step::Locked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_killed_before_its_commit_leaves_the_batch_to_the_next() {
    killed_at(Step::Saved).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_killed_between_commit_and_acknowledgement_is_not_repeated() {
    killed_at(Step::Committed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_killed_before_telling_anyone_leaves_the_outcome_in_the_store() {
    killed_at(Step::Acknowledged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_killed_after_its_publish_has_kept_the_order() {
    let app = TestApp::start().await;
    let product = app.product(5).await;
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("reached");
    let mut settings = app.settings.clone();
    settings.push(stop_at(Step::Published, 1, &marker));
    let (mut doomed, client) = Process::api(&settings).await;
    let headers = [("idempotency-key", "once")];
    let body = tests::http::order(&[(product, 2)]).to_string().into_bytes();
    let cut_off = client.send(reqwest::Method::POST, "/orders", &headers, Some(body));
    let kill = async {
        tests::until("the step is reached", async || marker.exists()).await;
        doomed.kill().await;
    };
    let (answer, ()) = join(cut_off, kill).await;
    assert!(answer.is_err(), "the client was not answered");
    let retried = app.client.order(&[(product, 2)], &[headers[0], ("prefer", "wait=30")]).await;
    assert_eq!(retried.status, 201);
    assert_eq!(app.client.available(product).await, 3, "the order was placed once");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_delivered_twice_is_decided_once() {
    let app = TestApp::start().await;
    let product = app.product(9).await;
    let id = Uuid::new_v4();
    let command = json!({ "commands": [{ "PlaceOrderV1": {
        "head": { "id": id, "accountId": Uuid::new_v4(), "acceptedAt": "2026-01-01T00:00:00Z" },
        "items": [{ "productId": product, "variantId": product, "qty": 2 }],
    }}]});
    // Even by the writers of two partitions.
    for partition in [0, 1, 1, 2] {
        app.publish(partition, command.to_string().as_bytes()).await;
    }
    tests::until("the order is decided", async || app.operator.get(&format!("/orders/{id}")).await.status == 200).await;
    assert_eq!(app.client.available(product).await, 7);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_is_stopped_under_load_finishes_its_batch_and_hands_over() {
    let app = TestApp::with(Wanted { consumers: 1, ..Wanted::default() }).await;
    let product = app.product(100_000).await;
    let mut stopped = Process::start(&["consumer"], &app.settings);
    app.until_owners(2).await;
    let (stop, line) = (CancellationToken::new(), [(product, 1)]);
    let load = async || {
        let mut answers = Vec::new();
        while !stop.is_cancelled() {
            answers.push(app.client.order_and_wait(&line).await);
        }
        answers
    };
    let stopping = async {
        tests::until("orders are sold", async || app.client.available(product).await < 99_900).await;
        let status = stopped.stop().await;
        let sold = 100_000 - app.client.available(product).await;
        let more = async || app.client.available(product).await < 100_000 - sold - 100;
        tests::until("orders are sold without it", more).await;
        stop.cancel();
        status
    };
    let (answers, status) = join(join_all((0..8).map(|_| load())), stopping).await;
    assert!(status.success(), "{status}");
    let answers: Vec<_> = answers.into_iter().flatten().collect();
    assert!(answers.iter().all(|answer| answer.status == 201), "every order was decided while it was waited for");
    assert_eq!(app.client.available(product).await, 100_000 - i64::try_from(answers.len()).unwrap());
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_is_stopped_under_load_answers_what_it_has_begun() {
    let app = TestApp::start().await;
    let product = app.product(1_000).await;
    let (mut stopped, client) = Process::api(&app.settings).await;
    let body = tests::http::order(&[(product, 1)]).to_string().into_bytes();
    let order = async || {
        let mut answers = Vec::new();
        // Until the connection is refused: an order that was begun is answered.
        while let Ok(answer) = client.send(reqwest::Method::POST, "/orders", &[], Some(body.clone())).await {
            answers.push(answer);
        }
        answers
    };
    let stop = async {
        tests::until("some orders are sold", async || app.client.available(product).await < 990).await;
        stopped.stop().await
    };
    let (answers, status) = join(join_all((0..8).map(|_| order())), stop).await;
    assert!(status.success(), "{status}");
    let answers: Vec<_> = answers.into_iter().flatten().collect();
    assert!(answers.iter().all(|answer| answer.status == 202), "{answers:?}");
    let mut confirmed = 0;
    for answer in &answers {
        confirmed += i64::from(app.client.outcome(answer.id()).await["outcome"]["status"] == 201);
    }
    assert_eq!(app.client.available(product).await, 1_000 - confirmed, "every order was answered");
    app.finish().await;
}
