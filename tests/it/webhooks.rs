//! Webhooks: whoever wants to be told is told, however it answers, and whoever is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tests::app::{TestApp, Wanted};
use tests::http::{Answer, Client};
use tests::process::Process;
use tests::receiver::{Received, Receiver};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use uuid::Uuid;

/// An app that may send to this machine, and tries again soon.
async fn start(settings: &[(&'static str, &str)]) -> TestApp {
    let own = [("ONHAND_WEBHOOK_NETWORKS", "127.0.0.0/8"), ("ONHAND_WEBHOOK_RETRIES_SECONDS", "0,0,1")];
    let settings = own.iter().chain(settings).map(|(name, value)| (*name, (*value).to_owned())).collect();
    TestApp::with(Wanted { consumers: 2, settings, ..Wanted::default() }).await
}

async fn subscribe(client: &Client, url: &str, types: &[&str]) -> Answer {
    client.post("/webhooks/endpoints", &[], &json!({ "url": url, "eventTypes": types })).await
}

const ORDERS: [&str; 9] = [
    "order.confirmed",
    "order.rejected",
    "order.failed",
    "order.paid",
    "order.cancelled",
    "order.expired",
    "order.shipped",
    "order.delivered",
    "reservation.expired",
];

/// The deliveries of an endpoint, once none is pending.
async fn finished(client: &Client, endpoint: Uuid) -> Vec<Value> {
    let path = format!("/webhooks/deliveries?endpointId={endpoint}&limit=100");
    let mut items = Vec::new();
    tests::until("the deliveries are finished", async || {
        items = client.get(&path).await.body["items"].as_array().unwrap().clone();
        !items.is_empty() && items.iter().all(|delivery| delivery["status"] != "pending")
    })
    .await;
    items
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_becomes_of_orders_is_told_to_those_who_want_it_and_may_know_it() {
    let app = start(&[]).await;
    let receiver = Receiver::start().await;
    let url = |path: &str| format!("{}{path}", receiver.base);
    let mine = subscribe(&app.client, &url("/ok/mine"), &ORDERS).await;
    assert_eq!(mine.status, 201, "{mine:?}");
    assert!(mine.body["secret"].as_str().unwrap().starts_with("whsec_"));
    let shown = app.client.get(&format!("/webhooks/endpoints/{}", mine.id())).await.body;
    assert!(shown["secret"].is_null() && shown["url"] == json!(url("/ok/mine")), "the secret is shown once: {shown}");
    subscribe(&app.other, &url("/ok/others"), &ORDERS).await;
    subscribe(&app.operator, &url("/ok/all"), &["order.confirmed", "stock.low", "stock.changed"]).await;
    subscribe(&app.client, &url("/ok/stock"), &["stock.changed"]).await;

    let expected = tests::lives::live(&app).await;
    let of = |kind: &str| expected.iter().find(|(told, _)| told == kind).unwrap().1;
    let (held, sold) = (of("order.delivered"), of("order.cancelled"));
    let received = receiver.until_received("/ok/mine", expected.len()).await;
    let told: BTreeSet<(String, Uuid)> = received.iter().map(|r| (r.kind(), r.order().unwrap())).collect();
    assert_eq!((told, received.len()), (expected.clone(), expected.len()), "each once");
    let of_held: BTreeMap<i64, String> = received
        .iter()
        .filter(|r| r.order() == Some(held))
        .map(|r| (r.json()["data"]["revision"].as_i64().unwrap(), r.kind()))
        .collect();
    let in_order: Vec<&str> = of_held.values().map(String::as_str).collect();
    assert_eq!(in_order, ["order.confirmed", "order.paid", "order.shipped", "order.delivered"], "by their revisions");
    let rejected = received.iter().find(|r| r.kind() == "order.rejected").unwrap().json();
    assert_eq!(rejected["data"]["reason"], "insufficient-stock", "{rejected}");

    let all = receiver.until_received("/ok/all", 5).await;
    assert!(all.iter().any(|r| r.order() == Some(sold)), "operators are told of everybody's");
    tests::until("low stock is told", async || receiver.received("/ok/all").iter().any(|r| r.kind() == "stock.low"))
        .await;
    tests::until("the last state of the stock is told", async || {
        let states = receiver.received("/ok/stock");
        let newest = states.iter().map(Received::json).max_by_key(|e| e["data"]["version"].as_i64());
        newest.is_some_and(|event| event["data"]["onHand"] == 7 && event["data"]["reserved"] == 0)
    })
    .await;
    assert!(receiver.received("/ok/others").is_empty(), "nobody is told of another's orders");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_answers_badly_is_tried_again_or_given_up_and_delays_nobody() {
    let app = start(&[("ONHAND_WEBHOOK_TIMEOUT_MS", "1000")]).await;
    let receiver = Receiver::start().await;
    let paths = [
        "/ok",
        "/fail",
        "/flaky",
        "/patience",
        "/gone",
        "/redirect",
        "/hang",
        "/drip",
        "/huge",
        "/disappear",
        "/nowhere",
    ];
    let mut endpoints = BTreeMap::new();
    for path in paths {
        let base = if path == "/nowhere" { "http://127.0.0.1:1" } else { &receiver.base };
        let made = subscribe(&app.client, &format!("{base}{path}"), &["order.confirmed"]).await;
        endpoints.insert(path, made.id());
    }
    let product = app.product(1_000).await;
    for _ in 0..6 {
        assert_eq!(app.client.order_and_wait(&[(product, 1)]).await.status, 201);
    }
    assert_eq!(receiver.until_received("/ok", 6).await.len(), 6);
    let mut outcomes = BTreeMap::new();
    for (path, endpoint) in &endpoints {
        let items = finished(&app.client, *endpoint).await;
        let statuses: BTreeSet<String> = items.iter().map(|item| item["status"].as_str().unwrap().to_owned()).collect();
        let attempts: BTreeSet<i64> = items.iter().map(|item| item["attempts"].as_i64().unwrap()).collect();
        let last = app.client.get(&format!("/webhooks/deliveries/{}", items[0]["id"].as_str().unwrap())).await.body;
        outcomes.insert(*path, (statuses, attempts, last["attempts"].clone(), items.len()));
    }
    for (path, status, attempts) in [
        ("/ok", "delivered", 1),
        ("/fail", "failed", 4),
        ("/flaky", "delivered", 3),
        ("/patience", "delivered", 2),
        ("/redirect", "failed", 4),
        ("/hang", "failed", 4),
        ("/drip", "delivered", 1),
        ("/huge", "delivered", 1),
        ("/disappear", "failed", 4),
        ("/nowhere", "failed", 4),
    ] {
        let (statuses, tried, _, count) = &outcomes[path];
        assert_eq!((statuses, *count), (&BTreeSet::from([status.to_owned()]), 6), "{path}: {outcomes:?}");
        assert_eq!(*tried, BTreeSet::from([attempts]), "{path}");
    }
    let patient = receiver.received("/patience");
    let first = |id: &str| patient.iter().filter(|r| r.headers["webhook-id"] == id).map(|r| r.at).collect::<Vec<_>>();
    for received in &patient {
        let at = first(&received.headers["webhook-id"]);
        assert!(at[1] - at[0] >= Duration::from_secs(1), "it asked to be left alone for a second: {at:?}");
    }
    let last = |path: &str| outcomes[path].2.as_array().unwrap().last().unwrap().clone();
    assert_eq!((&last("/fail")["status"], &last("/fail")["answer"]), (&json!(500), &json!("it broke.")));
    assert_eq!(last("/huge")["answer"].as_str().unwrap().len(), 1_024, "no more than the first bytes");
    assert_eq!(last("/redirect")["status"], 302);
    assert!(receiver.received("/redirected").is_empty(), "nothing is followed");
    for path in ["/hang", "/disappear", "/nowhere"] {
        assert!(last(path)["status"].is_null() && last(path)["error"].is_string(), "{path}: {:?}", last(path));
    }
    // 410 disables, and what it was still to be told is given up.
    let gone = app.client.get(&format!("/webhooks/endpoints/{}", endpoints["/gone"])).await.body;
    assert_eq!((&gone["enabled"], &gone["disabledFor"]), (&json!(false), &json!("gone")), "{gone}");
    assert_eq!(outcomes["/gone"].0, BTreeSet::from(["failed".to_owned()]));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_fails_for_long_is_disabled_and_can_be_told_all_it_has_missed() {
    let app =
        start(&[("ONHAND_WEBHOOK_FAILING_SECONDS_MAX", "1"), ("ONHAND_WEBHOOK_RETRIES_SECONDS", "0,1,1,1,1,1,1,1")])
            .await;
    let receiver = Receiver::start().await;
    let before = common::clock::now() - Duration::from_secs(60);
    let endpoint = subscribe(&app.client, &format!("{}/fail", receiver.base), &["order.confirmed"]).await.id();
    subscribe(&app.operator, &format!("{}/ok", receiver.base), &["endpoint.disabled"]).await;
    let product = app.product(10).await;
    let order = app.client.order_and_wait(&[(product, 1)]).await.id();
    let told = receiver.until_received("/ok", 1).await.remove(0).json();
    assert_eq!((&told["data"]["endpointId"], &told["data"]["reason"]), (&json!(endpoint), &json!("failing")), "{told}");
    assert_eq!(finished(&app.client, endpoint).await[0]["status"], "failed");

    let path = format!("/webhooks/endpoints/{endpoint}");
    let refused = app.client.post(&format!("{path}/test"), &[], &json!({})).await;
    assert_eq!(refused.body["type"], "/problems/endpoint-disabled");
    // What is decided meanwhile is kept for a replay.
    let missed = app.client.order_and_wait(&[(product, 1)]).await.id();
    tests::until("it is missed", async || finished(&app.client, endpoint).await.len() == 2).await;
    let mended = json!({ "url": format!("{}/ok/mended", receiver.base), "enabled": true });
    assert_eq!(app.client.change(Method::PATCH, &path, Some(mended)).await.body["enabled"], true);
    let since = before.format(&Rfc3339).unwrap();
    let replayed = app.client.post(&format!("{path}/replay"), &[], &json!({ "since": since })).await;
    assert_eq!((replayed.status.as_u16(), &replayed.body["replayed"]), (200, &json!(2)), "{replayed:?}");
    let received = receiver.until_received("/ok/mended", 2).await;
    let told: BTreeSet<Uuid> = received.iter().filter_map(Received::order).collect();
    assert_eq!(told, BTreeSet::from([order, missed]));
    let delivery = finished(&app.client, endpoint).await.remove(0);
    let of_newest = delivery["webhookId"].as_str().unwrap().to_owned();
    let again = format!("/webhooks/deliveries/{}/replay", delivery["id"].as_str().unwrap());
    assert_eq!(app.client.post(&again, &[], &json!({})).await.status, 202);
    let all = receiver.until_received("/ok/mended", 3).await;
    assert_eq!(all[2].headers["webhook-id"], of_newest, "the same message");
    assert_eq!(app.client.post(&format!("{path}/test"), &[], &json!({})).await.status, 202);
    let test = receiver.until_received("/ok/mended", 4).await.remove(3);
    assert_eq!(test.kind(), "test");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_are_checked_and_nobody_sees_anothers() {
    let app = start(&[]).await;
    for (url, types) in [
        ("nowhere", json!(["order.paid"])),
        ("ftp://example.com", json!(["order.paid"])),
        ("https://10.0.0.1/", json!(["order.paid"])),
        ("https://169.254.169.254/latest/meta-data", json!(["order.paid"])),
        ("https://[::ffff:192.168.0.1]/", json!(["order.paid"])),
        ("https://user:pass@example.com/", json!(["order.paid"])),
        ("https://example.com/", json!([])),
        ("https://example.com/", json!(["order.eaten"])),
        ("https://example.com/", json!(["stock.low"])),
        ("https://example.com/", json!(["test"])),
    ] {
        let answer = app.client.post("/webhooks/endpoints", &[], &json!({ "url": url, "eventTypes": types })).await;
        assert_eq!(answer.status, 400, "{url} {types}");
    }
    let strange = subscribe(&app.client, "https://example.com/a\u{0}b", &["order.paid"]).await;
    assert_eq!(strange.body["url"], "https://example.com/a%00b", "as it was understood: {strange:?}");
    assert_eq!(
        app.client.change(Method::DELETE, &format!("/webhooks/endpoints/{}", strange.id()), None).await.status,
        204
    );
    let made = subscribe(&app.client, "https://example.com/hooks", &["order.paid", "order.paid"]).await;
    assert_eq!(made.body["eventTypes"], json!(["order.paid"]));
    let path = format!("/webhooks/endpoints/{}", made.id());
    assert_eq!(app.operator.get(&path).await.status, 200);
    assert_eq!(app.other.get(&path).await.status, 404);
    assert_eq!(app.other.change(Method::PATCH, &path, Some(json!({ "enabled": false }))).await.status, 404);
    for verb in ["rotate-secret", "test"] {
        assert_eq!(app.other.post(&format!("{path}/{verb}"), &[], &json!({})).await.status, 404);
    }
    assert_eq!(app.other.change(Method::DELETE, &path, None).await.status, 404);
    assert_eq!(app.other.get("/webhooks/endpoints").await.body["items"], json!([]));
    let test = app.client.post(&format!("{path}/test"), &[], &json!({})).await;
    let delivery = format!("/webhooks/deliveries/{}", test.id());
    assert_eq!(app.other.get(&delivery).await.status, 404);
    assert_eq!(app.other.post(&format!("{delivery}/replay"), &[], &json!({})).await.status, 404);
    assert_eq!(app.other.get("/webhooks/deliveries").await.body["items"], json!([]));
    assert_eq!(app.client.get("/webhooks/deliveries?status=lost").await.status, 400);
    assert_eq!(app.client.change(Method::DELETE, &path, None).await.status, 204);
    assert_eq!(app.client.get(&delivery).await.status, 404);
    for _ in 0..50 {
        assert_eq!(subscribe(&app.client, "https://example.com/hooks", &["order.paid"]).await.status, 201);
    }
    let more = subscribe(&app.client, "https://example.com/hooks", &["order.paid"]).await;
    assert_eq!(more.body["type"], "/problems/too-many-endpoints");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_to_a_network_that_is_not_public_whatever_its_name() {
    let settings = vec![("ONHAND_WEBHOOK_RETRIES_SECONDS", "0".to_owned())];
    let app = TestApp::with(Wanted { consumers: 1, settings, ..Wanted::default() }).await;
    let receiver = Receiver::start().await;
    let port = receiver.base.rsplit(':').next().unwrap();
    assert_eq!(subscribe(&app.client, &format!("{}/ok", receiver.base), &["order.paid"]).await.status, 400);
    let named = subscribe(&app.client, &format!("https://localhost:{port}/ok"), &["order.paid"]).await;
    assert_eq!(named.status, 201, "of a name nobody knows yet where it leads");
    app.client.post(&format!("/webhooks/endpoints/{}/test", named.id()), &[], &json!({})).await;
    let failed = finished(&app.client, named.id()).await.remove(0);
    let shown = app.client.get(&format!("/webhooks/deliveries/{}", failed["id"].as_str().unwrap())).await.body;
    let error = shown["attempts"][0]["error"].as_str().unwrap();
    assert!(error.contains("none of its addresses may be sent to"), "{error}");
    assert!(receiver.received("/").is_empty());
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_killed_while_telling_everything_is_delivered() {
    const ORDERS: usize = 150;
    let settings = [
        ("ONHAND_WEBHOOK_NETWORKS", "127.0.0.0/8"),
        ("ONHAND_WEBHOOK_RETRIES_SECONDS", "0,1,1,1,1,1"),
        ("ONHAND_WEBHOOK_TIMEOUT_MS", "1000"),
    ];
    let settings = settings.map(|(name, value)| (name, value.to_owned())).to_vec();
    let app = TestApp::with(Wanted { consumers: 0, settings, ..Wanted::default() }).await;
    let receiver = Receiver::start().await;
    let mut endpoints = Vec::new();
    for path in ["/ok", "/flaky"] {
        endpoints.push(subscribe(&app.client, &format!("{}{path}", receiver.base), &["order.confirmed"]).await.id());
    }
    let mut consumer = Process::start(&["consumer"], &app.settings);
    let product = app.product(1_000).await;
    let one = [(product, 1)];
    let mut orders = BTreeSet::new();
    for round in 1..=3 {
        let placed = join_all((0..ORDERS / 3).map(|_| app.client.order_and_wait(&one))).await;
        orders.extend(placed.iter().map(Answer::id));
        receiver.until_received("/flaky", round * 10).await;
        consumer.kill().await;
        consumer = Process::start(&["consumer"], &app.settings);
    }
    for (endpoint, path) in endpoints.iter().zip(["/ok", "/flaky"]) {
        let told = || receiver.received(path).iter().filter_map(Received::order).collect::<BTreeSet<Uuid>>();
        tests::until("every order is told", async || told() == orders).await;
        let delivered = format!("/webhooks/deliveries?endpointId={endpoint}&status=delivered&limit=100");
        let pending = format!("/webhooks/deliveries?endpointId={endpoint}&status=pending");
        tests::until("nothing is left to be sent", async || {
            app.client.get(&pending).await.body["items"].as_array().unwrap().is_empty()
        })
        .await;
        let first = app.client.get(&delivered).await.body;
        let cursor = first["nextCursor"].as_str().unwrap().to_owned();
        let second = app.client.get(&format!("{delivered}&cursor={cursor}")).await.body;
        let count = |page: &Value| page["items"].as_array().unwrap().len();
        assert_eq!(count(&first) + count(&second), ORDERS, "each is one delivery, however often it was sent");
    }
    drop(consumer);
    app.finish().await;
}

/// How many, and after what time. More of them with `ONHAND_TEST_WEBHOOKS`.
#[tokio::test(flavor = "multi_thread")]
async fn one_fast_endpoint_and_a_hundred_are_told_of_every_order() {
    let orders: usize = std::env::var("ONHAND_TEST_WEBHOOKS").ok().and_then(|n| n.parse().ok()).unwrap_or(100);
    let app = start(&[]).await;
    let receiver = Receiver::start().await;
    let product = app.product(1_000_000).await;
    let one = [(product, 1)];
    for (path, endpoints, orders) in [("/ok/one", 1, orders), ("/ok/hundred", 100, orders.div_ceil(20))] {
        for n in 0..endpoints {
            let client = if n < 50 { &app.client } else { &app.operator };
            let made = subscribe(client, &format!("{}{path}/{n}", receiver.base), &["order.confirmed"]).await;
            assert_eq!(made.status, 201);
            if path == "/ok/hundred" && n == 0 {
                // The first one has had its turn.
                let first = app.client.get("/webhooks/endpoints?limit=1").await.body["items"][0]["id"].clone();
                let first = format!("/webhooks/endpoints/{}", first.as_str().unwrap());
                assert_eq!(app.client.change(Method::DELETE, &first, None).await.status, 204);
            }
        }
        let began = Instant::now();
        for _ in 0..orders.div_ceil(50) {
            let placed = join_all((0..orders.min(50)).map(|_| app.client.order_and_wait(&one))).await;
            assert!(placed.iter().all(|order| order.status == 201));
        }
        let placed = orders.div_ceil(50) * orders.min(50);
        let received = receiver.until_received(path, placed * endpoints).await;
        let took = began.elapsed().as_secs_f64();
        let mut delays: Vec<f64> = received
            .iter()
            .map(|r| {
                let decided = r.json()["timestamp"].as_str().unwrap().to_owned();
                (r.at - OffsetDateTime::parse(&decided, &Rfc3339).unwrap()).as_seconds_f64()
            })
            .collect();
        delays.sort_by(f64::total_cmp);
        let at = |part: usize| delays[(delays.len() - 1) * part / 100] * 1_000.0;
        let told = received.len();
        tests::tell(&format!(
            "{endpoints} endpoints: {told} deliveries, {:.0} a second with the orders; from decision to delivery {:.0} ms, p99 {:.0} ms",
            f64::from(u32::try_from(told).unwrap()) / took,
            at(50),
            at(99)
        ));
    }
    app.finish().await;
}

/// A receiver in Python that verifies with the published library; it answers 400 where that finds fault.
async fn python(secrets: &[&str]) -> (tokio::process::Child, u16) {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("receivers/verify.py");
    let mut child =
        Command::new("python3").arg(script).args(secrets).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut port = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).await.unwrap();
    (child, port.trim().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_library_of_another_language_verifies_what_is_sent_also_while_a_secret_is_rotated() {
    let app = start(&[("ONHAND_WEBHOOK_RETRIES_SECONDS", "0")]).await;
    let placeholder = "http://127.0.0.1:1/";
    let made = subscribe(&app.client, placeholder, &["order.confirmed"]).await;
    let path = format!("/webhooks/endpoints/{}", made.id());
    let first = made.body["secret"].as_str().unwrap().to_owned();
    let send_to = async |secret: &str| -> String {
        let (_child, port) = python(&[secret]).await;
        let url = json!({ "url": format!("http://127.0.0.1:{port}/"), "enabled": true });
        assert_eq!(app.client.change(Method::PATCH, &path, Some(url)).await.status, 200);
        let test = app.client.post(&format!("{path}/test"), &[], &json!({})).await.id();
        let mut status = String::new();
        tests::until("it is finished", async || {
            let shown = app.client.get(&format!("/webhooks/deliveries/{test}")).await.body;
            status = shown["status"].as_str().unwrap().to_owned();
            status != "pending"
        })
        .await;
        status
    };
    assert_eq!(send_to(&first).await, "delivered");
    assert_eq!(send_to("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").await, "failed", "it does verify");
    let rotated = app.client.post(&format!("{path}/rotate-secret"), &[], &json!({})).await;
    let second = rotated.body["secret"].as_str().unwrap().to_owned();
    assert_eq!((send_to(&first).await, send_to(&second).await), ("delivered".to_owned(), "delivered".to_owned()));
    let body = json!({ "overlapSeconds": 0 });
    let third = app.client.post(&format!("{path}/rotate-secret"), &[], &body).await.body["secret"].clone();
    assert_eq!(
        (send_to(&second).await.as_str(), send_to(third.as_str().unwrap()).await.as_str()),
        ("failed", "delivered")
    );
    app.finish().await;
}
