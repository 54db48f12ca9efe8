//! Terms of sale: tax, zones, tiers, what delivery costs and when it comes, frozen at the decision.

use reqwest::Method;
use serde_json::{Value, json};
use tests::app::TestApp;
use uuid::Uuid;

const WAIT: (&str, &str) = ("prefer", "wait=30");

fn euros(amount: i64) -> Value {
    json!({ "amount": amount, "currency": "EUR" })
}

fn address(country: &str, code: &str) -> Value {
    json!({ "name": "Ada", "street": "1 Main Street", "postalCode": code, "city": "Town", "country": country })
}

fn terms(tax: u32) -> Value {
    let rate = |cost: i64, days: u16| json!({ "cost": cost, "days": days });
    json!({
        "taxBasisPoints": tax,
        "zones": { "DE": 1, "DE-8": 2, "ES": 5 },
        "delivery": { "EUR": {
            "standard": [rate(100, 3), rate(200, 5), rate(300, 8)],
            "express": [rate(1_000, 1), rate(2_000, 2), rate(3_000, 3)],
        } },
    })
}

async fn put(app: &TestApp, terms: Value) -> tests::http::Answer {
    app.operator.change(Method::PUT, "/terms", Some(terms)).await
}

async fn order(app: &TestApp, product: Uuid, more: Value) -> tests::http::Answer {
    let mut body = json!({ "items": [{ "productId": product, "qty": 3 }] });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    app.client.post("/orders", &[WAIT], &body).await
}

/// The day so many days after an order's decision.
fn day_after(order: &Value, days: i64) -> String {
    let format = &time::format_description::well_known::Rfc3339;
    let decided = time::OffsetDateTime::parse(order["decidedAt"].as_str().unwrap(), format).unwrap();
    (decided + time::Duration::days(days)).date().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_carries_what_was_agreed_whatever_changes_later() {
    let app = TestApp::start().await;
    let product = app.product_at(100, euros(333)).await;
    assert_eq!(put(&app, terms(725)).await.status, 200);
    let by_express = json!({ "address": address("DE", "80331"), "deliveryMode": "express" });
    let placed = order(&app, product, by_express.clone()).await;
    assert_eq!(placed.status, 201, "{placed:?}");
    let shown = |order: &Value| {
        let amounts = [&order["subtotal"], &order["delivery"]["cost"], &order["tax"], &order["total"]];
        amounts.map(|money| money["amount"].as_i64().unwrap_or_default())
    };
    // 7.25 % of 2,999 is 217.4275.
    assert_eq!(shown(&placed.body), [999, 2_000, 217, 3_216]);
    let delivery = &placed.body["delivery"];
    assert_eq!((&delivery["mode"], &delivery["tier"]), (&json!("express"), &json!("tier_2")));
    assert_eq!(delivery["estimatedDate"], json!(day_after(&placed.body, 2)));
    assert_eq!(delivery["address"], address("DE", "80331"));
    assert_eq!(put(&app, terms(0)).await.body["version"], 3);
    let dearer = json!({ "price": euros(500), "name": "Renamed" });
    app.operator.change(Method::PATCH, &format!("/products/{product}"), Some(dearer)).await;
    let stored = app.client.get(&format!("/orders/{}", placed.id())).await.body;
    assert_eq!(stored, placed.body, "as it was agreed");
    let later = order(&app, product, by_express).await.body;
    assert_eq!(shown(&later), [1_500, 2_000, 0, 3_500]);
    let standard = order(&app, product, json!({ "address": address("DE", "10115") })).await.body;
    assert_eq!(shown(&standard), [1_500, 100, 0, 1_600]);
    let picked_up = order(&app, product, json!({})).await.body;
    assert_eq!((shown(&picked_up), &picked_up["delivery"]), ([1_500, 0, 0, 1_500], &Value::Null));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_delivered_to_or_the_total_is_another_the_order_is_refused() {
    let app = TestApp::start().await;
    let product = app.product(100).await;
    let dollars = app.product_at(100, json!({ "amount": 5, "currency": "USD" })).await;
    put(&app, terms(1_000)).await;
    for (product, country) in [(product, "FR"), (dollars, "DE")] {
        let refused = order(&app, product, json!({ "address": address(country, "1") })).await;
        assert_eq!((refused.status.as_u16(), &refused.body["type"]), (422, &json!("/problems/no-delivery")));
        assert_eq!(app.client.outcome(refused.id()).await["status"], "rejected");
    }
    let expecting = |amount| json!({ "address": address("DE", "1"), "expectedTotal": euros(amount) });
    let refused = order(&app, product, expecting(3_300)).await;
    assert_eq!((refused.status.as_u16(), &refused.body["type"]), (409, &json!("/problems/total-changed")));
    assert_eq!((&refused.body["expected"], &refused.body["total"]), (&euros(3_300), &euros(3_410)));
    assert_eq!(order(&app, product, expecting(3_410)).await.status, 201);
    assert_eq!(app.client.available(product).await, 97);
    let dear = app.product_at(5, euros(9_007_199_254_740_991)).await;
    assert_eq!(order(&app, dear, json!({})).await.body["type"], "/problems/total-too-large");
    // What was refused for its price is still what it was, whatever the price is later.
    for product in [product, dear] {
        let cheaper = json!({ "price": euros(1) });
        app.operator.change(Method::PATCH, &format!("/products/{product}"), Some(cheaper)).await;
    }
    for (more, field) in [
        (json!({ "deliveryMode": "express" }), "address"),
        (json!({ "address": address("Germany", "1") }), "address.country"),
        (json!({ "address": address("DE", "") }), "address.postalCode"),
        (json!({ "address": { "country": "DE" } }), "address"),
        (json!({ "address": address("DE", "1"), "deliveryMode": "drone" }), "deliveryMode"),
        (json!({ "expectedTotal": 5 }), "expectedTotal"),
    ] {
        let answer = order(&app, product, more).await;
        assert_eq!((answer.status.as_u16(), &answer.body["errors"][0]["field"]), (400, &json!(field)), "{answer:?}");
    }
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn terms_are_refused_whole_with_every_mistake_and_set_by_operators_only() {
    let app = TestApp::start().await;
    let first = app.client.get("/terms").await.body;
    assert_eq!((&first["version"], &first["taxBasisPoints"]), (&json!(1), &json!(1_000)));
    let mut wrong = terms(10_001);
    wrong["zones"]["Germany"] = json!(1);
    let refused = put(&app, wrong).await;
    assert_eq!((refused.status.as_u16(), refused.body["errors"].as_array().unwrap().len()), (400, 2), "{refused:?}");
    let mut less = terms(0);
    less["delivery"]["EUR"]["express"].as_array_mut().unwrap().pop();
    assert_eq!(put(&app, less).await.status, 400);
    assert_eq!(app.client.change(Method::PUT, "/terms", Some(terms(0))).await.status, 403);
    assert_eq!(app.client.get("/terms").await.body, first);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fulfilment_check_tells_what_an_order_then_comes_to_and_reserves_nothing() {
    let app = TestApp::start().await;
    put(&app, terms(1_000)).await;
    let (product, other) = (app.product(5).await, app.product(5).await);
    let far = app.warehouse_in("far", 4).await;
    app.restore(product, far, 10).await;
    let ask = async |items: Value, address: Value| {
        let answer = app.client.post("/fulfillment/check", &[], &json!({ "items": items, "address": address })).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    };
    let items = json!([{ "productId": product, "qty": 12 }, { "productId": other, "qty": 1 }]);
    let checked = ask(items.clone(), address("DE", "80331")).await;
    assert_eq!(
        (&checked["fulfillable"], &checked["tier"], &checked["zone"]),
        (&json!(true), &json!("tier_3"), &json!(2))
    );
    for (n, mode) in ["standard", "express"].into_iter().enumerate() {
        let body = json!({ "items": items, "address": address("DE", "80331"), "deliveryMode": mode });
        let order = app.client.post("/orders", &[WAIT], &body).await;
        assert_eq!(order.status, 201, "{order:?}");
        let (option, agreed) = (&checked["delivery"][n], &order.body["delivery"]);
        assert_eq!(option["mode"], mode);
        for member in ["tier", "cost", "estimatedDate"] {
            assert_eq!(option[member], agreed[member], "{mode}: {member}");
        }
        assert_eq!((&option["tax"], &option["total"]), (&order.body["tax"], &order.body["total"]));
        let qty = |body: &Value| -> Vec<i64> {
            let all = body["items"].as_array().unwrap().iter().flat_map(|item| item["allocations"].as_array().unwrap());
            all.map(|allocation| allocation["qty"].as_i64().unwrap()).collect()
        };
        assert_eq!(qty(&checked), qty(&order.body));
        assert_eq!(app.client.cancel(order.id()).await.status, 200);
    }
    let short = ask(json!([{ "productId": other, "qty": 6 }]), address("ES", "1")).await;
    assert_eq!(
        (&short["fulfillable"], &short["problem"]["type"]),
        (&json!(false), &json!("/problems/insufficient-stock"))
    );
    let nowhere = ask(json!([{ "productId": other, "qty": 1 }]), json!({ "country": "FR", "postalCode": "1" })).await;
    assert_eq!(nowhere["problem"]["type"], "/problems/no-delivery");
    let body = json!({ "items": [], "address": { "country": "FR", "postalCode": "1" } });
    assert_eq!(app.client.post("/fulfillment/check", &[], &body).await.status, 400);
    app.finish().await;
}
