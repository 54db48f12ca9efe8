//! What becomes of an order: cancelled, moved on, shipped; and how that is told.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::{join, join_all};
use futures_util::stream::{self, StreamExt as _};
use reqwest::Method;
use serde_json::{Value, json};
use tests::app::TestApp;
use tests::http::{Answer, Client};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

/// What a product has on hand in each warehouse.
async fn levels(app: &TestApp, product: Uuid) -> Vec<(Value, i64)> {
    let stock = app.client.get(&format!("/products/{product}/stock")).await.body;
    let level = |level: &Value| (level["warehouseId"].clone(), level["onHand"].as_i64().unwrap());
    let mut levels: Vec<_> = stock["levels"].as_array().unwrap().iter().map(level).collect();
    levels.sort_by_key(|(warehouse, _)| warehouse.to_string());
    levels
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_order_gives_back_what_it_held_to_the_very_warehouses_it_came_from() {
    let app = TestApp::start().await;
    let product = app.product(4).await;
    let north = app.warehouse("north").await;
    let restore = json!({ "productId": product, "warehouseId": north, "qty": 3 });
    assert_eq!(app.operator.post("/stock/restore", &[("prefer", "wait=30")], &restore).await.status, 200);
    let before = levels(&app, product).await;
    let sold = app.client.order_and_wait(&[(product, 6)]).await;
    assert_eq!(sold.body["items"][0]["allocations"].as_array().unwrap().len(), 2, "over both warehouses");
    assert_eq!(app.client.available(product).await, 1);
    let cancelled = app.client.cancel(sold.id()).await;
    assert_eq!((cancelled.status.as_u16(), &cancelled.body["status"]), (200, &json!("cancelled")), "{cancelled:?}");
    assert_eq!(levels(&app, product).await, before);
    assert_eq!(app.client.cancel(sold.id()).await.status, 200, "asked for twice, it is cancelled once");
    assert_eq!(levels(&app, product).await, before);

    let held = app.client.hold(&[(product, 7)]).await;
    assert_eq!(app.client.stock(product).await, (7, 7));
    assert_eq!(app.client.cancel(held.id()).await.body["cancelReason"], "requested");
    assert_eq!(app.client.stock(product).await, (7, 0));
    let paid = app.client.pay(held.id(), "late").await;
    assert_eq!(paid.body["type"], "/problems/order-cancelled");
    assert_eq!(app.client.order_and_wait(&[(product, 7)]).await.status, 201, "all of it can be ordered again");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_goes_only_along_the_legal_steps_and_its_history_tells_who_when_and_why() {
    let app = TestApp::start().await;
    let product = app.product(5).await;
    let order = app.client.hold(&[(product, 1)]).await.id();
    let step = async |status: &str| app.operator.step(order, json!({ "status": status })).await;
    assert_eq!(step("processing").await.body["type"], "/problems/illegal-transition", "it is not paid");
    assert_eq!(app.client.step(order, json!({ "status": "paid" })).await.status, 403);
    assert_eq!(app.client.pay(order, "p").await.status, 200);
    assert_eq!(step("delivered").await.status, 409);
    assert_eq!(step("processing").await.body["status"], "processing");
    assert_eq!(step("processing").await.status, 200, "so it is");
    let shipping = json!({ "status": "shipped", "trackingNumber": "1Z", "carrier": "post", "reason": "by night" });
    let shipped = app.operator.step(order, shipping).await;
    assert_eq!(shipped.body["tracking"], json!({ "number": "1Z", "carrier": "post" }), "{shipped:?}");
    let late = app.client.cancel(order).await;
    assert_eq!((late.status.as_u16(), &late.body["type"]), (409, &json!("/problems/already-shipped")));
    assert_eq!(late.body["orderStatus"], "shipped");
    assert_eq!(step("delivered").await.body["status"], "delivered");
    assert_eq!(step("cancelled").await.status, 409);
    assert_eq!(app.operator.step(order, json!({ "status": "lost" })).await.status, 400);
    assert_eq!(app.operator.step(order, json!({ "status": "paid", "trackingNumber": "1" })).await.status, 400);

    let history = app.client.get(&format!("/orders/{order}/history")).await.body;
    let told: Vec<(&str, &str)> = history["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (entry["status"].as_str().unwrap(), entry["by"]["role"].as_str().unwrap()))
        .collect();
    let expected = [
        ("pending", "client"),
        ("paid", "client"),
        ("processing", "operator"),
        ("shipped", "operator"),
        ("delivered", "operator"),
    ];
    assert_eq!(told, expected, "{history}");
    let shipped = &history["items"][3];
    assert_eq!((&shipped["reason"], &shipped["tracking"]["number"]), (&json!("by night"), &json!("1Z")));
    assert_eq!(app.other.get(&format!("/orders/{order}/history")).await.status, 404);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pay_cancel_and_expiry_at_once_end_in_exactly_one_of_them() {
    const ORDERS: usize = 100;
    let app = TestApp::start().await;
    let product = app.product(1_000).await;
    let mut orders = Vec::new();
    for _ in 0..ORDERS {
        orders.push(app.client.hold(&[(product, 1)]).await);
    }
    // Before time matters, whatever else this machine is busy with.
    let (last, early) =
        (orders.last().unwrap().id(), join(app.client.pay(orders[0].id(), "p"), app.client.cancel(orders[0].id())));
    assert_eq!(app.client.cancel(last).await.status, 200);
    let early = early.await;
    // The time of the first is over, that of the others runs out meanwhile, one by one.
    let pay_by = |n: usize| OffsetDateTime::parse(orders[n].body["payBy"].as_str().unwrap(), &Rfc3339).unwrap();
    let ahead = pay_by(ORDERS / 5) - common::clock::now();
    app.pass(ahead.unsigned_abs()).await;
    let race = |(n, order): (usize, &Answer)| {
        let (id, client) = (order.id(), &app.client);
        async move {
            // Whichever is sent first is mostly decided first.
            if n % 2 == 0 {
                join(client.pay(id, "p"), client.cancel(id)).await
            } else {
                let (cancelled, paid) = join(client.cancel(id), client.pay(id, "p")).await;
                (paid, cancelled)
            }
        }
    };
    let between = &orders[1..ORDERS - 1];
    let answers = stream::iter(between.iter().enumerate()).map(race).buffered(4).collect::<Vec<_>>().await;
    let answers: Vec<_> = std::iter::once(early).chain(answers).collect();
    app.pass(Duration::from_secs(900)).await;
    tests::until("nothing is reserved", async || app.client.stock(product).await.1 == 0).await;
    let mut ends = BTreeMap::<_, usize>::new();
    for (order, (paid, cancelled)) in orders.iter().zip(&answers) {
        let now = app.client.get(&format!("/orders/{}", order.id())).await.body;
        let problem = |answer: &Answer| answer.body["type"].as_str().map(str::to_owned);
        let (cancel, timeout) = (Some("/problems/order-cancelled"), Some("/problems/payment-timeout"));
        let end = match (now["status"].as_str().unwrap(), now["cancelReason"].as_str()) {
            // Paid, and then cancelled: both have happened, one after the other.
            ("cancelled", Some("requested")) if paid.status == 200 => {
                assert_eq!(cancelled.status, 200, "{cancelled:?}");
                "paid, then cancelled"
            }
            ("cancelled", Some("requested")) => {
                assert_eq!((cancelled.status.as_u16(), problem(paid).as_deref()), (200, cancel));
                "cancelled"
            }
            ("cancelled", Some("payment-timeout")) => {
                assert_eq!((problem(paid).as_deref(), problem(cancelled).as_deref()), (timeout, timeout));
                "expired"
            }
            other => panic!("{other:?}: {paid:?} {cancelled:?}"),
        };
        *ends.entry(end).or_default() += 1;
    }
    println!("{ends:?}");
    assert_eq!(app.client.stock(product).await, (1_000, 0));
    assert!(ends.contains_key("expired") && ends.len() > 1, "it was a race: {ends:?}");
    app.finish().await;
}

/// Follows `Link: rel="next"` to the end; answers with the ids in order.
async fn pages(client: &Client, path: &str) -> Vec<String> {
    let (mut ids, mut next) = (Vec::new(), Some(path.to_owned()));
    while let Some(path) = next {
        let page = client.get(&path).await;
        assert_eq!(page.status, 200, "{page:?}");
        ids.extend(page.body["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()));
        next = page.header("link").map(|link| link[1..link.find('>').unwrap()].to_owned());
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_listed_by_status_customer_and_time_page_by_page() {
    let app = TestApp::start().await;
    let product = app.product(100).await;
    let mut placed = Vec::new();
    for n in 0..7 {
        let body = json!({
            "items": [{ "productId": product, "qty": if n == 6 { 1_000 } else { 1 } }],
            "customerId": if n % 2 == 0 { "ann & co" } else { "bob" },
            "payment": if n < 2 { "deferred" } else { "immediate" },
        });
        placed.push(app.client.post("/orders", &[("prefer", "wait=30")], &body).await);
    }
    let theirs = app.other.order_and_wait(&[(product, 1)]).await.id().to_string();
    let reserved = app.client.reserve(&[(product, 1)]).await.id().to_string();
    let ids: Vec<String> = placed.iter().map(|answer| answer.id().to_string()).collect();
    let newest_first = |wanted: &[usize]| wanted.iter().rev().map(|n| ids[*n].clone()).collect::<Vec<String>>();

    assert_eq!(pages(&app.client, "/orders?limit=2").await, newest_first(&[0, 1, 2, 3, 4, 5, 6]));
    assert_eq!(pages(&app.client, "/orders?status=pending").await, newest_first(&[0, 1]));
    assert_eq!(pages(&app.client, "/orders?status=paid&limit=1").await, newest_first(&[2, 3, 4, 5]));
    assert_eq!(pages(&app.client, "/orders?status=rejected").await, newest_first(&[6]));
    assert_eq!(pages(&app.client, "/orders?customerId=ann%20%26%20co&limit=3").await, newest_first(&[0, 2, 4, 6]));
    assert_eq!(pages(&app.client, "/orders?customerId=bob&status=paid&limit=1").await, newest_first(&[3, 5]));
    let from = placed[3].body["decidedAt"].as_str().unwrap();
    let until = placed[5].body["decidedAt"].as_str().unwrap();
    assert_eq!(pages(&app.client, &format!("/orders?from={from}&until={until}")).await, newest_first(&[3, 4]));
    assert_eq!(pages(&app.client, &format!("/orders?customerId=bob&from={from}")).await, newest_first(&[3, 5]));
    assert_eq!(pages(&app.other, "/orders").await, std::slice::from_ref(&theirs), "another sees its own");
    let all = pages(&app.operator, "/orders?limit=3").await;
    assert_eq!((all.len(), &all[0]), (8, &theirs), "an operator sees everybody's");
    assert_eq!(pages(&app.client, "/reservations").await, [reserved], "which are no orders yet");
    for query in
        ["status=lost", "limit=0", "limit=201", "cursor=x", "from=yesterday", "color=red", "status=paid&status=paid"]
    {
        let refused = app.client.get(&format!("/orders?{query}")).await;
        assert_eq!(
            (refused.status.as_u16(), &refused.body["type"]),
            (400, &json!("/problems/invalid-request")),
            "{query}"
        );
    }
    let account = placed[0].body["accountId"].as_str().unwrap();
    assert_eq!(app.other.get(&format!("/orders?accountId={account}")).await.status, 403);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reservation_is_an_order_once_it_is_confirmed_at_the_price_of_then() {
    let app = TestApp::start().await;
    let product = app.product(10).await;
    let reserved = app.client.reserve(&[(product, 4)]).await;
    assert_eq!((reserved.status.as_u16(), &reserved.body["status"]), (201, &json!("ACTIVE")), "{reserved:?}");
    let id = reserved.id();
    assert_eq!(reserved.header("location"), Some(format!("/reservations/{id}").as_str()));
    assert_eq!(app.client.stock(product).await, (10, 4));
    assert_eq!(app.client.get(&format!("/orders/{id}")).await.status, 404, "it is no order yet");
    assert_eq!(app.client.pay(id, "p").await.status, 404);
    let dearer = sqlx::query("UPDATE variants SET price_amount = 5000 WHERE id = $1").bind(product);
    dearer.execute(&mut app.database().await).await.unwrap();

    let confirm = format!("/reservations/{id}/confirm");
    let answers = join_all((0..20).map(|_| app.client.change(Method::POST, &confirm, None))).await;
    let first = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(first, 1, "it becomes an order once: {answers:?}");
    for answer in &answers {
        assert_eq!(answer.header("location"), Some(format!("/orders/{id}").as_str()), "and it is the same for all");
        assert_eq!(answer.body["subtotal"]["amount"], 4_000, "at the price of when it was reserved");
    }
    assert_eq!(app.client.stock(product).await, (6, 0));
    let confirmed = app.client.get(&format!("/reservations/{id}")).await.body;
    assert_eq!((&confirmed["status"], &confirmed["orderId"]), (&json!("CONFIRMED"), &json!(id)));
    assert_eq!(app.client.get(&format!("/orders/{id}")).await.body["reservationId"], json!(id));
    let late = app.client.change(Method::DELETE, &format!("/reservations/{id}"), None).await;
    assert_eq!((late.status.as_u16(), &late.body["type"]), (409, &json!("/problems/already-paid")));
    assert_eq!(app.client.cancel(id).await.status, 200, "as an order it can be cancelled");
    assert_eq!(app.client.get(&format!("/reservations/{id}")).await.body["status"], "CONFIRMED");
    assert_eq!(app.client.stock(product).await, (10, 0));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reservation_is_given_up_by_its_client_or_by_time() {
    let app = TestApp::start().await;
    let product = app.product(10).await;
    let reserve = async |seconds: i64| {
        let body = json!({ "items": [{ "productId": product, "qty": 3 }], "windowSeconds": seconds });
        app.client.post("/reservations", &[("prefer", "wait=30")], &body).await.id()
    };
    let (given_up, short, long) = (reserve(100).await, reserve(100).await, reserve(1_000_000).await);
    let status = async |id: Uuid| app.client.get(&format!("/reservations/{id}")).await.body["status"].clone();
    let path = format!("/reservations/{given_up}?reason=changed%20my%20mind");
    assert_eq!(app.client.change(Method::DELETE, &path, None).await.body["status"], "CANCELLED");
    let history = app.client.get(&format!("/orders/{given_up}/history")).await.body;
    assert_eq!(history["items"][1]["reason"], "changed my mind");
    app.pass(Duration::from_secs(101)).await;
    tests::until("it has expired", async || status(short).await == "EXPIRED").await;
    assert_eq!((status(given_up).await, status(long).await), (json!("CANCELLED"), json!("ACTIVE")));
    for (id, problem) in [(short, "payment-timeout"), (given_up, "order-cancelled")] {
        let late = app.client.change(Method::POST, &format!("/reservations/{id}/confirm"), None).await;
        assert_eq!((late.status.as_u16(), &late.body["type"]), (409, &json!(format!("/problems/{problem}"))));
    }
    assert_eq!(app.client.stock(product).await, (10, 3));
    app.pass(Duration::from_secs(901)).await;
    tests::until("a wish for more than is usual is cut", async || status(long).await == "EXPIRED").await;
    let refused = app.client.reserve(&[(product, 11)]).await;
    assert_eq!((refused.status.as_u16(), &refused.body["type"]), (409, &json!("/problems/insufficient-stock")));
    assert_eq!(status(refused.id()).await, "REJECTED");
    assert_eq!(app.other.get(&format!("/reservations/{short}")).await.status, 404);
    app.finish().await;
}
