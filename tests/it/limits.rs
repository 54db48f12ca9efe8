//! So many for each customer, exactly, whoever orders at the same time and from whichever partition.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::partition::partition_of;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tests::app::TestApp;
use tests::http::Answer;
use uuid::Uuid;

const WAIT: (&str, &str) = ("prefer", "wait=30");

async fn limit(app: &TestApp, product: Uuid, limit: Value) -> Answer {
    app.operator.change(Method::PATCH, &format!("/products/{product}"), Some(json!({ "limit": limit }))).await
}

async fn order(app: &TestApp, customer: &str, items: Value) -> Answer {
    app.client.post("/orders", &[WAIT], &json!({ "items": items, "customerId": customer })).await
}

fn of(product: Uuid, qty: i64) -> Value {
    json!([{ "productId": product, "qty": qty }])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_has_no_more_than_the_limit_over_all_variants_and_orders_that_stand() {
    let app = TestApp::start().await;
    let product = app.product(100).await;
    let nine = app.variant(product, "9", 100).await;
    assert_eq!(order(&app, "early", of(product, 5)).await.status, 201);
    assert_eq!(limit(&app, product, json!({ "qty": 3 })).await.body["limit"], json!({ "qty": 3 }));
    let none = app.client.order_and_wait(&[(product, 1)]).await;
    assert_eq!((none.status.as_u16(), &none.body["type"]), (422, &json!("/problems/customer-required")));
    let late = order(&app, "early", of(product, 1)).await;
    assert_eq!((late.status.as_u16(), &late.body["type"]), (409, &json!("/problems/limit-exceeded")));
    let receipt = json!([{ "productId": product, "limit": { "qty": 3 }, "bought": 5, "requested": 1 }]);
    assert_eq!(late.body["products"], receipt, "what was bought before counts");
    let both = json!([{ "productId": product, "qty": 1 }, { "productId": product, "variantId": nine, "qty": 1 }]);
    let first = order(&app, "ada", both.clone()).await;
    assert_eq!(first.status, 201);
    assert_eq!(order(&app, "ada", both.clone()).await.status, 409);
    assert_eq!(order(&app, "bob", both.clone()).await.status, 201, "each has a limit of their own");
    assert_eq!(app.client.cancel(first.id()).await.status, 200);
    assert_eq!(order(&app, "ada", of(product, 3)).await.status, 201, "what was cancelled does not count");
    let unknown = json!([{ "productId": product, "qty": 9 }, { "productId": Uuid::new_v4(), "qty": 1 }]);
    assert_eq!(order(&app, "ada", unknown).await.body["type"], "/problems/unknown-product");
    assert_eq!(order(&app, "eve", of(product, 1_000)).await.body["type"], "/problems/limit-exceeded");
    let held = json!({ "items": of(product, 3), "customerId": "held", "payment": "deferred" });
    assert_eq!(app.client.post("/orders", &[WAIT], &held).await.status, 201);
    assert_eq!(order(&app, "held", of(product, 1)).await.status, 409, "what is reserved counts");
    app.pass(Duration::from_secs(3_600)).await;
    assert_eq!(order(&app, "held", of(product, 1)).await.status, 201, "until its time is over");
    for wrong in [json!({ "qty": 0 }), json!({}), json!({ "qty": 1, "windowSeconds": 0 }), json!(3)] {
        assert_eq!(limit(&app, product, wrong).await.status, 400);
    }
    assert!(limit(&app, product, Value::Null).await.body["limit"].is_null());
    assert_eq!(order(&app, "early", of(product, 1)).await.status, 201);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_counts_what_was_ordered_within_it() {
    let app = TestApp::start().await;
    let product = app.product(100).await;
    limit(&app, product, json!({ "qty": 2, "windowSeconds": 86_400 })).await;
    assert_eq!(order(&app, "ada", of(product, 2)).await.status, 201);
    app.pass(Duration::from_secs(86_000)).await;
    assert_eq!(order(&app, "ada", of(product, 1)).await.status, 409);
    app.pass(Duration::from_secs(86_500)).await;
    assert_eq!(order(&app, "ada", of(product, 2)).await.status, 201, "a day later");
    assert_eq!(order(&app, "ada", of(product, 1)).await.status, 409);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_once_and_from_many_partitions_a_customer_has_just_the_limit() {
    let app = TestApp::start().await;
    let mut limited = Vec::new();
    for _ in 0..2 {
        limited.push(app.product(1_000).await);
    }
    for product in &limited {
        assert_eq!(limit(&app, *product, json!({ "qty": 5 })).await.status, 200);
    }
    // Beside others, so that orders of the same product are decided by the writers of different partitions.
    let mut others = Vec::new();
    let mut partitions = BTreeSet::new();
    while others.len() < 8 || partitions.len() < 2 {
        let other = app.product(1_000).await;
        let leading = other.min(limited[others.len() % 2]);
        partitions.insert(partition_of(leading, app.topology.partitions()));
        others.push(other);
    }
    let orders = (0..15 * others.len()).map(|n| {
        let mut items = vec![
            json!({ "productId": limited[n % 2], "qty": 1 }),
            json!({ "productId": others[n % others.len()], "qty": 1 }),
        ];
        if n % 3 == 0 {
            items.push(json!({ "productId": limited[(n + 1) % 2], "qty": 1 }));
        }
        let (app, customer) = (&app, format!("customer-{}", n % 4));
        async move { (customer.clone(), order(app, &customer, json!(items)).await) }
    });
    let mut had = BTreeMap::<(String, String), i64>::new();
    for (customer, answer) in join_all(orders).await {
        assert!(answer.status == 201 || answer.body["type"] == "/problems/limit-exceeded", "{answer:?}");
        if answer.status == 201 {
            for item in answer.body["items"].as_array().unwrap() {
                let product = item["productId"].as_str().unwrap().to_owned();
                if limited.iter().any(|limited| limited.to_string() == product) {
                    *had.entry((customer.clone(), product)).or_default() += item["qty"].as_i64().unwrap();
                }
            }
        }
    }
    // An order of both products may be refused for the one though the other would have fitted: each customer can still have
    // the rest of it, and not a piece more.
    for customer in 0..4 {
        for product in &limited {
            let customer = format!("customer-{customer}");
            let had = had.get(&(customer.clone(), product.to_string())).copied().unwrap_or_default();
            assert!(had <= 5, "{customer} has {had}");
            assert_eq!(order(&app, &customer, of(*product, 6 - had)).await.status, 409);
            if had < 5 {
                assert_eq!(order(&app, &customer, of(*product, 5 - had)).await.status, 201);
            }
        }
    }
    app.finish().await;
}
