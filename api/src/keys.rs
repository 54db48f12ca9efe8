//! API keys: 256 random bits behind a prefix that says what they open. Shown once; the store has their hash only.

use std::time::Duration;

use common::config::Servers;
use common::db::accounts::{self, Role};
use common::db::{self, PgConnection};
use common::program::Failure;
use sha2::{Digest as _, Sha256};

const CONNECT_SECONDS_MAX: u64 = 10;

/// What the store keeps of a key.
pub type Hash = [u8; 32];

/// A key that nobody has.
#[must_use]
pub fn generate(role: Role) -> String {
    let bits: [u8; 32] = rand::random();
    let hexadecimal: String = bits.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("oh_{}_{hexadecimal}", role.as_str())
}

/// SHA-256: a key has too many bits to be guessed, so a slow hash would protect nothing.
#[must_use]
pub fn hash(key: &str) -> Hash {
    Sha256::digest(key.as_bytes()).into()
}

/// What an operator does to keys on the command line.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Make a key for an account, which is made where it is not there, and print it: it is shown this once
    Add {
        account: String,
        /// May do all, and see what is everybody's
        #[arg(long)]
        operator: bool,
    },
    /// End a key; within seconds it opens nothing
    Revoke { key: String },
}

pub(crate) async fn run(command: Command, servers: &Servers) -> Result<(), Failure> {
    let wait = Duration::from_secs(CONNECT_SECONDS_MAX);
    let mut connection = db::connect(&servers.database_url, "onhand-keys", db::Limits::default(), wait).await?;
    match command {
        Command::Add { account, operator } => {
            let role = if operator { Role::Operator } else { Role::Client };
            println!("{}", add(&mut connection, &account, role).await?);
            Ok(())
        }
        Command::Revoke { key } => match accounts::revoke_key(&mut connection, &hash(key.trim())).await? {
            true => Ok(()),
            false => Err("there is no such key, or it was ended before".into()),
        },
    }
}

async fn add(connection: &mut PgConnection, account: &str, role: Role) -> Result<String, Failure> {
    let Some(id) = accounts::add_account(connection, account, role).await? else {
        return Err(format!("the account {account:?} is there and is not a {}'s", role.as_str()).into());
    };
    let key = generate(role);
    accounts::add_key(connection, id, &hash(&key)).await?;
    Ok(key)
}
