//! What is sold before it is there: up to a cap, with a day or without, served oldest first when stock arrives.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tests::app::TestApp;
use tests::http::Answer;
use uuid::Uuid;

const WAIT: (&str, &str) = ("prefer", "wait=30");

async fn set(app: &TestApp, product: Uuid, cap: Value, expected_on: Option<&str>) -> Answer {
    let mut body = json!({ "productId": product, "cap": cap });
    if let Some(day) = expected_on {
        body["expectedOn"] = json!(day);
    }
    app.operator.post("/stock/backorders", &[WAIT], &body).await
}

/// What the order's first item still waits for.
async fn waits_for(app: &TestApp, order: Uuid) -> i64 {
    let order = app.client.get(&format!("/orders/{order}")).await.body;
    order["items"][0]["backordered"]["qty"].as_i64().unwrap_or_default()
}

async fn until_waits_for(app: &TestApp, order: Uuid, pieces: i64) {
    tests::until("the order waits for no more than that", async || waits_for(app, order).await == pieces).await;
}

async fn arrive(app: &TestApp, product: Uuid, quantity: i64) {
    app.restore(product, common::domain::DEFAULT_WAREHOUSE, quantity).await;
}

async fn stock(app: &TestApp, product: Uuid) -> Value {
    app.client.get(&format!("/products/{product}/stock")).await.body
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_promised_up_to_the_cap_and_served_oldest_first() {
    let app = TestApp::start().await;
    let product = app.product(2).await;
    assert_eq!(app.client.order_and_wait(&[(product, 3)]).await.status, 409, "off by default");
    let rule = set(&app, product, json!(5), None).await;
    assert_eq!((rule.status.as_u16(), &rule.body["promisable"]), (200, &json!(5)), "{rule:?}");

    let first = app.client.order_and_wait(&[(product, 3)]).await;
    assert_eq!(first.status, 201, "{first:?}");
    assert_eq!(first.body["items"][0]["backordered"], json!({ "qty": 1, "expectedOn": null }));
    assert_eq!(first.body["items"][0]["allocations"].as_array().unwrap().len(), 1, "of what was there");
    let second = app.client.order_and_wait(&[(product, 3)]).await;
    assert_eq!(second.body["items"][0]["backordered"]["qty"], 3);
    assert_eq!(second.body["items"][0]["allocations"], json!([]));
    let third = app.client.order_and_wait(&[(product, 2)]).await;
    assert_eq!((third.status.as_u16(), &third.body["type"]), (409, &json!("/problems/insufficient-stock")));
    let line = &third.body["lines"][0];
    assert_eq!(
        (&line["onHand"], &line["promised"], &line["promisable"]),
        (&json!(0), &json!(4), &json!(1)),
        "{third:?}"
    );
    let shown = stock(&app, product).await;
    assert_eq!(
        (&shown["available"], &shown["onHand"], shown["levels"].as_array().unwrap().len()),
        (&json!(0), &json!(0), 1)
    );
    let backorders = &shown["backorders"][0];
    assert_eq!(
        (&backorders["cap"], &backorders["promised"], &backorders["promisable"]),
        (&json!(5), &json!(4), &json!(1))
    );

    assert_eq!(app.operator.step(first.id(), json!({ "status": "processing" })).await.status, 200);
    let early = app.operator.step(first.id(), json!({ "status": "shipped" })).await;
    assert_eq!((early.status.as_u16(), &early.body["type"]), (409, &json!("/problems/backordered")));

    // Two arrive: one for the first, and too few for the second, who still comes before anybody else.
    arrive(&app, product, 2).await;
    until_waits_for(&app, first.id(), 0).await;
    assert_eq!(waits_for(&app, second.id()).await, 3);
    let fourth = app.client.order_and_wait(&[(product, 2)]).await;
    assert_eq!(fourth.body["items"][0]["backordered"]["qty"], 2, "what is there is the second's: {fourth:?}");
    assert_eq!(app.operator.step(first.id(), json!({ "status": "shipped" })).await.status, 200);
    let whole = app.client.get(&format!("/orders/{}", first.id())).await.body;
    let pieces = whole["items"][0]["allocations"].as_array().unwrap().iter().map(|a| a["qty"].as_i64().unwrap());
    assert_eq!(pieces.sum::<i64>(), 3, "{whole}");
    arrive(&app, product, 10).await;
    until_waits_for(&app, second.id(), 0).await;
    until_waits_for(&app, fourth.id(), 0).await;
    assert_eq!(stock(&app, product).await["available"], 6);

    let hidden = json!(common::domain::BACKORDERS).to_string();
    assert!(!third.body.to_string().contains(&hidden), "{third:?}");
    for path in [format!("/stock/movements?productId={product}"), format!("/products/{product}/stock")] {
        let shown = app.operator.get(&path).await;
        assert!(shown.status == 200 && !shown.body.to_string().contains(&hidden), "{shown:?}");
    }

    let history = app.client.get(&format!("/orders/{}/history", second.id())).await.body;
    let served = &history["items"][1];
    assert_eq!(
        (&served["status"], &served["by"]["role"], &served["served"][0]["qty"]),
        (&json!("paid"), &json!("system"), &json!(3)),
        "{history}"
    );
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preorder_tells_the_day_and_is_delivered_after_it() {
    let app = TestApp::start().await;
    // Its only warehouse is far away, and has nothing: what is promised is not charged by it.
    let far = app.warehouse_in("far", 9).await;
    let price = json!({ "amount": 1_000, "currency": "EUR" });
    let body = json!({ "name": "Album", "sku": "ALBUM", "price": price, "warehouseId": far });
    let product = app.operator.post("/products", &[WAIT], &body).await.id();
    let other = app.product(5).await;
    assert_eq!(set(&app, product, json!(10), Some("2099-12-24")).await.body["expectedOn"], "2099-12-24");
    let address = json!({ "name": "Ada", "street": "1 Quay", "city": "Town", "postalCode": "1000", "country": "DE" });
    let items = json!([{ "productId": product, "qty": 1 }, { "productId": other, "qty": 1 }]);
    let body = json!({ "items": items, "address": address, "deliveryMode": "standard" });
    let order = app.client.post("/orders", &[WAIT], &body).await;
    let waiting =
        order.body["items"].as_array().unwrap().iter().find(|item| item["productId"] == json!(product)).unwrap();
    assert_eq!(waiting["backordered"], json!({ "qty": 1, "expectedOn": "2099-12-24" }), "{order:?}");
    assert_eq!(order.body["delivery"]["estimatedDate"], "2099-12-27", "three days after it is there");
    let check = json!({ "items": items, "address": { "country": "DE", "postalCode": "1000" } });
    let check = app.client.post("/fulfillment/check", &[], &check).await.body;
    assert_eq!(
        (&check["fulfillable"], &check["delivery"][1]["estimatedDate"]),
        (&json!(true), &json!("2099-12-25")),
        "{check}"
    );

    assert_eq!(set(&app, product, json!(10), None).await.status, 200, "nobody knows any more");
    let order = app.client.post("/orders", &[WAIT], &body).await;
    assert!(order.body["delivery"]["estimatedDate"].is_null(), "{order:?}");
    let paid = app.client.get(&format!("/orders/{}", order.id())).await.body;
    assert_eq!(paid["status"], "paid", "it is sold, whenever it comes");
    let alone = json!({ "items": [{ "productId": product, "qty": 1 }], "address": address, "deliveryMode": "express" });
    let alone = app.client.post("/orders", &[WAIT], &alone).await;
    assert_eq!(alone.body["delivery"]["tier"], "tier_1", "{alone:?}");
    for day in ["1999-12-31", "-0100-01-01", "-9999-01-01", "soon"] {
        assert_eq!(set(&app, product, json!(10), Some(day)).await.status, 400, "{day}");
    }
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cap_is_raised_lowered_and_taken_away_but_never_below_what_is_promised() {
    let app = TestApp::start().await;
    let product = app.product(0).await;
    set(&app, product, json!(4), None).await;
    let orders = [app.client.order_and_wait(&[(product, 1)]).await, app.client.order_and_wait(&[(product, 2)]).await];
    let below = set(&app, product, json!(2), None).await;
    assert_eq!((below.status.as_u16(), &below.body["type"]), (409, &json!("/problems/below-promised")));
    assert_eq!(below.body["promised"], 3);
    assert_eq!(set(&app, product, json!(3), None).await.body["promisable"], 0);
    assert_eq!(app.client.order_and_wait(&[(product, 1)]).await.status, 409);
    assert_eq!(set(&app, product, json!(5), None).await.body["promisable"], 2);
    assert_eq!(set(&app, product, Value::Null, None).await.status, 200);
    assert_eq!(app.client.order_and_wait(&[(product, 1)]).await.status, 409, "no more are taken");
    assert_eq!(stock(&app, product).await["backorders"][0]["open"], false);

    // Cancelled, it is promised to nobody; what is left is served all the same.
    assert_eq!(app.client.cancel(orders[0].id()).await.status, 200);
    arrive(&app, product, 3).await;
    until_waits_for(&app, orders[1].id(), 0).await;
    assert_eq!(app.client.order_and_wait(&[(product, 2)]).await.status, 409);
    assert_eq!(app.client.order_and_wait(&[(product, 1)]).await.status, 201);
    // Served, it is cancelled like any other: back to where it was served from.
    assert_eq!(app.client.cancel(orders[1].id()).await.status, 200);
    assert_eq!(stock(&app, product).await["available"], 2);

    for body in [
        json!({ "productId": product, "cap": -1 }),
        json!({ "productId": product, "cap": "many" }),
        json!({ "productId": product }),
    ] {
        assert_eq!(app.operator.post("/stock/backorders", &[WAIT], &body).await.status, 400, "{body}");
    }
    let body = json!({ "productId": product, "cap": 1 });
    assert_eq!(app.client.post("/stock/backorders", &[], &body).await.status, 403);
    assert_eq!(set(&app, Uuid::new_v4(), json!(1), None).await.body["type"], "/problems/unknown-product");
    let hidden = json!({ "productId": product, "warehouseId": common::domain::BACKORDERS, "qty": 1 });
    for path in ["/stock/restore", "/stock/adjust", "/stock/count"] {
        let answer = app.operator.post(path, &[WAIT], &hidden).await;
        assert_eq!(answer.body["type"], "/problems/unknown-warehouse", "{path} {answer:?}");
    }
    assert_eq!(stock(&app, app.product(1).await).await.get("backorders"), None, "of what there was never a rule for");
    assert_eq!(app.client.get(&format!("/warehouses/{}", common::domain::BACKORDERS)).await.status, 404);
    assert_eq!(app.client.get("/warehouses").await.body["items"].as_array().unwrap().len(), 1);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_not_paid_keeps_a_place_in_the_queue_and_loses_it_with_the_hold() {
    let app = TestApp::start().await;
    let product = app.product(0).await;
    set(&app, product, json!(10), None).await;
    let (held, lost) = (app.client.hold(&[(product, 2)]).await, app.client.hold(&[(product, 3)]).await);
    let paid = app.client.order_and_wait(&[(product, 1)]).await;
    assert_eq!(paid.status, 201);
    // Of two, the first hold keeps both; of four more, the second keeps three.
    arrive(&app, product, 2).await;
    assert_eq!(app.client.pay(held.id(), "p").await.status, 200);
    until_waits_for(&app, held.id(), 0).await;
    arrive(&app, product, 3).await;
    assert_eq!(stock(&app, product).await["available"], 0);
    assert_eq!(waits_for(&app, paid.id()).await, 1);
    app.pass(Duration::from_secs(3_600)).await;
    until_waits_for(&app, paid.id(), 0).await;
    assert_eq!(app.client.outcome(lost.id()).await["status"], "cancelled");
    assert_eq!(stock(&app, product).await["available"], 2);

    // A hold that is due is no hold: not on stock, and not on a place in the queue.
    let product = app.product(0).await;
    set(&app, product, json!(1), None).await;
    app.client.hold(&[(product, 1)]).await;
    assert_eq!(app.client.order_and_wait(&[(product, 1)]).await.status, 409);
    app.pass(Duration::from_secs(7_200)).await;
    assert_eq!(app.client.order_and_wait(&[(product, 1)]).await.status, 201);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bundles_wait_for_their_components_and_come_back_like_anything_else() {
    let app = TestApp::start().await;
    let (cup, plate) = (app.product(10).await, app.product(1).await);
    let price = json!({ "amount": 1_500, "currency": "EUR" });
    let components = json!([{ "productId": cup, "qty": 2 }, { "productId": plate, "qty": 1 }]);
    let body = json!({ "name": "Set", "sku": "SET", "price": price, "components": components });
    let bundle = app.operator.post("/products", &[WAIT], &body).await.id();
    set(&app, plate, json!(3), None).await;
    let of_bundle = set(&app, bundle, json!(3), None).await;
    assert_eq!(of_bundle.body["type"], "/problems/is-bundle");
    let order = app.client.order_and_wait(&[(bundle, 3), (plate, 1)]).await;
    assert_eq!(order.status, 201, "{order:?}");
    let waiting: i64 =
        order.body["items"].as_array().unwrap().iter().filter_map(|i| i["backordered"]["qty"].as_i64()).sum();
    assert_eq!((waiting, app.client.stock(cup).await), (3, (4, 0)), "plates: {order:?}");
    arrive(&app, plate, 5).await;
    tests::until("all is there", async || {
        let order = app.client.get(&format!("/orders/{}", order.id())).await.body;
        order["items"].as_array().unwrap().iter().all(|item| item["backordered"].is_null())
    })
    .await;
    assert_eq!(app.client.stock(plate).await, (2, 0));
    for status in ["processing", "shipped"] {
        assert_eq!(app.operator.step(order.id(), json!({ "status": status })).await.status, 200);
    }
    let items = json!([{ "productId": bundle, "qty": 3, "disposition": "restock" }]);
    let path = format!("/orders/{}/returns", order.id());
    let back = app.operator.change(Method::POST, &path, Some(json!({ "items": items }))).await;
    assert_eq!(back.status, 200, "{back:?}");
    assert_eq!((app.client.stock(cup).await, app.client.stock(plate).await), ((10, 0), (5, 0)));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_orders_at_once_with_stock_arriving_between_them_promise_no_more_than_the_cap() {
    let app = TestApp::start().await;
    let (one, two) = (app.product(10).await, app.product(10).await);
    let north = app.warehouse("north").await;
    for product in [one, two] {
        set(&app, product, json!(20), None).await;
    }
    let lines = [vec![(one, 1)], vec![(two, 1)], vec![(one, 1), (two, 1)]];
    let orders = join_all((0..90).map(|n| app.client.order_and_wait(&lines[n % 3])));
    let arriving = async {
        for _ in 0..5 {
            app.restore(one, north, 1).await;
            arrive(&app, two, 1).await;
        }
    };
    let (answers, ()) = futures_util::future::join(orders, arriving).await;
    let sold = |product| -> i64 {
        let has = |n: usize| i64::from(lines[n % 3].iter().any(|(of, _)| *of == product));
        answers.iter().enumerate().filter(|(_, answer)| answer.status == 201).map(|(n, _)| has(n)).sum()
    };
    for product in [one, two] {
        assert!((30..=35).contains(&sold(product)), "10 were there, 5 arrived, 20 may be promised: {}", sold(product));
    }
    for product in [one, two] {
        arrive(&app, product, 40).await;
    }
    for answer in answers.iter().filter(|answer| answer.status == 201) {
        tests::until("all is served", async || {
            let order = app.client.get(&format!("/orders/{}", answer.id())).await.body;
            order["items"].as_array().unwrap().iter().all(|item| item["backordered"].is_null())
        })
        .await;
    }
    for product in [one, two] {
        assert_eq!(app.client.available(product).await, 55 - sold(product));
    }
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_of_one_batch_are_served_in_the_order_in_which_they_came() {
    let mut app = TestApp::start().await;
    let product = app.product(0).await;
    set(&app, product, json!(100), None).await;
    app.stop_consumers().await;
    let mut orders = Vec::new();
    for n in 0..20 {
        // Their ids are hashes.
        let key = format!("order-{n}");
        orders.push(app.client.order(&[(product, 1)], &[("idempotency-key", key.as_str())]).await.id());
    }
    app.start_consumer(common::steps::Steps::none());
    for order in &orders {
        app.client.outcome(*order).await;
    }
    arrive(&app, product, 7).await;
    until_waits_for(&app, orders[6], 0).await;
    for (n, order) in orders.iter().enumerate() {
        assert_eq!(waits_for(&app, *order).await, i64::from(n >= 7), "{n}");
    }
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_holds_for_what_was_made_and_is_ordered_in_the_same_batch() {
    let mut app = TestApp::start().await;
    app.stop_consumers().await;
    let price = json!({ "amount": 1_000, "currency": "EUR" });
    let body = json!({ "name": "Album", "sku": "ALBUM", "price": price });
    let product = app.operator.post("/products", &[("prefer", "wait=0")], &body).await.id();
    let rule = app.operator.post("/stock/backorders", &[], &json!({ "productId": product, "cap": 2 })).await;
    assert_eq!(rule.status, 202);
    let order = app.client.order(&[(product, 1)], &[]).await.id();
    app.start_consumer(common::steps::Steps::none());
    assert_eq!(app.client.outcome(order).await["items"][0]["backordered"]["qty"], 1);
    let components = json!([{ "productId": product, "qty": 2 }]);
    let body = json!({ "name": "Pair", "sku": "PAIR", "price": price, "components": components });
    let pair = app.operator.post("/products", &[WAIT], &body).await.id();
    let short = app.client.order_and_wait(&[(pair, 1)]).await;
    assert_eq!((short.status.as_u16(), &short.body["lines"][0]["promisable"]), (409, &json!(1)), "{short:?}");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_holds_whose_time_is_over_hide_no_stock_of_what_is_promised_no_more() {
    const HOLDS: usize = 300;
    let app = TestApp::start().await;
    let product = app.product(0).await;
    set(&app, product, json!(HOLDS), None).await;
    let one = [(product, 1)];
    let holds = join_all((0..HOLDS).map(|_| app.client.hold(&one))).await;
    assert!(holds.iter().all(|hold| hold.status == 201));
    set(&app, product, Value::Null, None).await;
    arrive(&app, product, 1).await;
    assert_eq!(app.client.order_and_wait(&[(product, 1)]).await.status, 409);
    app.pass(Duration::from_secs(3_600)).await;
    assert_eq!(app.client.order_and_wait(&[(product, 1)]).await.status, 201);
    app.finish().await;
}
