//! A client's and an operator's key: made at the first start and kept in the data folder, or fixed by the environment.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use common::db::PgConnection;
use common::db::accounts::{self, Role};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

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
                let keys = Self { client: generate("client"), operator: generate("operator") };
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

    /// Makes sure that the store knows both keys, and that each is that account's.
    pub(crate) async fn register(&self, connection: &mut PgConnection) -> anyhow::Result<()> {
        for (name, role, key) in
            [("demo-client", Role::Client, &self.client), ("demo-operator", Role::Operator, &self.operator)]
        {
            let account = accounts::ensure_account(connection, name, role).await?;
            let hash: [u8; 32] = Sha256::digest(key.as_bytes()).into();
            accounts::add_key(connection, account, &hash).await?;
            let found = accounts::find_keys(connection, &[hash]).await?;
            anyhow::ensure!(
                found.iter().any(|(_, principal)| principal.account == account),
                "the {name}'s key was given to another account or revoked: choose another one"
            );
        }
        Ok(())
    }
}

/// 256 random bits in hexadecimal behind a prefix that says what it is.
fn generate(role: &str) -> String {
    let bits: [u8; 32] = rand::random();
    let hexadecimal: String = bits.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("oh_{role}_{hexadecimal}")
}
