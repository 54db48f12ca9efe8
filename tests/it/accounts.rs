//! Keys and roles: what belongs to another is not found.

use common::db::accounts::revoke_key;
use serde_json::json;
use tests::app::{CLIENT_KEY, TestApp};
use tests::process::output;

#[tokio::test(flavor = "multi_thread")]
async fn anothers_order_is_404_to_a_client_and_shown_to_an_operator() {
    let mut app = TestApp::start().await;
    let product = app.product(10).await;
    let id = app.client.order_and_wait(&[(product, 1)]).await.id();
    let path = format!("/orders/{id}");
    assert_eq!(app.other.get(&path).await.status, 404);
    assert_eq!(app.operator.get(&path).await.status, 200);
    app.stop_consumers().await;
    let pending = app.client.order(&[(product, 1)], &[]).await.id();
    assert_eq!(app.client.get(&format!("/orders/{pending}")).await.status, 200);
    assert_eq!(app.other.get(&format!("/orders/{pending}")).await.status, 404, "pending ids are told apart as well");
    assert_eq!(app.operator.get(&format!("/orders/{pending}")).await.body["status"], "pending");
    assert_eq!(app.operator.get(&format!("/orders/{}", uuid::Uuid::new_v4())).await.status, 404);
    app.start_consumer(common::steps::Steps::none());
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_in_force_it_is_401_and_with_the_wrong_role_403() {
    let app = TestApp::start().await;
    let product = app.product(10).await;
    let body = tests::http::order(&[(product, 1)]);
    for key in ["", "nonsense", " ", "client-key-and-more"] {
        let answer = app.client_with(key).post("/orders", &[], &body).await;
        assert_eq!((answer.status.as_u16(), answer.header("www-authenticate")), (401, Some("Bearer")), "{key:?}");
    }
    let basic = app.client_with("").post("/orders", &[("authorization", "Basic Y2xpZW50LWtleQ==")], &body).await;
    assert_eq!(basic.status, 401);
    let product = json!({ "name": "Cup", "sku": "CUP", "price": { "amount": 5, "currency": "EUR" } });
    assert_eq!(app.client.post("/products", &[], &product).await.status, 403);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_ends_soon() {
    let app = TestApp::start().await;
    assert_eq!(app.client.get("/products").await.status, 200);
    assert!(revoke_key(&mut app.database().await, &api::keys::hash(CLIENT_KEY)).await.unwrap());
    tests::until("the key is refused", async || app.client.get("/products").await.status == 401).await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_made_and_ended_on_the_command_line() {
    let app = TestApp::start().await;
    for (arguments, statuses) in [(&["shop"][..], (200, 403)), (&["office", "--operator"], (200, 400))] {
        let arguments = [&["api", "keys", "add"], arguments].concat();
        let (ended, printed) = output(&arguments, &app.settings).await;
        assert!(ended.success());
        let key = printed.trim();
        let client = app.client_with(key);
        assert_eq!(client.get("/products").await.status, statuses.0);
        assert_eq!(client.post("/products", &[], &json!({})).await.status, statuses.1);
        assert!(output(&["api", "keys", "revoke", key], &app.settings).await.0.success());
        tests::until("the key is refused", async || client.get("/products").await.status == 401).await;
        assert!(!output(&["api", "keys", "revoke", key], &app.settings).await.0.success(), "ended twice");
    }
    let other_role = ["api", "keys", "add", "shop", "--operator"];
    assert!(!output(&other_role, &app.settings).await.0.success(), "an account keeps its role");
    app.finish().await;
}
