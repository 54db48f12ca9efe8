//! Private servers, and a store with products and stock that each system under load gets a copy of.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use common::config::Queues;
use common::db;
use common::db::accounts::{self, Role};
use common::queue::{Link, Topology};
use secrecy::SecretString;
use servers::Servers;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::scenario::{PRODUCTS, Products};
use crate::system::{Shape, System, Who};

/// Pieces of each product: more than any run can sell.
const STOCK: i64 = 1_000_000_000;
/// Pieces of the one that is nearly sold out: at most 1 % of the orders of a run.
const SCARCE_STOCK: i64 = 50;
/// As an administrator would set the database for short transactions on a machine of this size; `fsync` and `synchronous_commit` stay on.
const SETTINGS: [(&str, &str); 4] =
    [("shared_buffers", "1GB"), ("max_wal_size", "8GB"), ("max_connections", "300"), ("jit", "off")];
const IMPORT_SECONDS_MAX: u64 = 300;
const CONNECT_WAIT: Duration = Duration::from_secs(10);

/// Everything that the measurements of one run share.
pub(crate) struct Bench {
    folder: TempDir,
    servers: Servers,
    admin: PgConnection,
    pub(crate) key: String,
    copies: u32,
}

/// A store: a copy of the one that was filled.
pub(crate) struct Store {
    pub(crate) database_url: String,
    pub(crate) amqp_url: String,
    pub(crate) name: String,
    pub(crate) products: Arc<Products>,
    pub(crate) key: String,
    pub(crate) log: PathBuf,
}

impl Bench {
    pub(crate) async fn start(settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("onhand-bench-").tempdir()?;
        // The servers' own user enters it.
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711))?;
        let options = servers::Options {
            data: folder.path().join("servers"),
            temporary: true,
            brokers: 1,
            guard: vec![std::env::current_exe()?.into_os_string(), servers::GUARD_ARGUMENT.into()],
            postgres_settings: SETTINGS
                .iter()
                .chain(settings)
                .map(|&(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            postgres: true,
            rabbitmq: true,
        };
        let servers = Servers::start(options, |progress| eprintln!("  {progress}")).await?;
        let admin = PgConnection::connect(servers.database_url()).await?;
        let key = api::keys::generate(Role::Client);
        Ok(Self { folder, servers, admin, key, copies: 0 })
    }

    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        drop(self.admin);
        Ok(self.servers.stop().await?)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn admin_url(&self) -> &str {
        self.servers.database_url()
    }

    fn database_url(&self, name: &str) -> String {
        let url = self.servers.database_url();
        url.rsplit_once('/').map_or_else(|| url.to_owned(), |(server, _)| format!("{server}/{name}"))
    }

    /// Makes a store of so many partitions and fills it by way of the api, as anybody would.
    pub(crate) async fn fill(&mut self, name: &str, partitions: u16) -> anyhow::Result<()> {
        eprintln!("  filling a store of {partitions} partitions with {PRODUCTS} products");
        self.execute(&format!("CREATE DATABASE {name}")).await?;
        let url = SecretString::from(self.database_url(name));
        let limits = db::Limits { statement: Duration::ZERO, ..db::Limits::default() };
        let mut connection = db::connect(&url, "onhand-bench", limits, CONNECT_WAIT).await?;
        db::setup::migrate(&mut connection, Some(partitions)).await?;
        let operator = api::keys::generate(Role::Operator);
        for (account, role, key) in [("bench", Role::Client, &self.key), ("bench-operator", Role::Operator, &operator)]
        {
            let account =
                accounts::add_account(&mut connection, account, role).await?.context("an account is there")?;
            accounts::add_key(&mut connection, account, &api::keys::hash(key)).await?;
        }
        let mut store = self.store(name, Vec::new(), Uuid::nil())?;
        store.key.clone_from(&operator);
        let system = System::start(&store, Who::Onhand, Shape::default()).await?;
        let mut catalogue = "sku,name,price,currency,stock\n".to_owned();
        for n in 0..PRODUCTS {
            catalogue.push_str(&format!("P-{n:05},Product {n},1000,EUR,{STOCK}\n"));
        }
        catalogue.push_str(&format!("SCARCE,Scarce product,1000,EUR,{SCARCE_STOCK}\n"));
        system.import(&catalogue, Duration::from_secs(IMPORT_SECONDS_MAX)).await?;
        system.stop().await?;
        sqlx::raw_sql("VACUUM ANALYZE").execute(&mut connection).await?;
        Ok(())
    }

    /// A copy of a filled store.
    pub(crate) async fn copy(&mut self, of: &str) -> anyhow::Result<Store> {
        self.copies += 1;
        let name = format!("copy{}", self.copies);
        self.execute(&format!("CREATE DATABASE {name} TEMPLATE {of}")).await?;
        // What the copying has left to be written is not to be paid for by what is measured.
        self.execute("CHECKPOINT").await?;
        let mut connection = PgConnection::connect(&self.database_url(&name)).await?;
        let rows: Vec<(Uuid, String)> =
            sqlx::query_as("SELECT product_id, sku FROM variants ORDER BY sku").fetch_all(&mut connection).await?;
        let (scarce, ids): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(_, sku)| sku == "SCARCE");
        let scarce = scarce.first().context("the store is not filled")?.0;
        self.store(&name, ids.into_iter().map(|(id, _)| id).collect(), scarce)
    }

    fn store(&self, name: &str, ids: Vec<Uuid>, scarce: Uuid) -> anyhow::Result<Store> {
        let ids = if ids.is_empty() { vec![Uuid::nil()] } else { ids };
        Ok(Store {
            database_url: self.database_url(name),
            amqp_url: self.servers.amqp_urls().join(","),
            name: name.to_owned(),
            products: Arc::new(Products::new(ids, scarce)?),
            key: self.key.clone(),
            log: self.folder().join(format!("{name}.log")),
        })
    }

    /// Deletes a store, with its queues and what waits in them.
    pub(crate) async fn drop(&mut self, store: Store) -> anyhow::Result<()> {
        let url = SecretString::from(store.database_url.clone());
        let mut connection = db::connect(&url, "onhand-bench", db::Limits::default(), CONNECT_WAIT).await?;
        let partitions = db::setup::settings(&mut connection, None).await?.partitions;
        drop(connection);
        let topology = Arc::new(Topology::new(&Queues { prefix: store.name.clone(), bytes_max: 1 << 30 }, partitions));
        let (stop, urls) = (CancellationToken::new(), [SecretString::from(store.amqp_url.clone())]);
        let mut link = Link::open_to_ask(&urls, "onhand-bench".to_owned(), stop.clone())?;
        topology.delete(&*link.connected().await).await?;
        stop.cancel();
        self.execute(&format!("DROP DATABASE {} WITH (FORCE)", store.name)).await
    }

    pub(crate) async fn execute(&mut self, sql: &str) -> anyhow::Result<()> {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.admin).await.with_context(|| sql.to_owned())?;
        Ok(())
    }
}
