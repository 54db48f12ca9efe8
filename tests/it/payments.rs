//! Orders that are paid later: reserved for a while, sold when paid in time.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tests::app::{TestApp, Wanted};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

const WINDOW: Duration = Duration::from_secs(900);

/// The seconds between two times of an order.
fn seconds(order: &Value, from: &str, to: &str) -> i64 {
    let at = |name: &str| OffsetDateTime::parse(order[name].as_str().unwrap(), &Rfc3339).unwrap();
    (at(to) - at(from)).whole_seconds()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deferred_order_reserves_and_its_payment_sells() {
    let app = TestApp::start().await;
    let product = app.product(10).await;
    let held = app.client.hold(&[(product, 4)]).await;
    assert_eq!(held.status, 201, "{held:?}");
    assert_eq!((&held.body["status"], &held.body["payment"]), (&json!("pending"), &json!("deferred")));
    assert_eq!(seconds(&held.body, "decidedAt", "payBy"), 900);
    assert_eq!(app.client.stock(product).await, (10, 4));
    let refused = app.client.order_and_wait(&[(product, 7)]).await;
    assert_eq!((refused.status.as_u16(), &refused.body["lines"][0]["reserved"]), (409, &json!(4)));

    let paid = app.client.pay(held.id(), "p1").await;
    assert_eq!((paid.status.as_u16(), &paid.body["status"]), (200, &json!("paid")), "{paid:?}");
    assert_eq!(paid.body["paid"], json!({ "method": "card", "reference": "p1" }));
    assert_eq!(app.client.stock(product).await, (6, 0));
    let again = app.client.pay(held.id(), "p1").await;
    assert_eq!((again.status.as_u16(), &again.body), (200, &paid.body), "the same payment told again");
    let other = app.client.pay(held.id(), "p2").await;
    assert_eq!((other.status.as_u16(), &other.body["type"]), (409, &json!("/problems/already-paid")));
    assert_eq!(app.client.stock(product).await, (6, 0));
    let unapplied = app.operator.get("/payments/unapplied").await.body;
    assert_eq!(unapplied["items"][0]["reference"], "p2", "money that somebody must give back: {unapplied}");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_window_is_by_method_and_longer_for_customers_of_the_priority_tier() {
    let windows = ("ONHAND_PAYMENT_WINDOWS_SECONDS", "card:60,bank-transfer:86400".to_owned());
    let app = TestApp::with(Wanted { consumers: 1, settings: vec![windows], ..Wanted::default() }).await;
    let product = app.product(100).await;
    let priority = json!({ "tier": "priority" });
    let set = app.operator.change(Method::PUT, "/customers/zoe/tier", Some(priority.clone())).await;
    assert_eq!((set.status.as_u16(), &set.body), (200, &json!({ "customerId": "zoe", "tier": "priority" })));
    assert_eq!(app.operator.get("/customers/zoe/tier").await.body["tier"], "priority");
    assert_eq!(app.client.change(Method::PUT, "/customers/zoe/tier", Some(priority)).await.status, 403);
    for (customer, method, expected) in [
        ("ann", None, 900),
        ("ann", Some("card"), 60),
        ("ann", Some("bank-transfer"), 86_400),
        ("zoe", None, 1_800),
        ("zoe", Some("card"), 120),
    ] {
        let body = json!({ "items": [{ "productId": product, "qty": 1 }], "customerId": customer,
                           "payment": "deferred", "paymentMethod": method });
        let held = app.client.post("/orders", &[("prefer", "wait=30")], &body).await;
        assert_eq!(seconds(&held.body, "decidedAt", "payBy"), expected, "{customer} {method:?}");
    }
    let body = json!({ "items": [{ "productId": product, "qty": 1 }], "paymentMethod": "card" });
    assert_eq!(app.client.post("/orders", &[], &body).await.status, 400, "a method without a window");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_past_the_window_is_409_changes_nothing_and_is_kept_for_the_operator() {
    let app = TestApp::start().await;
    let product = app.product(3).await;
    let held = app.client.hold(&[(product, 3)]).await;
    app.pass(WINDOW).await;
    let late = app.client.pay(held.id(), "late").await;
    assert_eq!((late.status.as_u16(), &late.body["type"]), (409, &json!("/problems/payment-timeout")), "{late:?}");
    tests::until("the order is cancelled", async || {
        let order = app.client.get(&format!("/orders/{}", held.id())).await.body;
        order["status"] == "cancelled" && order["cancelReason"] == "payment-timeout"
    })
    .await;
    assert_eq!(app.client.stock(product).await, (3, 0));
    assert_eq!(app.client.pay(held.id(), "late").await.status, 409, "told twice, it is one payment");
    let again = app.client.pay(held.id(), "later").await;
    assert_eq!(again.body["type"], "/problems/payment-timeout");
    assert_eq!(app.client.cancel(held.id()).await.body["type"], "/problems/payment-timeout", "it is over already");

    assert_eq!(app.client.get("/payments/unapplied").await.status, 403);
    let first = app.operator.get("/payments/unapplied?limit=1").await;
    let payment = &first.body["items"][0];
    assert_eq!((&payment["reference"], &payment["problem"]), (&json!("late"), &json!("payment-timeout")));
    let next = first.header("link").unwrap();
    assert!(next.starts_with("</payments/unapplied?limit=1&cursor="), "{next}");
    let path = format!("/payments/unapplied/{}", payment["id"].as_str().unwrap());
    let refunded = json!({ "status": "resolved", "resolution": "refunded" });
    let resolved = app.operator.change(Method::PATCH, &path, Some(refunded)).await;
    assert_eq!((resolved.status.as_u16(), &resolved.body["resolution"]), (200, &json!("refunded")));
    let left = app.operator.get("/payments/unapplied").await.body["items"].as_array().unwrap().len();
    let all = app.operator.get("/payments/unapplied?all=true").await.body["items"].as_array().unwrap().len();
    assert_eq!((left, all), (1, 2));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_idempotent_and_can_be_polled() {
    let mut app = TestApp::start().await;
    let product = app.product(5).await;
    let held = app.client.hold(&[(product, 1)]).await.id();
    app.stop_consumers().await;
    let path = format!("/orders/{held}/payment");
    let body = json!({ "status": "paid", "reference": "r" }).to_string().into_bytes();
    let key = [("idempotency-key", "pay-once")];
    let first = app.client.send(Method::PATCH, &path, &key, Some(body.clone())).await.unwrap();
    assert_eq!((first.status.as_u16(), &first.body["status"]), (202, &json!("pending")));
    let command = first.header("location").unwrap().to_owned();
    assert_eq!(command, format!("/commands/{}", first.id()));
    let second = app.client.send(Method::PATCH, &path, &key, Some(body.clone())).await.unwrap();
    assert_eq!(second.id(), first.id());
    let other = json!({ "status": "paid", "reference": "another" }).to_string().into_bytes();
    assert_eq!(app.client.send(Method::PATCH, &path, &key, Some(other)).await.unwrap().status, 422);
    assert_eq!(app.client.get(&command).await.body["status"], "pending");
    assert_eq!(app.other.get(&command).await.status, 404);
    assert_eq!(app.client.get(&format!("/commands/{}", Uuid::new_v4())).await.status, 404);
    app.start_consumer(common::steps::Steps::none());
    let decided = app.client.change(Method::GET, &command, None).await;
    assert_eq!((&decided.body["status"], &decided.body["outcome"]["status"]), (&json!("decided"), &json!(200)));
    assert_eq!((&decided.body["orderId"], &decided.body["orderStatus"]), (&json!(held), &json!("paid")));
    let replayed = app.client.send(Method::PATCH, &path, &key, Some(body)).await.unwrap();
    assert_eq!((replayed.status.as_u16(), replayed.header("idempotency-replayed")), (200, Some("true")));
    let refused = app.client.send(Method::PATCH, &path, &[], Some(br#"{"status":"paid","reference":"x"}"#.to_vec()));
    let refused = refused.await.unwrap().header("location").unwrap().to_owned();
    let refused = app.client.change(Method::GET, &refused, None).await;
    assert_eq!(refused.body["outcome"]["type"], "/problems/already-paid", "{refused:?}");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_queues_up_behind_its_order_and_one_of_nothing_is_404() {
    let mut app = TestApp::start().await;
    let product = app.product(5).await;
    app.stop_consumers().await;
    let body = json!({ "items": [{ "productId": product, "qty": 2 }], "payment": "deferred" });
    let order = app.client.post("/orders", &[], &body).await.id();
    let paid = json!({ "status": "paid" }).to_string().into_bytes();
    let path = format!("/orders/{order}/payment");
    assert_eq!(app.client.send(Method::PATCH, &path, &[], Some(paid)).await.unwrap().status, 202);
    app.start_consumer(common::steps::Steps::none());
    tests::until("it is paid", async || app.client.get(&format!("/orders/{order}")).await.body["status"] == "paid")
        .await;
    assert_eq!(app.client.stock(product).await, (3, 0));
    let stranger = app.other.pay(order, "theirs").await;
    assert_eq!(stranger.status, 404, "another's order");
    assert_eq!(app.client.pay(Uuid::new_v4(), "nothing's").await.status, 404);
    app.finish().await;
}
