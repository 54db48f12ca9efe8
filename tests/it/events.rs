//! Events for services inside: what is published at the broker is what was decided, and as it is described.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use common::event::EventType;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Value, json};
use tests::app::{TestApp, Wanted};
use tests::http::Answer;
use tests::process::Process;
use tests::raw::{message, order};
use uuid::Uuid;

/// Settings under which events are published.
fn publishing(kinds: &str) -> Vec<(&'static str, String)> {
    vec![("ONHAND_EVENTS", kinds.to_owned())]
}

/// What is decided before somebody publishes for the first time is not published.
async fn until_published(app: &TestApp) {
    let mut database = app.database().await;
    tests::until("somebody publishes", async || app.cursors(&mut database, "broker").await > 0).await;
}

/// A queue of events.
struct Bound {
    consumer: lapin::Consumer,
    /// lapin closes a channel that nobody holds.
    _channel: lapin::Channel,
}

/// A queue that is bound for what a pattern names.
async fn bind(app: &TestApp, pattern: &str) -> Bound {
    declare(app, pattern, FieldTable::default()).await.consumed().await
}

/// A queue that nobody takes anything of.
struct Full {
    channel: lapin::Channel,
    name: lapin::types::ShortString,
}

async fn declare(app: &TestApp, pattern: &str, arguments: FieldTable) -> Full {
    let channel = app.broker().await.create_channel().await.unwrap();
    let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    let queue = channel.queue_declare("".into(), options, arguments).await.unwrap();
    let (name, exchange) = (queue.name().clone(), app.topology.events_exchange());
    let bound = channel.queue_bind(
        name.clone(),
        exchange.as_str().into(),
        pattern.into(),
        QueueBindOptions::default(),
        FieldTable::default(),
    );
    bound.await.unwrap();
    Full { channel, name }
}

impl Full {
    async fn consumed(self) -> Bound {
        let Self { channel, name } = self;
        let consuming = channel.basic_consume(name, "".into(), BasicConsumeOptions::default(), FieldTable::default());
        Bound { consumer: consuming.await.unwrap(), _channel: channel }
    }
}

impl Bound {
    /// Receives until what was received is enough.
    async fn until(&mut self, enough: impl Fn(&[Delivery]) -> bool) -> Vec<Delivery> {
        let mut received = Vec::new();
        while !enough(&received) {
            let next = tokio::time::timeout(tests::PATIENCE, self.consumer.next()).await;
            let Ok(Some(delivery)) = next else { panic!("no more is published after {received:?}") };
            let delivery = delivery.unwrap();
            delivery.ack(BasicAckOptions::default()).await.unwrap();
            received.push(delivery);
        }
        received
    }
}

fn body(delivery: &Delivery) -> Value {
    serde_json::from_slice(&delivery.data).unwrap()
}

/// What is told of which order.
fn of_order(delivery: &Delivery) -> Option<(String, Uuid)> {
    Some((delivery.routing_key.to_string(), body(delivery)["data"]["id"].as_str()?.parse().unwrap()))
}

fn orders_told(received: &[Delivery]) -> BTreeSet<(String, Uuid)> {
    received.iter().filter_map(of_order).collect()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn description() -> Value {
    serde_saphyr::from_str(&read("../docs/asyncapi.yaml")).unwrap()
}

#[test]
fn the_description_is_asyncapi_and_names_every_type_that_is_published() {
    let description = description();
    let schema: Value = serde_json::from_str(&read("schemas/asyncapi-3.0.0.json")).unwrap();
    let valid = jsonschema::options().with_draft(jsonschema::Draft::Draft7).build(&schema).unwrap();
    let mistakes: Vec<String> = valid.iter_errors(&description).map(|error| error.to_string()).collect();
    assert!(mistakes.is_empty(), "{mistakes:#?}");
    let mut broken = description.clone();
    broken["channels"]["orderPaid"]["address"] = json!(7);
    assert!(!valid.is_valid(&broken), "it does look");

    let channels = description["channels"].as_object().unwrap();
    let addresses: BTreeSet<&str> = channels.values().map(|channel| channel["address"].as_str().unwrap()).collect();
    assert_eq!(addresses, EventType::published().map(EventType::as_str).collect());
    let sent = description["operations"].as_object().unwrap().values();
    let sent: BTreeSet<&str> = sent.map(|operation| operation["channel"]["$ref"].as_str().unwrap()).collect();
    assert_eq!(sent.len(), channels.len(), "one operation each");
}

/// What is wrong with a published message, by its description.
fn mistakes(description: &Value, delivery: &Delivery) -> Vec<String> {
    let channels = description["channels"].as_object().unwrap();
    let channel = channels.values().find(|channel| channel["address"] == delivery.routing_key.as_str()).unwrap();
    let name = channel["messages"]["event"]["$ref"].as_str().unwrap().rsplit('/').next().unwrap();
    let body = body(delivery);
    let schema = |of: &str| {
        let mut schema = json!({ "$ref": format!("#/components/schemas/{of}") });
        schema["components"] = description["components"].clone();
        jsonschema::options().should_validate_formats(true).build(&schema).unwrap()
    };
    let headers: BTreeMap<String, Value> = delivery.properties.headers().iter().flatten().map(header).collect();
    let mut mistakes: Vec<String> = schema(name).iter_errors(&body).map(|error| error.to_string()).collect();
    mistakes.extend(schema("headers").iter_errors(&json!(headers)).map(|error| error.to_string()));
    let described = &description["components"]["schemas"][name]["properties"]["data"]["properties"];
    let undescribed = body["data"].as_object().unwrap().keys().filter(|key| described[key.as_str()].is_null());
    mistakes.extend(undescribed.map(|key| format!("{key} is not described")));
    mistakes
}

fn header((name, value): (&lapin::types::ShortString, &AMQPValue)) -> (String, Value) {
    let AMQPValue::LongString(text) = value else { panic!("{name} is no text: {value:?}") };
    (name.to_string(), json!(text.to_string()))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_of_orders_and_stock_is_published_in_order_and_as_described() {
    let app = TestApp::with(Wanted { consumers: 2, settings: publishing("*"), ..Wanted::default() }).await;
    let (mut all, mut paid) = (bind(&app, "#").await, bind(&app, "*.paid").await);
    until_published(&app).await;
    let expected = tests::lives::live(&app).await;
    let failed = Uuid::new_v4();
    app.publish(0, &message(&[order(failed, Uuid::new_v4(), Uuid::new_v4(), -1, "c")])).await;
    let expected: BTreeSet<_> = expected.into_iter().chain([("order.failed".to_owned(), failed)]).collect();
    let received = all
        .until(|received| {
            let last = |delivery: &Delivery| {
                let data = &body(delivery)["data"];
                (&data["onHand"], &data["reserved"]) == (&json!(7), &json!(0))
            };
            orders_told(received).is_superset(&expected) && received.iter().any(last)
        })
        .await;
    assert_eq!(orders_told(&received), expected);
    let description = description();
    for delivery in &received {
        assert_eq!(mistakes(&description, delivery), Vec::<String>::new(), "{}", body(delivery));
        let (properties, kind) = (&delivery.properties, delivery.routing_key.as_str());
        assert_eq!(properties.kind().as_ref().map(|kind| kind.as_str()), Some(kind));
        assert_eq!((body(delivery)["type"].as_str(), properties.delivery_mode()), (Some(kind), &Some(2)));
        if let Some((_, id)) = of_order(delivery) {
            let (_, trace) = header(properties.headers().as_ref().unwrap().inner().iter().next().unwrap());
            assert!(trace.as_str().unwrap().starts_with(&format!("00-{}-", id.simple())), "{trace}");
        }
    }
    let of_orders = first_of_each(&received).into_iter().filter_map(of_order).count();
    assert_eq!(of_orders, expected.len(), "each under one id");
    let kinds: BTreeSet<&str> = received.iter().map(|delivery| delivery.routing_key.as_str()).collect();
    assert_eq!(kinds, EventType::published().map(EventType::as_str).collect(), "every type was seen");
    assert_in_order(&first_of_each(&received));
    let paid = paid.until(|received| !received.is_empty()).await;
    assert_eq!(paid[0].routing_key.as_str(), "order.paid", "who binds for some is told of those");
    app.finish_with_dead_letters(1).await;
}

/// Each event once, as it came first.
fn first_of_each(received: &[Delivery]) -> Vec<&Delivery> {
    let mut seen = BTreeSet::new();
    received.iter().filter(|delivery| seen.insert(delivery.properties.message_id().clone().unwrap())).collect()
}

/// Of each partition in the order of its decisions.
fn assert_in_order(received: &[&Delivery]) {
    let mut last = BTreeMap::new();
    for delivery in received {
        let data = body(delivery)["data"].clone();
        if let (Some(partition), Some(sequence)) = (data["partition"].as_i64(), data["sequence"].as_i64()) {
            let before = last.insert(partition, sequence).unwrap_or(0);
            assert!(before <= sequence, "partition {partition}: {sequence} after {before}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_killed_while_publishing_every_decision_is_published_under_one_id() {
    const ROUNDS: usize = 4;
    const ORDERS: usize = 100;
    let settings = publishing("order.confirmed");
    let app = TestApp::with(Wanted { consumers: 0, settings, ..Wanted::default() }).await;
    let mut bound = bind(&app, "order.*").await;
    let mut consumer = Process::start(&["consumer"], &app.settings);
    let product = app.product(100_000).await;
    until_published(&app).await;
    let (one, mut orders) = ([(product, 1)], BTreeSet::new());
    let mut received = Vec::new();
    for _ in 0..ROUNDS {
        let placed = join_all((0..ORDERS).map(|_| app.client.order_and_wait(&one)));
        let (placed, ()) = tokio::join!(placed, async {
            // Killed in the middle of it.
            received.extend(bound.until(|received| received.len() > ORDERS / 4).await);
            consumer.kill().await;
            consumer = Process::start(&["consumer"], &app.settings);
        });
        orders.extend(placed.iter().map(Answer::id));
    }
    let expected: BTreeSet<_> = orders.iter().map(|id| ("order.confirmed".to_owned(), *id)).collect();
    let before = orders_told(&received);
    received.extend(bound.until(|more| before.union(&orders_told(more)).count() >= expected.len()).await);
    assert_eq!(orders_told(&received), expected, "every decision, and nothing else");
    let ids: BTreeSet<_> = received.iter().map(|delivery| delivery.properties.message_id().clone().unwrap()).collect();
    assert_eq!(ids.len(), expected.len(), "published again under the same id");
    drop(consumer);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_refuses_holds_events_up_and_neither_loses_them_nor_has_them_fill_the_others() {
    const ORDERS: usize = 60;
    let settings = publishing("order.confirmed");
    let app = TestApp::with(Wanted { consumers: 0, settings, ..Wanted::default() }).await;
    let mut refusing = FieldTable::default();
    refusing.insert("x-max-length".into(), AMQPValue::LongLongInt(1));
    refusing.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    let (full, mut other) = (declare(&app, "order.*", refusing).await, bind(&app, "order.*").await);
    let mut consumer = Process::start(&["consumer"], &app.settings);
    let product = app.product(100_000).await;
    until_published(&app).await;
    let one = [(product, 1)];
    let placed = join_all((0..ORDERS).map(|_| app.client.order_and_wait(&one))).await;
    let expected: BTreeSet<_> = placed.iter().map(|answer| ("order.confirmed".to_owned(), answer.id())).collect();
    // Whatever is tried, only what is tried first is tried again and again.
    let mut received = other.until(|received| first_of_each(received).len() < received.len()).await;
    consumer.kill().await;
    consumer = Process::start(&["consumer"], &app.settings);
    let mut full = full.consumed().await;
    let late = full.until(|late| orders_told(late).len() == ORDERS).await;
    assert_eq!(orders_told(&late), expected, "once it takes them it gets them all");
    let before = orders_told(&received);
    received.extend(other.until(|more| before.union(&orders_told(more)).count() == ORDERS).await);
    assert_eq!(orders_told(&received), expected);
    drop(consumer);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_once_more_is_published_once_more_and_what_failed_before_anybody_published_is_not() {
    let app = TestApp::with(Wanted { consumers: 1, ..Wanted::default() }).await;
    // It can be read, and never be saved: PostgreSQL's text can't hold it.
    let poison = |id| message(&[order(id, Uuid::new_v4(), Uuid::new_v4(), 1, "\0")]);
    let (early, failed) = (Uuid::new_v4(), Uuid::new_v4());
    let mut database = app.database().await;
    let letters = async |database: &mut sqlx::PgConnection, count: i64| {
        tests::until("it is put aside", async || {
            let waiting = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM dead_letters WHERE state = 'waiting'");
            waiting.fetch_one(&mut *database).await.unwrap() == count
        })
        .await;
    };
    app.publish(0, &poison(early)).await;
    letters(&mut database, 1).await;
    let mut bound = bind(&app, "order.failed").await;
    let settings: Vec<_> = app.settings.iter().cloned().chain(publishing("order.failed")).collect();
    let consumer = Process::start(&["consumer"], &settings);
    until_published(&app).await;
    app.publish(0, &poison(failed)).await;
    letters(&mut database, 2).await;
    let first = bound.until(|received| !received.is_empty()).await;
    let (status, told) = tests::process::output(&["consumer", "dead-letters", "requeue", "--all"], &app.settings).await;
    assert!(status.success(), "{told}");
    // Both fail again.
    let more = bound
        .until(|more| {
            first_of_each(more).iter().filter(|delivery| of_order(delivery).unwrap().1 == failed).count() >= 1
        })
        .await;
    let ids: BTreeSet<_> = first
        .iter()
        .chain(&more)
        .filter(|delivery| of_order(delivery).unwrap().1 == failed)
        .map(|delivery| delivery.properties.message_id().clone().unwrap())
        .collect();
    assert!(orders_told(&first).iter().all(|(_, id)| *id == failed), "{:?}", orders_told(&first));
    assert_eq!(ids.len(), 2, "another failure is another event");
    letters(&mut database, 2).await;
    drop(consumer);
    app.finish_with_dead_letters(2).await;
}
