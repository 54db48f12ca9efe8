//! A client's and an operator's key: made at the first start and kept in the data folder, or fixed by the environment.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use api::keys::generate;
use common::db::PgConnection;
use common::db::accounts::{self, Role};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Serialize, Deserialize)]
pub(crate) struct Keys {
    pub(crate) client: String,
    pub(crate) operator: String,
}

impl Keys {
    /// The keys of this data folder; `ONHAND_CLIENT_KEY` and `ONHAND_OPERATOR_KEY` come first.
    pub(crate) fn load(data: &Path) -> anyhow::Result<Self> {
        let path = data.join("keys.json");
        let mut keys = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("{} can't be read: delete it to get new keys", path.display()))?,
            Err(_) => {
                let keys = Self { client: generate(Role::Client), operator: generate(Role::Operator) };
                let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
                file.write_all(&serde_json::to_vec_pretty(&keys)?)?;
                keys
            }
        };
        for (name, key) in [("ONHAND_CLIENT_KEY", &mut keys.client), ("ONHAND_OPERATOR_KEY", &mut keys.operator)] {
            if let Some(fixed) = common::config::environment(name).filter(|fixed| !fixed.trim().is_empty()) {
                fixed.trim().clone_into(key);
            }
        }
        anyhow::ensure!(keys.client != keys.operator, "ONHAND_CLIENT_KEY and ONHAND_OPERATOR_KEY must differ");
        Ok(keys)
    }

    /// Makes sure that the store knows both keys, and that each is that account's; answers with the operator's account.
    pub(crate) async fn register(&self, connection: &mut PgConnection) -> anyhow::Result<Uuid> {
        register(connection, "demo-client", Role::Client, &self.client).await?;
        register(connection, "demo-operator", Role::Operator, &self.operator).await
    }
}

async fn register(connection: &mut PgConnection, name: &str, role: Role, key: &str) -> anyhow::Result<Uuid> {
    let account = accounts::add_account(connection, name, role).await?;
    let account = account.with_context(|| format!("the account {name} has another role"))?;
    let hash = api::keys::hash(key);
    accounts::add_key(connection, account, &hash).await?;
    let found = accounts::find_keys(connection, &[hash]).await?;
    anyhow::ensure!(
        found.iter().any(|(_, principal)| principal.account == account),
        "the {name}'s key was given to another account or revoked: choose another one"
    );
    Ok(account)
}
