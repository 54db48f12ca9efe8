//! Placing and deciding: exact under concurrency, all or nothing, with a receipt.

use futures_util::future::join_all;
use rand::RngExt as _;
use serde_json::json;
use tests::app::TestApp;
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_customers_ordering_the_last_item_get_one_201_and_ninety_nine_409() {
    let app = TestApp::start().await;
    let product = app.product(1).await;
    let line = [(product, 1)];
    let answers = join_all((0..100).map(|_| app.client.order_and_wait(&line))).await;
    let count = |status: u16| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!((count(201), count(409)), (1, 99));
    assert_eq!(app.client.available(product).await, 0);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_random_carts_over_fifty_products_never_oversell_and_never_deadlock() {
    let app = TestApp::start().await;
    let products = join_all((0..50).map(|_| app.product(40))).await;
    let carts: Vec<Vec<(Uuid, i64)>> = (0..1000)
        .map(|_| {
            let mut rng = rand::rng();
            let lines = rng.random_range(1..=6);
            (0..lines).map(|_| (products[rng.random_range(0..products.len())], rng.random_range(1..=3))).collect()
        })
        .collect();
    let answers = join_all(carts.iter().map(|cart| app.client.order_and_wait(cart))).await;
    let mut sold = 0;
    for (cart, answer) in carts.iter().zip(&answers) {
        match answer.status.as_u16() {
            201 => sold += cart.iter().map(|(_, quantity)| quantity).sum::<i64>(),
            409 => assert!(!answer.body["lines"].as_array().unwrap().is_empty(), "{answer:?}"),
            _ => panic!("{answer:?}"),
        }
    }
    let left: i64 = join_all(products.iter().map(|product| app.client.available(*product))).await.iter().sum();
    assert_eq!(sold + left, 50 * 40);
    assert!(answers.iter().any(|answer| answer.status == 409), "nothing was scarce");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_all_or_nothing_and_a_refusal_carries_its_receipt() {
    let app = TestApp::start().await;
    let (plenty, scarce) = (app.product(100).await, app.product(3).await);
    let answer = app.client.order_and_wait(&[(plenty, 5), (scarce, 2), (scarce, 2)]).await;
    assert_eq!(answer.status, 409);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(answer.body["type"], "/problems/insufficient-stock");
    let lines = answer.body["lines"].as_array().unwrap();
    assert_eq!(lines.len(), 1, "only the short line is listed");
    assert_eq!(lines[0]["productId"], json!(scarce));
    assert_eq!((&lines[0]["requested"], &lines[0]["onHand"], &lines[0]["reserved"]), (&json!(4), &json!(3), &json!(0)));
    assert!(answer.body["sequence"].as_i64().unwrap() > 0);
    assert_eq!((app.client.available(plenty).await, app.client.available(scarce).await), (100, 3));
    let stored = app.client.outcome(answer.id()).await;
    assert_eq!((&stored["status"], &stored["outcome"]["status"]), (&json!("rejected"), &json!(409)));
    assert_eq!(stored["outcome"]["lines"], answer.body["lines"]);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_pending_until_it_is_decided_and_then_shows_its_items() {
    let mut app = TestApp::start().await;
    let product = app.product(10).await;
    app.stop_consumers().await;
    let accepted = app.client.order(&[(product, 2), (product, 1)], &[]).await;
    assert_eq!(accepted.status, 202);
    let id = accepted.id();
    assert_eq!(accepted.header("location"), Some(format!("/orders/{id}").as_str()));
    assert!(accepted.header("retry-after").is_some());
    let pending = app.client.get(&format!("/orders/{id}")).await;
    assert_eq!((pending.status.as_u16(), &pending.body["status"]), (200, &json!("pending")));
    assert!(pending.header("retry-after").is_some());
    let given_up = app.client.order(&[(product, 1)], &[("prefer", "wait=1")]).await;
    assert_eq!((given_up.status.as_u16(), given_up.header("preference-applied")), (202, Some("wait=1")));
    app.start_consumer(common::steps::Steps::none());
    let order = app.client.outcome(id).await;
    assert_eq!((&order["status"], &order["outcome"]["status"]), (&json!("paid"), &json!(201)));
    assert_eq!(order["items"].as_array().unwrap().len(), 1, "lines of one product are added up");
    assert_eq!((&order["items"][0]["qty"], &order["items"][0]["unitPrice"]["amount"]), (&json!(3), &json!(1000)));
    let bill = [&order["subtotal"], &order["tax"], &order["total"]];
    let money = |amount: i64| json!({ "amount": amount, "currency": "EUR" });
    assert_eq!(bill, [&money(3000), &money(300), &money(3300)]);
    app.client.outcome(given_up.id()).await;
    assert_eq!(app.client.available(product).await, 6);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_never_be_fulfilled_is_422_in_the_documented_precedence() {
    let app = TestApp::start().await;
    let euro = app.product(10).await;
    let dollar = app.product_at(10, json!({ "amount": 5, "currency": "USD" })).await;
    let dear =
        app.product_at(i64::from(i32::MAX), json!({ "amount": 9_007_199_254_740_991_i64, "currency": "EUR" })).await;
    let unknown = Uuid::new_v4();
    for (lines, problem) in [
        (vec![(unknown, 1), (euro, 1), (dollar, 1)], "/problems/unknown-product"),
        (vec![(euro, 100), (dollar, 1)], "/problems/mixed-currencies"),
        (vec![(dear, 2), (euro, 100)], "/problems/total-too-large"),
        (vec![(euro, 100)], "/problems/insufficient-stock"),
    ] {
        let answer = app.client.order_and_wait(&lines).await;
        assert_eq!(answer.body["type"], problem, "{lines:?}");
        assert_eq!(answer.body["status"], answer.status.as_u16());
        let stored = app.client.outcome(answer.id()).await;
        assert_eq!(stored["outcome"]["type"], problem);
    }
    assert_eq!(app.client.available(euro).await, 10);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_of_a_partition_are_in_the_order_of_their_acceptance() {
    let app = TestApp::start().await;
    let product = app.product(50).await;
    let mut ids = Vec::new();
    for _ in 0..100 {
        ids.push(app.client.order(&[(product, 1)], &[]).await.id());
    }
    let mut sequences = Vec::new();
    for (n, id) in ids.iter().enumerate() {
        let order = app.client.outcome(*id).await;
        assert_eq!(order["outcome"]["status"], if n < 50 { 201 } else { 409 }, "order {n}");
        sequences.push(order["outcome"]["sequence"].as_i64().unwrap());
    }
    assert!(sequences.is_sorted(), "{sequences:?}");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_product_can_be_ordered_as_soon_as_its_creation_is_answered_and_a_taken_sku_is_409() {
    let app = TestApp::start().await;
    let body = json!({ "name": "Cup", "sku": "CUP", "price": { "amount": 5, "currency": "EUR" }, "stock": 2 });
    let created = app.operator.post("/products", &[], &body).await;
    assert_eq!(created.status, 201);
    assert_eq!(app.client.order_and_wait(&[(created.id(), 2)]).await.status, 201);
    let again = app.operator.post("/products", &[], &body).await;
    assert_eq!((again.status.as_u16(), &again.body["type"]), (409, &json!("/problems/sku-taken")));
    let page = app.client.get("/products?limit=1").await;
    assert_eq!(page.body["items"][0]["sku"], "CUP");
    assert_eq!(app.client.get(&format!("/products/{}", created.id())).await.body["name"], "Cup");
    app.finish().await;
}
