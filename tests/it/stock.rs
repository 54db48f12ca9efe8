//! Operators' changes of stock, the ledger that has every change, and the figures for the business.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::app::TestApp;
use tests::http::Answer;
use uuid::Uuid;

const WAIT: (&str, &str) = ("prefer", "wait=30");

async fn change(app: &TestApp, how: &str, product: Uuid, qty: i64) -> Answer {
    let body = json!({ "productId": product, "qty": qty, "reason": "stocktaking" });
    app.operator.post(&format!("/stock/{how}"), &[WAIT], &body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_adjust_deduct_and_restore_but_never_what_is_reserved() {
    let app = TestApp::start().await;
    let product = app.product(10).await;
    assert_eq!(app.client.hold(&[(product, 4)]).await.status, 201);
    for (how, qty, on_hand) in [("adjust", -2, 8), ("adjust", 5, 13), ("deduct", 3, 10), ("restore", 1, 11)] {
        let answer = change(&app, how, product, qty).await;
        assert_eq!((answer.status.as_u16(), &answer.body["onHand"]), (200, &json!(on_hand)), "{how} {qty}: {answer:?}");
    }
    for (qty, on_hand, version) in [(7, 7, 7), (7, 7, 7), (0, 7, 7), (11, 11, 8)] {
        let answer = change(&app, "count", product, qty).await;
        if qty == 0 {
            assert_eq!(
                (answer.status.as_u16(), &answer.body["reserved"]),
                (409, &json!(4)),
                "4 are there at the least"
            );
            continue;
        }
        let row = (&answer.body["onHand"], &answer.body["version"]);
        assert_eq!(row, (&json!(on_hand), &json!(version)), "{qty} were counted: {answer:?}");
    }
    for (how, qty) in [("deduct", 8), ("adjust", -8)] {
        let answer = change(&app, how, product, qty).await;
        assert_eq!((answer.status.as_u16(), &answer.body["type"]), (409, &json!("/problems/short-stock")), "{how}");
        assert_eq!((&answer.body["onHand"], &answer.body["reserved"]), (&json!(11), &json!(4)));
    }
    for (how, qty) in
        [("adjust", 0), ("deduct", 0), ("deduct", -1), ("restore", -1), ("restore", i64::MAX), ("count", -1)]
    {
        assert_eq!(change(&app, how, product, qty).await.status, 400, "{how} {qty}");
    }
    assert_eq!(change(&app, "adjust", product, 1_000_000_000_000_000).await.status, 422);
    assert_eq!(change(&app, "restore", Uuid::new_v4(), 1).await.body["type"], "/problems/unknown-product");
    let elsewhere = json!({ "productId": product, "warehouseId": Uuid::new_v4(), "qty": 1 });
    let unknown = app.operator.post("/stock/restore", &[WAIT], &elsewhere).await;
    assert_eq!(unknown.body["type"], "/problems/unknown-warehouse");
    let north = json!({ "productId": product, "warehouseId": app.warehouse("north").await, "qty": 1 });
    let counted = app
        .operator
        .post(
            "/stock/count",
            &[WAIT],
            &json!({ "productId": product, "warehouseId": app.warehouse("empty").await, "qty": 0 }),
        )
        .await;
    assert_eq!((counted.status.as_u16(), &counted.body["version"]), (200, &json!(0)), "{counted:?}");
    let nothing_there = app.operator.post("/stock/deduct", &[WAIT], &north).await;
    assert_eq!((nothing_there.status.as_u16(), &nothing_there.body["onHand"]), (409, &json!(0)), "{nothing_there:?}");
    let by_client = app.client.post("/stock/restore", &[WAIT], &json!({ "productId": product, "qty": 1 })).await;
    assert_eq!(by_client.status, 403);
    let later = app.operator.post("/stock/restore", &[], &json!({ "productId": product, "qty": 1 })).await;
    let polled = later.header("location").unwrap().to_owned();
    tests::until("it is decided", async || app.operator.get(&polled).await.body["outcome"]["status"] == 200).await;
    assert_eq!(app.client.stock(product).await, (12, 4));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_has_every_change_with_its_cause_page_by_page() {
    let app = TestApp::start().await;
    let product = app.product(20).await;
    let sold = app.client.order_and_wait(&[(product, 1)]).await.id();
    let paid = app.client.hold(&[(product, 2)]).await.id();
    app.client.pay(paid, "p").await;
    let released = app.client.hold(&[(product, 3)]).await.id();
    app.client.cancel(released).await;
    app.client.cancel(sold).await;
    let expired = app.client.hold(&[(product, 4)]).await.id();
    app.pass(Duration::from_secs(900)).await;
    tests::until("it is released", async || app.client.stock(product).await == (18, 0)).await;
    change(&app, "deduct", product, 5).await;
    let mut lines = Vec::new();
    let mut next = Some(format!("/stock/movements?productId={product}&limit=4"));
    while let Some(path) = next {
        let page = app.operator.get(&path).await;
        lines.extend(page.body["items"].as_array().unwrap().clone());
        next = page.header("link").map(|link| link[1..link.find('>').unwrap()].to_owned());
    }
    let told: Vec<(&str, i64, i64)> = lines
        .iter()
        .rev()
        .map(|line| {
            (line["cause"].as_str().unwrap(), line["onHand"].as_i64().unwrap(), line["reserved"].as_i64().unwrap())
        })
        .collect();
    let expected = [
        ("received", 20, 0),
        ("sold", -1, 0),
        ("reserved", 0, 2),
        ("sold", -2, -2),
        ("reserved", 0, 3),
        ("released", 0, -3),
        ("restocked", 1, 0),
        ("reserved", 0, 4),
        ("expired", 0, -4),
        ("deducted", -5, 0),
    ];
    assert_eq!(told, expected);
    let versions: Vec<i64> = lines.iter().rev().map(|line| line["version"].as_i64().unwrap()).collect();
    assert_eq!(versions, (1..=10).collect::<Vec<i64>>());
    let orders: Vec<&Value> = lines.iter().rev().map(|line| &line["orderId"]).collect();
    assert_eq!((orders[6], orders[8]), (&json!(sold), &json!(expired)));
    assert_eq!(lines[0]["reason"], "stocktaking");
    assert_eq!(app.operator.get("/stock/movements").await.status, 400, "of which product?");
    assert_eq!(app.client.get(&format!("/stock/movements?productId={product}")).await.status, 403);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_business_sees_its_figures_as_numbers_and_as_metrics() {
    let app = TestApp::start().await;
    let product = app.product(10).await;
    let empty = app.operator.get("/figures").await.body;
    assert_eq!(empty["reservations"]["conversionRate"], Value::Null, "of nothing there is no rate: {empty}");
    let held = join_all((0..4).map(|_| async { app.client.hold(&[(product, 1)]).await })).await;
    app.client.pay(held[0].id(), "p").await;
    app.client.cancel(held[1].id()).await;
    app.client.order_and_wait(&[(product, 1)]).await;
    app.client.order_and_wait(&[(product, 100)]).await;
    app.client.order_and_wait(&[(Uuid::new_v4(), 1)]).await;
    app.pass(Duration::from_secs(900)).await;
    tests::until("two are released", async || app.client.stock(product).await == (8, 0)).await;
    app.client.pay(held[2].id(), "late").await;
    let figures = app.operator.get("/figures?hours=1").await.body;
    assert_eq!(
        figures["orders"],
        json!({ "decided": 7, "confirmed": 5, "conflicts": 1, "unfulfillable": 1, "conflictRate": 1.0 / 7.0 })
    );
    assert_eq!(
        figures["reservations"],
        json!({ "created": 4, "converted": 1, "expired": 2, "cancelled": 1, "conversionRate": 0.25,
                "expiredLastHour": 2, "active": 0, "due": 0 })
    );
    assert_eq!(figures["unappliedPayments"], json!({ "recorded": 1, "unresolved": 1 }));
    let to_payment = &figures["orderToPaymentSeconds"];
    assert!(to_payment["payments"] == 1 && to_payment["median"].as_f64().unwrap() >= 0.0, "{figures}");
    // Hours later nothing of it is of the last hour.
    app.pass(Duration::from_secs(3 * 3_600)).await;
    let later = app.operator.get("/figures?hours=1").await.body;
    assert_eq!((&later["orders"]["decided"], &later["reservations"]["expired"]), (&json!(0), &json!(0)));
    let day = app.operator.get("/figures?hours=24").await.body;
    assert_eq!(day["orders"]["decided"], 7);
    // Weeks later it is no longer kept minute by minute, and still not taken for new.
    app.pass(Duration::from_secs(40 * 86_400)).await;
    app.client.order_and_wait(&[(product, 1)]).await;
    let month = app.operator.get("/figures?hours=720").await.body;
    assert_eq!((&month["orders"]["decided"], &month["reservations"]["expired"]), (&json!(1), &json!(0)), "{month}");
    assert_eq!(app.client.get("/figures").await.status, 403);
    assert_eq!(app.operator.get("/figures?hours=0").await.status, 400);

    let metrics = reqwest::get(format!("{}/metrics", app.base)).await.unwrap();
    assert!(metrics.headers()["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    let metrics = metrics.text().await.unwrap();
    for line in [
        "# TYPE onhand_reservations_converted counter",
        "onhand_reservations_converted_total 1",
        "onhand_reservations_expired_total 2",
        "onhand_orders_conflicts_total 1",
        "# TYPE onhand_order_to_payment_seconds counter",
        "onhand_reservations_active 0",
        "onhand_payments_unapplied_unresolved 1",
    ] {
        assert!(metrics.lines().any(|told| told == line), "{line} is not in {metrics}");
    }
    assert!(metrics.ends_with("# EOF\n"));
    app.finish().await;
}
