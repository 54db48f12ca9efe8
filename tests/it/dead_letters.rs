//! What can't be decided is put aside, and holds nothing up.

use serde_json::{Value, json};
use tests::app::{TestApp, Wanted};
use tests::raw::{message, order};
use uuid::Uuid;

/// PostgreSQL's text can't hold it: the order can be read, and never be saved.
const POISON: &str = "\0";

async fn until_decided(app: &TestApp, id: Uuid) {
    tests::until("the order is decided", async || app.operator.get(&format!("/orders/{id}")).await.status == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_put_aside_and_its_neighbours_are_decided() {
    let app = TestApp::start().await;
    let product = app.product(10).await;
    let (good, negative) = (Uuid::new_v4(), Uuid::new_v4());
    app.publish(0, b"\xFF not JSON").await;
    let commands = [
        json!({ "PlaceOrderV9": {} }),
        order(good, Uuid::new_v4(), product, 1, "c"),
        json!(7),
        order(negative, Uuid::new_v4(), product, -1, "c"),
    ];
    app.publish(0, &message(&commands)).await;
    until_decided(&app, good).await;
    until_decided(&app, negative).await;
    let failed = app.operator.get(&format!("/orders/{negative}")).await;
    assert_eq!((&failed.body["status"], &failed.body["outcome"]["status"]), (&json!("failed"), &json!(500)));
    assert_eq!(app.client.get(&format!("/orders/{negative}")).await.status, 404, "another's");
    assert_eq!(app.client.order_and_wait(&[(product, 1)]).await.status, 201);
    app.finish_with_dead_letters(4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_always_fails_is_found_among_its_neighbours_and_put_aside() {
    let app = TestApp::with(Wanted { consumers: 1, ..Wanted::default() }).await;
    let product = app.product(100).await;
    let account = Uuid::new_v4();
    for poisoned in [&[0][..], &[1], &[4], &[0, 1], &[0, 1, 2, 3, 4], &[1, 3]] {
        let ids: Vec<Uuid> = (0..5).map(|_| Uuid::new_v4()).collect();
        let customer = |n| if poisoned.contains(&n) { POISON } else { "c" };
        let commands: Vec<Value> = (0..5).map(|n| order(ids[n], account, product, 1, customer(n))).collect();
        app.publish(1, &message(&commands)).await;
        for (n, id) in ids.into_iter().enumerate() {
            until_decided(&app, id).await;
            let expected = if poisoned.contains(&n) { "failed" } else { "paid" };
            assert_eq!(
                app.operator.get(&format!("/orders/{id}")).await.body["status"],
                expected,
                "{n} of {poisoned:?}"
            );
        }
    }
    assert_eq!(app.client.available(product).await, 100 - (6 * 5 - 12), "what failed took nothing");
    app.finish_with_dead_letters(12).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_refuses_everything_is_not_taken_for_an_orders_fault() {
    let app = TestApp::with(Wanted { consumers: 1, ..Wanted::default() }).await;
    let product = app.product(10).await;
    let mut connection = app.database().await;
    // As a failover to a standby does, or a provider whose disk is full.
    app.set_read_only(&mut connection, true).await;
    let accepted = app.client.order(&[(product, 1)], &[]).await;
    assert_eq!(accepted.status, 202);
    let before = app.rollbacks(&mut connection).await;
    tests::until("it was tried in vain", async || app.rollbacks(&mut connection).await > before + 2).await;
    assert_eq!(app.client.get(&format!("/orders/{}", accepted.id())).await.body["status"], "pending");
    app.set_read_only(&mut connection, false).await;
    assert_eq!(app.client.outcome(accepted.id()).await["outcome"]["status"], 201);
    app.finish().await;
}
