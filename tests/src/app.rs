//! The system of one test: a database and queues of its own, an api and consumers in this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use common::db::accounts::{self, Role};
use common::db::{self, PgConnection};
use common::queue::{Link, Topology};
use common::steps::Steps;
use serde_json::json;
use sqlx::Connection as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::http::Client;
use crate::proxy::{Proxy, host_and_port, through};
use crate::shared::{Shared, servers};

/// Few, so that a test's products share them, and more than one, so that orders span them.
const PARTITIONS: u16 = 4;

/// A killed consumer is taken for dead after this.
const LEASE: Duration = Duration::from_secs(3);

/// Ids in one question to the database.
const IDS_MAX: usize = 10_000;

/// How often consumers may be stopped with messages unacknowledged.
const DRAINS_MAX: u32 = 5;

/// What a test wants of its system.
#[derive(Default)]
pub struct Wanted {
    /// Consumers in this process.
    pub consumers: usize,
    /// Whether the programs of this process reach both servers through proxies that can be cut.
    pub proxies: bool,
    /// Brokers of the test's own instead of the shared one: one or several addresses, separated by commas.
    pub amqp_url: Option<String>,
    /// More settings of the api and the consumers.
    pub settings: Vec<(&'static str, String)>,
}

/// The system of one test.
pub struct TestApp {
    /// Of an ordinary client.
    pub client: Client,
    /// Of another client.
    pub other: Client,
    pub operator: Client,
    pub base: String,
    /// Where the servers are, as the programs' environment has it.
    pub settings: Vec<(&'static str, String)>,
    /// The same past any proxy.
    pub direct: Vec<(&'static str, String)>,
    pub topology: Arc<Topology>,
    /// To the database and the broker, where they were wanted.
    pub proxies: Option<(Proxy, Proxy)>,
    database_url: String,
    link: Link,
    running: JoinSet<()>,
    stop_consumers: CancellationToken,
    stop: CancellationToken,
}

pub const CLIENT_KEY: &str = "client-key";
pub const OTHER_KEY: &str = "other-key";
pub const OPERATOR_KEY: &str = "operator-key";

impl TestApp {
    /// An api and two consumers.
    pub async fn start() -> Self {
        Self::with(Wanted { consumers: 2, ..Wanted::default() }).await
    }

    pub async fn with(wanted: Wanted) -> Self {
        static TESTS: AtomicU32 = AtomicU32::new(0);
        common::telemetry::init(false);
        let shared = servers().await;
        let name = format!("t{}", TESTS.fetch_add(1, Ordering::SeqCst));
        let database_url = create_database(shared, &name).await;
        let settings = vec![
            ("DATABASE_URL", database_url.clone()),
            ("AMQP_URL", wanted.amqp_url.unwrap_or_else(|| shared.amqp_url.clone())),
            ("ONHAND_QUEUE_PREFIX", format!("{name}-{}", std::process::id())),
            ("ONHAND_PARTITIONS", PARTITIONS.to_string()),
            ("ONHAND_LEASE_MS", LEASE.as_millis().to_string()),
            ("ONHAND_LEASE_RENEW_MS", "200".to_owned()),
            ("ONHAND_KEYS_REFRESH_MS", "200".to_owned()),
        ];
        let settings: Vec<_> = settings.into_iter().chain(wanted.settings).collect();
        prepare(&database_url).await;
        let (api_settings, proxies) =
            if wanted.proxies { through_proxies(&settings).await } else { (settings.clone(), None) };
        let stop = CancellationToken::new();
        let servers = read_servers(&settings);
        let topology = Arc::new(Topology::new(&servers.queues, PARTITIONS));
        let link = Link::open(&servers.amqp_urls, name, Arc::clone(&topology), stop.clone()).unwrap();
        let mut app = Self {
            client: Client::new(String::new(), CLIENT_KEY),
            other: Client::new(String::new(), OTHER_KEY),
            operator: Client::new(String::new(), OPERATOR_KEY),
            base: String::new(),
            settings: api_settings,
            direct: settings,
            topology,
            proxies,
            database_url,
            link,
            running: JoinSet::new(),
            stop_consumers: CancellationToken::new(),
            stop,
        };
        app.base = app.start_api().await;
        app.client = app.client_with(CLIENT_KEY);
        app.other = app.client_with(OTHER_KEY);
        app.operator = app.client_with(OPERATOR_KEY);
        for _ in 0..wanted.consumers {
            app.start_consumer(Steps::none());
        }
        app.until_ready().await;
        app
    }

    /// Starts one more api; answers with its address.
    pub async fn start_api(&mut self) -> String {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let config = api::Config::read(&lookup(&self.settings)).unwrap();
        let stop = self.stop.clone();
        self.running.spawn(async move {
            match api::run(config, listener, Steps::none(), stop).await {
                Ok(()) | Err(api::Error::Resized { .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
        });
        base
    }

    /// Waits until the api has ended by itself, and starts another one in its place.
    pub async fn restart_api(&mut self) {
        let client = self.client.clone();
        crate::until("the api has ended", async || {
            client.send(reqwest::Method::GET, "/livez", &[], None).await.is_err()
        })
        .await;
        self.base = self.start_api().await;
        self.client = self.client_with(CLIENT_KEY);
        self.other = self.client_with(OTHER_KEY);
        self.operator = self.client_with(OPERATOR_KEY);
    }

    /// The settings of one more consumer, with its name.
    #[must_use]
    pub fn named(&self, name: &str) -> Vec<(&'static str, String)> {
        self.settings.iter().cloned().chain([("ONHAND_CONSUMER_NAME", name.to_owned())]).collect()
    }

    /// Starts one more consumer in this process.
    pub fn start_consumer(&mut self, steps: Steps) {
        let config = consumer::Config::read(&lookup(&self.settings)).unwrap();
        let stop = self.stop_consumers.clone();
        self.running.spawn(async move { consumer::run(config, steps, stop).await.unwrap() });
    }

    /// Stops every consumer of this process and waits until they have let go.
    pub async fn stop_consumers(&mut self) {
        std::mem::take(&mut self.stop_consumers).cancel();
        let mut connection = self.database().await;
        crate::until("the partitions are free", async || {
            let snapshot = db::partitions::snapshot(&mut connection, LEASE).await.unwrap();
            snapshot.live.is_empty()
        })
        .await;
    }

    #[must_use]
    pub fn client_with(&self, key: &str) -> Client {
        Client::new(self.base.clone(), key)
    }

    /// Waits until this many consumers hold partitions, each its fair share.
    pub async fn until_owners(&self, consumers: usize) {
        let mut connection = self.database().await;
        crate::until("the partitions are shared out", async || {
            let snapshot = db::partitions::snapshot(&mut connection, LEASE).await.unwrap();
            let mut shares = std::collections::BTreeMap::new();
            for held in snapshot.partitions.values() {
                *shares.entry(format!("{held:?}")).or_insert(0) += 1;
            }
            let (least, most) = (shares.values().min(), shares.values().max());
            shares.len() == consumers
                && !shares.contains_key("Free")
                && most.zip(least).is_some_and(|(m, l)| m - l <= 1)
        })
        .await;
    }

    pub async fn until_ready(&self) {
        crate::until("the api is ready", async || self.client.get("/readyz").await.status == 200).await;
    }

    /// A product with some stock, that can be ordered.
    pub async fn product(&self, stock: i64) -> Uuid {
        self.product_at(stock, json!({ "amount": 1000, "currency": "EUR" })).await
    }

    pub async fn product_at(&self, stock: i64, price: serde_json::Value) -> Uuid {
        let sku = Uuid::new_v4().to_string();
        let body = json!({ "name": "Product", "sku": sku, "price": price, "stock": stock });
        // A disk may be so slow that the broker does not confirm in time: asked again under the same key, it is one product.
        let headers = [("prefer", "wait=30"), ("idempotency-key", sku.as_str())];
        let mut answer = self.operator.post("/products", &headers, &body).await;
        crate::until("the product is created", async || {
            if answer.status == 503 {
                answer = self.operator.post("/products", &headers, &body).await;
            }
            answer.status != 503
        })
        .await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.id()
    }

    /// A connection to the test's database, past any proxy.
    pub async fn database(&self) -> PgConnection {
        PgConnection::connect(&self.database_url).await.unwrap()
    }

    /// Puts the store's time so far ahead of the clock: what was reserved before for less is due. Later calls must be for more:
    /// time does not go back.
    pub async fn pass(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let ahead = format!(
            "CREATE OR REPLACE FUNCTION business_time() RETURNS timestamptz LANGUAGE sql VOLATILE
             AS 'SELECT clock_timestamp() + interval ''{seconds} seconds'''"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(ahead)).execute(&mut self.database().await).await.unwrap();
    }

    /// One more warehouse, in the zone of the first.
    pub async fn warehouse(&self, code: &str) -> Uuid {
        self.warehouse_in(code, 1).await
    }

    /// One more warehouse.
    pub async fn warehouse_in(&self, code: &str, zone: u16) -> Uuid {
        let body = json!({ "code": code, "name": code, "zone": zone });
        let answer = self.operator.post("/warehouses", &[], &body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.id()
    }

    /// A variant of a product, with stock in the default warehouse.
    pub async fn variant(&self, product: Uuid, size: &str, stock: i64) -> Uuid {
        let sku = Uuid::new_v4().to_string();
        let body = json!({ "sku": sku, "options": { "size": size }, "stock": stock });
        let headers = [("prefer", "wait=30"), ("idempotency-key", sku.as_str())];
        let answer = self.operator.post(&format!("/products/{product}/variants"), &headers, &body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.id()
    }

    /// Puts stock of a product into a warehouse.
    pub async fn restore(&self, product: Uuid, warehouse: Uuid, quantity: i64) {
        let body = json!({ "productId": product, "warehouseId": warehouse, "qty": quantity });
        let answer = self.operator.post("/stock/restore", &[("prefer", "wait=30")], &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// Makes the test's database refuse every write, or take them again, on all connections.
    pub async fn set_read_only(&self, connection: &mut PgConnection, read_only: bool) {
        let (_, name) = self.database_url.rsplit_once('/').unwrap();
        let alter = format!(
            "SET default_transaction_read_only = off;
             ALTER DATABASE {name} SET default_transaction_read_only = {read_only};
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' AND pid <> pg_backend_pid()"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(alter)).execute(connection).await.unwrap();
    }

    /// Orders that are decided.
    pub async fn orders(&self, connection: &mut PgConnection) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM orders").fetch_one(connection).await.unwrap()
    }

    /// Of these orders, those that are decided.
    pub async fn decided(&self, connection: &mut PgConnection, ids: &[Uuid]) -> usize {
        let mut decided = 0;
        for ids in ids.chunks(IDS_MAX) {
            let count = sqlx::query_scalar("SELECT count(*) FROM orders WHERE id = ANY($1)");
            let count: i64 = count.bind(ids).fetch_one(&mut *connection).await.unwrap();
            decided += usize::try_from(count).unwrap();
        }
        decided
    }

    /// Decisions of each partition so far, of orders and of everything else: cheap to ask for, however many they are.
    pub async fn decisions(&self, connection: &mut PgConnection) -> Vec<u64> {
        let decisions = "SELECT sequence FROM partitions ORDER BY partition";
        let decisions: Vec<i64> = sqlx::query_scalar(decisions).fetch_all(connection).await.unwrap();
        decisions.into_iter().map(|sequence| u64::try_from(sequence).unwrap()).collect()
    }

    /// Cursors in the decision log that one of its readers has.
    pub async fn cursors(&self, connection: &mut PgConnection, reader: &str) -> i64 {
        let cursors = sqlx::query_scalar("SELECT count(*) FROM log_cursors WHERE reader = $1");
        cursors.bind(reader).fetch_one(connection).await.unwrap()
    }

    /// Transactions of the test's database that were rolled back.
    pub async fn rollbacks(&self, connection: &mut PgConnection) -> i64 {
        let rollbacks = "SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()";
        sqlx::query_scalar(rollbacks).fetch_one(connection).await.unwrap()
    }

    /// The test's own connection to the broker, past any proxy.
    pub async fn broker(&self) -> Arc<lapin::Connection> {
        self.link.clone().connected().await
    }

    /// Messages that wait in a queue.
    pub async fn waiting(&self, queue: &str) -> u32 {
        let connection = self.broker().await;
        Topology::depth(&connection, queue).await.unwrap().map_or(0, |depth| depth.messages)
    }

    /// Publishes anything to a partition's queue, past the api.
    pub async fn publish(&self, partition: u16, payload: &[u8]) {
        self.publish_to(&self.topology.commands_exchange(), &partition.to_string(), payload).await;
    }

    /// Publishes anything to any exchange.
    pub async fn publish_to(&self, exchange: &str, key: &str, payload: &[u8]) {
        let connection = self.broker().await;
        let channel = connection.create_channel().await.unwrap();
        channel
            .basic_publish(
                exchange.into(),
                key.into(),
                lapin::options::BasicPublishOptions::default(),
                payload,
                lapin::BasicProperties::default(),
            )
            .await
            .unwrap();
        channel.close(200, "done".into()).await.unwrap();
    }

    /// Waits until nothing is left in the queues, and stops the consumers. What one holds unacknowledged, or a dead one
    /// held a moment ago, is not counted as waiting: so it is counted when all have stopped.
    pub async fn drain(&mut self) {
        for _ in 0..DRAINS_MAX {
            crate::until("the queues are drained", async || self.undecided().await == 0).await;
            self.stop_consumers().await;
            if self.undecided().await == 0 {
                return;
            }
            self.start_consumer(Steps::none());
        }
        panic!("messages come back again and again");
    }

    /// Everything accepted is decided, every invariant holds, the queues are drained; then all is stopped and deleted.
    pub async fn finish(self) {
        self.finish_with_dead_letters(0).await;
    }

    pub async fn finish_with_dead_letters(mut self, dead_letters: i64) {
        self.drain().await;
        assert_eq!(self.waiting(&self.topology.dead_letters()).await, 0, "given up by the broker");
        assert_eq!(self.waiting(&self.topology.unroutable()).await, 0, "unroutable");
        let mut connection = self.database().await;
        assert_eq!(db::dead_letters::count(&mut connection).await.unwrap(), dead_letters, "dead letters");
        self.verify(&mut connection).await;
        let broker = self.broker().await;
        self.topology.delete(&broker).await.unwrap();
        self.stop.cancel();
        while let Some(ended) = self.running.join_next().await {
            ended.unwrap();
        }
    }
}

impl TestApp {
    /// Every numbered invariant that the database shows, and every log decided again.
    async fn verify(&self, connection: &mut PgConnection) {
        let mut snapshot = db::begin_snapshot(connection).await.unwrap();
        let findings = db::verify::verify(&mut snapshot).await.unwrap();
        let broken: Vec<_> = findings.iter().filter(|finding| finding.rows > 0).collect();
        assert!(broken.is_empty(), "{broken:#?}");
        for partition in 0..db::setup::partitions_ever(&mut snapshot).await.unwrap() {
            let replay = consumer::replay::replay(&mut snapshot, partition).await.unwrap();
            assert_eq!(replay.differences, 0, "{replay:#?}");
        }
    }

    async fn undecided(&self) -> u32 {
        let mut waiting = 0;
        let partitions = db::setup::partitions_ever(&mut self.database().await).await.unwrap();
        for partition in 0..partitions {
            waiting += self.waiting(&self.topology.commands_queue(partition)).await;
        }
        waiting
    }
}

/// Looks a test's settings up as the programs look theirs up in the environment.
pub fn lookup<'a>(settings: &'a [(&'static str, String)]) -> impl Fn(&str) -> Option<String> + 'a {
    |name| settings.iter().rev().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
}

fn read_servers(settings: &[(&'static str, String)]) -> common::config::Servers {
    let lookup = lookup(settings);
    common::config::Servers::read(&mut common::config::Reader::new(&lookup))
}

async fn create_database(shared: &Shared, name: &str) -> String {
    let mut connection = PgConnection::connect(&shared.database_url).await.unwrap();
    let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
    sqlx::query(create).execute(&mut connection).await.unwrap();
    let (head, _) = shared.database_url.rsplit_once('/').unwrap();
    format!("{head}/{name}")
}

async fn prepare(database_url: &str) {
    let mut connection = PgConnection::connect(database_url).await.unwrap();
    db::setup::migrate(&mut connection, Some(PARTITIONS)).await.unwrap();
    for (name, role, key) in [
        ("client", Role::Client, CLIENT_KEY),
        ("other", Role::Client, OTHER_KEY),
        ("operator", Role::Operator, OPERATOR_KEY),
    ] {
        let account = accounts::add_account(&mut connection, name, role).await.unwrap().unwrap();
        accounts::add_key(&mut connection, account, &api::keys::hash(key)).await.unwrap();
    }
}

async fn through_proxies(settings: &[(&'static str, String)]) -> (Vec<(&'static str, String)>, Option<(Proxy, Proxy)>) {
    let url = |wanted: &str| settings.iter().find(|(name, _)| *name == wanted).unwrap().1.clone();
    let (database, broker) = (url("DATABASE_URL"), url("AMQP_URL"));
    let to_database = Proxy::to(host_and_port(&database)).await;
    let to_broker = Proxy::to(host_and_port(&broker)).await;
    let mut settings = settings.to_vec();
    settings.push(("DATABASE_URL", through(&database, &to_database)));
    settings.push(("AMQP_URL", through(&broker, &to_broker)));
    (settings, Some((to_database, to_broker)))
}
