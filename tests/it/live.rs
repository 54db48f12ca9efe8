//! Stock as it changes: pushed to whoever listens, and told to operators where it becomes low.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tests::app::{CLIENT_KEY, TestApp, Wanted};
use uuid::Uuid;

const WAIT: (&str, &str) = ("prefer", "wait=30");

/// Somebody who listens to the stock of a product.
struct Listener {
    response: reqwest::Response,
    unread: String,
}

impl Listener {
    async fn to(app: &TestApp, http: &reqwest::Client, product: Uuid) -> Self {
        let request = http.get(format!("{}/products/{product}/stock/events", app.base)).bearer_auth(CLIENT_KEY);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, unread: String::new() }
    }

    /// The next event and its data; `None` at the end.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.unread.split_once("\n\n") {
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                let found = field("event: ").zip(field("data: "));
                self.unread = rest.to_owned();
                match found {
                    Some((name, data)) => return Some((name, serde_json::from_str(&data).unwrap())),
                    // A comment that keeps the connection alive.
                    None => continue,
                }
            }
            let chunk = tokio::time::timeout(tests::PATIENCE, self.response.chunk()).await.unwrap().unwrap()?;
            self.unread.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// Reads on until so many are available.
    async fn until_available(&mut self, expected: i64) -> Value {
        loop {
            let (name, stock) = self.next().await.unwrap();
            assert_eq!(name, "stock");
            if stock["available"] == expected {
                return stock;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_is_told_the_stock_at_once_and_whenever_it_changes_until_the_product_is_gone() {
    let settings = vec![("ONHAND_LISTENERS_MAX", "2".to_owned())];
    let app = TestApp::with(Wanted { consumers: 1, settings, ..Wanted::default() }).await;
    let (product, other) = (app.product(10).await, app.product(10).await);
    let http = reqwest::Client::new();
    let mut listener = Listener::to(&app, &http, product).await;
    let stock = listener.until_available(10).await;
    assert_eq!(stock, app.client.get(&format!("/products/{product}/stock")).await.body);
    app.client.order_and_wait(&[(other, 3)]).await;
    app.client.order_and_wait(&[(product, 3)]).await;
    assert_eq!(listener.until_available(7).await["levels"][0]["version"], 2, "the other product's is not told");
    let held = app.client.hold(&[(product, 2)]).await.id();
    assert_eq!(listener.until_available(5).await["reserved"], 2);
    app.client.cancel(held).await;
    listener.until_available(7).await;
    let _second = Listener::to(&app, &http, product).await;
    let third = app.client.get(&format!("/products/{other}/stock/events")).await;
    assert_eq!((third.status.as_u16(), &third.body["type"]), (503, &json!("/problems/unavailable")));
    assert_eq!(app.client.get(&format!("/products/{}/stock/events", Uuid::new_v4())).await.status, 404);
    app.operator.change(Method::DELETE, &format!("/products/{product}"), None).await;
    assert_eq!(listener.next().await, Some(("gone".to_owned(), json!({}))));
    assert_eq!(listener.next().await, None, "that was the last one");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_reaches_a_thousand_listeners() {
    const LISTENERS: usize = 1_000;
    let app = TestApp::start().await;
    let product = app.product(10).await;
    let http = reqwest::Client::new();
    let mut listeners = Vec::with_capacity(LISTENERS);
    for _ in 0..LISTENERS / 50 {
        listeners.extend(join_all((0..50).map(|_| Listener::to(&app, &http, product))).await);
    }
    join_all(listeners.iter_mut().map(|listener| listener.until_available(10))).await;
    let mut longest = Duration::ZERO;
    for left in (0..10).rev() {
        let began = Instant::now();
        assert_eq!(app.client.order_and_wait(&[(product, 1)]).await.status, 201);
        let decided = began.elapsed();
        join_all(listeners.iter_mut().map(|listener| listener.until_available(left))).await;
        longest = longest.max(began.elapsed() - decided);
    }
    println!("the last of {LISTENERS} listeners was told {longest:?} after the outcome, at the longest of 10 changes");
    drop(listeners);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_crossing_of_a_threshold_is_told_once() {
    let app = TestApp::start().await;
    let product = app.product(10).await;
    let nine = app.variant(product, "9", 10).await;
    let north = app.warehouse("north").await;
    app.restore(product, north, 2).await;
    let patch = async |path: &str, threshold: Value| {
        let body = json!({ "lowStockThreshold": threshold });
        app.operator.change(Method::PATCH, path, Some(body)).await
    };
    let path = format!("/products/{product}");
    assert_eq!(patch(&path, json!(8)).await.body["lowStockThreshold"], 8);
    assert_eq!(patch(&format!("{path}/variants/{nine}"), json!(0)).await.status, 200);
    for wrong in [json!(-1), json!("8")] {
        assert_eq!(patch(&path, wrong).await.status, 400);
    }
    let events = async || app.operator.get("/stock/low/events").await.body["items"].as_array().unwrap().clone();
    app.client.order_and_wait(&[(product, 3)]).await;
    assert_eq!(events().await, Vec::<Value>::new(), "9 are left");
    let held = app.client.hold(&[(product, 1)]).await.id();
    let first = events().await;
    assert_eq!((first.len(), &first[0]["available"], &first[0]["commandId"]), (1, &json!(8), &json!(held)));
    // Lower, moved, up to just the threshold: no other crossing.
    app.client.order_and_wait(&[(product, 1)]).await;
    let main = common::domain::DEFAULT_WAREHOUSE;
    let body = json!({ "productId": product, "fromWarehouseId": main, "toWarehouseId": north, "qty": 2 });
    assert_eq!(app.operator.post("/stock/transfer", &[WAIT], &body).await.status, 200);
    app.client.cancel(held).await;
    assert_eq!(events().await.len(), 1);
    let low = app.operator.get("/stock/low").await.body["items"].clone();
    assert_eq!((low.as_array().unwrap().len(), &low[0]["available"], &low[0]["threshold"]), (1, &json!(8), &json!(8)));
    // Above it, and then below by a crowd: once.
    app.restore(product, north, 92).await;
    assert_eq!(app.operator.get("/stock/low").await.body["items"], json!([]));
    let one = [(product, 1)];
    let crowd = join_all((0..96).map(|_| app.client.order_and_wait(&one))).await;
    assert!(crowd.iter().all(|answer| answer.status == 201));
    let item = json!({ "productId": product, "variantId": nine, "qty": 10 });
    assert_eq!(app.client.post("/orders", &[WAIT], &json!({ "items": [item] })).await.status, 201);
    let all = events().await;
    let told: Vec<_> = all.iter().map(|event| (event["variantId"].clone(), event["available"].clone())).collect();
    let expected = [(json!(nine), json!(0)), (json!(product), json!(8)), (json!(product), json!(8))];
    assert_eq!(told, expected, "the newest first");
    let page = app.operator.get("/stock/low/events?limit=2").await;
    let link = page.header("link").unwrap().split_once('>').unwrap().0.trim_start_matches('<').to_owned();
    assert_eq!(app.operator.get(&link).await.body["items"].as_array().unwrap()[..], all[2..]);
    assert_eq!(app.client.get("/stock/low").await.status, 403);
    assert!(patch(&path, Value::Null).await.body["lowStockThreshold"].is_null());
    app.finish().await;
}
