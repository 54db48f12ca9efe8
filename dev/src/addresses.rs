//! Where the private servers are, kept in the data folder while they run: so `cargo run --release -- consumer partitions`
//! finds them from another terminal.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use common::config::{Servers, environment};
use secrecy::{ExposeSecret as _, SecretString};

/// Where everything is kept unless [`VARIABLE`] says something else.
pub(crate) const DATA: &str = ".onhand";
pub(crate) const VARIABLE: &str = "ONHAND_DATA";

fn file(data: &Path) -> PathBuf {
    data.join("addresses.json")
}

/// Keeps the addresses until [`Kept`] is dropped. They hold passwords: nobody else may read them.
pub(crate) fn keep(data: &Path, servers: &Servers) -> anyhow::Result<Kept> {
    let file = file(data);
    let amqp: Vec<&str> = servers.amqp_urls.iter().map(SecretString::expose_secret).collect();
    let addresses = serde_json::json!({
        "DATABASE_URL": servers.database_url.expose_secret(),
        "AMQP_URL": amqp.join(","),
    });
    servers::write_private(&file, &addresses.to_string())
        .with_context(|| format!("{} can't be written", file.display()))?;
    Ok(Kept(file))
}

/// Addresses that are deleted with it: soon they lead nowhere.
pub(crate) struct Kept(PathBuf);

impl Drop for Kept {
    fn drop(&mut self) {
        // What can't be deleted is overwritten by the next start.
        fs::remove_file(&self.0).ok();
    }
}

/// A variable of the environment; where it does not name the servers, those that run on the data folder.
pub(crate) fn lookup(name: &str) -> Option<String> {
    environment(name).or_else(|| {
        let data = environment(VARIABLE).unwrap_or_else(|| DATA.to_owned());
        let kept = fs::read(file(Path::new(&data))).ok()?;
        let kept: serde_json::Value = serde_json::from_slice(&kept).ok()?;
        Some(kept.get(name)?.as_str()?.to_owned())
    })
}
