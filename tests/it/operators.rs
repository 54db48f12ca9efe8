//! What operators see and do on the command line.

use std::collections::BTreeSet;

use common::db;
use common::db::PgConnection;
use serde_json::{Value, json};
use sqlx::Connection as _;
use tests::app::{TestApp, Wanted};
use tests::process::{Process, output};
use tests::raw::{message, order};
use uuid::Uuid;

/// Runs a command of the `consumer` program; answers whether it succeeded, and what it told in JSON.
async fn ask(app: &TestApp, arguments: &[&str]) -> (bool, Value) {
    let arguments: Vec<&str> = ["consumer"].iter().chain(arguments).chain(&["--json"]).copied().collect();
    let (status, told) = output(&arguments, &app.settings).await;
    (status.success(), serde_json::from_str(&told).unwrap_or(Value::Null))
}

/// What a command tells people.
async fn read(app: &TestApp, arguments: &[&str]) -> String {
    let arguments: Vec<&str> = ["consumer"].iter().chain(arguments).copied().collect();
    output(&arguments, &app.settings).await.1
}

fn sum(partitions: &Value, field: &str) -> i64 {
    partitions.as_array().unwrap().iter().map(|partition| partition[field].as_i64().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_show_who_writes_them_what_waits_and_how_fast_it_is_decided() {
    let app = TestApp::with(Wanted::default()).await;
    let mut first = Process::start(&["consumer"], &app.named("first"));
    app.until_owners(1).await;
    let product = app.product(1_000_000).await;
    let sampled = async {
        let (asked, partitions) = ask(&app, &["partitions", "--sample", "2"]).await;
        assert!(asked);
        partitions["partitions"].clone()
    };
    let orders = async {
        loop {
            assert_eq!(app.client.order(&[(product, 1)], &[]).await.status, 202);
        }
    };
    let partitions = tokio::select! { partitions = sampled => partitions, () = orders => unreachable!() };
    assert_eq!(partitions.as_array().unwrap().len(), 4);
    for partition in partitions.as_array().unwrap() {
        assert_eq!((&partition["owner"]["name"], &partition["epoch"]), (&json!("first"), &json!(1)));
        assert_eq!(partition["retired"], false);
    }
    let busy: Vec<&Value> = partitions.as_array().unwrap().iter().filter(|p| p["averageBatch"].is_number()).collect();
    assert!(busy.iter().any(|partition| partition["decidedPerSecond"].as_f64().unwrap() > 0.0), "{partitions}");
    assert!(busy.iter().all(|partition| partition["averageBatch"].as_f64().unwrap() >= 1.0), "{partitions}");

    tests::until("all is decided", async || {
        sum(&ask(&app, &["partitions"]).await.1["partitions"], "backlogMessages") == 0
    })
    .await;
    assert!(first.stop().await.success());
    let mut waiting = Vec::new();
    for _ in 0..5 {
        waiting.push(app.client.order(&[(product, 1)], &[]).await.id());
    }
    let (_, view) = ask(&app, &["partitions"]).await;
    let partitions = &view["partitions"];
    assert_eq!(sum(partitions, "backlogMessages"), 5, "{view}");
    for partition in partitions.as_array().unwrap() {
        assert_eq!(partition["owner"], Value::Null);
        let (waiting, oldest) =
            (partition["backlogMessages"] != 0, partition["oldestWaitingSecondsMax"].as_f64().unwrap());
        assert_eq!(oldest > 0.0, waiting, "{partition}");
    }
    let told = read(&app, &["partitions"]).await;
    let titles: Vec<&str> = told.lines().next().unwrap().split_whitespace().collect();
    let expected = ["partition", "owner", "epoch", "backlog", "oldest", "decided/s", "avg", "batch", "decided"];
    assert_eq!(titles, expected, "{told}");
    assert_eq!(told.lines().count(), 5, "{told}");
    let mut second = Process::start(&["consumer"], &app.named("second"));
    for id in waiting {
        assert_eq!(app.client.outcome(id).await["outcome"]["status"], 201);
    }
    assert!(second.stop().await.success());
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_consumer_lets_go_of_all_until_it_is_told_to_take_its_share_again() {
    let app = TestApp::with(Wanted::default()).await;
    let mut left = Process::start(&["consumer"], &app.named("left"));
    app.until_owners(1).await;
    let product = app.product(10).await;
    assert!(!ask(&app, &["drain", "left"]).await.0, "nobody would go on");
    assert!(!ask(&app, &["drain", "nobody"]).await.0);
    let mut right = Process::start(&["consumer"], &app.named("right"));
    app.until_owners(2).await;
    let (drained, view) = ask(&app, &["drain", "left"]).await;
    assert!(drained);
    assert_eq!((&view["state"], &view["partitions"]), (&json!("draining"), &json!([])));
    app.until_owners(1).await;
    assert_eq!(app.client.order_and_wait(&[(product, 1)]).await.status, 201);
    let (_, consumers) = ask(&app, &["consumers"]).await;
    let held = |name: &str| {
        let consumer =
            consumers["consumers"].as_array().unwrap().iter().find(|consumer| consumer["name"] == name).unwrap();
        (consumer["state"].as_str().unwrap(), consumer["partitions"].as_array().unwrap().len())
    };
    assert_eq!((held("left"), held("right")), (("draining", 0), ("live", 4)));
    assert!(read(&app, &["consumers"]).await.contains("draining"));
    assert!(ask(&app, &["drain", "left", "--undo"]).await.0);
    app.until_owners(2).await;
    assert!(left.stop().await.success());
    assert!(right.stop().await.success());
    assert_eq!(read(&app, &["consumers"]).await.trim(), "no consumer is running");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_is_decided_after_a_fix_and_a_requeue() {
    let app = TestApp::start().await;
    let product = app.product(10).await;
    let mut connection = app.database().await;
    // Somebody's idea of a rule, which every order of a customer breaks.
    let rule = "ALTER TABLE orders ADD CONSTRAINT rule CHECK (customer_id <> 'zoe')";
    sqlx::query(rule).execute(&mut connection).await.unwrap();
    let body = json!({ "items": [{ "productId": product, "qty": 3 }], "customerId": "zoe" });
    let failed = app.client.post("/orders", &[("prefer", "wait=30")], &body).await;
    assert_eq!(failed.body["type"], "/problems/order-failed", "{failed:?}");
    let id = failed.id().to_string();
    assert_eq!(app.client.order_and_wait(&[(product, 1)]).await.status, 201, "others are decided");
    let (_, letters) = ask(&app, &["dead-letters", "list"]).await;
    assert_eq!(
        (&letters["deadLetters"][0]["orderId"], &letters["deadLetters"][0]["state"]),
        (&json!(id), &json!("waiting"))
    );
    assert!(letters["deadLetters"][0]["reason"].as_str().unwrap().contains("rule"), "{letters}");
    let (_, shown) = ask(&app, &["dead-letters", "show", &id]).await;
    assert!(shown["deadLetters"][0]["payload"].as_str().unwrap().contains("zoe"), "{shown}");
    assert!(read(&app, &["dead-letters", "show", &id]).await.contains("payload"));

    // Nothing was mended: it fails again, and waits again.
    assert!(ask(&app, &["dead-letters", "requeue", &id]).await.0);
    let waits = async || db::dead_letters::count(&mut app.database().await).await.unwrap() == 1;
    tests::until("it has failed again", waits).await;
    sqlx::query("ALTER TABLE orders DROP CONSTRAINT rule").execute(&mut connection).await.unwrap();
    assert!(ask(&app, &["dead-letters", "requeue", "--all"]).await.0);
    tests::until("it is decided", async || {
        let order = app.client.get(&format!("/orders/{id}")).await;
        order.body["outcome"]["status"] == 201
    })
    .await;
    assert_eq!(app.client.available(product).await, 6);
    let (_, letters) = ask(&app, &["dead-letters", "list", "--all"]).await;
    assert_eq!(letters["deadLetters"][0]["state"], "decided", "{letters}");
    assert!(!ask(&app, &["dead-letters", "requeue", &id]).await.0, "it waits no more");
    assert!(read(&app, &["dead-letters", "list"]).await.contains("no dead letters wait"));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_still_cannot_be_read_stays_until_it_is_discarded() {
    let app = TestApp::start().await;
    app.publish(0, b"not JSON").await;
    let waiting = async || db::dead_letters::count(&mut app.database().await).await.unwrap() == 1;
    tests::until("it is put aside", waiting).await;
    let (_, letters) = ask(&app, &["dead-letters", "list"]).await;
    let id = letters["deadLetters"][0]["id"].as_str().unwrap();
    let (requeued, left) = ask(&app, &["dead-letters", "requeue", id]).await;
    assert!(!requeued);
    assert!(left["deadLetters"][0]["left"].as_str().unwrap().starts_with("it still can't be read"), "{left}");
    assert!(waiting().await, "it is kept");
    assert!(!ask(&app, &["dead-letters", "discard", &Uuid::new_v4().to_string()]).await.0, "there is no such letter");
    assert!(ask(&app, &["dead-letters", "discard", id]).await.0);
    let (_, letters) = ask(&app, &["dead-letters", "list", "--all"]).await;
    assert_eq!(letters["deadLetters"][0]["state"], "discarded");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_had_no_queue_or_was_given_up_by_the_broker_is_found_again() {
    let app = TestApp::start().await;
    let product = app.product(10).await;
    let (stray, given_up, account) = (Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4());
    // To a partition that is not there, beside something that nobody can read.
    app.publish(40_000, &message(&[order(stray, account, product, 1, "c"), json!("?")])).await;
    // As the broker does after a million deliveries.
    app.publish_to(&app.topology.dead_letters(), "1", &message(&[order(given_up, account, product, 1, "c")])).await;
    let status = async |id: Uuid| app.operator.get(&format!("/orders/{id}")).await.body["status"].clone();
    tests::until("the stray is decided", async || status(stray).await == "paid").await;
    tests::until("what was given up has failed", async || status(given_up).await == "failed").await;
    let (_, letters) = ask(&app, &["dead-letters", "list"]).await;
    assert_eq!(letters["deadLetters"].as_array().unwrap().len(), 2, "{letters}");
    assert!(ask(&app, &["dead-letters", "requeue", &given_up.to_string()]).await.0);
    tests::until("it is decided", async || status(given_up).await == "paid").await;
    app.finish_with_dead_letters(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_discarded_stays_failed_though_its_message_comes_again() {
    let app = TestApp::start().await;
    let product = app.product(10).await;
    let mut connection = app.database().await;
    sqlx::query("ALTER TABLE orders ADD CONSTRAINT rule CHECK (customer_id <> 'zoe')")
        .execute(&mut connection)
        .await
        .unwrap();
    let id = Uuid::new_v4();
    let again = message(&[order(id, Uuid::new_v4(), product, 1, "zoe")]);
    let status = async || app.operator.get(&format!("/orders/{id}")).await.body["status"].clone();
    app.publish(0, &again).await;
    tests::until("it has failed", async || status().await == "failed").await;
    assert!(ask(&app, &["dead-letters", "discard", &id.to_string()]).await.0);
    sqlx::query("ALTER TABLE orders DROP CONSTRAINT rule").execute(&mut connection).await.unwrap();
    let next = Uuid::new_v4();
    app.publish(0, &again).await;
    app.publish(0, &message(&[order(next, Uuid::new_v4(), product, 1, "c")])).await;
    let path = format!("/orders/{next}");
    tests::until("what came after it is decided", async || app.operator.get(&path).await.body["status"] == "paid")
        .await;
    assert_eq!(status().await, "failed");
    assert!(ask(&app, &["dead-letters", "requeue", &id.to_string()]).await.0, "it can be taken back");
    tests::until("it is decided", async || status().await == "paid").await;
    assert_eq!(app.client.available(product).await, 8);
    app.finish().await;
}

/// Changes what is stored, looks which invariants are found broken, and takes the change back.
async fn broken_by(connection: &mut PgConnection, change: &str) -> String {
    let mut transaction = connection.begin().await.unwrap();
    sqlx::raw_sql("SET LOCAL jit = off").execute(&mut *transaction).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(change.to_owned())).execute(&mut *transaction).await.unwrap();
    let findings = db::verify::verify(&mut transaction).await.unwrap();
    let mut broken: BTreeSet<&str> = findings
        .into_iter()
        .filter(|finding| finding.rows > 0)
        .inspect(|finding| assert!(!finding.examples.is_empty(), "{finding:?}"))
        .map(|finding| finding.invariant)
        .collect();
    for partition in 0..4 {
        let replay = consumer::replay::replay(&mut transaction, partition).await.unwrap();
        broken.extend((replay.differences > 0).then_some("I-10"));
    }
    transaction.rollback().await.unwrap();
    let mut broken: Vec<&str> = broken.into_iter().collect();
    broken.sort_by_key(|invariant| invariant[2..].parse::<u8>().unwrap());
    broken.join(" ")
}

/// What somebody might have done to the store, and the invariants that must be found broken by it, and no others. The first
/// order holds the product `other` beside another one, which a later order was short of.
fn changes(other: Uuid) -> Vec<(String, &'static str)> {
    let first = "(SELECT id FROM orders WHERE status = 'paid' ORDER BY decided_at LIMIT 1)";
    let short = "status = 'rejected' AND refusal -> 'refusal' ->> 'reason' = 'insufficient-stock'";
    let of_first = format!("order_id = {first} AND product_id = '{other}'");
    let refusal = |path: &str, value: &str| {
        format!("UPDATE orders SET refusal = jsonb_set(refusal, '{path}', '{value}') WHERE {short}")
    };
    vec![
        ("SELECT 1".to_owned(), ""),
        ("UPDATE stock SET on_hand = on_hand + 1".to_owned(), "I-2 I-10"),
        ("UPDATE stock SET version = version + 1".to_owned(), "I-2"),
        ("UPDATE stock SET reserved = 1 WHERE on_hand > 0".to_owned(), "I-3 I-10"),
        (
            "ALTER TABLE stock DROP CONSTRAINT stock_never_oversold; UPDATE stock SET on_hand = on_hand - 100"
                .to_owned(),
            "I-1 I-2 I-10",
        ),
        (format!("DELETE FROM order_items WHERE {of_first}"), "I-2 I-4 I-10"),
        (format!("UPDATE order_items SET quantity = quantity + 1 WHERE {of_first}"), "I-2 I-4 I-10"),
        (format!("UPDATE orders SET total_amount = total_amount + 1 WHERE id = {first}"), "I-4 I-10"),
        (format!("DELETE FROM orders WHERE id = {first}"), "I-2 I-4 I-8 I-9 I-10"),
        (
            "DROP INDEX order_items_stock_version;
             INSERT INTO order_items SELECT gen_random_uuid(), line, allocation, product_id, variant_id, warehouse_id,
               quantity, stock_version, unit_amount, name, sku FROM order_items LIMIT 1"
                .to_owned(),
            "I-4",
        ),
        // The life of the third order: placed to be paid, paid, and on its way; of the fourth: reserved, and let go.
        ("DELETE FROM reservations".to_owned(), "I-3"),
        ("UPDATE reservations SET due_at = due_at + interval '1 day'".to_owned(), "I-3"),
        ("UPDATE orders SET status = 'shipped' WHERE status = 'processing'".to_owned(), "I-4"),
        ("DELETE FROM order_status_history WHERE status = 'processing'".to_owned(), "I-4"),
        ("UPDATE order_status_history SET status = 'delivered' WHERE status = 'processing'".to_owned(), "I-4 I-5"),
        ("UPDATE orders SET hold = 'reservation' WHERE status = 'processing'".to_owned(), "I-10"),
        ("DELETE FROM stock_movements WHERE cause = 'sold'".to_owned(), "I-2 I-3 I-4 I-10"),
        ("UPDATE stock_movements SET cause = 'expired' WHERE cause = 'released'".to_owned(), "I-10"),
        ("UPDATE stock_movements SET quantity = -1 WHERE cause = 'adjusted'".to_owned(), "I-2 I-10"),
        ("UPDATE commands SET outcome = '{\"result\": \"unknown\"}' WHERE body ? 'ChangeOrderV1'".to_owned(), "I-10"),
        (
            "UPDATE commands SET body = jsonb_set(body, '{ChangeStockV1,quantity}', '-1') WHERE body ? 'ChangeStockV1'"
                .to_owned(),
            "I-10",
        ),
        (
            "INSERT INTO commands SELECT id, 1 - partition % 2, 1000, account_id, '{}', '{}', NULL, NULL, accepted_at,
               decided_at FROM orders LIMIT 1"
                .to_owned(),
            "I-5 I-8 I-10",
        ),
        ("UPDATE partitions SET sequence = sequence + 1".to_owned(), "I-8"),
        (refusal("{refusal,lines,0,onHand}", "0"), "I-9 I-10"),
        (refusal("{refusal,lines,0,seen,0,version}", "1"), "I-9 I-10"),
        (refusal("{refusal,lines}", "[]"), "I-9 I-10"),
        (
            format!(
                "UPDATE orders SET refusal = replace(refusal::text, '\"qty\": 4', '\"qty\": 1')::jsonb WHERE {short}"
            ),
            "I-10",
        ),
        (
            format!(
                "UPDATE orders SET refusal = jsonb_set(refusal, '{{refusal,productIds}}', '[\"{other}\"]'),
                   decided_at = decided_at + interval '1 hour'
                 WHERE refusal -> 'refusal' ->> 'reason' = 'unknown-product'"
            ),
            "I-9 I-10",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_and_replay_find_what_was_doctored() {
    let app = TestApp::start().await;
    let (product, other) = (app.product(5).await, app.product(100).await);
    for quantity in [3, 1, 4, 1] {
        app.client.order_and_wait(&[(product, quantity), (other, 1)]).await;
    }
    assert_eq!(app.client.order_and_wait(&[(Uuid::new_v4(), 1), (other, 1)]).await.status, 422);
    let items = json!([{ "productId": product, "qty": 1 }, { "productId": product, "variantId": other, "qty": 1 }]);
    let strange = app.client.post("/orders", &[("prefer", "wait=30")], &json!({ "items": items })).await;
    assert_eq!(strange.status, 422, "a variant of another product");
    assert_eq!(app.client.order_and_wait(&[(other, 2)]).await.status, 201);
    // Of another product, lest it changes what is doctored above.
    let third = app.product(9).await;
    let paid = app.client.hold(&[(third, 2)]).await.id();
    app.client.pay(paid, "p").await;
    app.operator.step(paid, json!({ "status": "processing" })).await;
    let released = app.client.reserve(&[(third, 1)]).await.id();
    app.client.change(reqwest::Method::DELETE, &format!("/reservations/{released}"), None).await;
    app.client.reserve(&[(third, 1)]).await;
    let counted = json!({ "productId": third, "qty": -2 });
    app.operator.post("/stock/adjust", &[("prefer", "wait=30")], &counted).await;
    let mut connection = app.database().await;
    for (change, expected) in changes(other) {
        assert_eq!(broken_by(&mut connection, &change).await, expected, "{change}");
    }
    let (holds, verified) = ask(&app, &["verify"]).await;
    assert!(holds && verified["holds"] == true, "{verified}");
    let told = read(&app, &["verify"]).await;
    assert!((1..=10).all(|n| told.contains(&format!("I-{n} "))), "every invariant is told of: {told}");

    // And as an operator would see it.
    sqlx::query("UPDATE orders SET total_amount = total_amount + 1 WHERE status = 'paid'")
        .execute(&mut connection)
        .await
        .unwrap();
    assert!(!ask(&app, &["verify"]).await.0);
    let told = read(&app, &["verify"]).await;
    assert!(
        told.contains("BROKEN by 4") && told.contains("an order holds less or more than its total says: order"),
        "{told}"
    );
    let mut differences = 0;
    for partition in ["0", "1", "2", "3"] {
        let (same, replay) = ask(&app, &["replay", partition]).await;
        assert_eq!(same, replay["differences"] == 0, "{replay}");
        differences += replay["differences"].as_i64().unwrap();
    }
    assert_eq!(differences, 4);
    assert!(!ask(&app, &["replay", "4"]).await.0, "there is no such partition");
    sqlx::query("UPDATE orders SET total_amount = total_amount - 1 WHERE status = 'paid'")
        .execute(&mut connection)
        .await
        .unwrap();
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_and_replay_find_what_was_doctored_of_returns_bundles_and_backorders() {
    let app = TestApp::start().await;
    const WAIT: [(&str, &str); 1] = [("prefer", "wait=30")];
    let (product, other) = (app.product(0).await, app.product(9).await);
    let rule = json!({ "productId": product, "cap": 5 });
    assert_eq!(app.operator.post("/stock/backorders", &WAIT, &rule).await.status, 200);
    let first = app.client.order_and_wait(&[(product, 2)]).await.id();
    assert_eq!(app.client.order_and_wait(&[(product, 2)]).await.status, 201);
    assert_eq!(app.client.order_and_wait(&[(product, 2)]).await.status, 409);
    app.restore(product, common::domain::DEFAULT_WAREHOUSE, 2).await;
    tests::until("the first is served", async || {
        let order = app.client.get(&format!("/orders/{first}")).await.body;
        order["items"][0]["backordered"].is_null()
    })
    .await;
    for status in ["processing", "shipped"] {
        assert_eq!(app.operator.step(first, json!({ "status": status })).await.status, 200);
    }
    let items = json!([{ "productId": product, "qty": 1, "disposition": "restock" }]);
    let path = format!("/orders/{first}/returns");
    assert_eq!(app.operator.post(&path, &WAIT, &json!({ "items": items })).await.status, 200);
    let price = json!({ "amount": 100, "currency": "EUR" });
    let components = json!([{ "productId": other, "qty": 2 }]);
    let body = json!({ "name": "Pair", "sku": "PAIR", "price": price, "components": components });
    let pair = app.operator.post("/products", &WAIT, &body).await.id();
    assert_eq!(app.client.order_and_wait(&[(pair, 3)]).await.status, 201);

    let changes = [
        ("SELECT 1", ""),
        ("UPDATE orders SET pieces = NULL", "I-4"),
        ("UPDATE order_status_history SET pieces = NULL", "I-4 I-5 I-10"),
        ("UPDATE orders SET pieces = jsonb_set(pieces, '{returned,0,quantity}', '3') WHERE pieces IS NOT NULL", "I-4"),
        ("DELETE FROM backorders", "I-3 I-4"),
        ("UPDATE backorders SET quantity = quantity + 1", "I-3 I-4"),
        ("UPDATE stock SET backorder_cap = backorder_cap + 1", "I-3"),
        ("UPDATE backorders SET place = place + 1", "I-4"),
        ("UPDATE stock_movements SET cause = 'restored' WHERE cause = 'returned'", "I-10"),
        ("UPDATE stock_movements SET cause = 'adjusted' WHERE cause = 'capped'", "I-9 I-10"),
        (
            "UPDATE orders SET refusal = jsonb_set(refusal, '{refusal,lines,0,promised}', '3') WHERE refusal IS NOT NULL",
            "I-9",
        ),
        (
            "UPDATE orders SET refusal = jsonb_set(refusal, '{refusal,lines,0,promisable}', '2') WHERE refusal IS NOT NULL",
            "I-9 I-10",
        ),
        ("UPDATE bundle_components SET quantity = quantity + 1", "I-10"),
        ("UPDATE order_items SET sold = sold + 1 WHERE sold > 0", "I-4 I-10"),
        ("UPDATE order_items SET bundle_id = NULL, sold = NULL", "I-4 I-10"),
    ];
    let mut connection = app.database().await;
    for (change, expected) in changes {
        assert_eq!(broken_by(&mut connection, change).await, expected, "{change}");
    }
    app.finish().await;
}
