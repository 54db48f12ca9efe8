//! Bundles: sold whole, at their own price, from the stock of what they are made of.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tests::app::TestApp;
use tests::http::Answer;
use uuid::Uuid;

const WAIT: (&str, &str) = ("prefer", "wait=30");

async fn make(app: &TestApp, components: Value) -> Answer {
    let price = json!({ "amount": 1_500, "currency": "EUR" });
    let body = json!({ "name": "Set", "sku": Uuid::new_v4(), "price": price, "components": components });
    app.operator.post("/products", &[WAIT], &body).await
}

/// A bundle of two of the one product and one of the other.
async fn bundle(app: &TestApp, two: Uuid, one: Uuid) -> Uuid {
    let made = make(app, json!([{ "productId": two, "qty": 2 }, { "productId": one, "qty": 1 }])).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.id()
}

async fn available(app: &TestApp, product: Uuid) -> i64 {
    app.client.get(&format!("/products/{product}/stock")).await.body["available"].as_i64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_is_sold_whole_at_its_price_from_the_stock_of_its_components() {
    let app = TestApp::start().await;
    let (cup, plate) = (app.product(10).await, app.product(3).await);
    let north = app.warehouse("north").await;
    app.restore(plate, north, 2).await;
    let set = bundle(&app, cup, plate).await;
    let shown = app.client.get(&format!("/products/{set}")).await.body;
    let parts: i64 = shown["components"].as_array().unwrap().iter().map(|of| of["qty"].as_i64().unwrap()).sum();
    assert_eq!(parts, 3, "{shown}");
    assert_eq!(available(&app, set).await, 5, "10 cups make 5 sets, and so do 5 plates");

    // Two sets, and beside them 4 of the cups that they are made of.
    let order = app.client.order_and_wait(&[(set, 2), (cup, 4)]).await;
    assert_eq!(order.status, 201, "{order:?}");
    let items = order.body["items"].as_array().unwrap();
    let of_set = items.iter().find(|item| item["productId"] == json!(set)).unwrap();
    assert_eq!((&of_set["qty"], &of_set["unitPrice"]["amount"]), (&json!(2), &json!(1_500)));
    let pieces = |variant: Uuid| -> i64 {
        let of = of_set["allocations"].as_array().unwrap().iter().filter(|a| a["variantId"] == json!(variant));
        of.map(|allocation| allocation["qty"].as_i64().unwrap()).sum()
    };
    assert_eq!((pieces(cup), pieces(plate)), (4, 2), "{of_set}");
    let goods = 2 * 1_500
        + 4 * items.iter().find(|i| i["productId"] == json!(cup)).unwrap()["unitPrice"]["amount"].as_i64().unwrap();
    assert_eq!(order.body["subtotal"]["amount"], json!(goods));
    assert_eq!((available(&app, cup).await, available(&app, plate).await, available(&app, set).await), (2, 3, 1));

    let short = app.client.order_and_wait(&[(set, 1), (cup, 1)]).await;
    assert_eq!((short.status.as_u16(), &short.body["type"]), (409, &json!("/problems/insufficient-stock")));
    let lines = short.body["lines"].as_array().unwrap();
    assert!(lines.iter().all(|line| (&line["variantId"], &line["requested"]) == (&json!(cup), &json!(3))), "{short:?}");
    let mut of: Vec<&Value> = lines.iter().map(|line| &line["bundleId"]).collect();
    of.sort_by_key(|bundle| bundle.is_null());
    assert_eq!(of, [&json!(set), &Value::Null], "the set, and the cup by itself");
    assert_eq!(app.client.order_and_wait(&[(set, 1)]).await.status, 201, "the last one");
    assert_eq!(app.client.order_and_wait(&[(set, 1)]).await.status, 409);

    // All of it goes back to where it came from.
    assert_eq!(app.client.cancel(order.id()).await.status, 200);
    assert_eq!((available(&app, cup).await, available(&app, plate).await, available(&app, set).await), (8, 4, 4));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bundles_are_held_paid_returned_limited_and_carted_like_anything_else() {
    let app = TestApp::start().await;
    let (cup, plate) = (app.product(10).await, app.product(10).await);
    let set = bundle(&app, cup, plate).await;
    let held = app.client.hold(&[(set, 3)]).await;
    assert_eq!(app.client.stock(cup).await, (10, 6), "{held:?}");
    let other = app.client.hold(&[(set, 2)]).await;
    assert_eq!(app.client.pay(held.id(), "p").await.status, 200);
    assert_eq!(app.client.stock(cup).await, (4, 4));
    // A hold that is due is no hold, whether of the bundle or of what it is made of.
    assert_eq!(app.client.order_and_wait(&[(cup, 1)]).await.status, 409);
    app.pass(Duration::from_secs(3_600)).await;
    assert_eq!(app.client.order_and_wait(&[(set, 2)]).await.status, 201);
    assert_eq!(app.client.outcome(other.id()).await["status"], "cancelled");

    for status in ["processing", "shipped"] {
        assert_eq!(app.operator.step(held.id(), json!({ "status": status })).await.status, 200);
    }
    let items = json!([{ "productId": set, "qty": 1, "disposition": "restock" }]);
    let path = format!("/orders/{}/returns", held.id());
    let back = app.operator.change(Method::POST, &path, Some(json!({ "items": items }))).await;
    assert_eq!(back.body["items"][0]["returned"], json!({ "qty": 1, "restocked": 1 }), "{back:?}");
    assert_eq!((app.client.stock(cup).await, app.client.stock(plate).await), ((2, 0), (6, 0)));

    let limit = json!({ "limit": { "qty": 1 } });
    assert_eq!(app.operator.change(Method::PATCH, &format!("/products/{set}"), Some(limit)).await.status, 200);
    let of = |qty: i64| json!({ "items": [{ "productId": set, "qty": qty }], "customerId": "ada" });
    assert_eq!(app.client.post("/orders", &[WAIT], &of(2)).await.body["type"], "/problems/limit-exceeded");
    let item = json!({ "productId": set, "qty": 1 });
    assert_eq!(app.client.post("/carts/ada/items", &[], &item).await.status, 200);
    let address = json!({ "name": "Ada", "street": "1 Quay", "city": "Lyon", "postalCode": "69001", "country": "FR" });
    let address = json!({ "address": address, "deliveryMode": "standard" });
    assert_eq!(app.client.change(Method::PUT, "/carts/ada/address", Some(address)).await.status, 200);
    let placed = app.client.post("/carts/ada/place-order", &[WAIT], &json!({})).await;
    assert_eq!(placed.status, 201, "{placed:?}");
    assert_eq!(app.client.stock(cup).await, (0, 0));
    assert_eq!(app.client.post("/orders", &[WAIT], &of(1)).await.body["type"], "/problems/limit-exceeded");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_of_a_bundle_is_refused() {
    let app = TestApp::start().await;
    let (cup, plate) = (app.product(10).await, app.product(10).await);
    let set = bundle(&app, cup, plate).await;
    let of = |product: Uuid, qty: i64| json!({ "productId": product, "qty": qty });
    for (components, status, kind) in [
        (json!([of(cup, 0)]), 400, "invalid-request"),
        (json!([of(cup, 1_001)]), 400, "invalid-request"),
        (json!([of(cup, 1), of(cup, 2)]), 400, "invalid-request"),
        (json!((0..21).map(|_| of(Uuid::new_v4(), 1)).collect::<Vec<_>>()), 400, "invalid-request"),
        (json!([of(Uuid::new_v4(), 1)]), 422, "unknown-component"),
        (json!([of(set, 1)]), 422, "unknown-component"),
        (json!([of(cup, 1), { "productId": cup, "variantId": plate, "qty": 1 }]), 422, "unknown-component"),
    ] {
        let made = make(&app, components.clone()).await;
        assert_eq!(
            (made.status.as_u16(), &made.body["type"]),
            (status, &json!(format!("/problems/{kind}"))),
            "{components}"
        );
    }
    for (path, qty) in [("/stock/restore", 1), ("/stock/adjust", 1), ("/stock/count", 3)] {
        let answer = app.operator.post(path, &[WAIT], &json!({ "productId": set, "qty": qty })).await;
        assert_eq!(answer.body["type"], "/problems/is-bundle", "{path} {answer:?}");
    }
    let price = json!({ "amount": 1, "currency": "EUR" });
    let stocked = json!({ "name": "Set", "sku": "S", "price": price, "stock": 1, "components": [of(cup, 1)] });
    assert_eq!(app.operator.post("/products", &[WAIT], &stocked).await.status, 400);
    assert_eq!(app.operator.change(Method::DELETE, &format!("/products/{set}"), None).await.status, 204);
    assert_eq!(app.client.order_and_wait(&[(set, 1)]).await.body["type"], "/problems/deleted-product");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bundles_and_their_components_ordered_at_once_from_all_partitions_never_oversell() {
    let app = TestApp::start().await;
    let (cup, plate, bowl) = (app.product(60).await, app.product(40).await, app.product(25).await);
    let (first, second) = (bundle(&app, cup, plate).await, bundle(&app, plate, bowl).await);
    let lines = [
        vec![(first, 1)],
        vec![(second, 1)],
        vec![(cup, 1)],
        vec![(bowl, 1), (first, 1)],
        vec![(plate, 1), (second, 1)],
    ];
    let orders = (0..200).map(|n| app.client.order_and_wait(&lines[n % lines.len()]));
    let answers = join_all(orders).await;
    let (mut sold, mut refused) = ([0_i64; 3], 0);
    for (n, answer) in answers.iter().enumerate() {
        match answer.status.as_u16() {
            201 => {
                let drawn = [[2, 1, 0], [0, 2, 1], [1, 0, 0], [2, 1, 1], [0, 3, 1]][n % lines.len()];
                sold.iter_mut().zip(drawn).for_each(|(sold, drawn)| *sold += drawn);
            }
            409 => refused += 1,
            _ => panic!("{answer:?}"),
        }
    }
    assert!(refused > 0, "not all could be had");
    for (product, (sold, stock)) in [cup, plate, bowl].into_iter().zip(sold.into_iter().zip([60, 40, 25])) {
        assert_eq!(app.client.stock(product).await, (stock - sold, 0));
    }
    app.finish().await;
}
