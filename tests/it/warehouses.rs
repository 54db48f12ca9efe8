//! Warehouses in zones: who serves an order, opening, closing, and moving stock between them.

use reqwest::Method;
use serde_json::{Value, json};
use tests::app::{TestApp, Wanted};
use uuid::Uuid;

const WAIT: (&str, &str) = ("prefer", "wait=30");

fn address(country: &str) -> Value {
    json!({ "name": "Ada", "street": "1 Main Street", "postalCode": "1000", "city": "Town", "country": country })
}

/// Delivery to three countries, each in a zone of its own.
async fn zones(app: &TestApp) {
    let mut terms = app.client.get("/terms").await.body;
    terms["zones"] = json!({ "DE": 1, "FR": 2, "ES": 3 });
    for answered in ["version", "since"] {
        terms.as_object_mut().unwrap().remove(answered);
    }
    let put = app.operator.change(Method::PUT, "/terms", Some(terms)).await;
    assert_eq!(put.status, 200, "{put:?}");
}

/// Which warehouses serve an order's lines, with how many pieces.
fn served(order: &Value) -> Vec<Vec<(String, i64)>> {
    let allocations = |item: &Value| {
        let allocations = item["allocations"].as_array().unwrap().iter();
        allocations.map(|a| (a["warehouseId"].as_str().unwrap().to_owned(), a["qty"].as_i64().unwrap())).collect()
    };
    order["items"].as_array().unwrap().iter().map(allocations).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_over_three_warehouses_takes_the_fewest_and_nearest_and_remembers_them() {
    let app = TestApp::start().await;
    zones(&app).await;
    let product = app.product(4).await;
    let (near, far) = (app.warehouse_in("near", 2).await, app.warehouse_in("far", 3).await);
    app.restore(product, near, 3).await;
    app.restore(product, far, 5).await;
    let main = common::domain::DEFAULT_WAREHOUSE;
    let order = async |qty: i64, country: &str| {
        let body = json!({ "items": [{ "productId": product, "qty": qty }], "address": address(country) });
        app.client.post("/orders", &[WAIT], &body).await
    };
    let pieces = |of: &[(Uuid, i64)]| vec![of.iter().map(|(id, qty)| (id.to_string(), *qty)).collect::<Vec<_>>()];
    let one = order(1, "FR").await.body;
    assert_eq!((served(&one), &one["delivery"]["tier"]), (pieces(&[(near, 1)]), &json!("tier_1")), "the nearest");
    let all_in_one = order(5, "DE").await.body;
    assert_eq!(served(&all_in_one), pieces(&[(far, 5)]), "one that has all, though it is the farthest");
    assert_eq!(all_in_one["delivery"]["tier"], "tier_3");
    let cancelled = all_in_one["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(app.client.cancel(cancelled).await.status, 200);
    let split = order(10, "DE").await.body;
    assert_eq!(served(&split), pieces(&[(main, 4), (near, 2), (far, 4)]), "three, the nearest first");
    assert_eq!(split["delivery"]["tier"], "tier_3", "as far as the farthest");
    let short = order(2, "DE").await;
    assert_eq!((short.status.as_u16(), &short.body["lines"][0]["onHand"]), (409, &json!(1)));
    let split = split["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(app.client.cancel(split).await.status, 200);
    let levels = app.client.get(&format!("/products/{product}/stock")).await.body["levels"].clone();
    let on_hand: Vec<_> = levels.as_array().unwrap().iter().map(|level| level["onHand"].as_i64().unwrap()).collect();
    assert_eq!(on_hand, [4, 2, 5], "each has its pieces back");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_closed_warehouse_nothing_is_sold_until_it_is_open_again() {
    let app = TestApp::start().await;
    let product = app.product(2).await;
    let north = app.warehouse("north").await;
    app.restore(product, north, 5).await;
    let held = app.client.hold(&[(product, 4)]).await;
    assert_eq!((held.status.as_u16(), served(&held.body)[0][0].1), (201, 4), "north has it alone");
    let path = format!("/warehouses/{north}");
    let set = async |open: bool| app.operator.change(Method::PATCH, &path, Some(json!({ "open": open }))).await;
    let closed = set(false).await;
    assert_eq!((closed.status.as_u16(), &closed.body["open"]), (200, &json!(false)));
    assert!(closed.body["closedAt"].is_string());
    let refused = app.client.order_and_wait(&[(product, 3)]).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.body["lines"][0]["onHand"]),
        (409, &json!(2)),
        "only what is offered"
    );
    assert_eq!(app.client.order_and_wait(&[(product, 2)]).await.status, 201);
    assert_eq!(app.client.pay(held.id(), "p").await.status, 200, "what was reserved there is kept");
    app.restore(product, north, 4).await;
    assert_eq!(app.client.order_and_wait(&[(product, 1)]).await.status, 409);
    let main = format!("/warehouses/{}", common::domain::DEFAULT_WAREHOUSE);
    for open in [false, true] {
        let nowhere = app.client.order_and_wait(&[(product, 1)]).await;
        assert_eq!((nowhere.status.as_u16(), &nowhere.body["lines"][0]["onHand"]), (409, &json!(0)));
        app.operator.change(Method::PATCH, &main, Some(json!({ "open": open }))).await;
    }
    assert_eq!(set(true).await.body["closedAt"], Value::Null);
    assert_eq!(app.client.order_and_wait(&[(product, 5)]).await.status, 201);

    let code = app.operator.post("/warehouses", &[], &json!({ "code": "north", "name": "Again", "zone": 1 })).await;
    assert_eq!((code.status.as_u16(), &code.body["type"]), (409, &json!("/problems/code-taken")));
    for (zone, status) in [(0, 400), (100, 400), (99, 201)] {
        let body = json!({ "code": format!("zone-{zone}"), "name": "Zone", "zone": zone });
        assert_eq!(app.operator.post("/warehouses", &[], &body).await.status, status);
    }
    assert_eq!(app.client.change(Method::PATCH, &path, Some(json!({ "open": false }))).await.status, 403);
    let unknown = format!("/warehouses/{}", Uuid::new_v4());
    assert_eq!(app.operator.change(Method::PATCH, &unknown, Some(json!({ "open": false }))).await.status, 404);
    let listed = app.client.get("/warehouses").await.body;
    assert_eq!(listed["items"].as_array().unwrap().len(), 3);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_due_hold_in_a_closed_warehouse_has_helps_nobody() {
    // Seldom swept: what is let go of is let go of for an order.
    let settings = vec![("ONHAND_EXPIRY_MS", "2000".to_owned())];
    let app = TestApp::with(Wanted { consumers: 2, settings, ..Wanted::default() }).await;
    let product = app.product(3).await;
    let north = app.warehouse("north").await;
    app.restore(product, north, 3).await;
    let reserve = async |qty: i64, seconds: u32| {
        let body = json!({ "items": [{ "productId": product, "qty": qty }], "windowSeconds": seconds });
        app.client.post("/reservations", &[WAIT], &body).await
    };
    assert_eq!(served(&reserve(3, 120).await.body), [[(common::domain::DEFAULT_WAREHOUSE.to_string(), 3)]]);
    for _ in 0..3 {
        assert_eq!(served(&reserve(1, 60).await.body), [[(north.to_string(), 1)]], "due before the other");
    }
    let body = json!({ "open": false });
    app.operator.change(Method::PATCH, &format!("/warehouses/{north}"), Some(body)).await;
    app.pass(std::time::Duration::from_secs(3_600)).await;
    assert_eq!(app.client.order_and_wait(&[(product, 4)]).await.status, 409);
    assert_eq!(app.client.order_and_wait(&[(product, 3)]).await.status, 201, "what was due in the open one is free");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_is_moved_whole_or_not_at_all_however_many_move_it() {
    let app = TestApp::start().await;
    let product = app.product(10).await;
    let (main, north) = (common::domain::DEFAULT_WAREHOUSE, app.warehouse("north").await);
    assert_eq!(app.client.hold(&[(product, 2)]).await.status, 201);
    let transfer = |product: Uuid, from: Uuid, to: Uuid, qty: i64| {
        let operator = app.operator.clone();
        let body =
            json!({ "productId": product, "fromWarehouseId": from, "toWarehouseId": to, "qty": qty, "reason": "r" });
        async move { operator.post("/stock/transfer", &[WAIT], &body).await }
    };
    let moved = transfer(product, main, north, 5).await;
    assert_eq!(moved.status, 200, "{moved:?}");
    assert_eq!((&moved.body["from"]["onHand"], &moved.body["to"]["onHand"]), (&json!(5), &json!(5)));
    for (product, from, to, qty, status, problem) in [
        (product, main, north, 4, 409, "/problems/short-stock"),
        (product, main, Uuid::new_v4(), 1, 422, "/problems/unknown-warehouse"),
        (Uuid::new_v4(), main, north, 1, 422, "/problems/unknown-product"),
        (product, main, main, 1, 400, "/problems/invalid-request"),
        (product, main, north, 0, 400, "/problems/invalid-request"),
    ] {
        let answer = transfer(product, from, to, qty).await;
        assert_eq!((answer.status.as_u16(), &answer.body["type"]), (status, &json!(problem)), "{answer:?}");
    }
    let back = (0..10).map(|_| transfer(product, north, main, 1));
    let back = futures_util::future::join_all(back).await;
    assert_eq!(back.iter().filter(|answer| answer.status == 200).count(), 5, "{back:?}");
    assert_eq!(app.client.stock(product).await, (10, 2));
    let ledger = app.operator.get(&format!("/stock/movements?productId={product}")).await.body;
    let causes = ledger["items"].as_array().unwrap().iter().filter(|m| m["cause"] == "transferred").count();
    assert_eq!(causes, 12, "each has two sides");
    app.finish().await;
}
