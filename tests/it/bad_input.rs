//! Bad input: each has its documented answer, and nothing is half done.

use reqwest::Method;
use serde_json::{Value, json};
use tests::app::TestApp;
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_order_is_told_what_is_wrong_and_where() {
    let app = TestApp::start().await;
    let product = app.product(10).await;
    let item = json!({ "productId": product, "qty": 1 });
    let items = |n: usize| json!({ "items": vec![item.clone(); n] }).to_string().into_bytes();
    let with = |change: Value| json!({ "items": [change] }).to_string().into_bytes();
    let mut bad_utf8 = json!({ "items": [item], "customerId": "~" }).to_string().into_bytes();
    for byte in &mut bad_utf8 {
        if *byte == b'~' {
            *byte = 0xFF;
        }
    }
    let cases: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        ("empty body", Vec::new(), 400, ""),
        ("not JSON", b"{\"items\":".to_vec(), 400, "items"),
        ("something behind it", [items(1), b"x".to_vec()].concat(), 400, ""),
        ("deep nesting", [vec![b'['; 60_000], b"\n".to_vec()].concat(), 400, ""),
        ("bad UTF-8", bad_utf8, 400, "customerId"),
        ("wrong type", b"[1,2]".to_vec(), 400, ""),
        ("a quantity of text", with(json!({ "productId": product, "qty": "2" })), 400, "items[0].qty"),
        ("a fraction", with(json!({ "productId": product, "qty": 1.5 })), 400, "items[0].qty"),
        ("zero", with(json!({ "productId": product, "qty": 0 })), 400, "items[0].qty"),
        ("negative", with(json!({ "productId": product, "qty": -1 })), 400, "items[0].qty"),
        ("over i32", with(json!({ "productId": product, "qty": 2_147_483_648_i64 })), 400, "items[0].qty"),
        (
            "over i64",
            format!("{{\"items\":[{{\"productId\":\"{product}\",\"qty\":99999999999999999999}}]}}").into(),
            400,
            "items[0].qty",
        ),
        ("no id", with(json!({ "productId": "shoe", "qty": 1 })), 400, "items[0].productId"),
        ("a missing field", with(json!({ "qty": 1 })), 400, "items[0]"),
        ("an unknown field", with(json!({ "productId": product, "qty": 1, "price": 1 })), 400, "items[0].price"),
        ("an unknown payment", json!({ "items": [item], "payment": "later" }).to_string().into(), 400, "payment"),
        ("no items", items(0), 400, "items"),
        ("101 items", items(101), 400, "items"),
        ("a null character", json!({ "items": [item], "customerId": "\0" }).to_string().into(), 400, "customerId"),
        ("10 MB", vec![b' '; 10 << 20], 413, ""),
    ];
    for (case, body, status, field) in cases {
        let answer = app.client.send(Method::POST, "/orders", &[], Some(body)).await.unwrap();
        assert_eq!(answer.status, status, "{case}: {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{case}");
        assert_eq!(answer.body["status"], status, "{case}");
        if !field.is_empty() {
            assert_eq!(answer.body["errors"][0]["field"], field, "{case}: {answer:?}");
        }
    }
    let sum = [(product, i64::from(i32::MAX)), (product, 1)];
    assert_eq!(app.client.order(&sum, &[]).await.status, 400, "a sum over i32");
    let hundred = app.client.send(Method::POST, "/orders", &[], Some(items(100))).await.unwrap();
    assert_eq!(app.client.outcome(hundred.id()).await["outcome"]["lines"][0]["requested"], 100);
    assert_eq!(app.client.available(product).await, 10, "nothing was half done");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_headers_addresses_and_methods_have_their_answers() {
    let app = TestApp::start().await;
    let product = app.product(10).await;
    let body = tests::http::order(&[(product, 1)]);
    let long = "x".repeat(256);
    for (headers, status) in [
        ([("content-type", "text/plain")], 415),
        ([("idempotency-key", "")], 400),
        ([("idempotency-key", long.as_str())], 400),
        ([("prefer", "wait=soon")], 202),
    ] {
        assert_eq!(app.client.post("/orders", &headers, &body).await.status, status, "{headers:?}");
    }
    for (path, status) in [
        ("/nowhere", 404),
        ("/orders/shoe", 404),
        (&format!("/orders/{}", Uuid::new_v4()), 404),
        (&format!("/products/{}", Uuid::new_v4()), 404),
        (&format!("/products/{}/stock", Uuid::new_v4()), 404),
        ("/products?limit=0", 400),
        ("/products?limit=x", 400),
        ("/products?cursor=x", 400),
        ("/products?colour=red", 400),
        ("/problems/insufficient-stock", 200),
    ] {
        let answer = app.client.get(path).await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.header("content-type") == Some("application/problem+json"), status >= 400, "{path}");
    }
    let wrong = app.client.send(Method::PUT, "/orders", &[], None).await.unwrap();
    assert_eq!((wrong.status.as_u16(), &wrong.body["type"]), (405, &json!("/problems/method-not-allowed")));
    assert!(wrong.header("allow").is_some());
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_product_is_told_what_is_wrong() {
    let app = TestApp::start().await;
    let good = json!({ "name": "Cup", "sku": "CUP", "price": { "amount": 5, "currency": "EUR" }, "stock": 1 });
    for (field, value, told) in [
        ("name", json!(""), "name"),
        ("name", json!("x".repeat(201)), "name"),
        ("sku", json!(" "), "sku"),
        ("price", json!({ "amount": -1, "currency": "EUR" }), "price.amount"),
        ("price", json!({ "amount": 1, "currency": "euro" }), "price.currency"),
        ("price", json!({ "amount": 1.5, "currency": "EUR" }), "price.amount"),
        ("stock", json!(-1), "stock"),
        ("colour", json!("red"), "colour"),
    ] {
        let mut body = good.clone();
        body[field] = value;
        let answer = app.operator.post("/products", &[], &body).await;
        assert_eq!(answer.status, 400, "{body}");
        assert_eq!(answer.body["errors"][0]["field"], told, "{answer:?}");
    }
    let mut elsewhere = good.clone();
    elsewhere["warehouseId"] = json!(Uuid::new_v4());
    let answer = app.operator.post("/products", &[], &elsewhere).await;
    assert_eq!((answer.status.as_u16(), &answer.body["type"]), (422, &json!("/problems/unknown-warehouse")));
    assert_eq!(app.operator.post("/products", &[], &good).await.status, 201, "nothing of the refused ones stayed");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_change_is_told_what_is_wrong_and_changes_nothing() {
    let app = TestApp::start().await;
    let product = app.product(10).await;
    let order = app.client.hold(&[(product, 1)]).await.id();
    let long = "x".repeat(501);
    let payment = format!("/orders/{order}/payment");
    let status = format!("/orders/{order}/status");
    let item = json!({ "productId": product, "qty": 1 });
    let stock = |change: Value| {
        let mut body = json!({ "productId": product, "qty": 1 });
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        body
    };
    for (method, path, body, field) in [
        (Method::PATCH, payment.as_str(), json!({}), ""),
        (Method::PATCH, &payment, json!({ "status": "refunded" }), "status"),
        (Method::PATCH, &payment, json!({ "status": "paid", "amount": 1 }), "amount"),
        (Method::PATCH, &payment, json!({ "status": "paid", "reference": "" }), "reference"),
        (Method::PATCH, &payment, json!({ "status": "paid", "method": "\0" }), "method"),
        (Method::PATCH, &status, json!({ "status": "pending" }), "status"),
        (Method::PATCH, &status, json!({ "status": "processing", "reason": long }), "reason"),
        (Method::PATCH, &status, json!({ "status": "shipped", "carrier": "post" }), "carrier"),
        (
            Method::POST,
            "/orders",
            json!({ "items": [item], "payment": "deferred", "paymentMethod": "" }),
            "paymentMethod",
        ),
        (Method::POST, "/reservations", json!({ "items": [] }), "items"),
        (Method::POST, "/reservations", json!({ "items": [item], "windowSeconds": 0 }), "windowSeconds"),
        (Method::POST, "/reservations", json!({ "items": [item], "windowSeconds": -1 }), "windowSeconds"),
        (Method::POST, "/reservations", json!({ "items": [item], "payment": "deferred" }), "payment"),
        (Method::POST, "/stock/adjust", stock(json!({ "qty": "3" })), "qty"),
        (Method::POST, "/stock/adjust", stock(json!({ "warehouseId": "north" })), "warehouseId"),
        (Method::POST, "/stock/deduct", stock(json!({ "reason": long })), "reason"),
        (Method::PUT, "/customers/zoe/tier", json!({ "tier": "gold" }), "tier"),
        (Method::PUT, "/customers/%00/tier", json!({ "tier": "priority" }), "customerId"),
        (Method::DELETE, &format!("/orders/{order}?reason={long}"), json!(null), "reason"),
        (Method::DELETE, &format!("/orders/{order}?because=no"), json!(null), "because"),
        (Method::GET, "/payments/unapplied?all=maybe", json!(null), "all"),
        (Method::GET, "/stock/movements?productId=shoe", json!(null), "productId"),
    ] {
        let body = Some(body).filter(|body| !body.is_null());
        let answer = app.operator.change(method.clone(), path, body).await;
        assert_eq!(answer.status, 400, "{method} {path}: {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{path}");
        if !field.is_empty() {
            assert_eq!(answer.body["errors"][0]["field"], field, "{method} {path}: {answer:?}");
        }
    }
    assert_eq!(app.client.stock(product).await, (10, 1), "nothing was half done");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_what_is_not_there_is_404_and_one_that_an_address_does_not_take_405() {
    let app = TestApp::start().await;
    let product = app.product(10).await;
    let order = app.client.hold(&[(product, 1)]).await.id();
    let command = stock_change(&app, product).await;
    let nothing = Uuid::new_v4();
    for (method, path, body) in [
        (Method::PATCH, format!("/orders/{nothing}/payment"), json!({ "status": "paid" })),
        (Method::PATCH, format!("/orders/{nothing}/status"), json!({ "status": "shipped" })),
        (Method::DELETE, format!("/orders/{nothing}"), json!(null)),
        (Method::DELETE, format!("/reservations/{order}"), json!(null)),
        (Method::POST, format!("/reservations/{order}/confirm"), json!(null)),
        (Method::GET, format!("/reservations/{order}"), json!(null)),
        (Method::GET, format!("/orders/{nothing}/history"), json!(null)),
        (Method::GET, format!("/commands/{order}"), json!(null)),
        (Method::GET, format!("/orders/{command}"), json!(null)),
        (Method::PATCH, format!("/payments/unapplied/{nothing}"), json!({ "status": "resolved" })),
    ] {
        let body = Some(body).filter(|body| !body.is_null());
        let answer = app.operator.change(method.clone(), &path, body).await;
        assert_eq!(answer.status, 404, "{method} {path}: {answer:?}");
    }
    for (method, path) in [(Method::PUT, "/orders"), (Method::POST, "/figures"), (Method::GET, "/stock/adjust")] {
        assert_eq!(app.operator.send(method, path, &[], None).await.unwrap().status, 405, "{path}");
    }
    assert_eq!(app.client.stock(product).await, (10, 1), "nothing was half done");
    app.finish().await;
}

/// The id of a change of stock that changes nothing in all.
async fn stock_change(app: &TestApp, product: Uuid) -> Uuid {
    for qty in [1, -1] {
        let body = json!({ "productId": product, "qty": qty });
        let changed = app.operator.post("/stock/adjust", &[("prefer", "wait=30")], &body).await;
        assert_eq!(changed.status, 200);
        if qty < 0 {
            return changed.id();
        }
    }
    unreachable!("the second one takes back the first")
}
