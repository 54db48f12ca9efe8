//! What customers send back: into stock or written off, never more than was bought.

use reqwest::Method;
use serde_json::{Value, json};
use tests::app::TestApp;
use tests::http::Answer;
use uuid::Uuid;

/// Takes goods back and waits for what comes of it.
async fn take_back(app: &TestApp, order: Uuid, items: Value) -> Answer {
    let body = json!({ "items": items, "reason": "RMA 7" });
    app.operator.change(Method::POST, &format!("/orders/{order}/returns"), Some(body)).await
}

async fn ship(app: &TestApp, order: Uuid) {
    for status in ["processing", "shipped"] {
        assert_eq!(app.operator.step(order, json!({ "status": status })).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_back_is_sold_again_from_where_it_came_or_written_off_and_never_comes_back_twice() {
    let app = TestApp::start().await;
    let product = app.product(4).await;
    let north = app.warehouse("north").await;
    app.restore(product, north, 3).await;
    let before = app.client.get(&format!("/products/{product}/stock")).await.body;
    let on_hand = |stock: &Value, warehouse: &str| {
        let levels = stock["levels"].as_array().unwrap();
        levels.iter().find(|level| level["warehouse"] == warehouse).map(|level| level["onHand"].as_i64().unwrap())
    };
    let order = app.client.order_and_wait(&[(product, 6)]).await.id();
    let back = |qty: i64, disposition: &str| json!([{ "productId": product, "qty": qty, "disposition": disposition }]);

    let early = take_back(&app, order, back(1, "restock")).await;
    assert_eq!((early.status.as_u16(), &early.body["type"]), (409, &json!("/problems/not-shipped")));
    ship(&app, order).await;
    assert_eq!(take_back(&app, order, back(7, "restock")).await.body["type"], "/problems/return-too-large");

    let first = take_back(&app, order, back(2, "restock")).await;
    assert_eq!(first.status, 200, "{first:?}");
    assert_eq!(first.body["items"][0]["returned"], json!({ "qty": 2, "restocked": 2 }), "{first:?}");
    assert_eq!((first.body["status"].as_str(), app.client.available(product).await), (Some("shipped"), 3));
    let second = take_back(&app, order, back(1, "write-off")).await;
    assert_eq!(second.body["items"][0]["returned"], json!({ "qty": 3, "restocked": 2 }));
    assert_eq!(app.client.available(product).await, 3, "what is written off is not sold again");
    assert_eq!(app.operator.step(order, json!({ "status": "delivered" })).await.status, 200);
    assert_eq!(take_back(&app, order, back(4, "restock")).await.body["type"], "/problems/return-too-large");
    let rest = take_back(&app, order, back(3, "restock")).await;
    assert_eq!(rest.body["items"][0]["returned"], json!({ "qty": 6, "restocked": 5 }));
    assert_eq!(take_back(&app, order, back(1, "write-off")).await.body["type"], "/problems/return-too-large");

    let after = app.client.get(&format!("/products/{product}/stock")).await.body;
    let written_off = ["main", "north"].map(|code| on_hand(&before, code).unwrap() - on_hand(&after, code).unwrap());
    assert_eq!(written_off.iter().sum::<i64>(), 1, "{before} {after}");
    assert!(written_off.iter().all(|pieces| *pieces >= 0), "back to where it came from: {before} {after}");
    assert_eq!(app.client.order_and_wait(&[(product, 6)]).await.status, 201, "all that came back can be sold again");

    let history = app.client.get(&format!("/orders/{order}/history")).await.body;
    let told = |n: usize| (history["items"][n]["status"].clone(), history["items"][n]["returned"][0]["qty"].clone());
    assert_eq!(
        [told(3), told(4), told(6)],
        [("shipped", 2), ("shipped", 1), ("delivered", 3)].map(|(s, n)| (json!(s), json!(n)))
    );
    assert_eq!(history["items"][4]["returned"][0]["disposition"], "write-off");
    assert_eq!(
        (&history["items"][3]["reason"], &history["items"][3]["by"]["role"]),
        (&json!("RMA 7"), &json!("operator"))
    );
    assert!(history["items"][5]["returned"].is_null(), "nothing came back when it was delivered: {history}");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_return_is_taken_once_per_key_by_operators_and_only_of_what_the_order_has() {
    let app = TestApp::start().await;
    let (product, other) = (app.product(5).await, app.product(5).await);
    let order = app.client.order_and_wait(&[(product, 3)]).await.id();
    ship(&app, order).await;
    let path = format!("/orders/{order}/returns");
    let one = json!({ "items": [{ "productId": product, "qty": 1, "disposition": "restock" }] });
    assert_eq!(app.client.post(&path, &[], &one).await.status, 403);
    let headers = [("idempotency-key", "parcel-1"), ("prefer", "wait=30")];
    for _ in 0..2 {
        let answer = app.operator.post(&path, &headers, &one).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.body["items"][0]["returned"]["qty"]),
            (200, &json!(1)),
            "{answer:?}"
        );
    }
    assert_eq!(app.client.available(product).await, 3);
    let both = json!([{ "productId": product, "qty": 1, "disposition": "write-off" },
                      { "productId": other, "qty": 1, "disposition": "restock" }]);
    assert_eq!(take_back(&app, order, both).await.body["type"], "/problems/return-too-large", "all of it or nothing");
    let split = json!([{ "productId": product, "qty": 1, "disposition": "write-off" },
                       { "productId": product, "qty": 1, "disposition": "restock" }]);
    let answer = take_back(&app, order, split).await;
    assert_eq!(answer.body["items"][0]["returned"], json!({ "qty": 3, "restocked": 2 }), "{answer:?}");
    assert_eq!(app.client.available(product).await, 4);

    for items in [
        json!([]),
        json!([{ "productId": product, "qty": 0, "disposition": "restock" }]),
        json!([{ "productId": product, "qty": 1 }]),
        json!([{ "productId": product, "qty": 1, "disposition": "burn" }]),
    ] {
        assert_eq!(take_back(&app, order, items.clone()).await.status, 400, "{items}");
    }
    let unknown =
        take_back(&app, Uuid::new_v4(), json!([{ "productId": product, "qty": 1, "disposition": "restock" }]));
    assert_eq!(unknown.await.status, 404);

    // The same two pieces are said to be back twice at once.
    let order = app.client.order_and_wait(&[(other, 2)]).await.id();
    ship(&app, order).await;
    let pair = || json!([{ "productId": other, "qty": 2, "disposition": "restock" }]);
    let (a, b) = futures_util::future::join(take_back(&app, order, pair()), take_back(&app, order, pair())).await;
    let mut statuses = [a.status.as_u16(), b.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!((statuses, app.client.available(other).await), ([200, 409], 5));
    app.finish().await;
}
