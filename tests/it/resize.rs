//! Another number of partitions: refused unless all is still, and then nothing is lost, not even from who was forgotten.

use tests::app::{TestApp, Wanted};
use tests::process::output;
use tests::raw::{message, order};
use uuid::Uuid;

async fn resize(app: &TestApp, partitions: u16) -> (bool, String) {
    resize_with(&app.settings, partitions).await
}

async fn resize_with(settings: &[(&'static str, String)], partitions: u16) -> (bool, String) {
    let (status, told) = output(&["consumer", "resize", &partitions.to_string()], settings).await;
    (status.success(), told)
}

async fn buy(app: &TestApp, products: &[Uuid]) -> Vec<Uuid> {
    let mut ids = Vec::new();
    for product in products {
        let answer = app.client.order_and_wait(&[(*product, 1)]).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        ids.push(answer.id());
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_refused_while_a_consumer_runs_or_anything_waits() {
    let mut app = TestApp::with(Wanted { consumers: 1, ..Wanted::default() }).await;
    let product = app.product(10).await;
    assert!(!resize(&app, 6).await.0, "a consumer runs");
    app.stop_consumers().await;
    let waiting = app.client.order(&[(product, 1)], &[]).await;
    assert!(!resize(&app, 6).await.0, "an order waits");
    assert!(!resize(&app, 0).await.0, "no number of partitions");
    assert!(!resize(&app, 257).await.0, "too many");
    let mut elsewhere = app.settings.clone();
    elsewhere.push(("ONHAND_QUEUE_PREFIX", "another".to_owned()));
    assert!(!resize_with(&elsewhere, 6).await.0, "whose queues are not there");
    app.start_consumer(common::steps::Steps::none());
    assert_eq!(app.client.outcome(waiting.id()).await["outcome"]["status"], 201);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_go_on_over_more_and_over_fewer_partitions_and_what_was_forgotten_is_put_right() {
    // Not told the number, the programs take what the store has.
    let settings = vec![("ONHAND_PARTITIONS", String::new())];
    let mut app = TestApp::with(Wanted { consumers: 1, settings, ..Wanted::default() }).await;
    let mut products = Vec::new();
    for _ in 0..12 {
        products.push(app.product(1_000).await);
    }
    let mut ids = buy(&app, &products).await;
    for partitions in [6, 3] {
        app.stop_consumers().await;
        let (done, told) = resize(&app, partitions).await;
        assert!(done, "{told}");
        assert!(told.contains(&format!("{partitions} now")), "{told}");
        // The api that was forgotten ends by itself; one that is started knows.
        app.restart_api().await;
        app.start_consumer(common::steps::Steps::none());
        app.until_ready().await;
        // As one does that has not noticed yet: to a partition that is no more.
        let stray = Uuid::new_v4();
        app.publish(partitions + 1, &message(&[order(stray, Uuid::new_v4(), products[0], 1, "c")])).await;
        ids.extend(buy(&app, &products).await);
        let path = format!("/orders/{stray}");
        tests::until("the stray is decided", async || app.operator.get(&path).await.status == 200).await;
    }
    for id in ids {
        assert_eq!(app.client.outcome(id).await["outcome"]["status"], 201, "old ids are found");
    }
    let mut connection = app.database().await;
    let last = "SELECT partition, sequence FROM partitions ORDER BY partition";
    let last: Vec<(i16, i64)> = sqlx::query_as(last).fetch_all(&mut connection).await.unwrap();
    assert_eq!(last.len(), 6, "partitions that are no more keep their log: {last:?}");
    for queue in 3..6 {
        assert_eq!(app.waiting(&app.topology.commands_queue(queue)).await, 0);
    }
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_forgotten_api_left_in_a_queue_is_handed_on_when_the_resize_goes_on() {
    let settings = vec![("ONHAND_PARTITIONS", String::new())];
    let mut app = TestApp::with(Wanted { consumers: 1, settings, ..Wanted::default() }).await;
    let product = app.product(10).await;
    app.stop_consumers().await;
    let mut connection = app.database().await;
    // Interrupted after the database was told.
    sqlx::query("UPDATE settings SET partitions = 3").execute(&mut connection).await.unwrap();
    let stray = Uuid::new_v4();
    app.publish(3, &message(&[order(stray, Uuid::new_v4(), product, 1, "c")])).await;
    let (done, told) = resize(&app, 3).await;
    assert!(done, "{told}");
    assert!(told.contains("1 messages had been published meanwhile"), "{told}");
    app.restart_api().await;
    app.start_consumer(common::steps::Steps::none());
    app.until_ready().await;
    let path = format!("/orders/{stray}");
    tests::until("the stray is decided", async || app.operator.get(&path).await.status == 200).await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_reserved_before_is_paid_or_released_after() {
    let settings = vec![("ONHAND_PARTITIONS", String::new())];
    let mut app = TestApp::with(Wanted { consumers: 1, settings, ..Wanted::default() }).await;
    let mut held = Vec::new();
    for _ in 0..8 {
        let product = app.product(10).await;
        held.push((product, app.client.hold(&[(product, 3)]).await.id(), app.client.hold(&[(product, 2)]).await.id()));
    }
    app.stop_consumers().await;
    let (done, told) = resize(&app, 3).await;
    assert!(done, "{told}");
    app.restart_api().await;
    app.start_consumer(common::steps::Steps::none());
    app.until_ready().await;
    for (_, paid, _) in &held {
        assert_eq!(app.client.pay(*paid, "p").await.status, 200);
    }
    app.pass(std::time::Duration::from_secs(900)).await;
    for (product, ..) in &held {
        tests::until("the rest is released", async || app.client.stock(*product).await == (7, 0)).await;
    }
    app.finish().await;
}
