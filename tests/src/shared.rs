//! One private PostgreSQL and RabbitMQ for all tests of a run. Their guard stops them when the test binary is gone.

use std::path::PathBuf;

use servers::{GUARD_ARGUMENT, Options, Servers};
use tokio::sync::OnceCell;

/// Addresses of the servers.
pub(crate) struct Shared {
    pub(crate) database_url: String,
    pub(crate) amqp_url: String,
    /// Kept for ever: dropped, the servers would stop.
    _servers: Servers,
}

static SHARED: OnceCell<Shared> = OnceCell::const_new();

pub(crate) async fn servers() -> &'static Shared {
    SHARED
        .get_or_init(|| async {
            let options = Options {
                data: folder(),
                temporary: true,
                brokers: 1,
                guard: vec![program().into_os_string(), GUARD_ARGUMENT.into()],
                postgres_settings: Vec::new(),
                postgres: true,
                rabbitmq: true,
            };
            let servers = Servers::start(options, |progress| eprintln!("{progress}")).await.unwrap();
            Shared {
                database_url: servers.database_url().to_owned(),
                amqp_url: servers.amqp_urls()[0].clone(),
                _servers: servers,
            }
        })
        .await
}

/// A folder that the servers' user can enter; the guard deletes it.
pub(crate) fn folder() -> PathBuf {
    let folder = tempfile::Builder::new().prefix("onhand-tests-").tempdir().unwrap().keep();
    std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
    folder
}

/// The program under test, which cargo builds beside the test binary.
pub(crate) fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().unwrap().parent().unwrap().join("under-test");
    assert!(program.exists(), "{} is not built", program.display());
    program
}
