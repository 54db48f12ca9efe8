//! What can't be read is put aside, and holds nothing up.

use serde_json::json;
use tests::app::TestApp;
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_goes_to_the_dead_letters_and_its_neighbours_are_decided() {
    let app = TestApp::start().await;
    let product = app.product(10).await;
    let id = Uuid::new_v4();
    let good = json!({ "PlaceOrderV1": {
        "head": { "id": id, "accountId": Uuid::new_v4(), "acceptedAt": "2026-01-01T00:00:00Z" },
        "items": [{ "productId": product, "variantId": product, "qty": 1 }],
    }});
    app.publish(0, b"\xFF not JSON").await;
    app.publish(0, json!({ "commands": [{ "PlaceOrderV9": {} }, good, 7] }).to_string().as_bytes()).await;
    tests::until("the neighbour is decided", async || app.operator.get(&format!("/orders/{id}")).await.status == 200)
        .await;
    tests::until("the dead letters are there", async || app.waiting(&app.topology.dead_letters()).await == 3).await;
    assert_eq!(app.client.order_and_wait(&[(product, 1)]).await.status, 201);
    app.finish_with_dead_letters(3).await;
}
