//! Whole catalogues sent in: what they create and change, the lines that are refused, and that sending one again is harmless.

use std::time::Instant;

use reqwest::Method;
use serde_json::{Value, json};
use tests::app::{TestApp, Wanted};
use tests::http::Answer;

const CSV: &str = "text/csv";

async fn send(app: &TestApp, kind: &str, content: &str) -> Answer {
    let headers = [("content-type", kind)];
    app.operator.send(Method::POST, "/imports", &headers, Some(content.as_bytes().to_vec())).await.unwrap()
}

/// What has become of an import, once it has ended.
async fn ended(app: &TestApp, answer: &Answer) -> Value {
    assert!(answer.status == 202 || answer.status == 200, "{answer:?}");
    let path = format!("/imports/{}", answer.id());
    let mut import = Value::Null;
    tests::until_within(std::time::Duration::from_secs(300), "the import has ended", async || {
        import = app.operator.get(&path).await.body;
        import["status"] != "running"
    })
    .await;
    import
}

/// Created, updated, counted, unchanged, refused.
fn sums(import: &Value) -> [i64; 5] {
    ["created", "updated", "counted", "unchanged", "refused"].map(|name| import[name].as_i64().unwrap())
}

async fn refused(app: &TestApp, import: &Value) -> Vec<(i64, String)> {
    let page = app.operator.get(&format!("/imports/{}/refused", import["id"].as_str().unwrap())).await.body;
    let line = |line: &Value| (line["line"].as_i64().unwrap(), line["reason"].as_str().unwrap().to_owned());
    page["items"].as_array().unwrap().iter().map(line).collect()
}

async fn product(app: &TestApp, sku: &str) -> Value {
    app.client.get(&format!("/products?sku={sku}")).await.body["items"][0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalogue_is_imported_changed_and_told_line_by_line() {
    let app = TestApp::start().await;
    app.warehouse("north").await;
    let first = "sku,name,price,currency,category,parentSku,options,stock,warehouse\n\
                 CUP,\"Cup, blue\",700,EUR,Cups,,,5,\n\
                 SHOE,Shoe,9900,EUR,Shoes,,,,\n\
                 SHOE-9,,,,,SHOE,size=9,3,north\n\
                 SHOE-10,,12000,EUR,,SHOE,size=10,4,\n\
                 CUP,\"Cup, blue\",700,EUR,cups,,,2,north\n\
                 NAMELESS,,5,EUR,,,,,\n\
                 LOST,Lost,5,EUR,,,,1,nowhere\n\
                 ORPHAN,,,,,NOTHING,size=1,,\n\
                 DOLLAR,,5,USD,,SHOE,size=11,,\n\
                 BAD,Bad,five,EUR,,,,,\n";
    let answer = send(&app, CSV, first).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(answer.header("location"), Some(format!("/imports/{}", answer.id()).as_str()));
    let import = ended(&app, &answer).await;
    assert_eq!((&import["status"], &import["lines"], &import["linesDone"]), (&json!("done"), &json!(10), &json!(10)));
    assert_eq!(sums(&import), [4, 0, 1, 0, 5], "{import}");
    let reasons = refused(&app, &import).await;
    for ((line, reason), (expected, part)) in reasons.iter().zip([
        (7, "needs a name"),
        (8, "no warehouse"),
        (9, "no product"),
        (10, "another currency"),
        (11, "whole number"),
    ]) {
        assert!(*line == expected && reason.contains(part), "line {line}: {reason}");
    }
    let cup = product(&app, "CUP").await;
    let id = cup["id"].as_str().unwrap().parse().unwrap();
    assert_eq!((&cup["name"], &cup["category"]["name"]), (&json!("Cup, blue"), &json!("Cups")));
    assert_eq!(app.client.stock(id).await, (7, 0), "5 and 2");
    let shoe = product(&app, "SHOE").await;
    assert_eq!(shoe["variants"].as_array().unwrap().len(), 2);

    app.client.order_and_wait(&[(id, 6)]).await;
    let again = send(&app, CSV, first).await;
    assert_eq!((again.status.as_u16(), again.header("idempotency-replayed")), (200, Some("true")));
    assert_eq!(
        (again.body["created"].clone(), app.client.stock(id).await),
        (json!(4), (1, 0)),
        "nothing is done twice"
    );

    let second = r#"{"sku":"CUP","name":"Cup, red","price":{"amount":800,"currency":"EUR"},"stock":50}
{"sku":"SHOE","category":"Boots"}
{"sku":"SHOE-9","parentSku":"SHOE","options":{"size":"9"},"price":{"amount":1,"currency":"EUR"}}
{"sku":"SHOE-10","parentSku":"SHOE","options":{"size":"10"}}
{"sku":"SHOE-10","name":"No variant"}
{"sku":"CUP","price":{"amount":1,"currency":"USD"}}
"#;
    let import = ended(&app, &send(&app, "application/x-ndjson", second).await).await;
    assert_eq!(sums(&import), [0, 3, 1, 1, 2], "{import}");
    let reasons: Vec<i64> = refused(&app, &import).await.into_iter().map(|(line, _)| line).collect();
    assert_eq!(reasons, [5, 6]);
    let cup = product(&app, "CUP").await;
    assert_eq!((&cup["name"], &cup["price"]["amount"]), (&json!("Cup, red"), &json!(800)));
    assert_eq!(app.client.stock(id).await, (51, 0), "50 were counted in the one, 1 is left in the other");
    let shoe = product(&app, "SHOE").await;
    assert_eq!(shoe["category"]["name"], "Boots");
    let mut prices: Vec<_> =
        shoe["variants"].as_array().unwrap().iter().map(|v| v["price"]["amount"].as_i64().unwrap()).collect();
    prices.sort_unstable();
    assert_eq!(prices, [1, 12_000]);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_catalogue_is_refused_at_once() {
    let settings = vec![("ONHAND_IMPORT_BYTES_MAX", "2000".to_owned())];
    let app = TestApp::with(Wanted { consumers: 1, settings, ..Wanted::default() }).await;
    for (kind, content, status) in [
        ("application/json", "{}".to_owned(), 415),
        (CSV, "name\nCup\n".to_owned(), 400),
        (CSV, "sku,colour\nA,red\n".to_owned(), 400),
        (CSV, "sku\n".repeat(1_000), 413),
    ] {
        let answer = send(&app, kind, &content).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    let headers = [("content-type", CSV)];
    let by_client = app.client.send(Method::POST, "/imports", &headers, Some(b"sku\nA\n".to_vec())).await.unwrap();
    assert_eq!(by_client.status, 403);
    let key = [("content-type", CSV), ("idempotency-key", "k")];
    let keyed = async |content: &str| {
        app.operator.send(Method::POST, "/imports", &key, Some(content.as_bytes().to_vec())).await.unwrap()
    };
    let empty = ended(&app, &keyed("sku\n").await).await;
    assert_eq!((&empty["status"], &empty["lines"]), (&json!("done"), &json!(0)));
    let reused = keyed("sku\nA\n").await;
    assert_eq!((reused.status.as_u16(), &reused.body["type"]), (422, &json!("/problems/idempotency-key-reused")));
    app.finish().await;
}

/// Lines of an import that is measured; the whole is asked for with `ONHAND_TEST_IMPORT=100000`.
fn many() -> usize {
    std::env::var("ONHAND_TEST_IMPORT").map_or(5_000, |lines| lines.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_interrupted_goes_on_when_it_is_sent_again() {
    let app = TestApp::with(Wanted { consumers: 2, proxies: true, ..Wanted::default() }).await;
    let lines = many();
    let mut csv = "sku,name,description,price,currency,category,stock\n".to_owned();
    for n in 0..lines {
        csv.push_str(&format!("SKU-{n},Product {n},Of many,{},EUR,Category {},{}\n", 100 + n, n % 20, n % 50));
    }
    let began = Instant::now();
    let answer = send(&app, CSV, &csv).await;
    let path = format!("/imports/{}", answer.id());
    tests::until("some lines are done", async || app.operator.get(&path).await.body["linesDone"] != 0).await;
    let (_, broker) = app.proxies.as_ref().unwrap();
    broker.cut();
    let twice = send(&app, CSV, &csv).await;
    assert_eq!(twice.id(), answer.id(), "the same one");
    let import = ended(&app, &answer).await;
    assert_eq!(import["status"], "failed", "{import}");
    assert!(import["problem"].as_str().unwrap().contains("send it again"), "{import}");
    broker.mend();
    app.until_ready().await;
    let import = ended(&app, &send(&app, CSV, &csv).await).await;
    assert_eq!((&import["status"], sums(&import)), (&json!("done"), [i64::try_from(lines).unwrap(), 0, 0, 0, 0]));
    println!("{lines} products, with an interruption: {:?}", began.elapsed());
    let mut connection = app.database().await;
    let stock: i64 =
        sqlx::query_scalar("SELECT sum(on_hand)::bigint FROM stock").fetch_one(&mut connection).await.unwrap();
    assert_eq!(stock, (0..lines).map(|n| i64::try_from(n % 50).unwrap()).sum::<i64>());
    app.finish().await;
}
